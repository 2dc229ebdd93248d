"""Gated recurrent units over whole sequences: the op, its gradient op, and both in plain ops.

Gates z, r, h as in Keras::

    z, r = sigmoid(x W + h R + b)             h <- z h + (1 - z) candidate
    candidate = tanh(x W + r (h R + b'))      with ``reset_after``
    candidate = tanh(x W + (r h) R + b)       without

Cho et al., *Learning phrase representations using RNN encoder-decoder*, 2014.

Data: x (B, T, F), kernel (F, 3U), recurrent_kernel (U, 3U), bias (2, 3U) with reset_after and
(3U,) without, then optionally lengths (B,) of whole numbers and h0 (B, U); only trailing ones may
be left out, and `full_lengths(x)` stands for no lengths where a state follows. Settings:
reset_after, reverse. Results: outputs (B, T, U), last h (B, U), and for the gradient the gates
(B, T, 3U) and the inner terms, h R + b' or r h (B, T, U).
"""
from __future__ import annotations

import numpy as np

from ..op import OPS, cases, op
from .emission import recurrent as emit_recurrent
from .recurrent import (Steps, batch_major, before, blocks, cotangents, gradient_rule, initial,
                        kernel_gradient, order, product_over_steps, project, second_rule,
                        sequence_spec, sequences, stack, time_major, valid_steps)


def _spec(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reset_after, reverse):
    """Outputs (B, T, U), last h (B, U), saved gates (B, T, 3U) and inner terms (B, T, U)."""
    batch, steps, units = sequence_spec(3, x, kernel, recurrent_kernel, bias, lengths, {"h0": h0},
                                        bias_rows=2 if reset_after else 0)
    return (x.like(batch, steps, units), x.like(batch, units), x.like(batch, steps, 3 * units),
            x.like(batch, steps, units))


def _forward(xp, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reset_after=True,
             reverse=False):
    batch, steps, _ = x.shape
    units = recurrent_kernel.shape[0]
    valid = valid_steps(xp, lengths, steps)
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2, which neither overflows nor needs two branches.
    scale = xp.repeat(xp.asarray([0.5, 0.5, 1.0], dtype=x.dtype), units)
    gates = project(xp, time_major(xp, x, valid), kernel * scale,
                    (bias[0] if reset_after else bias) * scale)                    # (T, B, 3U)
    recurrent = recurrent_kernel * scale
    # With reset_after one product serves all gates; else the candidate needs r first.
    first = recurrent if reset_after else xp.ascontiguousarray(recurrent[:, :2 * units])
    second = xp.ascontiguousarray(recurrent[:, 2 * units:])
    recurrent_bias = bias[1] * scale if reset_after else 0
    hidden, inner = xp.empty((2, steps, batch, units), x.dtype)
    h, part = initial(xp, h0, hidden[0]), xp.empty_like(hidden[0])
    term = xp.empty((batch, first.shape[1]), x.dtype)
    for t in order(steps, reverse):
        both, candidate = gates[t, :, :2 * units], gates[t, :, 2 * units:]
        z, r = both[:, :units], both[:, units:]
        xp.matmul(h, first, out=term)
        term += recurrent_bias
        both += term[:, :2 * units]
        xp.tanh(both, out=both)
        both *= 0.5
        both += 0.5
        if reset_after:
            inner[t] = term[:, 2 * units:]
            candidate += xp.multiply(r, inner[t], out=part)
        else:
            xp.multiply(r, h, out=inner[t])
            candidate += xp.matmul(inner[t], second, out=part)
        xp.tanh(candidate, out=candidate)
        xp.subtract(h, candidate, out=part)
        part *= z
        xp.add(part, candidate, out=hidden[t])
        if valid is not None:
            hidden[t] = xp.where(valid[t], hidden[t], h)
        h = hidden[t]
    outputs = hidden if valid is None else xp.where(valid, hidden, xp.zeros_like(part))
    # A copy, because results of one op must not share memory.
    return batch_major(outputs), h.copy(), batch_major(gates), batch_major(inner)


def _factors(z, r, candidate, inner, h_before, reset_after):
    """What turns the cotangent of h into that of z and the candidate, and the next one into r's."""
    return ((h_before - candidate) * z * (1.0 - z), (1.0 - z) * (1.0 - candidate * candidate),
            (inner if reset_after else h_before) * r * (1.0 - r))


def _gradient_spec(dy, dh, outputs, gates, inner, x, kernel, recurrent_kernel, bias, lengths=None,
                   h0=None, *, reset_after, reverse):
    """Cotangents of x, kernel, recurrent_kernel, bias and h0."""
    return x, kernel, recurrent_kernel, bias, dh


def _gradient(xp, dy, dh, outputs, gates, inner, x, kernel, recurrent_kernel, bias, lengths=None,
              h0=None, *, reset_after=True, reverse=False):
    batch, steps, _ = x.shape
    units = recurrent_kernel.shape[0]
    valid = valid_steps(xp, lengths, steps)
    x, dy = time_major(xp, x, valid), time_major(xp, dy, valid)
    gates, inner, hidden = (time_major(xp, a) for a in (gates, inner, outputs))
    h_before = before(xp, hidden, initial(xp, h0, dh), valid, reverse)
    zero = xp.zeros((), x.dtype)
    by_gate = gates.reshape(steps, batch, 3, units).swapaxes(1, 2)
    da = xp.empty((steps, batch, 3, units), x.dtype)    # cotangents of x W + b, by gate
    flat = da.reshape(steps, batch, 3 * units)
    back = xp.ascontiguousarray(recurrent_kernel.T)
    # Cotangents of the products with R: those of x W, but for the candidate's with reset_after.
    db = xp.empty_like(flat) if reset_after else None
    # Step by step, because small temporaries stay in cache and whole ones are new memory.
    for t in reversed(order(steps, reverse)):
        z, r, candidate = by_gate[t]
        to_z, to_candidate, to_r = _factors(z, r, candidate, inner[t], h_before[t], reset_after)
        h_total = dh + dy[t]
        live = h_total if valid is None else xp.where(valid[t], h_total, zero)
        dz, dr, dc = da[t].swapaxes(0, 1)
        xp.multiply(live, to_z, out=dz)
        xp.multiply(live, to_candidate, out=dc)
        if reset_after:
            xp.multiply(dc, to_r, out=dr)
            db[t, :, :2 * units] = flat[t, :, :2 * units]
            xp.multiply(dc, r, out=db[t, :, 2 * units:])
            dh = xp.matmul(db[t], back)
        else:
            d_inner = xp.matmul(dc, back[2 * units:])
            xp.multiply(d_inner, to_r, out=dr)
            dh = xp.matmul(flat[t, :, :2 * units], back[:2 * units])
            dh += d_inner * r
        dh += live * z
        if valid is not None:
            dh = xp.where(valid[t], dh, h_total)
    if reset_after:
        recurrent_gradient = product_over_steps(xp, h_before, db)
        bias_gradient = xp.stack([flat.sum(axis=(0, 1)), db.sum(axis=(0, 1))])
    else:
        recurrent_gradient = xp.concatenate(
            [product_over_steps(xp, h_before, flat[:, :, :2 * units]),
             product_over_steps(xp, inner, flat[:, :, 2 * units:])], axis=1)
        bias_gradient = flat.sum(axis=(0, 1))
    return (batch_major(project(xp, flat, kernel.T, 0)), product_over_steps(xp, x, flat),
            recurrent_gradient, bias_gradient, dh)


# ---- in plain ops: second order and the test of the above --------------------------------------


def decompose_gru(x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reset_after=True,
                  reverse=False):
    """`gru` as a graph of plain ops, one step after another.

    Takes and returns what the op does.

    Examples
    --------
    >>> import gradatim as gt
    >>> data = [gt.placeholder(shape) for shape in ((2, 5, 3), (3, 6), (2, 6), (2, 6))]
    >>> all(a.spec == b.spec for a, b in zip(gt.gru(*data), decompose_gru(*data)))
    True
    """
    steps = Steps(x, lengths, reverse)
    sigmoid, tanh = OPS["sigmoid"], OPS["tanh"]
    projected = steps.x @ kernel + (bias[0] if reset_after else bias)
    weights = blocks(recurrent_kernel, 3)
    biases = blocks(bias[1:], 3) if reset_after else [None] * 3
    h = OPS["zeros_like"](blocks(projected[:, 0], 3)[0]) if h0 is None else h0
    outputs, gates, inner = ([None] * len(steps.order) for _ in range(3))
    for t in steps.order:
        z, r, candidate = blocks(projected[:, t], 3)
        if reset_after:
            z = sigmoid(z + (h @ weights[0] + biases[0]))
            r = sigmoid(r + (h @ weights[1] + biases[1]))
            inner[t] = h @ weights[2] + biases[2]
            candidate = tanh(candidate + r * inner[t])
        else:
            z, r = sigmoid(z + h @ weights[0]), sigmoid(r + h @ weights[1])
            inner[t] = r * h
            candidate = tanh(candidate + inner[t] @ weights[2])
        gates[t] = OPS["concatenate"](z, r, candidate, axis=1)
        new_h = z * h + (1.0 - z) * candidate
        outputs[t], h = steps.choose(t, new_h, None), steps.choose(t, new_h, h)
    return stack(outputs), h, stack(gates), stack(inner)


def decompose_gru_gradient(dy, dh, outputs, gates, inner, x, kernel, recurrent_kernel, bias,
                           lengths=None, h0=None, *, reset_after=True, reverse=False):
    """`gru_gradient` as a graph of plain ops."""
    steps = Steps(x, lengths, reverse)
    concatenate = OPS["concatenate"]
    h0 = OPS["zeros_like"](dh) if h0 is None else h0
    weights = blocks(recurrent_kernel, 3)
    da, db, h_before = ([None] * len(steps.order) for _ in range(3))
    for t in reversed(steps.order):
        h_before[t] = steps.before(t, outputs, h0)
        z, r, candidate = blocks(gates[:, t], 3)
        to_z, to_candidate, to_r = _factors(z, r, candidate, inner[:, t], h_before[t], reset_after)
        h_total = dh + steps.choose(t, dy[:, t], None)
        dz, dc = (steps.choose(t, h_total * k, None) for k in (to_z, to_candidate))
        d_inner = dc * r if reset_after else dc @ weights[2].T
        dr = to_r * (dc if reset_after else d_inner)
        da[t] = concatenate(dz, dr, dc, axis=1)
        db[t] = concatenate(dz, dr, d_inner, axis=1)
        new_dh = h_total * z + dz @ weights[0].T + dr @ weights[1].T + (
            d_inner @ weights[2].T if reset_after else d_inner * r)
        dh = steps.choose(t, new_dh, h_total)
    da, db, h_before = stack(da), stack(db), stack(h_before)
    if reset_after:
        recurrent_gradient = kernel_gradient(h_before, db)
        bias_gradient = OPS["stack"](da.sum(axis=(0, 1)), db.sum(axis=(0, 1)), axis=0)
    else:
        units = h_before.shape[2]
        recurrent_gradient = concatenate(kernel_gradient(h_before, da[:, :, :2 * units]),
                                         kernel_gradient(inner, da[:, :, 2 * units:]), axis=1)
        bias_gradient = da.sum(axis=(0, 1))
    return da @ kernel.T, kernel_gradient(steps.x, da), recurrent_gradient, bias_gradient, dh


# ---- the ops -----------------------------------------------------------------------------------


def _flops(x, kernel, recurrent_kernel, *rest, **settings):
    """Two per multiply-add of both products, and about ten per unit for the gates."""
    batch, steps, features = x.shape
    units = recurrent_kernel.shape[0]
    return batch * steps * units * (6 * (features + units) + 30)


_samples = cases(sequences(3, bias_rows=2), sequences(3, 1, bias_rows=2, reverse=True),
                 sequences(3, 1, reset_after=False), sequences(3, 0, reset_after=False,
                                                               reverse=True))

gru_gradient = op(
    "gru_gradient", forward=_gradient, spec=_gradient_spec,
    grad=second_rule(decompose_gru_gradient), samples=cotangents(_samples, _forward, 1),
    flops=lambda dy, dh, outputs, gates, inner, *inputs, **_: 2 * _flops(*inputs))


def _emit_gru(emit, x, kernel, recurrent_kernel, bias, lengths=None, h0=None, *, reset_after,
              reverse):
    """ONNX has the same gates, and two biases in one vector."""
    biases = emit("Reshape", bias, emit.constant([-1])) if reset_after else emit(
        "Concat", bias, emit.constant(np.zeros(bias.shape), bias.dtype), axis=0)
    results = emit_recurrent(emit, "GRU", x, kernel, recurrent_kernel, biases, lengths, (h0,),
                             reverse=reverse, linear_before_reset=int(reset_after))
    return *results, None, None


gru = op("gru", forward=_forward, spec=_spec, flops=_flops, samples=_samples, onnx=_emit_gru,
         grad=gradient_rule(gru_gradient, decompose_gru, 1))
