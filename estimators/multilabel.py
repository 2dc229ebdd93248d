"""Several labels per sample: each class is a yes-or-no question of its own."""
from __future__ import annotations

import numpy as np
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array

from ..backend import OPS, Tensor
from ..backend.errors import DataError
from ..training import BinaryAccuracy


def is_indicator(y) -> bool:
    """Whether y is a matrix of zeros and ones with a column for each of several classes."""
    return np.ndim(y) == 2 and np.shape(y)[1] > 1 and \
        type_of_target(y, input_name="y") == "multilabel-indicator"


def indicator(y, n_classes: int) -> np.ndarray:
    """The matrix as numbers, refused if it is another than that of the fit."""
    y = check_array(y, dtype="numeric", input_name="y")
    if y.shape[1] != n_classes or not np.isin(y, (0, 1)).all():
        raise DataError("y must hold a zero or a one per sample and class",
                        got=f"shape {list(y.shape)} for {n_classes} classes",
                        fix="pass zeros and ones, in the columns of the first fit")
    return y.astype(np.float64)


def sigmoids(logits: Tensor) -> Tensor:
    """The probability of each label, in float64."""
    return OPS["sigmoid"](OPS["cast"](logits, dtype="float64"))


class SubsetAccuracy(BinaryAccuracy):
    """Share of samples with all their labels right, as scikit-learn's ``accuracy_score``."""
    name = "accuracy"

    def values(self, y_true, y_pred):
        right = OPS["cast"](super().values(y_true, y_pred), dtype=y_pred.dtype.name)
        return OPS["min"](right, axis=-1)
