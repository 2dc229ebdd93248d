"""An op is one record: its meaning, shape rule, gradient, fused code, export and samples together.

Start reading gradatim here. Everything the library does with an op comes from its record: the
reference computes ``forward``; ``apply`` checks ``spec``; ``gradients`` calls ``grad``; the
compiled backends fuse ``code``; the generated tests feed ``samples``.

``code`` is one expression over ``{0}``, ``{1}``, ... (the inputs) and ``{name}`` (the settings),
valid in C++ and CUDA alike: ``+ - * /``, comparisons, ``&& || !``, ``?:``, parentheses, numbers
and the functions of `CODE_FUNCTIONS`; ``bfloat16`` and ``float16`` are the nearest such numbers.
Mind NaN: write ``{0} < 0 ? 0 : {0}``, which keeps it.
"""
from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable

import numpy as np

from .errors import ParameterError, unknown_name

OPS: dict[str, Op] = {}

CODE_FUNCTIONS = frozenset(
    "abs sqrt exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "erf pow fmod floor ceil rint bfloat16 float16".split())


@dataclass(frozen=True, eq=False)
class Op:
    """One operation on tensors.

    Parameters
    ----------
    name : str
        The op's name; ``gt.<name>`` finds it.
    forward : callable ``(xp, *arrays, **settings) -> array or tuple of arrays``
        The meaning, on NumPy and CuPy alike: ``xp`` is the array module with the extras of
        ``backend/array_module.py``. Positional parameters are data, keyword-only ones settings.
    spec : callable ``(*specs, **settings) -> Spec or tuple of Specs``
        The only check of shapes and dtypes; raises a `ShapeError` or `DTypeError`.
    grad : callable ``(g, out, *inputs, **settings) -> tuple``, optional
        One tensor or None per input, written in ops, so that higher orders are free. With several
        outputs, ``g`` and ``out`` are tuples and entries of ``g`` may be None.
    code : str, optional
        One elementwise expression, valid C++ and CUDA.
    flops : callable ``(*specs, **settings) -> int``, optional
        Floating-point operations; without it one per output element.
    onnx : str or callable, optional
        The ONNX operator, of operator set 17, when data, settings and their meaning are the same.
        Else a function ``(emit, *inputs, **settings) -> name or names``: each input is an `Edge`
        with name, shape and dtype; ``emit("Conv", x, kernel, group=2)`` adds a node and returns
        the name of its output, ``emit.constant([0, 1])`` that of a constant. An output that only
        gradients use may be None, and None for the whole means that ONNX has no operator for
        these types or settings. An op with ``code`` can do without. `Emitter` in
        ``backend/ops/emission.py`` is what ``emit`` is.
    kernels : dict, optional
        Names of hand-written kernels per backend.
    samples : callable ``(rng) -> [(arrays, settings), ...]``
        What the generated tests feed it. No samples, no merge.

    Examples
    --------
    >>> import gradatim as gt
    >>> gt.tanh
    op("tanh")
    >>> print(gt.tanh(gt.placeholder((2, 3))).spec)
    float32[2, 3]
    """
    name: str
    forward: Callable
    spec: Callable
    grad: Callable | None = None
    code: str | None = None
    flops: Callable | None = None
    onnx: str | Callable | None = None
    kernels: dict[str, str] = field(default_factory=dict)
    samples: Callable | None = None

    def __post_init__(self):
        # How it is called, for completion and pages: data, then settings, without ``xp``.
        _, *parameters = inspect.signature(self.forward).parameters.values()
        object.__setattr__(self, "__signature__", inspect.Signature(parameters))

    def __call__(self, *inputs, **settings):
        return self.apply(self, *inputs, **settings)

    # Set by tensor.py, which knows what a node is; an op knows only itself.
    apply = None

    def __repr__(self) -> str:
        return f'op("{self.name}")'

    @cached_property
    def signature(self) -> tuple[int, int | None, dict[str, Any]]:
        """Fewest inputs, most inputs (None: any number), and the settings with their defaults."""
        least, most, defaults = 0, 0, {}
        for p in self.__signature__.parameters.values():
            if p.kind is p.VAR_POSITIONAL:
                most = None
            elif p.kind is p.KEYWORD_ONLY:
                defaults[p.name] = p.default
            elif p.kind is not p.VAR_KEYWORD:
                most += 1
                least += p.default is p.empty
        return least, most, defaults

    def settle(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with defaults filled in, as plain Python values in a fixed order."""
        _, _, defaults = self.signature
        for name in settings:
            if name not in defaults:
                allowed = ", ".join(defaults) or "none"
                raise ParameterError(f'{self.name}: there is no setting "{name}"',
                                     fix=f"settings of {self.name}: {allowed}")
        result = {name: plain(settings.get(name, default)) for name, default in defaults.items()}
        for name, value in result.items():
            if value is inspect.Parameter.empty:
                raise ParameterError(f'{self.name}: the setting "{name}" is missing',
                                     fix=f"pass {name}=...")
        return result

    def count_flops(self, *specs, **settings) -> int:
        """Floating-point operations of one run."""
        if self.flops is not None:
            return int(self.flops(*specs, **settings))
        out = self.spec(*specs, **settings)
        return sum(s.size for s in (out if type(out) is tuple else (out,)))


def plain(value):
    """Settings are hashable Python values, so that equal nodes can be found and written as text."""
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, (np.dtype, type)) and value is not inspect.Parameter.empty:
        return np.dtype(value).name
    return value


def op(name: str, **parts: Any) -> Op:
    """Define an op and enter it in the table.

    Parameters
    ----------
    name : str
        A new name, or one defined before by the same file or by a notebook cell, which may have
        been edited and run again.
    **parts
        The fields of `Op`.

    Raises
    ------
    ParameterError
        If another file has defined an op of this name.

    Examples
    --------
    >>> from gradatim.backend import op, same
    >>> cube = op("doc_cube", forward=lambda xp, x: x * x * x, spec=same, code="{0} * {0} * {0}",
    ...           grad=lambda g, out, x: (g * 3.0 * x * x,))
    >>> cube
    op("doc_cube")
    """
    home = sys._getframe(1).f_code.co_filename
    if name in OPS and _homes[name] != home and os.path.exists(_homes[name]):
        raise ParameterError(f'there is an op "{name}" already', at=_homes[name],
                             fix="choose another name")
    _homes[name] = home
    OPS[name] = Op(name, **parts)
    return OPS[name]


_homes: dict[str, str] = {}


def find_op(name: str) -> Op:
    """The op of that name."""
    if name not in OPS:
        raise unknown_name("op", name, OPS)
    return OPS[name]


class ufunc:
    """A forward that is one array-module function, so a backend may write its result in place."""

    def __init__(self, name: str, arity: int):
        self.name = name
        parameters = [inspect.Parameter(p, inspect.Parameter.POSITIONAL_ONLY)
                      for p in ("xp", "x", "y", "z")[:arity + 1]]
        self.__signature__ = inspect.Signature(parameters)

    def __call__(self, xp, *arrays, out=None):
        return getattr(xp, self.name)(*arrays, out=out)


def normal(*shapes, **settings):
    """Samples: one case of standard normal arrays."""
    return lambda rng: [([rng.standard_normal(s) for s in shapes], settings)]


def positive(*shapes, **settings):
    """Samples: one case of arrays in (0.5, 2)."""
    return lambda rng: [([rng.uniform(0.5, 2.0, s) for s in shapes], settings)]


def inside(*shapes, **settings):
    """Samples: one case of arrays in (-0.9, 0.9)."""
    return lambda rng: [([rng.uniform(-0.9, 0.9, s) for s in shapes], settings)]


def cases(*samplers):
    """Samples: several cases one after another."""
    return lambda rng: [case for sampler in samplers for case in sampler(rng)]
