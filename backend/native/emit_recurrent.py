"""Recurrent ops for the core: one product over all steps, one loop over time, closing products."""
from __future__ import annotations

from ..lowering.view import View, contiguous
from ..tensor import Node
from .words import SEQUENCE, Words, table_gradient, usual, words


def _prepared(program, node: Node):
    """Inputs from ``x`` on with None for what is left out, and the core's Sequences; or None."""
    if not usual(program, node):
        return None
    inputs, count = [*node.inputs, None, None, None], SEQUENCE[node.op.name]
    return inputs, _sequences(program, inputs[count], inputs[count + 2], inputs[count + 4],
                              node.settings["reverse"])


def _sequences(program, x, recurrent, lengths=None, reverse: bool = False):
    """The core's description; with None for lengths all steps count."""
    return program.backend.core.Sequences(*x.shape[:2], recurrent.shape[0], reverse,
                                          _whole(program, lengths))


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


def _projected_words(program, found: Words, kernel, bias: int) -> int:
    """``table @ kernel + bias``, once for a set of weights where they stay."""
    core, table = program.core, program.whole(found.table)
    out = _fresh(program, kernel, found.table.shape[0], kernel.shape[1])
    before = core.once(all(map(core.fixed, (table, program.whole(kernel), bias))))
    _product(program, _matrix(table, *found.table.shape),
             _matrix(program.whole(kernel), *kernel.shape),
             _matrix(out, found.table.shape[0], kernel.shape[1]), bias)
    core.once(before)
    return out


def _project(program, x, kernel, bias: int, out: int) -> None:
    """``x @ kernel + bias`` of all steps."""
    found = words(program, x)
    if found:
        program.core.gather(_projected_words(program, found, kernel, bias),
                            program.whole(found.tokens), out, found.tokens.size,
                            found.table.shape[0], kernel.shape[1])
        return
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
    found = _prepared(program, node)
    if found is None:
        return None
    (x, kernel, recurrent, bias, _, h0, c0, *_), data = found
    outputs, h, c, gates, cells = _results(program, node)
    table, read = -1, words(program, x)
    if read:
        table = _projected_words(program, read, kernel, program.whole(bias))
    else:
        _project(program, x, kernel, program.whole(bias), gates)
    program.core.lstm(data, table, program.whole(read.tokens) if read else -1, gates,
                      program.whole(recurrent), program.whole(bias), _whole(program, h0),
                      _whole(program, c0), outputs, h, c, cells)
    return True


def _gru(program, node: Node):
    found = _prepared(program, node)
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
    found = _prepared(program, node)
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
    found = words(program, x)
    if found:
        sums = _fresh(program, kernel, found.table.shape[0], width)
        program.core.sum_live(_sequences(program, x, kernel), program.whole(found.tokens), dz, sums,
                              found.table.shape[0], width)
        _close_words(program, node, kernel, found, sums)
    else:
        value = program.whole(x)
        if lengths is not None:                # padding may hold anything, NaN too
            masked = _fresh(program, x, *x.shape)
            program.core.mask_steps(data, value, masked, features)
            value = masked
        _product(program, _matrix(value, rows, features, turned=True), _matrix(dz, rows, width),
                 _matrix(program.out(dkernel).value, features, width))
    if program.is_read(dx) and not table_gradient(program, node):
        _back(program, dz, kernel, rows, program.out(dx).value)


def _close_words(program, node: Node, kernel, found: Words, sums: int) -> None:
    """Cotangents of the kernel, and of the table where that is all that is wanted of x.

    ``sums`` are those of ``x W + b``, added up by word.
    """
    (many, features), width = found.table.shape, kernel.shape[1]
    _product(program, _matrix(program.whole(found.table), many, features, turned=True),
             _matrix(sums, many, width),
             _matrix(program.out(node.outputs[1]).value, features, width))
    target = table_gradient(program, node)
    if target:
        _back(program, sums, kernel, many, program.out(target.outputs[0]).value)


def _back(program, dz: int, kernel, rows: int, out: int) -> None:
    """What reaches the inputs of ``x W``."""
    features, width = kernel.shape
    _product(program, _matrix(dz, rows, width),
             _matrix(program.whole(kernel), features, width, turned=True),
             _matrix(out, rows, features))


def _sum_of_rows(program, dz: int, outer: int, rows: int, width: int, out) -> None:
    """Sums over samples and steps."""
    program.core.reduce("sum", dz, program.out(out).value, outer, rows, width, 1.0, -1)


def _lstm_gradient(program, node: Node):
    found = _prepared(program, node)
    if found is None:
        return None
    (dy, dh, dc, outputs, gates, cells, x, kernel, recurrent, _, lengths, h0, c0, *_), data = found
    (batch, steps, features), (units, width), core = x.shape, recurrent.shape, program.core
    rows = batch * steps
    dz, before = _fresh(program, x, rows, width), _fresh(program, x, rows, units)
    dx, dkernel, drecurrent, dbias, dh0, dc0 = node.outputs
    core.lstm_gradient(
        data, *map(program.whole, (dy, dh, dc, outputs, gates, cells, recurrent)),
        _whole(program, h0), _whole(program, c0), dz, before, program.out(dh0).value,
        program.out(dc0).value)
    read, many, sums = words(program, x), 1, program.out(dbias).value
    if read:
        many = read.table.shape[0]
        sums = _fresh(program, x, many, width)
    core.live_product(data, before, dz, program.out(drecurrent).value, units, width,
                      program.whole(read.tokens) if read else -1, sums, many)
    if read:
        _close_words(program, node, kernel, read, sums)
        _sum_of_rows(program, sums, 1, many, width, dbias)
    else:
        value = program.whole(x)
        if lengths is not None:
            value = _fresh(program, x, rows, features)
            core.take_live(data, program.whole(x), value, features)
        core.live_product(data, value, dz, program.out(dkernel).value, features, width, -1, -1, 0)
    if program.is_read(dx) and not table_gradient(program, node):
        to = program.out(dx).value
        live = to if lengths is None else _fresh(program, x, rows, features)
        _back(program, dz, kernel, rows, live)
        if lengths is not None:
            core.put_live(data, live, to, features)
    return True


def _gru_gradient(program, node: Node):
    found = _prepared(program, node)
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
    found = _prepared(program, node)
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
