"""OnDisk: rows of a file, read a part at a time, in the shape a net takes."""
from __future__ import annotations

import mmap
import os
from typing import Iterator

import numpy as np

from ..backend.errors import DataError, ShapeError

READ_WHOLE = 2 ** 24      # bytes up to which data are simply read into memory
BLOCK_BYTES = 2 ** 22     # bytes read at a time by statistics and checks
NEAR_BYTES = 2 ** 16      # rows no further apart than that are read in one piece


def is_on_disk(X) -> bool:
    """Whether X is a data set of HDF5, a memory map, or the like, and too large to be read whole.

    Parameters
    ----------
    X : object
        Anything with ``shape``, ``dtype`` and ``__getitem__`` that is no array in memory, data
        frame or sparse matrix counts; up to 16 MiB of it are better read at once.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.datasets import is_on_disk
    >>> is_on_disk(np.zeros((3, 2)))
    False
    """
    return isinstance(X, OnDisk) or _readable(X) and _nbytes(X) > READ_WHOLE


def in_memory(X):
    """A small data set of a file as an array; everything else as it came.

    Parameters
    ----------
    X : object
        What `is_on_disk` looks at.

    Returns
    -------
    object

    Examples
    --------
    >>> from gradatim.datasets import in_memory
    >>> in_memory([1, 2])
    [1, 2]
    """
    return X[...] if _readable(X) and not isinstance(X, np.ndarray) and not is_on_disk(X) else X


def is_hdf5(values) -> bool:
    """Whether values are a data set of h5py, which is imported only by whoever has one.

    Parameters
    ----------
    values : object
        Samples, targets or weights.

    Returns
    -------
    bool

    Examples
    --------
    >>> from gradatim.datasets.on_disk import is_hdf5
    >>> is_hdf5([1, 2])
    False
    """
    return hasattr(values, "dtype") and hasattr(values, "__getitem__") and \
        type(values).__module__.partition(".")[0] == "h5py"


def _readable(X) -> bool:
    """Whether X is rows somewhere else than in memory."""
    if isinstance(X, np.ndarray):
        return isinstance(X, np.memmap) and isinstance(X._mmap, mmap.mmap)
    return (isinstance(getattr(X, "dtype", None), np.dtype) and hasattr(X, "__getitem__")
            and isinstance(getattr(X, "shape", None), tuple) and len(X.shape) > 0
            and not hasattr(X, "__array_namespace__") and not hasattr(X, "__array_interface__")
            and not hasattr(X, "tocsr") and not hasattr(X, "iloc")
            and not isinstance(X, np.generic))


def _nbytes(X) -> int:
    """Bytes of the whole."""
    return int(np.prod(X.shape, dtype=np.int64)) * X.dtype.itemsize


class OnDisk:
    """Rows of a file that are read when they are asked for, and not kept.

    Slices and arrays of row numbers read; `subset`, ``[rows, ...]`` (by which scikit-learn takes
    the samples of a fold) and `reshape` do not. Rows that lie near each other are read in one
    piece, in rising order, each piece once. Pages of a memory map are given back to the system
    after they were copied, so that memory stays bounded. h5py's data sets cannot be pickled; here
    one goes by the path of its file and its name in it, so that searches with ``n_jobs`` can send
    it to their workers.

    Parameters
    ----------
    data : h5py.Dataset, np.memmap, or anything with ``shape``, ``dtype`` and ``__getitem__``
        Whose slices ``data[a:b]`` are rows.
    rows : array of int, optional
        Which rows, in which order; all by default.
    sample : tuple of int, optional
        Shape of a sample; that of a row by default.

    Raises
    ------
    DataError
        If the rows hold no numbers; at pickling, if the HDF5 file is not on disk, for reading.
    ShapeError
        If a sample of that shape has another number of entries than a row.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.datasets import OnDisk
    >>> rows = OnDisk(np.arange(12.0).reshape(4, 3))
    >>> rows.subset([3, 0])[np.array([1, 0])].tolist()
    [[0.0, 1.0, 2.0], [9.0, 10.0, 11.0]]
    """

    def __init__(self, data, rows=None, sample: tuple[int, ...] | None = None):
        if data.dtype.kind not in "biuf":
            raise DataError("X must hold numbers", got=f"dtype {data.dtype}",
                            fix="encode texts and categories first")
        self.data, self.rows = data, None if rows is None else np.asarray(rows, np.int64)
        self.sample = tuple(data.shape[1:] if sample is None else sample)
        if np.prod(self.sample) != np.prod(data.shape[1:]):
            raise ShapeError("the samples have another number of entries than the rows",
                             got=f"{list(self.sample)} and {list(data.shape[1:])}")
        self.dtype = data.dtype

    def __len__(self) -> int:
        return self.data.shape[0] if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, and the shape of each."""
        return (len(self), *self.sample)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return max(1, int(np.prod(self.sample, dtype=np.int64)) * self.dtype.itemsize)

    def subset(self, rows) -> OnDisk:
        """Some rows by number, still on disk."""
        rows = np.asarray(rows)
        return OnDisk(self.data, rows if self.rows is None else self.rows[rows], self.sample)

    def reshape(self, n: int, *sample: int) -> OnDisk:
        """The same rows as samples of another shape; the number of samples stays."""
        return OnDisk(self.data, self.rows, sample)

    def __getitem__(self, key):
        if isinstance(key, tuple) and key and key[-1] is None:          # one more axis at the end
            return self.reshape(-1, *self.sample, 1)
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            return self.subset(np.arange(len(self))[key[0]])
        if isinstance(key, (int, np.integer)):
            return self[np.array([key])][0]
        if isinstance(key, slice) and self.rows is None:
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._read(start, max(start, stop)).reshape(-1, *self.sample)
        rows = np.arange(len(self))[key] if self.rows is None else self.rows[key]
        return self._gather(rows)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getstate__(self) -> dict:
        return {**vars(self), "data": _place(self.data) if is_hdf5(self.data) else self.data}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        if isinstance(self.data, tuple):
            import h5py
            path, name = self.data
            self.data = h5py.File(path)[name]

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, a few megabytes at a time."""
        step = max(1, BLOCK_BYTES // self.row_bytes)
        for start in range(0, len(self), step):
            yield self[start:start + step]

    def min(self) -> float:
        """The smallest entry."""
        return min(block.min() for block in self.blocks())

    def max(self) -> float:
        """The largest entry."""
        return max(block.max() for block in self.blocks())

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the file in any order: each piece of near ones is read once."""
        found = np.empty((len(rows), *self.sample), self.dtype)
        order = np.argsort(rows, kind="stable")
        rising = rows[order]
        near = max(1, NEAR_BYTES // self.row_bytes)
        most = max(near, BLOCK_BYTES // self.row_bytes)
        start = 0
        while start < len(rising):
            stop = start + 1
            while (stop < len(rising) and rising[stop] - rising[stop - 1] <= near
                   and rising[stop] - rising[start] < most):
                stop += 1
            first = int(rising[start])
            piece = self._read(first, int(rising[stop - 1]) + 1)
            found[order[start:stop]] = piece[rising[start:stop] - first].reshape(
                -1, *self.sample)
            start = stop
        return found

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Rows of the file as an array of their own."""
        piece = np.array(self.data[start:stop])
        pages = getattr(self.data, "_mmap", None)
        # Changes in a copy-on-write map live in its pages: those are kept.
        if isinstance(pages, mmap.mmap) and getattr(self.data, "mode", "c") != "c" \
                and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)
        return piece


def _place(data) -> tuple[str, str]:
    """Path of the file and name in it by which another process finds a data set of h5py."""
    file = data.file
    if file.mode != "r" or not data.name or not os.path.isfile(file.filename):
        raise DataError("only data sets of HDF5 files opened for reading can go to other processes",
                        got=f"{file.filename}, mode {file.mode!r}",
                        fix='open the file with h5py.File(path, "r")')
    return os.path.abspath(file.filename), data.name
