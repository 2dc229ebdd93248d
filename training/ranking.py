"""Metrics of a ranking by probability: areas under curves, and what can be had at a given price."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from ..backend.errors import ParameterError, ShapeError
from ..layers.arguments import number, one_of, whole
from .metric import METRICS, Metric, quotient, summed, true_labels

cast, expand_dims = OPS["cast"], OPS["expand_dims"]


class Ranking(Metric):
    """Base: right and false alarms counted at equally spaced probabilities, as Keras does.

    Labels are 0 and 1 (or one-hot pairs), the net has one output or two.
    """
    greater_is_better = takes_logits = True
    margin = 0.0         # by which the first and the last threshold lie beyond 0 and 1

    def set_thresholds(self, num_thresholds) -> None:
        """Check and keep at how many probabilities is counted."""
        self.num_thresholds = whole("num_thresholds", num_thresholds, 3)

    def sums(self, y_true, y_pred, weights, lengths=None):
        if y_pred.shape[-1] > 2:
            raise ShapeError(f"{self.name} needs one output, or two for a pair of classes",
                             got=str(y_pred.shape[-1]), fix='use metrics=["accuracy"]')
        labels = expand_dims(cast(true_labels(y_true, y_pred), dtype=weights.dtype.name), axis=-1)
        if y_pred.shape[-1] == 2:
            no, yes = OPS["split"](y_pred, sections=2, axis=-1)
            y_pred = yes - no
        inner = np.linspace(0.0, 1.0, self.num_thresholds)
        inner[0], inner[-1] = -self.margin, 1.0 + self.margin
        above = OPS["greater"](OPS["sigmoid"](y_pred), inner.astype(y_pred.dtype.name))
        above = cast(above, dtype=weights.dtype.name)               # (batch, ..., thresholds)
        parts = {"hits": above * labels, "alarms": above * (1.0 - labels)} | self.wholes(labels)
        return summed(parts, weights, lengths, kept=1)

    def wholes(self, labels) -> dict:
        """What else is counted."""
        return {}


class AUC(Ranking):
    """Area under a curve of class 1: how well it is ranked above class 0.

    Keras's: between the points that are counted, the ROC curve is straight (Fawcett, *An
    introduction to ROC analysis*, 2006) and the curve of precision and recall is what lies between
    two thresholds (Davis and Goadrich, 2006).

    Parameters
    ----------
    num_thresholds : int
        At how many probabilities is counted, the two ends among them; from 3 on.
    curve : {"ROC", "PR"}
        Found against falsely found, or precision against recall; "PR" is called ``pr_auc``.

    Raises
    ------
    ParameterError
        If there are fewer than 3, or the curve has another name.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import AUC
    >>> counts = {"hits": [4.0, 3.0, 0.0], "alarms": [2.0, 1.0, 0.0]}
    >>> AUC(num_thresholds=3).result({name: np.array(c) for name, c in counts.items()})
    0.625
    """
    margin = 1e-7                                  # everything, and nothing

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC"):
        self.set_thresholds(num_thresholds)
        self.curve = one_of("curve", curve, ("ROC", "PR"))

    @property
    def name(self) -> str:
        """By the curve."""
        return "auc" if self.curve == "ROC" else "pr_auc"

    def result(self, sums):
        hits, alarms = sums["hits"], sums["alarms"]
        if not (hits[0] and (alarms[0] or self.curve == "PR")):
            return math.nan
        if self.curve == "PR":
            return precision_recall_area(hits, alarms)
        return float(((alarms[:-1] - alarms[1:]) * (hits[:-1] + hits[1:])).sum()
                     / (2.0 * hits[0] * alarms[0]))


def precision_recall_area(hits: np.ndarray, alarms: np.ndarray) -> float:
    """The area where hits grow in proportion to alarms between two thresholds."""
    found = hits + alarms
    slope = quotient(hits[:-1] - hits[1:], found[:-1] - found[1:])
    rest = hits[1:] - slope * found[1:]
    both = (found[:-1] > 0) & (found[1:] > 0)
    ratio = np.where(both, quotient(found[:-1], found[1:]), 1.0)
    return float((slope * (hits[:-1] - hits[1:] + rest * np.log(ratio))).sum() / hits[0])


class AtLeast(Ranking):
    """Base: the best of one rate at the thresholds where another is high enough.

    Parameters
    ----------
    least : float
        How high, in [0, 1].
    num_thresholds : int
        At how many probabilities is counted; from 3 on.

    Raises
    ------
    ParameterError
        If one of them is out of range.
    """

    def __init__(self, least: float, num_thresholds: int = 200):
        self.set_thresholds(num_thresholds)
        self.least = number("least", least, at_least=0.0)
        if self.least > 1:
            raise ParameterError(f"least must be in [0, 1], not {least!r}")

    def wholes(self, labels):
        return {"positives": labels, "negatives": 1.0 - labels}

    def result(self, sums):
        hits, alarms = sums["hits"], sums["alarms"]
        positives, negatives = sums["positives"], sums["negatives"]
        if not positives.any():
            return math.nan
        rates = {"precision": quotient(hits, hits + alarms), "recall": quotient(hits, positives),
                 "specificity": 1.0 - quotient(alarms, negatives)}
        wanted, given = rates[self.wanted], rates[self.given]
        return float(np.max(wanted[given >= self.least], initial=0.0))


class RecallAtPrecision(AtLeast):
    """The best recall of class 1 at a threshold whose precision is at least so high.

    Examples
    --------
    >>> from gradatim.training import RecallAtPrecision
    >>> RecallAtPrecision(0.9).name
    'recall_at_precision'
    """
    name, wanted, given = "recall_at_precision", "recall", "precision"


class PrecisionAtRecall(AtLeast):
    """The best precision for class 1 at a threshold whose recall is at least so high.

    Examples
    --------
    >>> from gradatim.training import PrecisionAtRecall
    >>> PrecisionAtRecall(0.9).name
    'precision_at_recall'
    """
    name, wanted, given = "precision_at_recall", "precision", "recall"


class SensitivityAtSpecificity(AtLeast):
    """The best share of class 1 found where at least such a share of class 0 is left alone.

    Examples
    --------
    >>> from gradatim.training import SensitivityAtSpecificity
    >>> SensitivityAtSpecificity(0.9).name
    'sensitivity_at_specificity'
    """
    name, wanted, given = "sensitivity_at_specificity", "recall", "specificity"


METRICS |= {"auc": AUC}
