"""Validation split: random, stratified by label on request, decided by the seed alone."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError


def split(X, y, weights, fraction: float, seed: int, labels=None):
    """``(X, y, weights)`` for training and for validation.

    Parameters
    ----------
    X, y, weights : array or list (n, ...), weights may be None
        Samples.
    fraction : float
        Share held out, at least one sample on either side.
    seed : int
        Decides which.
    labels : array (n,), optional
        Each label gets its share of the held-out part, to the nearest sample.

    Raises
    ------
    DataError
        If a single sample is to be split.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training.split import split
    >>> (_, y, _), (_, y_val, _) = split(np.arange(8), np.arange(8) % 2, None, 0.25, 0, np.arange(8) % 2)
    >>> sorted(y_val.tolist())
    [0, 1]
    """
    n = len(X)
    if n < 2:
        raise DataError("one sample cannot be split into training and validation",
                        fix="pass more samples, or early_stopping=False")
    count = min(max(int(round(fraction * n)), 1), n - 1)
    order = np.random.Generator(np.random.Philox(key=[seed % 2**64, n])).permutation(n)
    if labels is not None:
        labels = np.asarray(labels)[order]
        _, codes = np.unique(labels, return_inverse=True)
        # Each row's place among the rows of its label, as a share: the first share is held out.
        sizes = np.bincount(codes)
        place = np.empty(n)
        place[np.argsort(codes, kind="stable")] = np.concatenate(
            [(np.arange(s) + 0.5) / s for s in sizes])
        order = order[np.argsort(place, kind="stable")]
    held, kept = np.sort(order[:count]), np.sort(order[count:])

    def take(rows):
        samples = [X[i] for i in rows] if isinstance(X, list) else X[rows]
        return samples, y[rows], None if weights is None else np.asarray(weights)[rows]

    return take(kept), take(held)
