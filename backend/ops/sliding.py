"""Where sliding windows lie: the arithmetic that convolution and pooling share."""
from __future__ import annotations

from itertools import product
from typing import NamedTuple

from ..errors import ParameterError, ShapeError


class Sliding(NamedTuple):
    """Windows along one spatial axis: window ``o`` starts at ``o * stride - low``."""
    size: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int
    out: int

    @property
    def reach(self) -> int:
        """From a window's first element to its last, both counted."""
        return self.dilation * (self.window - 1) + 1

    def at(self, offset: int) -> slice:
        """What one element of all windows reads on the padded axis."""
        start = offset * self.dilation
        return slice(start, start + self.stride * (self.out - 1) + 1, self.stride)

    def inside(self, offset: int) -> list[bool]:
        """Whether that element lies on the axis, not on padding, window by window."""
        first = offset * self.dilation - self.low
        return [0 <= first + o * self.stride < self.size for o in range(self.out)]


def sliding(size, window, *, strides, padding, dilation=1) -> tuple[Sliding, ...]:
    """The windows along each spatial axis, from settings as users write them.

    Parameters
    ----------
    size, window : tuple of int
        Lengths of the axes and of the window.
    strides, dilation : int or tuple of int
        Steps between windows and between the elements of a window.
    padding : "valid", "same", "causal" or ((low, high), ...)
        Zeros around the input. "same" gives ``ceil(size / stride)`` windows and an odd zero goes
        to the end, as in Keras; "causal" (one axis) pads the start, so that a window never sees
        what comes after it.

    Raises
    ------
    ParameterError
        For a setting that is not one of these.
    ShapeError
        For a window larger than the padded input.

    Notes
    -----
    Dumoulin and Visin, *A guide to convolution arithmetic for deep learning*, 2016.

    Examples
    --------
    >>> from gradatim.backend.ops.sliding import sliding
    >>> [axis.out for axis in sliding((28, 5), (3, 2), strides=2, padding="same")]
    [14, 3]
    """
    rank = len(size)
    strides = per_axis("strides", strides, rank)
    dilation = per_axis("dilation", dilation, rank)
    if isinstance(padding, str) and padding not in PADDINGS or padding == "causal" and rank != 1:
        allowed = [p for p in PADDINGS if p != "causal" or rank == 1]
        raise ParameterError(f'there is no padding "{padding}" for {rank} spatial '
                             f'dimension{"s" * (rank != 1)}',
                             fix='use "' + '", "'.join(allowed) + '" or ((low, high), ...)')
    pads = [PADDINGS[padding]] * rank if isinstance(padding, str) else _explicit(padding, rank)
    result = []
    for n, w, s, d, pad in zip(size, window, strides, dilation, pads):
        low, high = pad(n, s, d * (w - 1) + 1)
        room = n + low + high - (d * (w - 1) + 1)
        if w < 1 or room < 0 and (n or padding != "same"):
            spread = f" (dilated to {d * (w - 1) + 1})" if d > 1 else ""
            raise ShapeError(
                f"a window of {w}{spread} does not fit into {n + low + high}" if w else
                "a window has no elements", fix='use padding="same", or a smaller window')
        result.append(Sliding(n, w, s, d, low, high, max(0, room // s + 1)))
    return tuple(result)


def per_axis(name: str, value, rank: int) -> tuple[int, ...]:
    """One positive whole number per spatial axis."""
    values = (value,) * rank if isinstance(value, int) else value
    if not isinstance(values, tuple) or len(values) != rank or not all(
            isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        raise ParameterError(f"{name} must be a positive whole number or {rank} of them",
                             fix=f"{name}={(1,) * rank}", value=repr(value))
    return values


def padded(xp, x, axes: tuple[Sliding, ...], value=0):
    """The input with its padding; the input itself when there is none."""
    if not any(a.low or a.high for a in axes):
        return x
    widths = ((0, 0), *((a.low, a.high) for a in axes), (0, 0))
    return xp.pad(x, widths, constant_values=value)


def cropped(x, axes: tuple[Sliding, ...]):
    """The padded input without its padding: a view."""
    return x[(slice(None), *(slice(a.low, a.low + a.size) for a in axes))]


def window_elements(axes: tuple[Sliding, ...]):
    """Positions in the window, in order, with the slices of the padded input they read."""
    for offset in product(*(range(a.window) for a in axes)):
        yield offset, (slice(None), *(a.at(i) for a, i in zip(axes, offset)))


def blocks(count: int, nbytes_each: int, limit: int) -> list[slice]:
    """Slices that cut ``count`` samples into blocks of at most ``limit`` bytes, or of one."""
    step = max(1, limit // max(1, nbytes_each))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _same(size: int, stride: int, reach: int) -> tuple[int, int]:
    """Padding for ceil(size / stride) windows; an odd zero goes to the end."""
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return (total // 2, total - total // 2) if size else (0, 0)


def _explicit(padding, rank: int) -> list:
    """Padding given in numbers."""
    if not isinstance(padding, tuple) or len(padding) != rank or not all(
            isinstance(p, tuple) and len(p) == 2 and all(isinstance(n, int) and n >= 0 for n in p)
            for p in padding):
        raise ParameterError(f"padding must be a word or {rank} of (low, high), from 0 on",
                             fix=f"padding={((1, 1),) * rank}", value=repr(padding))
    return [lambda size, stride, reach, pair=pair: pair for pair in padding]


PADDINGS = {"valid": lambda size, stride, reach: (0, 0), "same": _same,
            "causal": lambda size, stride, reach: (reach - 1, 0)}
