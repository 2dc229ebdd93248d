"""Gradients: the reverse sweep that turns a graph into the graph of its derivatives."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from .context import surroundings
from .errors import GradientError, ShapeError
from .graph import COLLECTIVES, topological
from .op import OPS
from .tensor import Tensor, constant, placeholder_op


def gradients(loss: Tensor, wrt: Sequence[Tensor], seed: Tensor | None = None) -> list[Tensor]:
    """Derivatives of a scalar by tensors, as new tensors of the same graph.

    Parameters
    ----------
    loss : Tensor
        A 0-d tensor, or any shape when ``seed`` is given.
    wrt : sequence of Tensor
        Any tensors of the graph: variables, placeholders or something in the middle.
    seed : Tensor, optional
        The derivative of the final result by ``loss``, of the same shape; 1 by default.

    Returns
    -------
    list of Tensor
        One per entry of ``wrt``, of its shape; zeros where the loss does not depend on it.
        They may be differentiated again.

    Raises
    ------
    GradientError
        If an op on the way has no gradient, or the loss is not floating point.

    Notes
    -----
    Reverse-mode differentiation; Griewank and Walther, *Evaluating Derivatives*, 2008, ch. 3.
    Where a tensor that is the same for all samples (a parameter) meets one that is not, the
    cotangents are sums over this replica's samples only; ``all_reduce`` completes them, and is
    the identity on one device.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder(())
    >>> (dx,) = gt.gradients(x * x * x, [x])
    >>> (ddx,) = gt.gradients(dx, [x])
    >>> [float(v) for v in gt.run([dx, ddx], {x: 2.0})]
    [12.0, 12.0]
    """
    wrt = list(wrt)
    for t in (loss, *wrt):
        if not isinstance(t, Tensor):
            raise GradientError(f"{t!r:.60} is not a tensor",
                                fix="differentiate tensors by tensors")
    if not loss.spec.is_float:
        raise GradientError(f"the loss is {loss.dtype}, and only floating-point numbers have "
                            "gradients", at=loss.node.line,
                            fix='convert with gt.cast(x, dtype="float32") before')
    for t in wrt:
        if not t.spec.is_float:
            raise GradientError(f"there is no gradient by whole numbers, {t.spec}",
                                at=t.node.line, fix="differentiate by floating-point tensors")
    if seed is None:
        if loss.shape != ():
            raise ShapeError(f"the loss must be one number, not {loss.spec}", at=loss.node.line,
                             fix="take its mean, or pass seed=")
        seed = constant(np.ones((), loss.dtype))
    elif seed.spec != loss.spec:
        raise ShapeError(f"the seed is {seed.spec}, and the loss {loss.spec}",
                         at=seed.node.line, fix="pass a seed of the loss's shape and dtype")
    order = topological([loss])
    rows = per_sample(order)
    wanted = _upstream(order, wrt)
    whole: dict[Tensor, Tensor] = {loss: seed}   # cotangents that are complete
    partial: dict[Tensor, Tensor] = {}           # cotangents over this replica's samples only
    for node in reversed(order):
        if not node.inputs:
            continue
        g = tuple(_complete(t, whole, partial) if t in wanted else None for t in node.outputs)
        if all(part is None for part in g):
            continue
        if node.op.grad is None:
            raise GradientError(f"{node.op.name} has no gradient", at=node.line,
                                fix="leave it out with gt.stop_gradient, or give its op a grad=")
        single = len(g) == 1
        with surroundings(device=node.device):
            parts = node.op.grad(g[0] if single else g,
                                 node.outputs[0] if single else node.outputs,
                                 *node.inputs, **node.settings)
            parts = [_unbroadcast(part, t) if part is not None and t in wanted else None
                     for t, part in zip(node.inputs, parts, strict=True)]
        for t, part in zip(node.inputs, parts):
            if part is not None:
                local = node in rows and t.node not in rows
                sums = partial if local else whole
                sums[t] = _added(sums[t], part, t) if t in sums else part
    found = [_complete(t, whole, partial) for t in wrt]
    return [constant(np.zeros(t.shape, t.dtype)) if g is None else g for t, g in zip(wrt, found)]


def _complete(t: Tensor, whole, partial) -> Tensor | None:
    """The whole cotangent of a tensor; every consumer has been visited by now."""
    if t in partial:
        reduced = OPS["all_reduce"](partial.pop(t))
        whole[t] = _added(whole[t], reduced, t) if t in whole else reduced
    return whole.get(t)


def _added(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The sum of two cotangents of ``t``: where both are, or else where ``t`` is."""
    with surroundings(device=a.device if a.device == b.device else t.device):
        return a + b


# Ops whose results are the same on all replicas, though rows of samples go in. How many entries
# there are does not depend on them, so a mean over features stays what it is.
COMMON = ("batch_sum", "count", *COLLECTIVES)


def per_sample(order) -> set:
    """Nodes with rows that belong to samples: behind a batch placeholder, before a batch_sum."""
    result = set()
    for node in order:
        if node.op is placeholder_op:
            if node.settings["batch"]:
                result.add(node)
        elif node.op.name not in COMMON and any(t.node in result for t in node.inputs):
            result.add(node)
    return result


def _upstream(order, wrt) -> set:
    """Tensors through which the loss depends on what is asked for."""
    wanted = set(wrt)
    for node in order:
        if any(t in wanted and t.spec.is_float for t in node.inputs):
            wanted.update(t for t in node.outputs if t.spec.is_float)
    return wanted


def _unbroadcast(g: Tensor, like: Tensor) -> Tensor:
    """Sum a cotangent down to its tensor's shape; no gradient rule has to think of broadcasting."""
    if g.shape == like.shape:
        return g
    lead = g.ndim - like.ndim
    axes = tuple(range(lead))
    if axes:
        g = OPS["sum"](g, axis=axes, keepdims=False)
    stretched = tuple(i for i, n in enumerate(like.shape) if n == 1 != g.shape[i])
    return OPS["sum"](g, axis=stretched, keepdims=True) if stretched else g
