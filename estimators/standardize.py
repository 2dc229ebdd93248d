"""Standardisation: statistics of samples, and the layer that applies them inside the graph."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError
from ..layers import Normalization

BLOCK_ROWS = 4096         # at most so many rows at a time are turned to float64,
BLOCK_NUMBERS = 2 ** 24   # and so many numbers


def standardization(name: str, mean, variance, invert: bool = False) -> Normalization:
    """A layer that standardises by given statistics, or brings back to their scale."""
    return Normalization(axis=-1 if np.ndim(mean) else None, mean=mean, variance=variance,
                         invert=invert, name=name)


def weighted_statistics(rows: np.ndarray, weights: np.ndarray | None):
    """Weighted mean and population variance of columns; a constant column has variance 1."""
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    step = max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // max(1, rows.shape[1])))
    blocks = [slice(i, i + step) for i in range(0, len(rows), step)]
    total = weights.sum()
    with np.errstate(over="ignore", invalid="ignore"):       # reported below
        mean = sum(weights[b] @ rows[b].astype(np.float64) for b in blocks) / total
        variance = sum(weights[b] @ (rows[b] - mean) ** 2 for b in blocks) / total
    if not np.isfinite(variance).all():
        raise DataError("the numbers are too large to be standardised",
                        fix="divide them by a constant first, or pass standardize=False")
    return mean, np.where(variance > 1e-24 * np.maximum(mean ** 2, 1e-300), variance, 1.0)
