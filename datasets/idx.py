"""The IDX format: one array of any rank in a file, big-endian, often inside gzip."""
from __future__ import annotations

import gzip
import math
import os
import struct
import zlib

import numpy as np

from ..backend.errors import CorruptFileError, DataNotFoundError

# The third byte of the file names the type of every element.
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20
# Deflate cannot expand a byte to more than 1,032, so a small file cannot hold a large array.
_DEFLATE_LIMIT = 1032


def read_idx(path) -> np.ndarray:
    """Read an array from an IDX file, plain or inside gzip.

    The header is two zero bytes, a byte for the type, a byte for the rank, and one big-endian
    32-bit size per axis; the elements follow in C order. The size that a header declares must
    be the size that follows it, so a forged header never makes the reader allocate.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        In the machine's own byte order, writable.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If the file is not IDX, too short, too long, or its gzip checksum is wrong.

    References
    ----------
    The format: http://yann.lecun.com/exdb/mnist/, "The IDX file format".

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "three.idx")
    ...     _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    try:
        with open(path, "rb") as raw:
            available = os.fstat(raw.fileno()).st_size
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _read(raw, available, path)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(stream, available * _DEFLATE_LIMIT, path)
    except FileNotFoundError:
        raise DataNotFoundError("there is no such IDX file", at=path) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _corrupt("the gzip stream is damaged", path, str(error)) from error


def _read(stream, available: int, path) -> np.ndarray:
    """Header, elements and nothing after them."""
    magic = _take(stream, 4, path)
    dtype, rank = _DTYPES.get(magic[2]), magic[3]
    if magic[:2] != b"\0\0" or dtype is None or not 1 <= rank <= 64:
        raise _corrupt("this is not an IDX file", path, f"first bytes {magic.hex(' ')}")
    shape = struct.unpack(f">{rank}I", _take(stream, 4 * rank, path))
    declared = math.prod(shape) * np.dtype(dtype).itemsize
    if not 0 < declared <= available:
        raise _corrupt("the header declares more or less than the file can hold", path,
                       f"{dtype[1:]}{list(shape)}, {declared} bytes")
    data = _take(stream, declared, path)
    if stream.read(1):
        raise _corrupt("bytes follow the array", path, f"more than {declared} bytes of elements")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _take(stream, count: int, path) -> bytearray:
    """Exactly so many bytes; memory grows with what is there, not with what is asked for."""
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(_CHUNK, count - len(data)))
        if not chunk:
            raise _corrupt("the file ends too early", path, f"{len(data)} of {count} bytes")
        data += chunk
    return data


def _corrupt(what: str, path, got: str) -> CorruptFileError:
    """The error for a file that is not what it should be."""
    return CorruptFileError(f"{what}: {os.path.basename(path)}", got=got, at=path,
                            fix="delete the file and get it again")
