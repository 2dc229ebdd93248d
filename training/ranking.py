"""The area under the ROC curve, counted exactly at fixed thresholds batch by batch."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from ..backend.errors import ParameterError, ShapeError
from .metric import Metric, over_steps, true_labels
from .metrics import METRICS

batch_sum, cast, expand_dims = OPS["batch_sum"], OPS["cast"], OPS["expand_dims"]


class AUC(Metric):
    """Area under the ROC curve of class 1: how often it is ranked above class 0.

    Keras's: right and false alarms are counted at equally spaced probabilities, and the curve
    between them is straight (Fawcett, *An introduction to ROC analysis*, 2006). Labels are 0 and
    1 (or one-hot pairs), the net has one output or two.

    Parameters
    ----------
    num_thresholds : int
        At how many probabilities, the two ends among them; from 3 on.

    Raises
    ------
    ParameterError
        If there are fewer than 3.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import AUC
    >>> counts = {"hits": [4.0, 3.0, 0.0], "alarms": [2.0, 1.0, 0.0]}
    >>> AUC(num_thresholds=3).result({name: np.array(c) for name, c in counts.items()})
    0.625
    """
    name = "auc"
    greater_is_better = takes_logits = True

    def __init__(self, num_thresholds: int = 200):
        if not isinstance(num_thresholds, (int, np.integer)) or isinstance(num_thresholds, bool) \
                or num_thresholds < 3:
            raise ParameterError(f"num_thresholds must be a whole number from 3 on, not "
                                 f"{num_thresholds!r}")
        self.num_thresholds = int(num_thresholds)

    def sums(self, y_true, y_pred, weights, lengths=None):
        if y_pred.shape[-1] > 2:
            raise ShapeError("auc needs one output, or two for a pair of classes",
                             got=str(y_pred.shape[-1]), fix='use metrics=["accuracy"]')
        labels = expand_dims(cast(true_labels(y_true, y_pred), dtype=weights.dtype.name), axis=-1)
        if y_pred.shape[-1] == 2:
            no, yes = OPS["split"](y_pred, sections=2, axis=-1)
            y_pred = yes - no
        inner = np.linspace(0.0, 1.0, self.num_thresholds)
        inner[0], inner[-1] = -1e-7, 1.0 + 1e-7                     # everything, and nothing
        above = OPS["greater"](OPS["sigmoid"](y_pred), inner.astype(y_pred.dtype.name))
        above = cast(above, dtype=weights.dtype.name)               # (batch, ..., thresholds)
        parts = {"hits": above * labels, "alarms": above * (1.0 - labels)}
        if lengths is not None and above.ndim > 2:
            parts = {name: over_steps(part, lengths) for name, part in parts.items()}
        axes = tuple(range(parts["hits"].ndim - 1))
        return {name: batch_sum(part, weights, axes=axes) for name, part in parts.items()}

    def result(self, sums):
        hits, alarms = sums["hits"], sums["alarms"]
        if not (hits[0] and alarms[0]):
            return math.nan
        return float(((alarms[:-1] - alarms[1:]) * (hits[:-1] + hits[1:])).sum()
                     / (2.0 * hits[0] * alarms[0]))


METRICS |= {"auc": AUC}
