"""The array module ops are written against: what NumPy and CuPy share, and a few extras.

`SHARED` is the whole vocabulary a ``forward`` may use; `EXTRAS` is the short list of functions
that every backend provides beside it. The module refuses any other name, so an op that runs on
the reference uses nothing a GPU array library lacks.
"""
from __future__ import annotations

import numpy as np

from .errors import BackendError

SHARED = tuple("""
abs absolute add all any arange arccos arccosh arcsin arcsinh arctan arctanh argmax argmin argsort
array asarray ascontiguousarray bitwise_and bool_ broadcast_arrays broadcast_to ceil clip
concatenate copysign cos cosh cumprod cumsum divide dot einsum empty empty_like equal exp
expand_dims expm1 eye flip float32 float64 floor floor_divide fmod full full_like greater
greater_equal int32 int64 isfinite isinf isnan less less_equal log log1p logical_and logical_not
logical_or matmul max maximum mean min minimum mod moveaxis multiply negative nonzero not_equal
ones ones_like pad power prod put_along_axis reciprocal repeat reshape right_shift rint roll
searchsorted sign signbit sin sinh sort split sqrt square squeeze stack subtract sum swapaxes take
take_along_axis tan tanh tensordot tile transpose tril triu uint32 uint64 var where zeros
zeros_like
""".split())


def erf(x):
    """The error function."""
    from scipy.special import erf as function
    return function(x)


def erfinv(x):
    """The inverse of the error function."""
    from scipy.special import erfinv as function
    return function(x)


def scatter_add(target, indices, values):
    """``target[indices] += values`` with repeated indices added up, in the order given."""
    np.add.at(target, indices, values)
    return target


def windows(x, shape, axes):
    """A view of sliding windows: their axes come last."""
    return np.lib.stride_tricks.sliding_window_view(x, shape, axes)


EXTRAS = {"erf": erf, "erfinv": erfinv, "scatter_add": scatter_add, "windows": windows}


class ArrayModule:
    """An array module with exactly the shared names and the extras.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend.array_module import ArrayModule
    >>> float(ArrayModule(np).tanh(0.0))
    0.0
    """

    def __init__(self, module=np, extras=EXTRAS):
        self.name = module.__name__
        for name in SHARED:
            setattr(self, name, getattr(module, name))
        for name in EXTRAS:
            setattr(self, name, extras[name])

    def __getattr__(self, name):
        if name.startswith("__"):  # Python itself asks, as copy and pickle do
            raise AttributeError(name)
        raise BackendError(f'the array module has no "{name}"',
                           why="NumPy and CuPy must share what a forward uses",
                           fix="use a name of SHARED or EXTRAS in backend/array_module.py")


numpy_module = ArrayModule()
