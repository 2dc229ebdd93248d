"""Labels of classes: fixed at the first fit, numbers after that."""
from __future__ import annotations

import numpy as np
from sklearn.utils.validation import column_or_1d

from ..backend.errors import DataError


def fix_classes(estimator, labels, classes, again: bool) -> None:
    """Note the classes at a fit, those that were passed or those that occur; or compare them."""
    if not again:
        estimator.classes_ = np.unique(labels if classes is None else column_or_1d(classes))
    elif classes is not None and not np.array_equal(np.unique(classes), estimator.classes_):
        raise DataError("`classes` is not the same as on the first call",
                        got=str(np.unique(classes)[:10]), fix="leave it out after that")


def class_numbers(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of each label's class."""
    known = np.isin(labels, classes)
    if not known.all():
        raise DataError(f"the label {labels[~known].tolist()[0]!r} was not seen when classes were "
                        "fixed", got=f"classes {classes[:10].tolist()}",
                        fix="pass all labels as classes= to the first partial_fit, or fit anew")
    return np.searchsorted(classes, labels)


def judged_numbers(labels, classes: np.ndarray) -> np.ndarray:
    """The same to judge predictions by: a label that was never seen, -1, is a wrong answer."""
    return np.where(np.isin(labels, classes), np.searchsorted(classes, labels), -1)


def shares(numbers, weights, n_classes: int) -> np.ndarray:
    """The share that each class has of the weights."""
    counts = np.bincount(numbers, weights, n_classes)
    return counts / counts.sum()
