"""Training: the one loop, optimizers and schedules as graph, metrics, callbacks."""
from .adaptive import Adadelta, Adagrad, Adamax, Ftrl, Lion, Nadam, RAdam
from .callbacks import (Callback, CSVLogger, EarlyStopping, FunctionCallback,
                        LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN)
from .checkpoint import Checkpoint
from .classification_metrics import Accuracy, BinaryAccuracy, LogLoss, TopKAccuracy
from .confusion import (F1, FalseNegatives, FalsePositives, FBeta, MatthewsCorrelation, MeanIoU,
                        Precision, Recall, TrueNegatives, TruePositives)
from .health import Health
from .layerwise import LARS, Adafactor, Lamb
from .lbfgs import LBFGS
from .metric import Metric
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .ranking import AUC, PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity
from .regression_metrics import (R2, CosineSimilarity, MeanAbsoluteError,
                                 MeanAbsolutePercentageError, MeanSquaredError,
                                 MeanSquaredLogarithmicError, PearsonCorrelation,
                                 RootMeanSquaredError)
from .schedules import (Constant, Cosine, CosineRestarts, Cyclic, Exponential, InverseTime,
                        OneCycle, PiecewiseConstant, Polynomial, Schedule)
from .tensorboard import TensorBoard
from .trainer import Trainer

# What `help` lists and `import *` takes: what is defined here, not the files it is defined in.
__all__ = [name for name, thing in vars().items()
           if getattr(thing, "__module__", "").startswith(f"{__name__}.")]
