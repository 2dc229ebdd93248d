"""Validation split: random, stratified by label on request, decided by the seed alone."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError, ParameterError


def taken(X, rows):
    """Some samples, in the form that all have: a list, an array, sparse rows, or rows of a file."""
    if isinstance(X, list):
        return [X[i] for i in rows]
    return X.subset(rows) if hasattr(X, "subset") else X[rows]


def split(X, y, weights, fraction: float, seed: int, labels=None):
    """``(X, y, weights)`` for training and for validation.

    Parameters
    ----------
    X, y, weights : array or list (n, ...), weights may be None
        Samples.
    fraction : float
        Share held out, rounded to whole samples, with at least one sample on either side.
    seed : int
        Decides which.
    labels : array (n,), optional
        Each label gets its share of the held-out part: within one sample of ``fraction`` times
        its count. A label with one sample stays in training as long as ``fraction`` is below 1/2.

    Returns
    -------
    tuple, tuple
        ``(X, y, weights)`` of the training part and of the held-out part, rows in their old order.

    Raises
    ------
    DataError
        If a single sample is to be split.
    ParameterError
        If ``fraction`` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training.split import split
    >>> y = np.arange(8) % 2
    >>> (_, y, _), (_, y_val, _) = split(np.arange(8), y, None, 0.25, seed=0, labels=y)
    >>> sorted(y_val.tolist())
    [0, 1]
    """
    n = len(X)
    if not 0 < fraction < 1:
        raise ParameterError(f"validation_fraction must be in (0, 1), not {fraction!r}",
                             fix="pass X_val and y_val for validation data of your own")
    if n < 2:
        raise DataError("one sample cannot be split into training and validation",
                        fix="pass more samples, or X_val and y_val")
    count = min(max(int(round(fraction * n)), 1), n - 1)
    order = np.random.Generator(np.random.Philox(key=np.array([seed, n], np.uint64))).permutation(n)
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
        some = None if weights is None else np.asarray(weights)[rows]
        return taken(X, rows), np.asarray(y)[rows], some

    return take(kept), take(held)
