"""Samples in files: the checks that scikit-learn makes in memory, a block at a time."""
from __future__ import annotations

import numpy as np
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.validation import _check_feature_names, _check_y

from ..backend.errors import ShapeError
from ..datasets import OnDisk
from ..datasets.on_disk import is_hdf5
from .checking import ABSENT, require_targets


def validated_on_disk(estimator, X, reset: bool, y=ABSENT, multi_output: bool = False,
                      y_numeric: bool = False):
    """Samples as they stand in their file, checked; with y in memory if it is given."""
    X = X if isinstance(X, OnDisk) else OnDisk(X)
    require_targets(estimator, y)
    _check_feature_names(estimator, X, reset=reset)
    estimator._count_features(X, reset)
    if y is not ABSENT:
        y = _check_y(y, multi_output=multi_output, y_numeric=y_numeric, estimator=estimator)
        check_consistent_length(X, y)
    if X.dtype.kind == "f":
        for block in X.blocks():
            assert_all_finite(block, estimator_name=type(estimator).__name__, input_name="X")
    return X if y is ABSENT else (X, y)


def require_rows(X) -> None:
    """Refuse a file whose samples are no rows of features."""
    if X.ndim != 2:
        raise ShapeError("X must have two axes (n_samples, n_features)", got=str(list(X.shape)),
                         fix="store rows of features, or use a CNN or RNN estimator")


def loaded(values):
    """Targets or weights that lie in a file, as an array; others as they came."""
    return np.asarray(values[...]) if is_hdf5(values) else values
