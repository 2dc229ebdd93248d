"""What libraries compute for a GPU, computed by NumPy for the device that stands in for one."""
from __future__ import annotations

import ctypes

import numpy as np


def view(address: int, shape, dtype, strides=None) -> np.ndarray:
    """Memory at an address as an array; strides in bytes, which may be negative."""
    dtype = np.dtype(dtype)
    if not all(shape):
        return np.empty(shape, dtype)
    if strides is None:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)
    one = np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(one, shape, strides)


def copy(to: int, source: int, *, nbytes: int) -> None:
    """Bytes from one address to another."""
    ctypes.memmove(to, source, nbytes)


def matmul(x: int, y: int, out: int, bias: int = 0, *, matrices, dtype, activation="") -> None:
    """The product of two matrices or batches of them, a bias for each column, an activation.

    ``matrices`` holds shape and strides, in elements, of x, y and out.
    """
    size = np.dtype(dtype).itemsize
    x, y, out = (view(address, shape, dtype, [size * s for s in strides])
                 for address, (shape, strides) in zip((x, y, out), matrices))
    with np.errstate(all="ignore"):
        product = x @ y
        if bias:
            product += view(bias, product.shape[-1:], dtype)
        out[...] = np.maximum(product, 0) if activation == "relu" else product


CALLS = {"copy": copy, "matmul": matmul}
