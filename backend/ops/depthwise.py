"""Depthwise convolution: one input channel per group, too little to make a matrix product of.

The window is walked element by element, one multiply-add of whole blocks each. With several
filters per channel the channels are repeated, so that there is one filter for each.
"""
from __future__ import annotations

from .sliding import blocks, cropped, padded, window_elements

BLOCK = 1 << 20      # bytes of output worked on at a time; they are read and written many times


def _along_rows(xp, kernel, axes):
    """The kernel repeated along the last axis: loops as long as a row instead of a pixel."""
    kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return xp.repeat(kernel, axes[-1].out, axis=-2)               # (*window, out, filters)


def forward(xp, x, kernel, axes):
    """The convolution."""
    filters = kernel.shape[-1]
    out = xp.zeros((x.shape[0], *(a.out for a in axes), filters), x.dtype)
    kernel = _along_rows(xp, kernel, axes)
    for block in blocks(len(x), out[0].nbytes, BLOCK):
        part, target = padded(xp, x[block], axes), out[block]
        if filters != x.shape[-1]:
            part = xp.repeat(part, filters // x.shape[-1], axis=-1)
        for offset, at in window_elements(axes):
            target += part[at] * kernel[offset]
    return out


def data_gradient(xp, g, kernel, axes, channels):
    """The gradient by the input."""
    shape = (g.shape[0], *(a.low + a.size + a.high for a in axes))
    result = xp.zeros((*shape, channels), g.dtype)
    filters = kernel.shape[-1]
    kernel = _along_rows(xp, kernel, axes)
    for block in blocks(len(g), g[0].nbytes, BLOCK):
        part, target = g[block], result[block]
        if filters != channels:
            target = xp.zeros((*target.shape[:-1], filters), g.dtype)
        for offset, at in window_elements(axes):
            target[at] += part * kernel[offset]
        if filters != channels:
            for i in range(filters // channels):
                result[block] += target[..., i::filters // channels]
    return xp.ascontiguousarray(cropped(result, axes))


def kernel_gradient(xp, x, g, axes):
    """The gradient by the kernel."""
    channels, filters = x.shape[-1], g.shape[-1]
    result = xp.zeros((*(a.window for a in axes), 1, filters), x.dtype)
    sums = "{0}wc,{0}wc->wc".format("ndh"[:len(axes)])
    for block in blocks(len(x), g[0].nbytes, BLOCK):
        part = padded(xp, x[block], axes)
        if filters != channels:
            part = xp.repeat(part, filters // channels, axis=-1)
        for offset, at in window_elements(axes):
            result[offset] += xp.einsum(sums, part[at], g[block]).sum(0)
    return result
