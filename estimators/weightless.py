"""Samples of weight zero, which are as if they were not there."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError
from ..training.split import taken


def require_weight(weights: np.ndarray) -> None:
    """Refuse weights that leave no sample."""
    if not weights.any():
        raise DataError("Sample weights must contain at least one non-zero number.",
                        fix="give at least one sample a weight above 0")


def without_weightless(X, targets, weights):
    """Samples of weight zero are left out, so that they change nothing, not even a batch."""
    if weights is None or weights.all():
        return X, targets, weights
    require_weight(weights)
    keep = np.flatnonzero(weights)
    return taken(X, keep), targets[keep], weights[keep]
