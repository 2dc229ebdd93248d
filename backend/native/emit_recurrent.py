"""Recurrent ops for the core: one product over all steps, one loop over time, closing products."""
from __future__ import annotations

from ..lowering.view import View, contiguous
from ..tensor import Node

FLOATS = ("float32", "float64")


def _prepared(program, node: Node, count: int):
    """Inputs from ``x`` on with None for what is left out, and the core's Sequences; or None."""
    inputs = [*node.inputs, None, None, None]
    x, lengths = inputs[count], inputs[count + 4]
    if x.dtype.name not in FLOATS or lengths is not None and lengths.dtype != "int64":
        return None
    batch, steps, _ = x.shape
    units = inputs[count + 2].shape[0]
    data = program.backend.core.Sequences(batch, steps, units, node.settings["reverse"],
                                          _whole(program, lengths))
    return inputs, data


def _whole(program, t) -> int:
    """A tensor's value, -1 for none."""
    return -1 if t is None else program.whole(t)


def _fresh(program, like, *shape: int) -> int:
    """A new value of a tensor's dtype."""
    return program.core.value(list(shape), like.dtype.name, "arena")


def _matrix(value: int, rows: int, columns: int, turned: bool = False, first: int = 0,
            width: int | None = None) -> View:
    """Columns of a value seen as a matrix that is ``width`` wide; ``turned``: transposed."""
    view = View(value, first, (rows, columns), (width or columns, 1))
    return view._replace(shape=(columns, rows), strides=(1, width or columns)) if turned else view


def _product(program, x: View, y: View, out: View, bias: int = -1) -> None:
    """``out = x @ y + bias``."""
    make, core = program.backend.core.Matrix, program.core
    multiply = core.matmul64 if core.itemsize(out.value) == 8 else core.matmul
    multiply(*(make(v.value, v.offset, list(v.shape), list(v.strides)) for v in (x, y, out)), bias,
             "")


def _project(program, x, kernel, bias: int, out: int) -> None:
    """``x @ kernel + bias`` of all steps."""
    rows = x.shape[0] * x.shape[1]
    _product(program, _matrix(program.whole(x), rows, x.shape[2]),
             _matrix(program.whole(kernel), *kernel.shape), _matrix(out, rows, kernel.shape[1]),
             bias)


def _first_row(program, bias) -> int:
    """The first row of a bias (2, n), as a value of its own."""
    row = bias.spec.like(*bias.shape[1:])
    fresh = program.new(row)
    program._copy_view(View(program.whole(bias), 0, row.shape, contiguous(row.shape)), fresh, row)
    return fresh.value


def _results(program, node: Node) -> list[int]:
    return [program.out(t).value for t in node.outputs]


def _lstm(program, node: Node):
    found = _prepared(program, node, 0)
    if found is None:
        return None
    (x, kernel, recurrent, bias, _, h0, c0, *_), data = found
    outputs, h, c, gates, cells = _results(program, node)
    _project(program, x, kernel, program.whole(bias), gates)
    program.core.lstm(data, gates, program.whole(recurrent), program.whole(bias),
                      _whole(program, h0), _whole(program, c0), outputs, h, c, cells)
    return True


def _gru(program, node: Node):
    found = _prepared(program, node, 0)
    if found is None:
        return None
    (x, kernel, recurrent, bias, _, h0, *_), data = found
    outputs, h, gates, inner = _results(program, node)
    after = node.settings["reset_after"]
    _project(program, x, kernel,
             _first_row(program, bias) if after else program.whole(bias), gates)
    program.core.gru(data, after, gates, program.whole(recurrent), program.whole(bias),
                     _whole(program, h0), outputs, h, inner)
    return True


def _simple_rnn(program, node: Node):
    found = _prepared(program, node, 0)
    if found is None:
        return None
    (x, kernel, recurrent, bias, _, h0, *_), data = found
    outputs, h = _results(program, node)
    _project(program, x, kernel, program.whole(bias), outputs)
    program.core.simple_rnn(data, node.settings["activation"], program.whole(recurrent),
                            _whole(program, h0), outputs, h)
    return True


# ---- gradients ---------------------------------------------------------------------------------

def _close(program, node: Node, data, x, kernel, lengths, dz: int) -> None:
    """Cotangents of x and the kernel from those of ``x W + b`` at all steps."""
    dx, dkernel = node.outputs[:2]
    rows, features, width = x.shape[0] * x.shape[1], *kernel.shape
    value = program.whole(x)
    if lengths is not None:                # padding may hold anything, NaN too
        masked = _fresh(program, x, *x.shape)
        program.core.mask_steps(data, value, masked, features)
        value = masked
    _product(program, _matrix(value, rows, features, turned=True), _matrix(dz, rows, width),
             _matrix(program.out(dkernel).value, features, width))
    if program.is_read(dx):
        _product(program, _matrix(dz, rows, width),
                 _matrix(program.whole(kernel), features, width, turned=True),
                 _matrix(program.out(dx).value, rows, features))


def _sum_of_rows(program, dz: int, outer: int, rows: int, width: int, out) -> None:
    """Sums over samples and steps."""
    program.core.reduce("sum", dz, program.out(out).value, outer, rows, width, 1.0, -1)


def _lstm_gradient(program, node: Node):
    found = _prepared(program, node, 6)
    if found is None:
        return None
    (dy, dh, dc, outputs, gates, cells, x, kernel, recurrent, _, lengths, h0, c0, *_), data = found
    (batch, steps, _), (units, width) = x.shape, recurrent.shape
    dz, before = _fresh(program, x, batch, steps, width), _fresh(program, x, batch, steps, units)
    _, _, drecurrent, dbias, dh0, dc0 = node.outputs
    program.core.lstm_gradient(
        data, *map(program.whole, (dy, dh, dc, outputs, gates, cells, recurrent)),
        _whole(program, h0), _whole(program, c0), dz, before, program.out(dh0).value,
        program.out(dc0).value)
    _close(program, node, data, x, kernel, lengths, dz)
    rows = batch * steps
    _product(program, _matrix(before, rows, units, turned=True), _matrix(dz, rows, width),
             _matrix(program.out(drecurrent).value, units, width))
    _sum_of_rows(program, dz, 1, rows, width, dbias)
    return True


def _gru_gradient(program, node: Node):
    found = _prepared(program, node, 5)
    if found is None:
        return None
    (dy, dh, outputs, gates, inner, x, kernel, recurrent, _, lengths, h0, *_), data = found
    (batch, steps, _), (units, width) = x.shape, recurrent.shape
    rows, after = batch * steps, node.settings["reset_after"]
    da, before = _fresh(program, x, 1 + after, rows, width), _fresh(program, x, batch, steps, units)
    _, _, drecurrent, dbias, dh0 = node.outputs
    program.core.gru_gradient(
        data, after, *map(program.whole, (dy, dh, outputs, gates, inner, recurrent)),
        _whole(program, h0), da, before, program.out(dh0).value)
    _close(program, node, data, x, kernel, lengths, da)
    out = program.out(drecurrent).value
    start = _matrix(before, rows, units, turned=True)
    if after:
        _product(program, start, _matrix(da, rows, width, first=rows * width),
                 _matrix(out, units, width))
    else:
        _product(program, start, _matrix(da, rows, 2 * units, width=width),
                 _matrix(out, units, 2 * units, width=width))
        _product(program, _matrix(program.whole(inner), rows, units, turned=True),
                 _matrix(da, rows, units, first=2 * units, width=width),
                 _matrix(out, units, units, first=2 * units, width=width))
    _sum_of_rows(program, da, 1 + after, rows, width, dbias)
    return True


def _simple_rnn_gradient(program, node: Node):
    found = _prepared(program, node, 3)
    if found is None:
        return None
    (dy, dh, outputs, x, kernel, recurrent, _, lengths, h0, *_), data = found
    (batch, steps, _), units = x.shape, recurrent.shape[0]
    dz, before = _fresh(program, x, batch, steps, units), _fresh(program, x, batch, steps, units)
    _, _, drecurrent, dbias, dh0 = node.outputs
    program.core.simple_rnn_gradient(
        data, node.settings["activation"],
        *map(program.whole, (dy, dh, outputs, recurrent)), _whole(program, h0), dz, before,
        program.out(dh0).value)
    _close(program, node, data, x, kernel, lengths, dz)
    rows = batch * steps
    _product(program, _matrix(before, rows, units, turned=True), _matrix(dz, rows, units),
             _matrix(program.out(drecurrent).value, units, units))
    _sum_of_rows(program, dz, 1, rows, units, dbias)
    return True


RECURRENT = {"lstm": _lstm, "lstm_gradient": _lstm_gradient, "gru": _gru,
             "gru_gradient": _gru_gradient, "simple_rnn": _simple_rnn,
             "simple_rnn_gradient": _simple_rnn_gradient}
