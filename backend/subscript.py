"""Subscripts of tensors, ``x[:, 1, None]``, as ops."""
from __future__ import annotations

import numpy as np

from .context import current, describe_line, user_line
from .errors import Error, ParameterError, ShapeError
from .op import OPS


def subscript(x, index: tuple):
    """NumPy's basic indexing: ints, slices, None and an ellipsis.

    No length of an axis is written down, so the settings serve any batch size.
    """
    given = sum(i is not None and i is not Ellipsis for i in index)
    if given > x.ndim:
        raise _index_error(x, f"too many indices: {given} for {x.ndim} dimensions")
    dots = [place for place, i in enumerate(index) if i is Ellipsis]
    if len(dots) > 1:
        raise _index_error(x, "an index can have one ellipsis only")
    at = dots[0] if dots else len(index)
    index = index[:at] + (slice(None),) * (x.ndim - given) + index[at + 1:]
    parts = [_bounds(x, axis, i) for axis, i in enumerate(i for i in index if i is not None)]
    kept = [i for i in index if not _is_whole_number(i)]
    lost = tuple(axis for axis, i in enumerate(i for i in index if i is not None)
                 if _is_whole_number(i))
    added = tuple(place for place, i in enumerate(kept) if i is None)
    if any(part != (None, None, 1) for part in parts):
        start, stop, step = zip(*parts)
        x = OPS["slice"](x, start=start, stop=stop, step=step)
    if lost:
        x = OPS["squeeze"](x, axis=lost)
    return OPS["expand_dims"](x, axis=added) if added else x


def _bounds(x, axis: int, i) -> tuple:
    """Start, stop and step on one axis."""
    size = x.shape[axis]
    if _is_whole_number(i):
        if not -size <= i < size:
            raise _index_error(x, f"index {i} is out of range for axis {axis} of length {size}")
        return int(i), int(i) + 1 or None, 1
    if not isinstance(i, slice) or not all(
            n is None or _is_whole_number(n) for n in (i.start, i.stop, i.step)):
        raise _index_error(x, f"cannot index a tensor with {i!r}"[:80], ParameterError,
                           "use ints, slices, None, ... or an integer tensor")
    if i.step is not None and i.step < 1:
        raise _index_error(x, "a slice's step must be positive", ParameterError, "use gt.flip")
    return i.start, i.stop, 1 if i.step is None else i.step


def _is_whole_number(i) -> bool:
    return isinstance(i, (int, np.integer)) and not isinstance(i, (bool, np.bool_))


def _index_error(x, what: str, kind=ShapeError, fix: str = "") -> Error:
    """What is wrong with an index, with the tensor and the user's line."""
    return kind(what, got=str(x.spec), at=describe_line(user_line(), current().layer), fix=fix)
