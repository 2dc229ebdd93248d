"""The simple recurrent net over whole sequences, ``h <- activation(x W + h R + b)``.

Elman, *Finding structure in time*, 1990. The derivative of each activation is known from its
value, so the outputs are all that the gradient needs.

Data: x (B, T, F), kernel (F, U), recurrent_kernel (U, U), bias (U,), then optionally lengths (B,)
of whole numbers and h0 (B, U); only trailing ones may be left out, and `full_lengths(x)` stands for
no lengths where a state follows. Settings: activation (a name of ACTIVATIONS), reverse. Results:
outputs (B, T, U) and the last h (B, U).
"""
from __future__ import annotations

import numpy as np

from ..errors import unknown_name
from ..op import OPS, cases, op
from .emission import recurrent as emit_recurrent
from .recurrent import (Steps, batch_major, before, cotangents, gradient_rule, initial,
                        kernel_gradient, order, product_over_steps, project, second_rule,
                        sequence_spec, sequences, stack, time_major, valid_steps)

# The value in place; the slope from the value, for arrays and tensors alike.
ACTIVATIONS = {
    "tanh": (lambda xp, z: xp.tanh(z, out=z), lambda y: 1.0 - y * y),
    "relu": (lambda xp, z: xp.maximum(z, 0, out=z), lambda y: (y > 0).astype(y.dtype)),
    "sigmoid": (lambda xp, z: xp.multiply(xp.tanh(0.5 * z) + 1, 0.5, out=z),
                lambda y: y * (1.0 - y)),
    "linear": (lambda xp, z: z, lambda y: y * 0.0 + 1.0)}


def _spec(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reverse, activation):
    """Outputs (B, T, U) and the last h (B, U)."""
    batch, steps, units = sequence_spec(1, x, kernel, recurrent_kernel, bias, lengths, {"h0": h0})
    if activation not in ACTIVATIONS:
        raise unknown_name("recurrent activation", activation, ACTIVATIONS)
    return x.like(batch, steps, units), x.like(batch, units)


def _forward(xp, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reverse=False,
             activation="tanh"):
    valid = valid_steps(xp, lengths, x.shape[1])
    hidden = project(xp, time_major(xp, x, valid), kernel, bias)                   # (T, B, U)
    h, term = initial(xp, h0, hidden[0]), xp.empty_like(hidden[0])
    activate, _ = ACTIVATIONS[activation]
    for t in order(x.shape[1], reverse):
        xp.matmul(h, recurrent_kernel, out=term)
        hidden[t] += term
        activate(xp, hidden[t])
        if valid is not None:
            hidden[t] = xp.where(valid[t], hidden[t], h)
        h = hidden[t]
    outputs = hidden if valid is None else xp.where(valid, hidden, xp.zeros_like(term))
    return batch_major(outputs), h.copy()


def _gradient_spec(dy, dh, outputs, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *,
                   reverse, activation):
    """Cotangents of x, kernel, recurrent_kernel, bias and h0."""
    return x, kernel, recurrent_kernel, bias, dh


def _gradient(xp, dy, dh, outputs, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *,
              reverse=False, activation="tanh"):
    valid = valid_steps(xp, lengths, x.shape[1])
    x, dy = time_major(xp, x, valid), time_major(xp, dy, valid)
    hidden = time_major(xp, outputs)
    h_before = before(xp, hidden, initial(xp, h0, dh), valid, reverse)
    _, slope = ACTIVATIONS[activation]
    dz = slope(hidden)
    if valid is not None:
        dz = xp.ascontiguousarray(xp.where(valid, dz, xp.zeros_like(dh)))
    back = xp.ascontiguousarray(recurrent_kernel.T)
    h_total = xp.empty(dh.shape, dh.dtype)
    for t in reversed(order(x.shape[0], reverse)):
        xp.add(dy[t], dh, out=h_total)
        dz[t] *= h_total
        dh = xp.matmul(dz[t], back)
        if valid is not None:
            dh = xp.where(valid[t], dh, h_total)
    return (batch_major(project(xp, dz, kernel.T, 0)), product_over_steps(xp, x, dz),
            product_over_steps(xp, h_before, dz), dz.sum(axis=(0, 1)), dh)


# ---- in plain ops: second order and the test of the above --------------------------------------


def decompose_simple_rnn(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *,
                         reverse=False, activation="tanh"):
    """`simple_rnn` as a graph of plain ops, one step after another.

    Takes and returns what the op does.

    Examples
    --------
    >>> import gradatim as gt
    >>> data = [gt.placeholder(shape) for shape in ((2, 5, 3), (3, 2), (2, 2), (2,))]
    >>> all(a.spec == b.spec for a, b in zip(gt.simple_rnn(*data), decompose_simple_rnn(*data)))
    True
    """
    steps = Steps(x, lengths, reverse)
    activate = OPS[activation] if activation != "linear" else lambda z: z
    projected = steps.x @ kernel + bias
    h = OPS["zeros_like"](projected[:, 0]) if h0 is None else h0
    outputs = [None] * len(steps.order)
    for t in steps.order:
        new_h = activate(projected[:, t] + h @ recurrent_kernel)
        outputs[t], h = steps.choose(t, new_h, None), steps.choose(t, new_h, h)
    return stack(outputs), h


def decompose_simple_rnn_gradient(dy, dh, outputs, x, kernel, recurrent_kernel, bias,
                                  lengths=None, h0=None, *, reverse=False, activation="tanh"):
    """`simple_rnn_gradient` as a graph of plain ops."""
    steps = Steps(x, lengths, reverse)
    h0 = OPS["zeros_like"](dh) if h0 is None else h0
    _, slope = ACTIVATIONS[activation]
    dz, h_before = ([None] * len(steps.order) for _ in range(2))
    for t in reversed(steps.order):
        h_before[t] = steps.before(t, outputs, h0)
        h_total = dh + steps.choose(t, dy[:, t], None)
        dz[t] = steps.choose(t, h_total * slope(outputs[:, t]), None)
        dh = steps.choose(t, dz[t] @ recurrent_kernel.T, h_total)
    dz, h_before = stack(dz), stack(h_before)
    return (dz @ kernel.T, kernel_gradient(steps.x, dz), kernel_gradient(h_before, dz),
            dz.sum(axis=(0, 1)), dh)


# ---- the ops -----------------------------------------------------------------------------------


def _flops(x, kernel, recurrent_kernel, *rest, **settings):
    """Two per multiply-add of both products, and a few per unit."""
    batch, steps, features = x.shape
    units = recurrent_kernel.shape[0]
    return batch * steps * units * (2 * (features + units) + 10)


_smooth = cases(sequences(1), sequences(1, 0, reverse=True, activation="sigmoid"),
                sequences(1, 1, reverse=True, activation="linear"))
# relu's outputs are often 0, where its slope jumps: no sample of the gradient op.
_samples = cases(_smooth, sequences(1, 1, activation="relu"))

simple_rnn_gradient = op(
    "simple_rnn_gradient", forward=_gradient, spec=_gradient_spec,
    grad=second_rule(decompose_simple_rnn_gradient), samples=cotangents(_smooth, _forward, 1),
    flops=lambda dy, dh, outputs, *inputs, **_: 2 * _flops(*inputs))


# Names of the activations and their two parameters, which only the identity uses.
ONNX_ACTIVATIONS = {"tanh": ("Tanh",), "relu": ("Relu",), "sigmoid": ("Sigmoid",),
                    "linear": ("Affine", 1.0, 0.0)}


def _emit_simple_rnn(emit, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reverse,
                     activation):
    """ONNX has two biases."""
    zeros = emit.constant(np.zeros(bias.shape), bias.dtype)
    name, *parameters = ONNX_ACTIVATIONS[activation]
    settings = {f"activation_{k}": [v] for k, v in zip(("alpha", "beta"), parameters)}
    return emit_recurrent(emit, "RNN", x, kernel, recurrent_kernel,
                          emit("Concat", bias, zeros, axis=0), lengths, (h0,), reverse=reverse,
                          activations=[name], **settings)


simple_rnn = op("simple_rnn", forward=_forward, spec=_spec, flops=_flops, samples=_samples,
                onnx=_emit_simple_rnn,
                grad=gradient_rule(simple_rnn_gradient, decompose_simple_rnn, 1))
