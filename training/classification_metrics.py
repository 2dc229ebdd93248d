"""Metrics of classes, sample by sample: accuracies and the log loss."""
from __future__ import annotations

from ..backend import OPS
from ..backend.errors import ShapeError
from ..layers.arguments import positive_int
from .metric import METRICS, Mean, aligned, guessed_labels, true_labels

cast, expand_dims = OPS["cast"], OPS["expand_dims"]


class Accuracy(Mean):
    """Share of samples whose highest logit is the label's.

    A single logit means label 1 above 0. Labels are class numbers or rows of probabilities;
    with a label per step it is the share of right steps.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Accuracy
    >>> Accuracy().result({"sum": np.float64(3.0), "weight": np.float64(4.0)})
    0.75
    """
    name = "accuracy"
    greater_is_better = takes_logits = True

    def values(self, y_true, y_pred):
        return OPS["equal"](guessed_labels(y_pred), true_labels(y_true, y_pred))


class BinaryAccuracy(Mean):
    """Share of outputs on the right side, each output being a yes-or-no question of its own.

    Examples
    --------
    >>> from gradatim.training import BinaryAccuracy
    >>> BinaryAccuracy().name
    'binary_accuracy'
    """
    name = "binary_accuracy"
    greater_is_better = takes_logits = True

    def values(self, y_true, y_pred):
        return OPS["equal"](y_pred > 0.0, aligned(y_true, y_pred) > 0.5)


class TopKAccuracy(Mean):
    """Share of samples whose label is among the ``k`` highest logits.

    Parameters
    ----------
    k : int
        How many guesses are allowed; its name is then ``top_5_accuracy``.

    Raises
    ------
    ParameterError
        If ``k`` is not a whole number from 1 on.

    Examples
    --------
    >>> from gradatim.training import TopKAccuracy
    >>> TopKAccuracy(k=3), TopKAccuracy(k=3).name
    (TopKAccuracy(k=3), 'top_3_accuracy')
    """
    greater_is_better = takes_logits = True

    def __init__(self, k: int = 5):
        self.k = positive_int("k", k)

    @property
    def name(self):
        """The number of guesses is part of the name."""
        return f"top_{self.k}_accuracy"

    def values(self, y_true, y_pred):
        if y_pred.shape[-1] == 1:
            raise ShapeError(f"{type(self).__name__} needs a logit per class, not a single one",
                             fix='use metrics=["accuracy"]')
        _, best = OPS["top_k"](y_pred, k=min(self.k, y_pred.shape[-1]))
        hits = OPS["equal"](best, expand_dims(true_labels(y_true, y_pred), axis=-1))
        return OPS["max"](cast(hits, dtype=y_pred.dtype.name), axis=-1)


class LogLoss(Mean):
    """Mean of minus the logarithm of the probability that the net gives the true class.

    For any net of classes, whatever loss it is trained with; a single output is the probability
    of class 1.

    Examples
    --------
    >>> from gradatim.training import LogLoss
    >>> LogLoss().name
    'log_loss'
    """
    name = "log_loss"
    takes_logits = True

    def values(self, y_true, y_pred):
        labels = true_labels(y_true, y_pred)
        if y_pred.shape[-1] > 1:
            return OPS["softmax_cross_entropy"](y_pred, labels)
        single = OPS["squeeze"](y_pred, axis=-1)
        return OPS["sigmoid_cross_entropy"](single, cast(labels, dtype=y_pred.dtype.name))


METRICS |= {m.name: m for m in (Accuracy, BinaryAccuracy, LogLoss)}
METRICS |= {"top_5_accuracy": TopKAccuracy}
# Keras has a class for each form of labels, and one does for all of them here.
METRICS |= {"sparse_categorical_accuracy": Accuracy, "categorical_accuracy": Accuracy,
            "sparse_top_k_categorical_accuracy": TopKAccuracy,
            "top_k_categorical_accuracy": TopKAccuracy,
            "sparse_categorical_crossentropy": LogLoss}
