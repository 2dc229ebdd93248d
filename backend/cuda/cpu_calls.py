"""What libraries compute for a GPU, computed by NumPy for the device that stands in for one."""
from __future__ import annotations

import ctypes

import numpy as np

from ..array_module import numpy_module
from ..op import OPS
from .device import Needs


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


def rounded_to_tf32(x: np.ndarray) -> np.ndarray:
    """The nearest numbers with ten bits after the point; NaN and infinities as they are."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + np.uint32(0xfff) + (bits >> 13 & 1)) & np.uint32(0xffffe000)
    return np.where(np.isfinite(x), nearest.view(np.float32), x)


PLACES = {"bfloat16": "uint16"}              # NumPy has no such type


def widened(x, kind: str):
    """Numbers of two bytes, held as whole numbers if they are bfloat16, in float32."""
    return (x.astype("uint32") << 16).view("float32") if kind == "bfloat16" else \
        x.astype("float32") if kind == "float16" else x


def narrowed(x: np.ndarray, kind: str) -> np.ndarray:
    """The nearest numbers of a kind, held as `widened` takes them."""
    if kind == "bfloat16":
        bits = OPS["round_to_bfloat16"].forward(numpy_module, x).view("uint32")
        return (bits >> 16).astype("uint16")
    with np.errstate(over="ignore"):
        return x.astype(kind)


def matmul(x: int, y: int, out: int, bias: int = 0, *, matrices, dtype, factors, activation="",
           tf32=False, array=view, xp=np) -> None:
    """The product of two matrices or batches of them, a bias for each column, an activation.

    ``matrices`` holds shape and strides, in elements, of x, y and out. ``factors`` is how x and y
    are stored. ``tf32`` lets the library read factors of float32 with ten bits after the point, as
    is done here. ``array`` makes arrays of the module ``xp`` of addresses.
    """
    kinds = [np.dtype(PLACES.get(kind, kind)) for kind in (factors, factors, dtype)]
    x, y, out = (array(address, shape, kind, [kind.itemsize * s for s in strides])
                 for address, (shape, strides), kind in zip((x, y, out), matrices, kinds))
    x, y = widened(x, factors), widened(y, factors)
    if tf32 and factors == "float32":
        x, y = map(rounded_to_tf32, (x, y))
    with np.errstate(all="ignore"):
        product = x @ y
        if bias:
            product += array(bias, product.shape[-1:], dtype)
        out[...] = xp.maximum(product, 0) if activation == "relu" else product


WORKSPACE = 64             # bytes that every call of "convolution" is given, and fills with NaN


def _convolution(name: str):
    """A call that is what the reference makes of an op; see ``cudnn_convolution.py``."""
    def call(*addresses: int, axes, shape, dtype, tf32, bias=False, activation="") -> None:
        batch, channels, filters, groups = shape
        shapes = {"x": (batch, *(a.size for a in axes), channels),
                  "kernel": (filters, *(a.window for a in axes), channels // groups),
                  "y": (batch, *(a.out for a in axes), filters), "bias": (filters,)}
        *places, workspace = addresses
        view(workspace, (WORKSPACE,), "uint8")[...] = 0xFF
        given = {key: view(address, shapes[key], PLACES.get(dtype, dtype))
                 for key, address in zip(CONVOLUTIONS[name], places)}
        if "kernel" in given:
            given["kernel"] = np.moveaxis(given["kernel"], 0, -1)      # as the op has it
        out = given.pop(CONVOLUTIONS[name][2])
        shift = given.pop("bias", 0)
        more = {"y": {}, "x": {"size": shapes["x"][1:-1]}, "kernel": {"window": shapes["kernel"][
            1:-1]}}[CONVOLUTIONS[name][2]]
        inputs = [widened(x, dtype) for x in given.values()]
        if tf32 and dtype == "float32":
            inputs = map(rounded_to_tf32, inputs)
        made = OPS[name].forward(
            numpy_module, *inputs, strides=tuple(a.stride for a in axes),
            padding=tuple((a.low, a.high) for a in axes),
            dilation=tuple(a.dilation for a in axes), groups=groups, **more) + shift
        out[...] = narrowed(np.maximum(made, 0) if activation == "relu" else made, dtype)
    return call


# What a call is given before its workspace.
CONVOLUTIONS = {"convolution": ("x", "kernel", "y", "bias"),
                "convolution_data_gradient": ("y", "kernel", "x"),
                "convolution_kernel_gradient": ("x", "y", "kernel")}
CALLS = {"copy": copy, "matmul": matmul, **{name: _convolution(name) for name in CONVOLUTIONS}}
NEEDS = dict.fromkeys(CONVOLUTIONS, lambda settings: Needs(WORKSPACE))
