"""Labels of classes: fixed at the first fit, numbers after that; and the weights of classes."""
from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import column_or_1d

from ..backend.errors import DataError, ParameterError

CLASS_WEIGHT = [StrOptions({"balanced"}), dict, None]       # what the parameter may be


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


def balancing(numbers, weights, n_classes: int) -> np.ndarray:
    """Factors that give all classes that occur the same weight, and leave the sum as it is."""
    counts = np.bincount(numbers, weights, n_classes)
    return counts.sum() / np.count_nonzero(counts) / np.where(counts > 0, counts, 1.0)


def class_factors(class_weight, numbers, weights, classes: np.ndarray) -> np.ndarray:
    """One factor per class, by the parameter; balanced: every class has the same weight in all."""
    labels = classes.tolist()
    if isinstance(class_weight, str):
        return balancing(numbers, weights, len(labels))
    strange = [c for c in class_weight if c not in labels]
    if strange:
        raise ParameterError(f"class_weight names a class that is not there: {strange[0]!r}",
                             got=f"classes {labels[:10]}", fix="use the labels of y as keys")
    for label, factor in class_weight.items():
        if not isinstance(factor, Real) or not 0 <= factor < np.inf:
            raise ParameterError("class_weight must hold finite numbers from 0 on",
                                 got=f"{factor!r} for class {label!r}")
    factors = np.array([class_weight.get(label, 1.0) for label in labels], np.float64)
    if not (np.bincount(numbers, weights, len(labels)) * factors).any():
        raise ParameterError("class_weight leaves no sample any weight", got=repr(class_weight),
                             fix="give one class a weight above 0")
    return factors


def refuse_balanced(class_weight) -> None:
    """Refuse what needs all samples at once, in a pass over some of them."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ParameterError('class_weight="balanced" cannot be used with partial_fit, which '
                             "sees a part of the samples only",
                             fix="pass a dict of weights by label")
