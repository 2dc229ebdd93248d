"""Batches of sequences of similar length, padded to one of few sizes."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError, ParameterError
from .batching import epoch_order


def bucket_sizes(lengths, n_sizes: int = 8) -> np.ndarray:
    """Few padded times such that about equally many sequences go into each.

    Parameters
    ----------
    lengths : array of int
        Steps of each sequence, at least 1.
    n_sizes : int
        How many sizes at most.

    Returns
    -------
    ndarray
        int64, rising, the last one the longest length.

    Raises
    ------
    DataError
        If there are no lengths, or one is below 1.
    ParameterError
        If `n_sizes` is below 1.

    Examples
    --------
    >>> from gradatim.datasets import bucket_sizes
    >>> bucket_sizes([3, 5, 9, 9, 12, 40], n_sizes=3).tolist()
    [5, 9, 40]
    """
    lengths = _checked(lengths)
    if n_sizes < 1:
        raise ParameterError("n_sizes is at least 1", got=f"n_sizes={n_sizes}",
                             fix="pass n_sizes=1 or more")
    ranks = np.arange(1, n_sizes + 1) * len(lengths)
    return np.unique(np.sort(lengths)[-(-ranks // n_sizes) - 1])


def length_buckets(lengths, batch_size: int, seed: int = 0, epoch: int = 0,
                   sizes=None) -> list[tuple[np.ndarray, int]]:
    """Group sequences of similar length into batches, in an order of chance that can be repeated.

    Rows are shuffled, then sorted into the smallest size that holds them. What does not fill a
    batch moves on to the next larger size, so that only one batch is not full. The batches
    are shuffled in the end.

    Parameters
    ----------
    lengths : array of int
        Steps of each sequence, at least 1.
    batch_size : int
        Sequences in a batch.
    seed, epoch : int
        What the order depends on.
    sizes : array of int, optional
        The padded times to use; those of `bucket_sizes` if it is left out.

    Returns
    -------
    list of (indices, padded_time)
        Every row is in exactly one batch, `indices` int64 (at most batch_size,).

    Raises
    ------
    DataError
        If there are no lengths, or one is below 1.
    ParameterError
        If no size holds the longest sequence, or `batch_size` is below 1.

    Examples
    --------
    >>> from gradatim.datasets import length_buckets
    >>> batches = length_buckets([3, 9, 2, 8, 3, 9], batch_size=3, sizes=[3, 9])
    >>> sorted((sorted(indices.tolist()), time) for indices, time in batches)
    [([0, 2, 4], 3), ([1, 3, 5], 9)]
    """
    lengths = _checked(lengths)
    sizes = bucket_sizes(lengths) if sizes is None else np.unique(np.asarray(sizes, np.int64))
    if batch_size < 1:
        raise ParameterError("batch_size is at least 1", got=f"batch_size={batch_size}",
                             fix="pass batch_size=1 or more")
    if not len(sizes) or lengths.max() > sizes[-1]:
        raise ParameterError("no size holds the longest sequence",
                             got=f"sizes={sizes.tolist()}, {lengths.max()} steps",
                             fix=f"add {lengths.max()} to sizes")
    order = epoch_order(len(lengths), seed, epoch)
    bucket = np.searchsorted(sizes, lengths[order])  # of each row in `order`
    batches, waiting = [], order[:0]
    for number, size in enumerate(sizes):
        waiting = np.concatenate([waiting, order[bucket == number]])
        full = len(waiting) - len(waiting) % batch_size
        batches += [(indices, int(size)) for indices in waiting[:full].reshape(-1, batch_size)]
        waiting = waiting[full:]
    if len(waiting):
        holds = np.searchsorted(sizes, lengths[waiting].max())
        batches.append((waiting, int(sizes[holds])))
    return [batches[i] for i in epoch_order(len(batches), seed, epoch)]


def _checked(lengths) -> np.ndarray:
    """Lengths as int64, at least one of them, each at least 1."""
    lengths = np.asarray(lengths, np.int64)
    if lengths.ndim != 1 or not lengths.size or lengths.min() < 1:
        raise DataError("a sequence needs at least one step",
                        got=f"lengths {list(lengths.shape)}, least "
                            f"{lengths.min() if lengths.size else 'of none'}",
                        fix="leave out empty sequences")
    return lengths
