"""CIFAR-10's binary version: 3,073-byte records in six files, unpacked or in their archive."""
from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from ..backend.errors import CorruptFileError, DataNotFoundError, Error

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
_RECORD = 1 + 3 * 32 * 32  # the label, then a red, a green and a blue plane
# What an archive may hold besides the six files: a page of text, a list of names, tar headers.
_SLACK = 1 << 20


def read_cifar10(path, records: int = 10_000) -> tuple[np.ndarray, ...]:
    """Read the six batch files from a folder, or from the archive without unpacking it.

    Only the six known member names are read from an archive, each once, each a plain file of
    exactly the right size; nothing is written anywhere.

    Parameters
    ----------
    path : path
        A folder with ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, or
        ``cifar-10-binary.tar.gz``.
    records : int
        Images in each batch file.

    Returns
    -------
    tuple of ndarray
        ``X_train`` uint8 (5 * records, 32, 32, 3), ``y_train`` uint8 (5 * records,), ``X_test``
        uint8 (records, 32, 32, 3), ``y_test`` uint8 (records,).

    Raises
    ------
    DataNotFoundError
        If a batch file is missing.
    CorruptFileError
        If a file has another size, a label above 9, or the archive is damaged or hostile.

    References
    ----------
    The format: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import read_cifar10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]:
    ...         _ = pathlib.Path(folder, name + ".bin").write_bytes(bytes(3073))
    ...     [array.shape for array in read_cifar10(folder, records=1)]
    [(5, 32, 32, 3), (5,), (1, 32, 32, 3), (1,)]
    """
    path = Path(path)
    size = records * _RECORD
    contents = _from_folder(path, size) if path.is_dir() else _from_archive(path, size)
    missing = [name for name in _BATCHES if name not in contents]
    if missing:
        raise DataNotFoundError("CIFAR-10 is not complete", missing=", ".join(missing), at=path,
                                fix=f"get {ARCHIVE} again")
    parts = [_decode(contents[name], size, f"{path}, {name}") for name in _BATCHES]
    images, labels = zip(*parts)
    return np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5]


def _decode(content: bytes, size: int, at: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, channels last, and labels of one batch."""
    if len(content) != size:
        raise _corrupt("a batch of CIFAR-10 has another size", f"not {size} bytes", at)
    table = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if table[:, 0].max() > 9:
        raise _corrupt("a batch of CIFAR-10 has a label above 9", f"{table[:, 0].max()}", at)
    planes = table[:, 1:].reshape(-1, 3, 32, 32)  # (records, channel, row, column)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), table[:, 0].copy()


def _from_folder(path: Path, size: int) -> dict[str, bytes]:
    """The batch files that are there, none read further than it should be long."""
    contents = {}
    for name in _BATCHES:
        if (path / name).is_file():
            with open(path / name, "rb") as stream:
                contents[name] = stream.read(size + 1)
    return contents


def _from_archive(path: Path, size: int) -> dict[str, bytes]:
    """The known members of the archive, read as a stream that may not grow beyond its due."""
    contents: dict[str, bytes] = {}
    try:
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            limited = io.BufferedReader(_Limited(stream, len(_BATCHES) * size + _SLACK))
            with tarfile.open(fileobj=limited, mode="r|") as archive:
                for member in archive:
                    folder, _, name = member.name.rpartition("/")
                    if folder != FOLDER or name not in _BATCHES:
                        continue
                    plain = member.isreg() and not member.issparse()
                    if name in contents or not plain or member.size != size:
                        raise _corrupt("a member of the archive is not what it should be",
                                       f"{member.name}, {member.size} bytes", path)
                    contents[name] = archive.extractfile(member).read(size)
            while limited.read(1 << 20):  # to the end, where gzip's own checksum is
                pass
    except FileNotFoundError:
        raise DataNotFoundError("there is no such archive", at=path) from None
    except Error:
        raise
    # tarfile lets many kinds of error through when a header is forged
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, ArithmeticError,
            LookupError, RecursionError) as error:
        raise _corrupt("the archive is damaged", f"{type(error).__name__}: {error}",
                       path) from error
    return contents


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than so many bytes."""

    def __init__(self, stream, limit: int):
        self.stream, self.left = stream, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        chunk = self.stream.read(min(len(buffer), 1 << 20))
        self.left -= len(chunk)
        if self.left < 0:
            raise ValueError("more content than CIFAR-10 has")
        buffer[:len(chunk)] = chunk
        return len(chunk)


def _corrupt(what: str, got: str, at) -> CorruptFileError:
    """The error for a file that is not what it should be."""
    return CorruptFileError(what, got=got, at=at, fix=f"delete it and get {ARCHIVE} again")
