"""Training: the one loop, optimizers and schedules as graph, metrics, callbacks."""
from .adaptive import Adadelta, Adagrad, Adamax, Ftrl, Lamb, Lion, Nadam
from .callbacks import (Callback, CSVLogger, EarlyStopping, FunctionCallback,
                        LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN)
from .checkpoint import Checkpoint
from .confusion import (FalseNegatives, FalsePositives, FBeta, MatthewsCorrelation, MeanIoU,
                        TrueNegatives, TruePositives)
from .further_metrics import (CosineSimilarity, LogLoss, MeanAbsolutePercentageError,
                              MeanSquaredLogarithmicError, PearsonCorrelation)
from .further_schedules import CosineRestarts, Cyclic, InverseTime, Polynomial
from .health import Health
from .lbfgs import LBFGS
from .metric import Metric
from .metrics import (F1, R2, Accuracy, BinaryAccuracy, MeanAbsoluteError, MeanSquaredError,
                      Precision, Recall, RootMeanSquaredError, TopKAccuracy)
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .ranking import (AUC, PrecisionAtRecall, RecallAtPrecision,
                      SensitivityAtSpecificity)
from .schedules import Constant, Cosine, Exponential, OneCycle, PiecewiseConstant, Schedule
from .tensorboard import TensorBoard
from .trainer import Trainer
