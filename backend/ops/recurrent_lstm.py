"""Long short-term memory over whole sequences: the op, its gradient op, and both in plain ops.

Gates i, f, c, o as in Keras::

    i, f, o = sigmoid(x W + h R + b)          candidate = tanh(x W + h R + b)
    c <- f c + i candidate                    h <- o tanh(c)

Hochreiter and Schmidhuber, *Long short-term memory*, 1997; the forget gate from Gers, Schmidhuber
and Cummins, *Learning to forget*, 2000.

Data: x (B, T, F), kernel (F, 4U), recurrent_kernel (U, 4U), bias (4U,), then optionally lengths
(B,) of whole numbers, h0 (B, U) and c0 (B, U); only trailing ones may be left out, and
`full_lengths(x)` stands for no lengths where a state follows. Setting: reverse. Results: outputs
(B, T, U), last h and c (B, U), and for the gradient the gates (B, T, 4U) and cells (B, T, U).
"""
from __future__ import annotations

import numpy as np

from ..op import OPS, cases, op
from .emission import recurrent as emit_recurrent
from .recurrent import (Steps, batch_major, before, blocks, cotangents, gradient_rule, initial,
                        kernel_gradient, order, product_over_steps, project, second_rule,
                        sequence_spec, sequences, stack, time_major, valid_steps)


def _spec(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, c0=None, *, reverse):
    """Outputs (B, T, U), last h and c (B, U), saved gates (B, T, 4U) and cells (B, T, U)."""
    batch, steps, units = sequence_spec(4, x, kernel, recurrent_kernel, bias, lengths,
                                        {"h0": h0, "c0": c0})
    return (x.like(batch, steps, units), x.like(batch, units), x.like(batch, units),
            x.like(batch, steps, 4 * units), x.like(batch, steps, units))


def _forward(xp, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, c0=None, *,
             reverse=False):
    batch, steps, _ = x.shape
    units = recurrent_kernel.shape[0]
    valid = valid_steps(xp, lengths, steps)
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2: one tanh over a whole block serves all four gates.
    scale = xp.repeat(xp.asarray([0.5, 0.5, 1.0, 0.5], dtype=x.dtype), units)
    offset = 1 - scale
    gates = project(xp, time_major(xp, x, valid), kernel * scale, bias * scale)    # (T, B, 4U)
    by_gate = gates.reshape(steps, batch, 4, units)
    recurrent = xp.ascontiguousarray(recurrent_kernel * scale)
    hidden, cells = xp.empty((2, steps, batch, units), x.dtype)
    h, c = initial(xp, h0, hidden[0]), initial(xp, c0, hidden[0])
    term, part = xp.empty_like(gates[0]), xp.empty_like(hidden[0])
    for t in order(steps, reverse):
        z, (i, f, candidate, o) = gates[t], by_gate[t].swapaxes(0, 1)
        xp.matmul(h, recurrent, out=term)
        z += term
        xp.tanh(z, out=z)
        z *= scale
        z += offset
        xp.multiply(f, c, out=cells[t])
        cells[t] += xp.multiply(i, candidate, out=part)
        xp.tanh(cells[t], out=hidden[t])
        hidden[t] *= o
        if valid is not None:
            hidden[t], cells[t] = xp.where(valid[t], hidden[t], h), xp.where(valid[t], cells[t], c)
        h, c = hidden[t], cells[t]
    outputs = hidden if valid is None else xp.where(valid, hidden, xp.zeros_like(part))
    # Copies, because results of one op must not share memory.
    return (batch_major(outputs), h.copy(), c.copy(), batch_major(gates), batch_major(cells))


def _factors(i, f, candidate, o, c_before, tanh_c):
    """What turns cotangents of c (three times) and h into those of the gates, and of h into c's."""
    return (candidate * i * (1.0 - i), c_before * f * (1.0 - f), i * (1.0 - candidate * candidate),
            tanh_c * o * (1.0 - o), o * (1.0 - tanh_c * tanh_c))


def _gradient_spec(dy, dh, dc, outputs, gates, cells, x, kernel, recurrent_kernel, bias,
                   lengths=None, h0=None, c0=None, *, reverse):
    """Cotangents of x, kernel, recurrent_kernel, bias, h0 and c0."""
    return (x, kernel, recurrent_kernel, bias, dh, dc)


def _gradient(xp, dy, dh, dc, outputs, gates, cells, x, kernel, recurrent_kernel, bias,
              lengths=None, h0=None, c0=None, *, reverse=False):
    batch, steps, _ = x.shape
    units = recurrent_kernel.shape[0]
    valid = valid_steps(xp, lengths, steps)
    x, dy = time_major(xp, x, valid), time_major(xp, dy, valid)
    gates, cells, hidden = (time_major(xp, a) for a in (gates, cells, outputs))
    h0, c0, zero = initial(xp, h0, dh), initial(xp, c0, dc), xp.zeros((), x.dtype)
    h_before = before(xp, hidden, h0, valid, reverse)
    c_before = before(xp, cells, c0, valid, reverse)
    by_gate = gates.reshape(steps, batch, 4, units).swapaxes(1, 2)
    dz = xp.empty((steps, batch, 4, units), x.dtype)
    flat = dz.reshape(steps, batch, 4 * units)
    back = xp.ascontiguousarray(recurrent_kernel.T)
    # Step by step, because small temporaries stay in cache and whole ones are new memory.
    for t in reversed(order(steps, reverse)):
        i, f, candidate, o = by_gate[t]
        *factors, h_to_c = _factors(i, f, candidate, o, c_before[t], xp.tanh(cells[t]))
        h_total = dh + dy[t]
        c_total = dc + h_total * h_to_c
        h_live, c_live = (h_total, c_total) if valid is None else (
            xp.where(valid[t], h_total, zero), xp.where(valid[t], c_total, zero))
        for gate, (live, factor) in enumerate(zip((c_live,) * 3 + (h_live,), factors)):
            xp.multiply(live, factor, out=dz[t, :, gate])
        h_next, c_next = xp.matmul(flat[t], back), c_live * f
        dh, dc = (h_next, c_next) if valid is None else (
            xp.where(valid[t], h_next, h_total), xp.where(valid[t], c_next, dc))
    return (batch_major(project(xp, flat, kernel.T, 0)), product_over_steps(xp, x, flat),
            product_over_steps(xp, h_before, flat), flat.sum(axis=(0, 1)), dh, dc)


# ---- in plain ops: second order and the test of the above --------------------------------------


def decompose_lstm(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, c0=None, *,
                   reverse=False):
    """`lstm` as a graph of plain ops, one step after another.

    Takes and returns what the op does.

    Examples
    --------
    >>> import gradatim as gt
    >>> data = [gt.placeholder(shape) for shape in ((2, 5, 3), (3, 8), (2, 8), (8,))]
    >>> all(a.spec == b.spec for a, b in zip(gt.lstm(*data), decompose_lstm(*data)))
    True
    """
    steps = Steps(x, lengths, reverse)
    sigmoid, tanh = OPS["sigmoid"], OPS["tanh"]
    projected = steps.x @ kernel + bias
    zeros = OPS["zeros_like"](blocks(projected[:, 0], 4)[0])
    h, c = zeros if h0 is None else h0, zeros if c0 is None else c0
    outputs, gates, cells = ([None] * len(steps.order) for _ in range(3))
    for t in steps.order:
        i, f, candidate, o = blocks(projected[:, t] + h @ recurrent_kernel, 4)
        i, f, candidate, o = sigmoid(i), sigmoid(f), tanh(candidate), sigmoid(o)
        gates[t] = OPS["concatenate"](i, f, candidate, o, axis=1)
        new_c = f * c + i * candidate
        new_h = o * tanh(new_c)
        outputs[t] = steps.choose(t, new_h, None)
        h, c = steps.choose(t, new_h, h), steps.choose(t, new_c, c)
        cells[t] = c
    return stack(outputs), h, c, stack(gates), stack(cells)


def decompose_lstm_gradient(dy, dh, dc, outputs, gates, cells, x, kernel, recurrent_kernel, bias,
                            lengths=None, h0=None, c0=None, *, reverse=False):
    """`lstm_gradient` as a graph of plain ops."""
    steps = Steps(x, lengths, reverse)
    h0 = OPS["zeros_like"](dh) if h0 is None else h0
    c0 = OPS["zeros_like"](dc) if c0 is None else c0
    dz, h_before = ([None] * len(steps.order) for _ in range(2))
    for t in reversed(steps.order):
        h_before[t] = steps.before(t, outputs, h0)
        i, f, candidate, o = blocks(gates[:, t], 4)
        *by_gate, h_to_c = _factors(i, f, candidate, o, steps.before(t, cells, c0),
                                    OPS["tanh"](cells[:, t]))
        h_total = dh + steps.choose(t, dy[:, t], None)
        c_total = dc + h_total * h_to_c
        dz[t] = steps.choose(t, OPS["concatenate"](
            *(c_total * k for k in by_gate[:3]), h_total * by_gate[3], axis=1), None)
        dh = steps.choose(t, dz[t] @ recurrent_kernel.T, h_total)
        dc = steps.choose(t, c_total * f, dc)
    dz, h_before = stack(dz), stack(h_before)
    return (dz @ kernel.T, kernel_gradient(steps.x, dz), kernel_gradient(h_before, dz),
            dz.sum(axis=(0, 1)), dh, dc)


# ---- the ops -----------------------------------------------------------------------------------


def _flops(x, kernel, recurrent_kernel, *rest, **settings):
    """Two per multiply-add of both products, and about ten per unit for the gates."""
    batch, steps, features = x.shape
    units = recurrent_kernel.shape[0]
    return batch * steps * units * (8 * (features + units) + 40)


_samples = cases(sequences(4), sequences(4, 2), sequences(4, 1, reverse=True))

lstm_gradient = op(
    "lstm_gradient", forward=_gradient, spec=_gradient_spec,
    grad=second_rule(decompose_lstm_gradient), samples=cotangents(_samples, _forward, 2),
    flops=lambda dy, dh, dc, outputs, gates, cells, *inputs, **_: 2 * _flops(*inputs))


def _emit_lstm(emit, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, c0=None, *,
               reverse):
    """ONNX has the gates i, o, f, c and two biases."""
    i, f, c, o = emit("Split", bias, outputs=4, axis=0)
    zeros = emit.constant(np.zeros(bias.shape), bias.dtype)
    biases = emit("Concat", i, o, f, c, zeros, axis=0)
    results = emit_recurrent(emit, "LSTM", x, kernel, recurrent_kernel, biases, lengths, (h0, c0),
                             reverse=reverse, order=(0, 3, 1, 2), outputs=3)
    return *results, None, None


lstm = op("lstm", forward=_forward, spec=_spec, flops=_flops, samples=_samples, onnx=_emit_lstm,
          grad=gradient_rule(lstm_gradient, decompose_lstm, 2))
