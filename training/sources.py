"""Sources: samples in memory, handed to the loop as batches of few different shapes."""
from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence

import numpy as np

from ..backend.errors import DataError, ShapeError
from ..datasets.batching import Batches, pad_sequences
from ..datasets.buckets import length_buckets


class Batch(NamedTuple):
    """What one step is fed. Rows from ``valid`` on are padding and weigh zero."""
    x: np.ndarray                       # (batch, ...)
    y: np.ndarray                       # (batch, ...)
    weights: np.ndarray                 # (batch,)
    lengths: np.ndarray | None          # (batch,) int64, for sequences of unequal length
    valid: int


class Source:
    """Samples ``X``, ``y`` and weights: arrays, or a list of sequences of unequal length.

    Parameters
    ----------
    X : array (n, ...) or list of arrays (time, features)
        Samples.
    y : array (n, ...)
        Targets.
    weights : array (n,), optional
        Weight of each sample; 1 by default.
    batch_size : int or None
        Rows per step; None takes all rows in every step, in the order given.
    dtype : str
        Element type of the weights.
    seed : int
        Decides the order of samples, with the number of the epoch.
    shuffle : bool
        Whether the order changes at all.
    multiple : int
        Batches have a multiple of so many rows, as replicas need.
    """

    def __init__(self, X, y, weights=None, *, batch_size: int | None, dtype="float32",
                 seed: int = 0, shuffle: bool = True, multiple: int = 1):
        self.n = len(X)
        if self.n == 0:
            raise DataError("there are no samples to train on")
        if len(y) != self.n:
            raise ShapeError(f"X has {self.n} samples and y has {len(y)}")
        self.X, self.y = X, y
        self.weights = np.ones(self.n, dtype) if weights is None else np.asarray(weights, dtype)
        if self.weights.shape != (self.n,):
            raise ShapeError("sample_weight must hold one number per sample",
                             got=f"shape {self.weights.shape} for {self.n} samples")
        self.sequences = isinstance(X, list)
        self.lengths = np.array([len(s) for s in X], np.int64) if self.sequences else None
        self.dtype = dtype
        self.whole = batch_size is None
        rows = self.n if self.whole else min(batch_size, self.n)
        self.batch_size = -(-rows // multiple) * multiple
        self.seed, self.shuffle = seed, shuffle
        self._whole: Batch | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        if self.whole:
            return 1
        return len(self._buckets(0)) if self.sequences else -(-self.n // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        if self.whole:
            yield self._all()
        elif self.sequences:
            for rows, time in self._buckets(number):
                yield self._gather(rows, time, self.batch_size)
        else:
            batches = Batches((self.X, self.y, self.weights), self.batch_size,
                              shuffle=self.shuffle, seed=self.seed, epoch=number)
            for (x, y, weights), valid in batches:
                if valid < len(weights):
                    weights = np.where(np.arange(len(weights)) < valid, weights, 0).astype(
                        weights.dtype)
                yield Batch(x, y, weights, None, valid)

    def _all(self) -> Batch:
        """Every row, once prepared and then handed over again and again."""
        if self._whole is None:
            if self.sequences:
                self._whole = self._gather(np.arange(self.n), int(self.lengths.max()),
                                           self.batch_size)
            else:
                arrays = (padded(np.asarray(a), self.batch_size)
                          for a in (self.X, self.y, self.weights))
                self._whole = Batch(*arrays, None, self.n)
        return self._whole

    def _buckets(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """Rows of similar length, and the padded time they share."""
        return length_buckets(self.lengths, self.batch_size, seed=self.seed,
                              epoch=epoch if self.shuffle else 0)

    def _gather(self, rows: np.ndarray, time: int, size: int) -> Batch:
        """Pad some sequences to ``time`` steps, and the batch to ``size`` rows."""
        x, lengths = pad_sequences(self.X, time, self.dtype, rows)
        valid = len(rows)
        return Batch(*(padded(a, size) for a in (x, self.y[rows], self.weights[rows], lengths)),
                     valid)


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """The array with rows of zeros up to ``size`` rows."""
    missing = size - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


def chunks(X, batch_size: int, dtype: str) -> Iterator[tuple[np.ndarray, np.ndarray | None, slice]]:
    """Rows in order for prediction: (x, lengths, where the rows belong).

    The number of rows is one of few sizes, so that few programs exist: the last chunk is padded.
    """
    n = len(X)
    sequences = isinstance(X, list)
    lengths = np.array([len(s) for s in X], np.int64) if sequences else None
    start = 0
    while start < n:
        size = fitting_size(n - start, batch_size)
        rows = np.arange(start, min(start + size, n))
        if sequences:
            x, real = pad_sequences(X, fitting_time(int(lengths[rows].max())), dtype, rows)
        else:
            x, real = np.asarray(X[start:start + size]), None
        real = None if real is None else padded(real, size)
        yield padded(x, size), real, slice(start, start + len(rows))
        start += len(rows)


def fitting_size(n: int, largest: int) -> int:
    """The smallest of 1, 8, 64, 512, ... that holds n rows, at most ``largest``."""
    size = 1
    while size < n and size < largest:
        size *= 8
    return min(size, largest)


def fitting_time(longest: int) -> int:
    """A padded time from a bounded set: steps of an eighth of the next power of two."""
    step = max(1, 1 << max(longest - 1, 1).bit_length() - 4)
    return -(-longest // step) * step


def as_samples(X, dtype) -> np.ndarray | list:
    """Samples as an array, or as a list of ``(time, features)`` arrays of unequal length."""
    if isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) >= 1:
        shapes = {np.shape(s) for s in X}
        if len(shapes) > 1:
            found = [np.asarray(s, dtype) for s in X]
            found = [s[:, None] if s.ndim == 1 else s for s in found]
            widths: Sequence[int] = sorted({s.shape[1] for s in found})
            if any(s.ndim != 2 for s in found) or len(widths) > 1:
                raise ShapeError("sequences must be (time, features) with equal features",
                                 got=f"features {widths}")
            return found
    return np.asarray(X)
