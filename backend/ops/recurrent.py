"""What the recurrent ops share: shape rules, the order of time, masks, and closing matrix products.

Rows of a batch may have different lengths: beyond its length a row keeps its state and its output
is zero. Running backwards in time with the same rule starts every row at its own last step, so no
row is ever turned around. Inside, arrays are time-major, so that a step is one contiguous block.
"""
from __future__ import annotations

from typing import Sequence

import numpy as np

from .. import array_module
from ..context import surroundings
from ..errors import ShapeError
from ..graph import topological
from ..leaves import placeholder
from ..op import OPS
from ..spec import Spec, floating, integer, one_dtype
from ..tensor import constant_op

# ---- shape rules -------------------------------------------------------------------------------


def sequence_spec(gates: int, x: Spec, kernel: Spec, recurrent_kernel: Spec, bias: Spec,
                  lengths: Spec | None, states: dict[str, Spec | None],
                  bias_rows: int = 0) -> tuple[int, int, int]:
    """Check the inputs every recurrent op has; batch size, time steps and units."""
    states = {name: spec for name, spec in states.items() if spec is not None}
    floating(x)
    one_dtype(x, kernel, recurrent_kernel, bias, *states.values())
    if len(x.shape) != 3:
        raise ShapeError("sequences have the axes (samples, time, features)",
                         fix="give x three axes, x[:, :, None] for one feature")
    batch, steps, features = x.shape
    if steps == 0:
        raise ShapeError("a sequence needs at least one time step",
                         fix="pad to one step; lengths may be 0")
    units = recurrent_kernel.shape[0] if recurrent_kernel.shape else 0
    width = gates * units
    _expect("recurrent_kernel", recurrent_kernel, (units, width), "(units, gates * units)")
    _expect("kernel", kernel, (features, width), "(features, gates * units)")
    _expect("bias", bias, (bias_rows, width) if bias_rows else (width,), "the kernel's columns")
    for name, spec in states.items():
        _expect(name, spec, (batch, units), "(samples, units)")
    if lengths is not None:
        integer(lengths, "lengths")
        _expect("lengths", lengths, (batch,), "one per sample")
    return batch, steps, units


def _expect(name: str, spec: Spec, shape: tuple[int, ...], meaning: str) -> None:
    """Require a shape."""
    if spec.shape != shape:
        raise ShapeError(f"{name} must be {list(shape)}, {meaning}, not {list(spec.shape)}")


# ---- arrays, for the forward functions ---------------------------------------------------------


def order(steps: int, reverse: bool) -> range:
    """The time steps in the order they are run."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def valid_steps(xp, lengths, steps: int):
    """Which steps lie within a row's length, (T, B, 1); None when all do."""
    return None if lengths is None else (xp.arange(steps)[:, None] < lengths)[:, :, None]


def time_major(xp, x, valid=None):
    """(B, T, n) as contiguous (T, B, n), zero beyond the lengths so that padding cannot matter."""
    x = x.swapaxes(0, 1)
    return xp.ascontiguousarray(x if valid is None else xp.where(valid, x, xp.zeros_like(x[:1])))


def batch_major(x):
    """(T, B, n) seen as (B, T, n)."""
    return x.swapaxes(0, 1)


def initial(xp, state, like):
    """A state to start from: the one given, or zeros like (B, U)."""
    return xp.zeros(like.shape, like.dtype) if state is None else state


def before(xp, states, first, valid, reverse: bool):
    """The state each step started from, (T, B, U), from the states the steps ended in."""
    if valid is not None:
        states = xp.where(valid, states, first)
    return xp.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def project(xp, x, kernel, bias):
    """``x @ kernel + bias`` of all steps as one matrix product, (T, B, n)."""
    steps, batch, features = x.shape
    flat = xp.matmul(x.reshape(steps * batch, features), kernel)
    flat += bias
    return flat.reshape(steps, batch, kernel.shape[1])


def product_over_steps(xp, x, dz):
    """The gradient of a kernel: inputs and cotangents of all steps as one matrix product."""
    count = x.shape[0] * x.shape[1]
    return xp.matmul(x.reshape(count, x.shape[2]).T, dz.reshape(count, dz.shape[2]))


# ---- tensors, for the decomposed forms ---------------------------------------------------------


class Steps:
    """The time steps of a decomposed form, and which rows are within their length at each.

    Parameters
    ----------
    x : Tensor
        Sequences (B, T, F).
    lengths : Tensor or None
        Steps per row (B,).
    reverse : bool
        Whether time runs backwards.

    Examples
    --------
    >>> import gradatim as gt
    >>> x, lengths = gt.placeholder((2, 3, 4)), gt.placeholder((2,), "int64")
    >>> list(Steps(x, lengths, reverse=True).order)
    [2, 1, 0]
    """

    def __init__(self, x, lengths, reverse: bool):
        self.order = order(x.shape[1], reverse)
        self.back = 1 if reverse else -1
        self.lengths = None if lengths is None else lengths[:, None]
        self.x = x if lengths is None else OPS["where"](
            OPS["sequence_mask"](x, lengths)[:, :, None], x, OPS["zeros_like"](x))

    def choose(self, t: int, new, old):
        """``new`` where step ``t`` is within the length, else ``old`` (None: zeros)."""
        if self.lengths is None:
            return new
        old = OPS["zeros_like"](new) if old is None else old
        return OPS["where"](self.lengths > t, new, old)

    def before(self, t: int, states, first):
        """The state that step ``t`` started from, out of (B, T, U)."""
        t = t + self.back
        return self.choose(t, states[:, t], first) if t in self.order else first


def stack(steps: Sequence):
    """Tensors (B, n) of all time steps as (B, T, n)."""
    return OPS["stack"](*steps, axis=1)


def blocks(z, count: int) -> list:
    """The gates of (B, count * U), each (B, U)."""
    units = z.shape[1] // count
    return [z[:, k * units:(k + 1) * units] for k in range(count)]


def kernel_gradient(x, dz):
    """`product_over_steps` of tensors (B, T, n)."""
    return x.reshape(-1, x.shape[2]).T @ dz.reshape(-1, dz.shape[2])


# ---- gradient rules and samples ----------------------------------------------------------------


def gradient_rule(gradient, decompose, finals: int):
    """The gradient rule of a recurrent op.

    Parameters
    ----------
    gradient : Op
        Its gradient op: cotangents of the outputs and the ``finals`` last states, then all
        outputs, then the inputs; returns cotangents of x, kernel, recurrent_kernel, bias, states.
    decompose : callable
        Its decomposed form. The saved tensors (gates, cells) meet cotangents in second order
        only, and there the decomposed form answers for them.
    finals : int
        How many final states the op returns.
    """
    def rule(g, out, *inputs, **settings):
        count = 1 + finals
        parts = [None] * len(inputs)
        if any(part is not None for part in g[:count]):
            seeds = [OPS["zeros_like"](o) if part is None else part
                     for part, o in zip(g[:count], out)]
            found = gradient(*seeds, *out[:1], *out[count:], *inputs, **settings)
            parts = [*found[:4], None, *found[4:]][:len(inputs)]
        if any(part is not None for part in g[count:]):
            again = decomposed_gradient(decompose, g, count, inputs, settings)
            parts = [b if a is None else a if b is None else a + b for a, b in zip(parts, again)]
        return tuple(parts)
    return rule


def decomposed_gradient(decompose, g, count: int, inputs, settings) -> list:
    """Cotangents of the inputs through the outputs from ``count`` on, by the decomposed form.

    The form is differentiated on stand-ins: its inputs may depend on one another further up, and
    that is for the caller's sweep to follow, as is completing sums over replicas.
    """
    from ..gradients import gradients
    real = (*inputs, *(part for part in g[count:] if part is not None))
    with surroundings(runner=None):
        stand_ins = [placeholder(t.shape, t.dtype, batch=False) for t in real]
        outputs = decompose(*stand_ins[:len(inputs)], **settings)[count:]
        seeded = [t for t, part in zip(outputs, g[count:]) if part is not None]
        loss = sum(((t * w).sum() for t, w in zip(seeded, stand_ins[len(inputs):])), 0.0)
        floats = [t for t in stand_ins[:len(inputs)] if t.spec.is_float]
        found = {t: part for t, part in zip(floats, gradients(loss, floats))
                 if part.node.op is not constant_op}
    new = dict(zip(found, inline(list(found.values()), stand_ins, real)))
    return [new.get(t) for t in stand_ins[:len(inputs)]]


def inline(outputs, stand_ins, real) -> list:
    """The outputs computed again with real tensors in the place of their stand-ins."""
    new = dict(zip(stand_ins, real))
    for node in topological(outputs, frozenset(stand_ins)):
        made = node.op(*(new[t] for t in node.inputs), **node.settings) if node.inputs else \
            node.outputs
        new.update(zip(node.outputs, made if isinstance(made, tuple) else (made,)))
    return [new[t] for t in outputs]


def second_rule(decompose):
    """The gradient rule of a recurrent gradient op, by its decomposed form."""
    return lambda g, out, *inputs, **settings: tuple(
        decomposed_gradient(decompose, g, 0, inputs, settings))


def sequences(gates: int, given: int | None = None, bias_rows: int = 0, **settings):
    """Samples: a batch of three sequences of four steps, and the weights for two units.

    ``given`` is None without lengths and states, else how many states follow the lengths.
    """
    def sampler(rng):
        bias = (bias_rows, 2 * gates) if bias_rows else (2 * gates,)
        arrays = [rng.standard_normal(shape) for shape in
                  ((3, 4, 3), (3, 2 * gates), (2, 2 * gates), bias)]
        if given is not None:
            arrays.append(np.array([4, 0, 2]))
            arrays += [rng.standard_normal((3, 2)) for _ in range(given)]
        return [(arrays, settings)]
    return sampler


def cotangents(sampler, forward, finals: int):
    """Samples of a gradient op: random cotangents, the op's outputs, then its inputs."""
    def extended(rng):
        result = []
        for arrays, settings in sampler(rng):
            out = forward(array_module.numpy_module, *arrays, **settings)
            seeds = [rng.standard_normal(a.shape) for a in out[:1 + finals]]
            result.append(([*seeds, *out[:1], *out[1 + finals:], *arrays], settings))
        return result
    return extended
