"""Training: the one loop, optimizers and schedules as graph, metrics, callbacks."""
from .callbacks import (Callback, CSVLogger, EarlyStopping, FunctionCallback, ReduceLROnPlateau,
                        TerminateOnNaN)
from .checkpoint import Checkpoint
from .health import Health
from .metrics import (F1, R2, Accuracy, BinaryAccuracy, MeanAbsoluteError, MeanSquaredError,
                      Metric, Precision, Recall, RootMeanSquaredError, TopKAccuracy)
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import Constant, Cosine, Exponential, OneCycle, Schedule
from .trainer import Trainer
