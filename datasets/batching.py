"""Batches of rows: shuffled by seed and epoch, resumable, padded to one size, prefetched."""
from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from ..backend.errors import ParameterError, ShapeError
from .prefetch import prefetched


def epoch_order(n_rows: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """The order of the rows in an epoch: a permutation that depends on nothing but its arguments.

    Parameters
    ----------
    n_rows : int
        How many rows there are.
    seed, epoch : int
        From 0 to 2**64 - 1; together they are the key of a Philox generator.

    Returns
    -------
    ndarray
        int64 (n_rows,), each row once.

    Raises
    ------
    ParameterError
        If the seed or the epoch is out of range.

    References
    ----------
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.

    Examples
    --------
    >>> from gradatim.datasets import epoch_order
    >>> sorted(epoch_order(4, seed=1, epoch=2).tolist())
    [0, 1, 2, 3]
    """
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2 ** 64:
            raise ParameterError(f"{name} is out of range", got=f"{name}={value}",
                                 fix="use a whole number from 0 to 2**64 - 1")
    key = np.array([int(seed), int(epoch)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n_rows)


class Batches:
    """The rows of some arrays, a batch at a time.

    Every iteration gives the same batches, so another epoch is another object. A run that stopped
    after k batches goes on with ``start=k`` as if it had not stopped.

    Parameters
    ----------
    arrays : tuple
        NumPy arrays, memory maps, sparse matrices, HDF5 data sets: whatever has a shape and gives
        rows when indexed by an array of row numbers. All have equally many rows.
    batch_size : int
        Rows in a batch.
    shuffle : bool
        Whether rows come in the order of `epoch_order`, or as they stand. In the second case
        a batch may be a view of the array: do not write into it.
    seed, epoch : int
        What the order depends on.
    pad : bool
        Whether the last batch is filled up to `batch_size` by repeating its first row.
    prefetch : int
        How many batches a thread prepares ahead; 0 does without a thread.
    start : int
        How many batches to skip.

    Yields
    ------
    batch : tuple
        Rows of each array, in the order of `arrays`.
    n_valid : int
        How many of the rows are real; the others are padding.

    Raises
    ------
    ShapeError
        If the arrays differ in their number of rows.
    ParameterError
        If `arrays` is one array, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.datasets import Batches
    >>> for (x, y), n_valid in Batches((np.arange(5), -np.arange(5)), 3, shuffle=False):
    ...     print(x, y, n_valid)
    [0 1 2] [ 0 -1 -2] 3
    [3 4 3] [-3 -4 -3] 2
    """

    def __init__(self, arrays: Sequence, batch_size: int, *, shuffle: bool = True, seed: int = 0,
                 epoch: int = 0, pad: bool = True, prefetch: int = 1, start: int = 0):
        if hasattr(arrays, "shape"):  # its rows would pass for the arrays
            raise ParameterError("arrays is a tuple of arrays", got=type(arrays).__name__,
                                 fix="pass (X,) for one array")
        arrays = tuple(a if hasattr(a, "shape") else np.asarray(a) for a in arrays)
        rows = [array.shape[0] for array in arrays]
        if len(set(rows)) != 1:
            raise ShapeError("the arrays differ in their number of rows",
                             got=" ".join(map(str, rows)) or "no array",
                             fix="pass one row of each array per sample")
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0),
                                   ("start", start, 0)):
            if value < least:
                raise ParameterError(f"{name} is at least {least}", got=f"{name}={value}",
                                     fix=f"pass {name}={least} or more")
        self.arrays, self.batch_size, self.pad = arrays, batch_size, pad
        self.prefetch, self.start, self.n_rows = prefetch, start, rows[0]
        self.order = epoch_order(rows[0], seed, epoch) if shuffle else None

    def __len__(self) -> int:
        """How many batches an iteration gives."""
        return max(0, -(-self.n_rows // self.batch_size) - self.start)

    def __iter__(self) -> Iterator[tuple[tuple, int]]:
        return prefetched(self._prepared(), self.prefetch)

    def _prepared(self) -> Iterator[tuple[tuple, int]]:
        """The batches, each gathered and padded when it is asked for."""
        for first in range(self.start * self.batch_size, self.n_rows, self.batch_size):
            rows = slice(first, min(first + self.batch_size, self.n_rows))
            n_valid = rows.stop - first
            batch = tuple(take(a, rows if self.order is None else self.order[rows])
                          for a in self.arrays)
            if self.pad and n_valid < self.batch_size:
                filled = np.arange(self.batch_size)
                filled[n_valid:] = 0
                batch = tuple(part[filled] for part in batch)
            yield batch, n_valid


def pad_sequences(sequences: Sequence, length: int | None = None, dtype="float32",
                  indices=None) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of unequal length as one array, zeros after their end, and their lengths.

    Parameters
    ----------
    sequences : sequence of array
        Each (time, features), or (time,), which counts as one feature.
    length : int, optional
        Steps of the result; the longest sequence decides if it is left out.
    dtype : dtype
        Element type of the result.
    indices : array of int, optional
        Which sequences, in which order; all if it is left out.

    Returns
    -------
    padded : ndarray
        (n, length, features).
    lengths : ndarray
        int64 (n,).

    Raises
    ------
    ShapeError
        If there are no sequences, one is longer than `length`, or they differ in features.

    Examples
    --------
    >>> from gradatim.datasets import pad_sequences
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4]])
    >>> padded[..., 0].tolist(), lengths.tolist()
    ([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]], [3, 1])
    """
    rows = range(len(sequences)) if indices is None else indices
    chosen = [np.asarray(sequences[row]) for row in rows]
    chosen = [x[:, None] if x.ndim == 1 else x for x in chosen]  # (time, features)
    shapes = {x.shape[1:] for x in chosen}
    if len(shapes) != 1 or any(x.ndim != 2 for x in chosen):
        raise ShapeError("sequences are (time, features), with equally many features each",
                         got=" ".join(sorted({f"(time, {', '.join(map(str, s))})"
                                              for s in shapes})) or "no sequence",
                         fix="give every sequence the same features")
    lengths = np.array([len(x) for x in chosen], np.int64)
    length = int(lengths.max()) if length is None else length
    if lengths.max() > length:
        longest = int(lengths.argmax())
        raise ShapeError(f"a sequence is longer than {length} steps",
                         got=f"{lengths[longest]} steps in sequence {rows[longest]}",
                         fix=f"pass length={lengths.max()}, or cut the sequence")
    padded = np.zeros((len(chosen), length, *shapes.pop()), dtype)
    for row, x in zip(padded, chosen):
        row[:len(x)] = x
    return padded, lengths


def take(array, rows):
    """Some rows of an array; disks and HDF5 want their row numbers in rising order."""
    if isinstance(rows, slice):
        return array[rows]
    if type(array) is np.ndarray:
        return array.take(rows, axis=0)  # two to three times faster than indexing
    rising = np.argsort(rows)
    back = np.empty_like(rising)
    back[rising] = np.arange(len(rows))
    return array[rows[rising]][back]
