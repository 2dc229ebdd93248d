"""Training: the one loop, optimizers and schedules as graph, metrics, callbacks."""
from .adaptive import Adadelta, Adagrad, Adamax, Ftrl, Lamb, Lion, Nadam
from .callbacks import (Callback, CSVLogger, EarlyStopping, FunctionCallback, ReduceLROnPlateau,
                        TerminateOnNaN)
from .checkpoint import Checkpoint
from .health import Health
from .lbfgs import LBFGS
from .metric import Metric
from .metrics import (F1, R2, Accuracy, BinaryAccuracy, MeanAbsoluteError, MeanSquaredError,
                      Precision, Recall, RootMeanSquaredError, TopKAccuracy)
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .ranking import AUC
from .schedules import Constant, Cosine, Exponential, OneCycle, PiecewiseConstant, Schedule
from .trainer import Trainer
