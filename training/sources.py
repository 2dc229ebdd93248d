"""Sources: samples in memory, handed to the loop as batches of few different shapes."""
from __future__ import annotations

from copy import copy
from functools import cached_property
from itertools import islice
from typing import Iterator, NamedTuple

import numpy as np

from ..backend.distribute import ShardedRows
from ..backend.errors import DataError, ParameterError, ShapeError
from ..backend.tables import Tables
from ..datasets.batching import epoch_order, pad_sequences, take
from ..datasets.buckets import length_buckets
from ..datasets.on_disk import OnDisk, in_memory, is_on_disk
from ..datasets.prefetch import prefetched
from ..datasets.sparse_rows import SparseRows
from ..layers.arguments import whole

LARGE_BATCH = 2 ** 20     # bytes from which gathering a batch is worth a thread
WINDOW_BYTES = 2 ** 22    # of rows read from a file for several batches at once


class Batch(NamedTuple):
    """What one step is fed; its padding is the batch's first row, weighing zero."""
    x: np.ndarray                       # (batch, ...)
    y: np.ndarray                       # (batch, ...)
    weights: np.ndarray                 # (batch,)
    lengths: np.ndarray | None          # (batch,) int64, for sequences of unequal length
    valid: int                          # how many rows are no padding


class Source:
    """Samples ``X``, ``y`` and weights: arrays, or a list of sequences of unequal length.

    Parameters
    ----------
    X : array (n, ...), OnDisk, or list of arrays (time, features)
        Samples.
    y : array (n, ...), or (n,) of arrays (time,)
        Targets; arrays of objects hold a target per step of each sequence.
    weights : array (n,), optional
        Weight of each sample; 1 by default.
    batch_size : int or None
        Rows per step; None takes all rows in every step, in the order given.
    dtype : str
        Element type of the weights.
    x_dtype : str, optional
        Element type the net takes; ``dtype`` by default.
    seed : int
        Decides the order of samples, with the number of the epoch.
    shuffle : bool
        Whether the order changes at all.
    parts : int
        Batches are padded to a multiple of so many rows, for so many equal parts.
    own : range, optional
        The parts that this process computes; all by default.
    rounds : int
        How many times in a step each part is computed, with other rows.
    balanced : bool
        Whether an epoch draws every class number in ``y`` equally often.

    Raises
    ------
    DataError
        If there are no samples, or a weight is negative or no number.
    ShapeError
        If X, y and weights differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training.sources import Source
    >>> source = Source(np.zeros((5, 2)), np.arange(5), batch_size=2, shuffle=False)
    >>> [(b.y.tolist(), b.weights.tolist()) for b in source.epoch(0)][-1]
    ([4, 4], [1.0, 0.0])
    """

    def __init__(self, X, y, weights=None, *, batch_size: int | None, dtype="float32",
                 x_dtype: str | None = None, seed: int = 0, shuffle: bool = True,
                 parts: int = 1, own: range | None = None, rounds: int = 1,
                 balanced: bool = False):
        self.n = len(X)
        if self.n == 0:
            raise DataError("there are no samples", fix="pass at least one row")
        if np.ndim(y) == 0 or len(y) != self.n:
            raise ShapeError("X and y differ in their number of samples",
                             got=f"{self.n} and {len(y) if np.ndim(y) else 'one number'}",
                             fix="pass one row of y per sample")
        if batch_size is not None:
            whole("batch_size", batch_size, 1, fix="pass None for all samples in every step")
        # Targets per step of sequences that happen to be of one length are an array, as X is.
        steps = getattr(y, "dtype", None) == object and not isinstance(X, list)
        self.X, self.y = X, np.stack(y) if steps else y
        self.weights = checked_weights(weights, self.n, dtype)
        self.sequences = isinstance(X, list)
        self.lengths = np.array([len(s) for s in X], np.int64) if self.sequences else None
        self.x_dtype = x_dtype or dtype
        self.whole = batch_size is None
        rows = self.n if self.whole else min(batch_size, self.n)
        self.batch_size = rows
        self.parts, self.rounds = parts, rounds
        self.own = range(parts) if own is None else own
        self.part_rows = -(-rows // (parts * rounds))        # of a part in a round
        self.own_rows = self.part_rows * rounds * len(self.own)
        self.seed, self.shuffle, self.balanced = seed, shuffle, balanced
        if balanced and (self.whole or not shuffle):
            raise ParameterError("a balanced epoch draws samples at random in batches",
                                 fix="pass batch_size and shuffle=True, or class weights")
        self._whole: Batch | None = None
        self.shards: ShardedRows | None = None     # where X holds the rows of this process alone

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        if self.whole:
            return 1
        return len(self._buckets(0)) if self.sequences else -(-self.n // self.batch_size)

    @cached_property
    def tables(self) -> Tables | None:
        """X, y and weights, if steps may take their rows of them: arrays in memory or on disk."""
        tables = Tables([self.X, self.y, self.weights])
        have_rows = not self.whole and all(
            isinstance(a, OnDisk) or type(a) is np.ndarray and a.flags.c_contiguous
            for a in tables)
        return tables if have_rows else None

    def whole_batches(self) -> Source:
        """The same samples in the same batches, with the parts of all processes."""
        if len(self.own) == self.parts:
            return self
        other = copy(self)
        other.own, other._whole = range(self.parts), None
        other.own_rows = self.part_rows * self.rounds * self.parts
        return other

    def full_batches(self, number: int) -> np.ndarray:
        """The rows of an epoch's batches that need no padding, ``(batches, rows)``; own ones."""
        padded = self.part_rows * self.parts * self.rounds
        full = self.n // self.batch_size if padded == self.batch_size else 0
        rows = self._order(number)[:full * self.batch_size]
        shares = rows.reshape(full, self.rounds, self.parts, self.part_rows)
        shares = shares[:, :, self.own.start:self.own.stop]
        return np.ascontiguousarray(shares).reshape(full, self.own_rows)

    def rows(self, number: int, index: int) -> np.ndarray:
        """Which samples a batch of an epoch holds, in all its parts."""
        if self.sequences and not self.whole:
            return self._buckets(number)[index][0]
        return self._order(number)[index * self.batch_size:(index + 1) * self.batch_size]

    def _order(self, number: int) -> np.ndarray:
        """The rows of an epoch, one batch after another."""
        if self.balanced:
            return balanced_order(self.y, self.seed, number)
        changes = self.shuffle and not self.whole
        return epoch_order(self.n, self.seed, number) if changes else np.arange(self.n)

    def first(self) -> Batch:
        """The first rows as a batch, to compile for."""
        x, y, weights = (np.broadcast_to(a[:1], (self.own_rows, *a.shape[1:]))
                         for a in (self.X, self.y, self.weights))
        return Batch(x, y, weights, None, self.own_rows)

    def largest(self) -> Batch:
        """A batch that no other needs more memory than."""
        if not self.sequences:
            return self.first()
        if self.whole:
            return self._all()
        return self._gather(*max(self._buckets(0), key=lambda bucket: bucket[1]))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on."""
        if self.whole:
            if not start:
                yield self._all()
        elif self.sequences:
            for rows, time in self._buckets(number)[start:]:
                yield self._gather(rows, time)
        elif isinstance(self.X, OnDisk):
            for window in prefetched(self._windows(number, start), depth=1):
                yield from window
        else:
            large = self.X[0].nbytes * self.own_rows >= LARGE_BATCH
            yield from prefetched(self._taken(number, start), depth=int(large))

    def _share(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a batch that this process computes, and which of them are no padding."""
        padded = np.full(self.part_rows * self.parts * self.rounds, rows[0])
        padded[:len(rows)] = rows
        real = np.arange(len(padded)) < len(rows)
        if len(self.own) < self.parts:
            shape = self.rounds, self.parts, self.part_rows
            padded, real = (a.reshape(shape)[:, self.own.start:self.own.stop].reshape(-1)
                            for a in (padded, real))
        return padded, real

    def _shares(self, number: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same for every batch of an epoch from number ``start`` on."""
        order = self._order(number)
        for first in range(start * self.batch_size, self.n, self.batch_size):
            yield self._share(order[first:first + self.batch_size])

    def _taken(self, number: int, start: int) -> Iterator[Batch]:
        """Batches of arrays, each gathered when it is asked for."""
        for rows, real in self._shares(number, start):
            yield self._batch(take(self.X, rows), rows, real)

    def _batch(self, x, rows, real, lengths=None) -> Batch:
        """A batch of samples, of which some are padding."""
        weights = self.weights[rows]
        return Batch(x, self.y[rows], weights if real.all() else weights * real, lengths,
                     int(real.sum()))

    def _windows(self, number: int, start: int) -> Iterator[list[Batch]]:
        """Batches of a file, in the order they have in memory: rows of several are read at once."""
        several = max(1, WINDOW_BYTES // (self.X.row_bytes * self.own_rows))
        left = self._shares(number, start)
        while shares := list(islice(left, several)):
            x = self.X[np.concatenate([rows for rows, _ in shares])]
            parts = x.reshape(len(shares), self.own_rows, *x.shape[1:])
            yield [self._batch(part, *share) for part, share in zip(parts, shares)]

    def _all(self) -> Batch:
        """Every row, once prepared and then handed over again and again."""
        if self._whole is None and self.sequences:
            self._whole = self._gather(np.arange(self.n), int(self.lengths.max()))
        elif self._whole is None:
            ((rows, real),) = self._shares(0, 0)
            if self.own_rows == self.n:
                self._whole = Batch(np.asarray(self.X).astype(self.x_dtype, copy=False), self.y,
                                    self.weights, None, self.n)
            else:
                x = take(self.X, rows) if hasattr(self.X, "shape") else np.asarray(self.X)[rows]
                self._whole = self._batch(x.astype(self.x_dtype, copy=False), rows, real)
        return self._whole

    def _buckets(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """Rows of similar length, and the padded time they share."""
        rows = self._order(epoch) if self.balanced else np.arange(self.n)
        return [(rows[batch], time) for batch, time in length_buckets(
            self.lengths[rows], self.batch_size, seed=self.seed,
            epoch=epoch if self.shuffle else 0)]

    def _gather(self, rows: np.ndarray, time: int) -> Batch:
        """Pad some sequences to ``time`` steps, and their batch."""
        rows, real = self._share(rows)
        x, lengths = stacked(self.X, time, self.x_dtype, rows)
        batch = self._batch(x, rows, real, lengths)
        if batch.y.dtype == object:                            # a target per step
            y = pad_sequences(batch.y, time, batch.y[0].dtype)[0][..., 0]
            batch = batch._replace(y=y)
        return batch


def balanced_order(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """As many rows as there are, every class equally often (to within one), in random order.

    A class is gone through from one epoch to the next: no row comes a second time before all
    others of its class have come.
    """
    n = len(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    share = -(-n // len(classes))
    found = []
    for code in range(len(classes)):
        rows = np.flatnonzero(codes == code)
        place = np.arange(epoch * share, (epoch + 1) * share)
        rounds = {r: rows[epoch_order(len(rows), seed, r)] for r in np.unique(place // len(rows))}
        found.append(np.concatenate([rounds[r][place[place // len(rows) == r] % len(rows)]
                                     for r in rounds]))
    # Where the shares do not come out even, the last draws of all classes take turns.
    drawn = np.stack(found, axis=1).ravel()[:n]
    return drawn[epoch_order(n, seed, epoch)]


def checked_weights(weights, n: int, dtype: str) -> np.ndarray:
    """One weight from 0 on per sample, 1 by default."""
    if weights is None:
        return np.ones(n, dtype)
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise DataError("sample_weight must hold numbers", got=f"dtype {weights.dtype}",
                        fix="pass a 1-d array as long as X")
    weights = weights.astype(dtype, copy=False)
    if weights.shape != (n,):
        raise ShapeError("sample_weight must hold one number per sample",
                         got=f"shape {list(weights.shape)} for {n} samples",
                         fix="pass a 1-d array as long as X")
    if not (weights >= 0).all() or not np.isfinite(weights).all():
        raise DataError("sample_weight must hold finite numbers from 0 on",
                        got=f"{weights.min()} to {weights.max()}")
    return weights


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """The array with its first row again up to ``size`` rows, so that padding computes no NaN."""
    missing = size - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.broadcast_to(array[:1], (missing, *array.shape[1:]))])


def stacked(sequences: list, time: int, dtype: str, rows) -> tuple[np.ndarray, np.ndarray]:
    """Some sequences as one array ``(rows, time, ...)``, and their lengths."""
    x, lengths = pad_sequences(sequences, time, dtype, rows)
    return x[..., 0] if sequences[0].ndim == 1 else x, lengths


def chunks(X, largest: int, dtype: str) -> Iterator[tuple[np.ndarray, np.ndarray | None,
                                                          np.ndarray]]:
    """Batches for prediction: (x, lengths, which rows of X they are).

    The number of rows is one of few sizes, so that few programs exist: the last chunk is padded.
    Sequences are taken in the order of their lengths, so that little time is padded.
    """
    sequences = isinstance(X, list)
    order = np.argsort([len(s) for s in X], kind="stable") if sequences else np.arange(len(X))
    start = 0
    while start < len(X):
        size = fitting_size(len(X) - start, largest)
        rows = order[start:start + size]
        if sequences:
            x, lengths = stacked(X, fitting_time(len(X[rows[-1]])), dtype, rows)
            lengths = padded(lengths, size)
        else:
            x, lengths = X[start:start + size].astype(dtype, copy=False), None
        yield padded(x, size), lengths, rows
        start += len(rows)


def fitting_size(n: int, largest: int) -> int:
    """The smallest of 1, 8, 64, 512, ... that holds n rows, at most ``largest``."""
    size = 1
    while size < n and size < largest:
        size *= 8
    return min(size, largest)


def fitting_time(longest: int) -> int:
    """A padded time from a bounded set: steps of a sixteenth of the next power of two."""
    step = 1 << max(max(longest - 1, 1).bit_length() - 4, 0)
    return -(-longest // step) * step


def as_samples(X, dtype: str, rank: int | None = None) -> np.ndarray | list:
    """Samples as an array, or as a list of arrays of unequal length.

    Parameters
    ----------
    X : array-like (n, ...), sparse matrix (n, features), or list of array-like
        Sparse rows become dense a batch at a time. Sequences in a list are ``(time, features)`` or
        ``(time,)``: token numbers where the net takes whole numbers, and one feature otherwise.
    dtype : str
        Element type the net takes.
    rank : int, optional
        Axes of a sample the net was built for.
    """
    if isinstance(X, (SparseRows, ShardedRows)):
        return X
    if hasattr(X, "tocsr"):
        return SparseRows(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    X = in_memory(X)
    if is_on_disk(X):
        return X if isinstance(X, OnDisk) else OnDisk(X)
    listed = isinstance(X, (list, tuple)) and len(X) > 0
    if listed and len({np.shape(s) for s in X if np.ndim(s)}) > 1:
        found = [np.asarray(s, dtype) for s in X]
        if not dtype.startswith("int"):
            found = [s[:, None] if s.ndim == 1 else s for s in found]
        shapes = sorted({s.shape[1:] for s in found if s.ndim})
        if len(shapes) > 1 or any(not 1 <= s.ndim <= 2 for s in found):
            raise ShapeError("sequences must be (time, features) with equal features",
                             got=" ".join(f"(time, {', '.join(map(str, s))})" for s in shapes),
                             fix="give every sequence the same features")
        return found
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise DataError("X is neither an array nor a list of sequences", got=str(error)) from None
    if array.dtype.kind not in "biuf":
        raise DataError("X must hold numbers", got=f"dtype {array.dtype}",
                        fix="encode texts and categories first")
    if not array.ndim:
        raise ShapeError("X must hold samples", got="one number",
                         fix="pass an array with a row for each sample")
    return array[..., None] if listed and array.ndim == 2 == rank else array
