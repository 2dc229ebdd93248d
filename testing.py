"""Checks for third parties and for us: an op, a backend or a layer against what it must be.

Every check raises `AssertionError` with the op, the sample and the largest difference.
"""
from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

from . import backend as gt
from .backend.array_module import numpy_module
from .backend.tensor import LEAVES
from .layers.checking import check_layer

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


class Case(NamedTuple):
    """One op with one of its samples."""
    op: gt.Op
    arrays: list
    settings: dict
    number: int

    def __str__(self) -> str:
        return f"{self.op.name}-{self.number}"

    def cast(self, dtype: str) -> list:
        """The arrays, with floating-point ones in another dtype."""
        return [a.astype(dtype) if a.dtype.kind == "f" else a
                for a in map(np.asarray, self.arrays)]


def op_cases() -> Iterator[Case]:
    """Every op with every sample.

    Yields
    ------
    Case
        ``op``, ``arrays``, ``settings`` and ``number``; its text is ``op-number``.

    Examples
    --------
    >>> from gradatim.testing import op_cases
    >>> print(next(case for case in op_cases() if case.op.name == "matmul"))
    matmul-0
    """
    for op in list(gt.OPS.values()):
        if op not in LEAVES and op.samples is not None:
            for number, (arrays, settings) in enumerate(op.samples(np.random.default_rng(0))):
                yield Case(op, arrays, settings, number)


def check_value(case: Case, backend="reference", dtype: str = "float32") -> None:
    """Value, shape and dtype against ``forward`` in float64; inputs stay as they were.

    Inputs are handed over read-only and in Fortran order, so nothing may rely on layout.

    Parameters
    ----------
    case : Case
        One of `op_cases`.
    backend : str or Backend
        The backend to check.
    dtype : str
        Element type of the inputs that are floating-point.

    Raises
    ------
    AssertionError
        With the op, the sample and the largest difference.

    Examples
    --------
    >>> from gradatim.testing import check_value, op_cases
    >>> for case in op_cases():
    ...     if case.op.name == "tanh":
    ...         check_value(case, backend="reference", dtype="float64")
    """
    arrays = [np.array(a, order="F") for a in case.cast(dtype)]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    inputs, outputs = _traced(case, arrays)
    got = gt.function(inputs, outputs, backend=backend)(*arrays)
    want = case.op.forward(numpy_module, *case.cast("float64"), **case.op.settle(case.settings))
    want = want if isinstance(want, tuple) else (want,)
    for number, (g, w, t) in enumerate(zip(got, want, outputs, strict=True)):
        assert (g.shape, g.dtype) == (t.shape, t.dtype), \
            f"{case}: output {number} is {g.dtype}{list(g.shape)}, the spec says {t.spec}"
        _close(g, w, TOLERANCE[dtype], f"{case}: output {number}, {dtype}")
    for a, b in zip(arrays, before):
        np.testing.assert_array_equal(a, b, f"{case}: an input was modified")


def check_eager(case: Case, backend="reference") -> None:
    """Eager and compiled agree: in every bit where programs run op by op, else to rounding.

    Parameters
    ----------
    case : Case
        One of `op_cases`.
    backend : str or Backend
        The backend to check.

    Raises
    ------
    AssertionError
        With the op, the sample and the largest difference.

    Examples
    --------
    >>> from gradatim.testing import check_eager, op_cases
    >>> for case in op_cases():
    ...     if case.op.name == "tanh":
    ...         check_eager(case)
    """
    backend = gt.get_backend(backend)
    arrays = case.cast("float32")
    inputs, outputs = _traced(case, arrays)
    compiled = gt.function(inputs, outputs, backend=backend)(*arrays)
    with gt.eager(backend, check_finite=False):
        eager = case.op(*map(gt.constant, arrays), **case.settings)
    for c, e in zip(compiled, eager if isinstance(eager, tuple) else (eager,)):
        if type(backend).compile is gt.Backend.compile:
            np.testing.assert_array_equal(c, e.numpy(), f"{case}: eager and compiled differ")
        else:
            _close(c, e.numpy(), TOLERANCE["float32"], f"{case}: eager and compiled differ")


def check_gradient(case: Case, backend="reference", order: int = 1) -> None:
    """The gradient in one random direction against a central difference in float64.

    An op without gradient passes.

    Parameters
    ----------
    case : Case
        One of `op_cases`.
    backend : str or Backend
        The backend to check.
    order : int
        2 checks the gradient of the first gradient's projection in the same way.

    Raises
    ------
    AssertionError
        With both numbers.

    Examples
    --------
    >>> from gradatim.testing import check_gradient, op_cases
    >>> for case in op_cases():
    ...     if case.op.name == "tanh":
    ...         check_gradient(case, order=2)
    """
    arrays = case.cast("float64")
    rng = np.random.default_rng(1)
    inputs, outputs = _traced(case, arrays)
    outputs = [t for t in outputs if t.spec.is_float]
    wrt = [t for t in inputs if t.spec.is_float]
    if case.op.grad is None or not outputs or not wrt:
        return
    loss = _project(outputs, rng)
    for _ in range(order - 1):
        loss = _project(gt.gradients(loss, wrt), rng)
    values = gt.function(inputs, loss, backend=backend)
    slopes = gt.function(inputs, gt.gradients(loss, wrt), backend=backend)(*arrays)
    direction = [rng.standard_normal(a.shape) if a.dtype.kind == "f" else None for a in arrays]
    step = 1e-5
    ends = [float(values(*(a if d is None else a + sign * step * d
                           for a, d in zip(arrays, direction)))) for sign in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * step)
    exact = sum(float(np.sum(s * d)) for s, d in
                zip(slopes, (d for d in direction if d is not None)))
    scale = sum(float(np.sum(np.abs(s * d))) for s, d in
                zip(slopes, (d for d in direction if d is not None)))
    for t, s in zip(wrt, slopes):
        assert s.shape == t.shape and s.dtype == t.dtype, f"{case}: a gradient has another spec"
    assert abs(exact - numeric) <= 1e-6 * max(1.0, scale, abs(numeric)), \
        f"{case}: order {order} gradient {exact}, central difference {numeric}"


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-310, 1e-40, 0.5, -0.5, 3.0])


def check_special(op: gt.Op, backend="reference", dtype: str = "float32") -> None:
    """NaN, infinities, signed zeros and denormals go through as in the reference.

    Parameters
    ----------
    op : Op
        An elementwise op.
    backend : str or Backend
        The backend to check.
    dtype : str
        Element type of the inputs that are floating-point.

    Raises
    ------
    AssertionError
        With the op and the largest difference.

    Examples
    --------
    >>> from gradatim.backend import OPS
    >>> from gradatim.testing import check_special
    >>> check_special(OPS["tanh"], dtype="float64")
    """
    low, high, _ = op.signature
    arity = max(low, 1)
    x = SPECIAL.astype(dtype)
    grids = [g.ravel() for g in np.meshgrid(*[x] * arity)]
    kinds = [np.asarray(a).dtype for a in op.samples(np.random.default_rng(0))[0][0]][:arity]
    arrays = [g.astype(k) if k.kind != "f" else g for g, k in zip(grids, kinds)]
    settings = op.samples(np.random.default_rng(0))[0][1]
    case = Case(op, arrays, settings, 0)
    inputs, outputs = _traced(case, arrays)
    with np.errstate(all="ignore"):
        got = gt.function(inputs, outputs, backend=backend)(*arrays)[0]
        want = np.asarray(op.forward(numpy_module, *arrays, **op.settle(settings)))
    assert got.dtype == want.dtype, f"{op.name}: {got.dtype}, not {want.dtype}"
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, f"{op.name} on special values")
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), f"{op.name}: NaN")
    finite = ~np.isnan(want)
    np.testing.assert_allclose(got[finite], want[finite], rtol=TOLERANCE[dtype], atol=1e-38,
                               err_msg=f"{op.name} on special values")


def check_backend(backend, dtypes=("float32", "float64"), gradients: bool = True) -> int:
    """Run every op with every sample on a backend and compare it with the reference.

    Parameters
    ----------
    backend : str or Backend
        The backend to check.
    dtypes : sequence of str
        Element types to check in.
    gradients : bool
        Whether to check first gradients too.

    Returns
    -------
    int
        How many checks were made.

    Raises
    ------
    AssertionError
        Listing every op that failed, with its first difference.

    Examples
    --------
    >>> from gradatim.testing import check_backend
    >>> check_backend("reference", dtypes=("float32",), gradients=False) > 100
    True
    """
    backend, failures, count = gt.get_backend(backend), {}, 0
    for case in op_cases():
        checks = [lambda d=d: check_value(case, backend, d) for d in dtypes]
        checks.append(lambda: check_eager(case, backend))
        if gradients:
            checks.append(lambda: check_gradient(case, backend))
        if case.op.code is not None and case.number == 0:
            checks += [lambda d=d: check_special(case.op, backend, d) for d in dtypes]
        for check in checks:
            count += 1
            try:
                check()
            except Exception as error:  # a foreign backend may fail in any way
                failures.setdefault(str(case), f"{type(error).__name__}: {error}")
    if failures:
        lines = [f"  {case}: {text.strip().splitlines()[0]}" for case, text in failures.items()]
        raise AssertionError(f"{len(failures)} of the op samples fail on the backend "
                             f'"{backend.name}":\n' + "\n".join(lines))
    return count


def _traced(case: Case, arrays):
    """Placeholders and the op's outputs."""
    inputs = [gt.placeholder(a.shape, a.dtype, name=f"x{i}") for i, a in enumerate(arrays)]
    outputs = case.op(*inputs, **case.settings)
    return inputs, list(outputs) if isinstance(outputs, tuple) else [outputs]


def _project(tensors, rng):
    """The sum of tensors times random weights: one number that depends on all of them."""
    parts = [(t * rng.standard_normal(t.shape)).sum() for t in tensors]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _close(got, want, tolerance, label) -> None:
    """Equal within a tolerance relative to the largest entry; exact for whole numbers."""
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, label)
        return
    tolerance = max(tolerance, TOLERANCE.get(got.dtype.name, 0.0))   # an op may choose its dtype
    scale = np.max(np.abs(want[np.isfinite(want)]), initial=1e-30) if want.ndim else abs(want)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * float(scale) + 1e-30,
                               err_msg=label)


__all__ = ["check_backend", "check_eager", "check_gradient", "check_layer", "check_special",
           "check_value", "op_cases"]
