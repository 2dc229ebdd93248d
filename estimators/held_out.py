"""Held-out samples: validation data that were passed, or a part of the others."""
from __future__ import annotations

from ..backend.distribute import strategy
from ..backend.errors import DataError, ShapeError
from ..training.split import split
from .checking import explained, refuse_unusable
from .iterators import gathered


def validation_data(estimator, X, y, weights):
    """Validation data in the form of the samples, or None."""
    X, y, weights = map(gathered, (X, y, weights))
    if X is None:
        if y is not None or weights is not None:
            raise DataError("y_val and sample_weight_val need X_val beside them",
                            fix="pass X_val=, or leave them out")
        return None
    if y is None:
        raise DataError("X_val needs y_val beside it", fix="pass y_val=")
    refuse_unusable(X_val=X, y_val=y, sample_weight_val=weights)
    try:
        with explained():
            X = estimator._checked(X)
            y = estimator._encoded_again(y)
            weights = estimator._weights_of(weights, X)
    except (ValueError, TypeError) as error:
        raise DataError(f"the validation data cannot be used: {error}") from error
    if len(X) != len(y):
        raise ShapeError("X_val and y_val differ in their number of samples",
                         got=f"{len(X)} and {len(y)}", fix="pass one target per sample")
    return strategy(estimator.strategy).joined(X, y, weights)


def hold_out(estimator, data, seed: int):
    """``(X, targets, weights, rows)`` to train on, and ``(X, targets, weights)`` held out.

    Labels have equal shares in both; ``rows`` are the numbers of the samples.
    """
    X, targets, weights, rows = data
    one_each = hasattr(estimator, "classes_") and targets.dtype.kind == "i" and targets.ndim == 1
    how = estimator.validation_fraction, seed, targets if one_each else None
    rows = split(rows, targets, None, *how)[0][0]
    kept, held = split(X, targets, weights, *how)
    return (*kept, rows), held
