"""Standardisation: statistics of samples, and the layer that applies them inside the graph."""
from __future__ import annotations

import numpy as np

from ..backend import placeholder
from ..backend.distribute import ShardedRows
from ..backend.errors import DataError
from ..layers import Normalization
from ..layers.flow import Flow

BLOCK_ROWS = 4096     # so many rows at a time are turned to float64,
BLOCK_ENTRIES = 2 ** 18    # and so many numbers


def standardization(name: str, mean, variance, invert: bool = False) -> Normalization:
    """A layer that standardises by given statistics, or brings back to their scale."""
    return Normalization(axis=-1 if np.ndim(mean) else None, mean=mean, variance=variance,
                         invert=invert, name=name)


def scale_of(name: str, mean, variance, columns: int) -> Normalization:
    """The layer, built, that brings so many outputs of a net to the scale of what they are."""
    layer = standardization(name, mean, variance, invert=True)
    layer.run(Flow(placeholder((2, columns), "float64")), training=False)
    return layer


def weighted_statistics(rows, weights: np.ndarray | None, columns: int | None = None):
    """Weighted mean and population variance of columns; a constant column has variance 1.

    Rows may lie on disk: they are read a block at a time, twice. Samples of more axes count as
    rows of ``columns`` entries, those of their last axis by default.
    """
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    columns = rows.shape[-1] if columns is None else columns
    several = int(np.prod(rows.shape[1:])) // columns                 # rows in a sample
    whole = weights.sum() * several
    everywhere = lambda part: part
    if isinstance(rows, ShardedRows):
        rows, weights, everywhere = rows.own, weights[rows.span], rows.total
    size = max(1, min(BLOCK_ROWS // several, BLOCK_ENTRIES // (several * columns)))

    def blocks():
        for i in range(0, len(rows), size):
            block = rows[i:i + size].astype(np.float64).reshape(-1, columns)
            yield weights[i:i + size].repeat(several), block

    with np.errstate(over="ignore", invalid="ignore"):       # reported below
        mean = everywhere(sum(w @ block for w, block in blocks())) / whole
        variance = everywhere(sum(w @ (block - mean) ** 2 for w, block in blocks())) / whole
    if not np.isfinite(variance).all():
        raise DataError("the numbers are too large to be standardised",
                        fix="divide them by a constant first, or pass standardize=False")
    return mean, np.where(variance > 1e-24 * np.maximum(mean ** 2, 1e-300), variance, 1.0)
