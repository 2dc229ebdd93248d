"""Targets in the element type that a loss takes."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError


def targets_for(loss, y, dtype: str, outputs: int) -> np.ndarray:
    """Numbers of the net's element type, or whole class numbers if the loss takes such.

    Raises
    ------
    DataError
        If y holds no numbers, or class numbers that the net has no output for.
    """
    y = np.asarray(y)
    if y.dtype == object and y.ndim and all(isinstance(part, np.ndarray) for part in y):
        found = np.empty(len(y), object)                           # a target per step
        found[:] = [targets_for(loss, part, dtype, outputs) for part in y]
        return found
    if y.dtype.kind not in "biuf":
        raise DataError("y must hold numbers", got=f"dtype {y.dtype}",
                        fix="number the labels: np.unique(y, return_inverse=True)")
    if not getattr(loss, "integer_labels", False):
        return y.astype(dtype, copy=False)
    numbers = y.astype(np.int64)
    if not np.array_equal(numbers, y):
        raise DataError("y must hold class numbers, and there are fractions among them",
                        fix='use loss="categorical_crossentropy" for probabilities')
    if numbers.size and numbers.max() >= outputs:
        raise DataError("y holds a class number the model has no output for",
                        got=f"class {numbers.max()}, {outputs} outputs",
                        fix=f"give the last layer {numbers.max() + 1} units")
    return numbers
