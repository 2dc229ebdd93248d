"""Metrics of what is confused with what: counts, precision and recall, overlap, correlation."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from ..layers.arguments import number
from .metric import METRICS, Metric, aligned, guessed_labels, quotient, summed, true_labels

cast, one_hot = OPS["cast"], OPS["one_hot"]


class Count(Metric):
    """Base of the counts of right and wrong answers, each output being a yes-or-no question.

    With two outputs and class numbers for labels the question is whether it is class 1.
    """
    takes_logits = True
    truth = guess = True            # what is counted: these labels, guessed as these

    def sums(self, y_true, y_pred, weights, lengths=None):
        if y_pred.shape[-1] == 2 and y_true.ndim == y_pred.ndim - 1:
            no, yes = OPS["split"](y_pred, sections=2, axis=-1)
            y_pred = yes - no
        sides = [(y_pred > 0.0, self.guess), (aligned(y_true, y_pred) > 0.5, self.truth)]
        counted = None
        for side, wanted in sides:
            part = cast(side, dtype=weights.dtype.name)
            part = part if wanted else 1.0 - part
            counted = part if counted is None else counted * part
        return summed({"count": counted}, weights, lengths, kept=0)

    def result(self, sums):
        return float(sums["count"])


class TruePositives(Count):
    """How many yeses are found, by weight; for outputs that answer yes or no.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import TruePositives
    >>> TruePositives().result({"count": np.float64(3.0)})
    3.0
    """
    name = "true_positives"
    greater_is_better = True


class TrueNegatives(Count):
    """How many noes are told as such, by weight; for outputs that answer yes or no.

    Examples
    --------
    >>> from gradatim.training import TrueNegatives
    >>> TrueNegatives().greater_is_better
    True
    """
    name = "true_negatives"
    greater_is_better = True
    truth = guess = False


class FalsePositives(Count):
    """How many noes are taken for a yes, by weight; for outputs that answer yes or no.

    Examples
    --------
    >>> from gradatim.training import FalsePositives
    >>> FalsePositives().greater_is_better
    False
    """
    name = "false_positives"
    truth = False


class FalseNegatives(Count):
    """How many yeses are missed, by weight; for outputs that answer yes or no.

    Examples
    --------
    >>> from gradatim.training import FalseNegatives
    >>> FalseNegatives().greater_is_better
    False
    """
    name = "false_negatives"
    guess = False


class PerClass(Metric):
    """Base of metrics read off the counts of right, actual and predicted labels of each class.

    With two classes it is that of class 1; with more, the mean over the classes that occur.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Recall
    >>> sums = {"hits": [4.0, 1.0, 2.0], "actual": [8.0, 2.0, 2.0], "predicted": [5.0, 5.0, 2.0]}
    >>> round(Recall().result({name: np.array(s) for name, s in sums.items()}), 3)
    0.667
    """
    greater_is_better = takes_logits = True

    def sums(self, y_true, y_pred, weights, lengths=None):
        classes, dtype = max(y_pred.shape[-1], 2), weights.dtype.name
        true = one_hot(true_labels(y_true, y_pred), depth=classes, dtype=dtype)
        guess = one_hot(guessed_labels(y_pred), depth=classes, dtype=dtype)
        parts = {"hits": true * guess, "actual": true, "predicted": guess}
        return summed(parts, weights, lengths, kept=1)

    def result(self, sums):
        hits, actual, predicted = sums["hits"], sums["actual"], sums["predicted"]
        kept = np.arange(2) == 1 if len(hits) == 2 else (actual > 0) | (predicted > 0)
        if not (actual > 0).any():
            return math.nan
        return float(np.mean(self.ratio(hits, actual, predicted)[kept]))

    def ratio(self, hits, actual, predicted) -> np.ndarray:
        """One number per class; 0 where there is nothing to divide by."""
        raise NotImplementedError(f"{type(self).__name__} does not define ratio")


class Precision(PerClass):
    """Right among those predicted: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Precision
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 3.0], "predicted": [5.0, 2.0]}
    >>> Precision().result({name: np.array(c) for name, c in counts.items()})
    0.5
    """
    name = "precision"

    def ratio(self, hits, actual, predicted):
        return quotient(hits, predicted)


class Recall(PerClass):
    """Found among those there are: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Recall
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 4.0], "predicted": [5.0, 2.0]}
    >>> Recall().result({name: np.array(c) for name, c in counts.items()})
    0.25
    """
    name = "recall"

    def ratio(self, hits, actual, predicted):
        return quotient(hits, actual)


class FBeta(PerClass):
    """Weighted harmonic mean of precision and recall: of class 1, or the mean over the classes.

    Parameters
    ----------
    beta : float
        How many times as much recall counts; above 0. F1 has 1.

    Raises
    ------
    ParameterError
        If beta is no number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import FBeta
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 3.0], "predicted": [5.0, 1.0]}
    >>> round(FBeta(beta=2.0).result({name: np.array(c) for name, c in counts.items()}), 3)
    0.385
    """
    name = "f_beta"

    def __init__(self, beta: float = 1.0):
        self.beta = number("beta", beta, at_least=1e-9)

    def ratio(self, hits, actual, predicted):
        share = self.beta ** 2
        return quotient((1.0 + share) * hits, share * actual + predicted)


class F1(FBeta):
    """Harmonic mean of precision and recall: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import F1
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 3.0], "predicted": [5.0, 1.0]}
    >>> F1().result({name: np.array(c) for name, c in counts.items()})
    0.5
    """
    name = "f1"

    def __init__(self):
        super().__init__(beta=1.0)


class MeanIoU(PerClass):
    """Intersection over union of true and predicted samples: the mean over classes that occur.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import MeanIoU
    >>> counts = {"hits": [3.0, 1.0], "actual": [4.0, 2.0], "predicted": [4.0, 2.0]}
    >>> round(MeanIoU().result({name: np.array(c) for name, c in counts.items()}), 4)
    0.4667
    """
    name = "mean_iou"

    def result(self, sums):
        hits, actual, predicted = sums["hits"], sums["actual"], sums["predicted"]
        union = actual + predicted - hits
        if not (union > 0).any():
            return math.nan
        return float(np.mean(quotient(hits, union)[union > 0]))


class MatthewsCorrelation(PerClass):
    """Correlation of true and predicted classes, 0 for guesses: Gorodkin 2004, equation 8.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import MatthewsCorrelation
    >>> counts = {"hits": [3.0, 3.0], "actual": [4.0, 4.0], "predicted": [4.0, 4.0]}
    >>> MatthewsCorrelation().result({name: np.array(c) for name, c in counts.items()})
    0.5
    """
    name = "matthews_correlation"

    def result(self, sums):
        hits, actual, predicted = sums["hits"].sum(), sums["actual"], sums["predicted"]
        total = actual.sum()
        if not total:
            return math.nan
        spread = (total ** 2 - (actual ** 2).sum()) * (total ** 2 - (predicted ** 2).sum())
        return float((hits * total - actual @ predicted) / math.sqrt(spread)) if spread > 0 else 0.0


METRICS |= {m.name: m for m in (TruePositives, TrueNegatives, FalsePositives, FalseNegatives,
                                Precision, Recall, FBeta, F1, MeanIoU, MatthewsCorrelation)}
METRICS |= {"f1_score": F1, "f_beta_score": FBeta}
