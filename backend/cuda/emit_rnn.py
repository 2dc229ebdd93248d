"""Recurrent ops by a library, where a device has one and its layers are the ops'."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..lowering.view import View, contiguous
from ..tensor import Node, Tensor, constant_op
from .chain import Operand, emit_copy, launch
from .cudnn_rnn import CELLS
from .device import Needs, Pointer
from .emit_recurrent import NONE, OWN, live_steps, reads_ten_bits, with_lengths
from .emit_reduce import sizes
from .expression import FLOATS, TYPES

FINALS = {"lstm": 2, "gru": 1, "simple_rnn": 1}       # last states among an op's results


class Passed(NamedTuple):
    """What a layer's forward call leaves to its gradient.

    Where rows end early, at ``lengths``, the library runs on over zeros to the last step: ``y`` is
    what it gave, and the state at a row's end is one of its outputs.
    """
    settings: dict
    lengths: Tensor | None
    needs: Needs
    x: Pointer
    y: Pointer
    weights: int
    reserve: Pointer


def _emit_forward(program, node: Node) -> bool:
    """Queue an op's call; False if kernels have to do."""
    lengths, states = _lengths(node), FINALS[node.op.name]
    cell = _cell(program, node, lengths)
    x, kernel, recurrent, bias, *rest = node.inputs
    following = _gradients(program, node)
    if cell is None or following is None or lengths is not None and states == 2 and not all(
            _is_zero(n.inputs[2].node) for n in following):
        return False
    (batch, steps, features), units = x.shape, recurrent.shape[0]
    settings = dict(cell=cell, batch=batch, steps=steps, features=features, units=units,
                    dtype=x.dtype.name, training=bool(following),
                    tf32=reads_ten_bits(program, recurrent))
    needs = program.device.needs("rnn_forward", settings)
    if needs is None:
        return False
    weights = _packed(program, needs, cell, (kernel, recurrent, bias))
    outputs, *finals = node.outputs[:1 + states]
    reverse, reserve = node.settings["reverse"], program.room(needs.reserve)
    given, y = _in_time(program, x, reverse, lengths), program.write(outputs)
    if reverse or lengths is not None:
        y = Pointer(program.scratch(outputs.shape, settings["dtype"]), 0, True)
    before = _two([program.read(t) for t in rest[1:]])
    program.call("rnn_forward", [
        given, *before, Pointer(weights), y, *_two([program.write(t) for t in finals]), reserve,
        program.room(needs.workspace)], **settings)
    y = y._replace(written=False)
    _out_of_time(program, y, outputs, reverse, lengths)
    if lengths is not None:
        with_lengths(program, "last_states", finals[0].spec.size, lengths, settings["dtype"],
                     [y, before[0], program.write(finals[0]), *sizes(batch, steps, units)])
    program.passed[outputs] = Passed(settings, lengths, needs, given, y, weights, reserve)
    return True


def _emit_gradient(program, node: Node) -> bool:
    """Queue the call of an op's gradient, if the op itself was a library's."""
    name = node.op.name.removesuffix("_gradient")
    finals = FINALS[name]
    passed = program.passed.get(node.inputs[1 + finals])
    if passed is None:
        return False
    first = len(node.inputs) - len(_forward_node(node).inputs)
    rest = node.inputs[first + 4:]
    settings, lengths, needs, dtype = *passed[:3], passed.settings["dtype"]
    reverse = node.settings["reverse"]
    dx, *weights, dh, dc = [*node.outputs, None][:6]
    count, size = needs.weights // dx.dtype.itemsize, dx.dtype.itemsize
    slopes = View.whole(program.scratch((count,), dtype), (count,))
    _zero(program, slopes, dtype)                        # the library adds to them
    to_x = program.write(dx) if not reverse and lengths is None else \
        Pointer(program.scratch(dx.shape, dtype), 0, True)
    dy = _in_time(program, node.inputs[0], reverse, lengths)
    seeds = [program.read(t) for t in node.inputs[1:1 + finals]]
    if lengths is not None:
        last, (batch, steps, units) = seeds[0], node.inputs[0].shape
        with_lengths(program, "last_states_gradient", batch * units, lengths, dtype,
                     [last, dy._replace(written=True), *sizes(batch, steps, units)])
        none = View.whole(program.scratch((batch, units), dtype), (batch, units))
        _zero(program, none, dtype)
        seeds[0] = Pointer(none.value)
    program.call("rnn_gradient", [
        passed.x, *_two([program.read(t) for t in rest[1:]]), Pointer(passed.weights), passed.y, dy,
        *_two(seeds), to_x, *_two([program.write(t) for t in (dh, dc) if t is not None]),
        Pointer(slopes.value, 0, True), passed.reserve, program.room(needs.workspace)],
        **settings)
    _out_of_time(program, to_x._replace(written=False), dx, reverse, lengths)
    if lengths is not None:
        with_lengths(program, "first_states_gradient", batch * units, lengths, dtype,
                     [last, program.write(dh), *sizes(batch, units)])
    for ours, theirs in _parts(needs, settings["cell"], slopes.value,
                               [program.out(t) for t in weights], size):
        emit_copy(program, theirs, ours, dtype)
    return True


def _cell(program, node: Node, lengths: Tensor | None) -> str | None:
    """The library's name of an op's kind; None if it has no such cell.

    Beyond the end of a row a ReLU has no bound, and the state c is not among the outputs.
    """
    name, settings, (x, *_) = node.op.name, node.settings, node.inputs
    cell = settings["activation"] if name == "simple_rnn" else name
    fits = cell in CELLS and settings.get("reset_after", True) and x.dtype.name in FLOATS
    if lengths is not None:
        fits = fits and cell != "relu" and lengths.dtype.name in TYPES and not (
            name == "lstm" and program.is_read(node.outputs[2]))
    return cell if fits else None


def _is_zero(slopes: Node) -> bool:
    """Whether cotangents are known to be zero, as those of a state c that nothing reads."""
    if slopes.op.name == "broadcast_to":
        slopes = slopes.inputs[0].node
    return slopes.op.name == "zeros_like" or \
        slopes.op is constant_op and not np.any(slopes.settings["value"])


def _lengths(node: Node) -> Tensor | None:
    """Where rows end; None if all have all steps."""
    given = node.inputs[4:5]
    return given[0] if given and not _is_full(given[0].node, node.inputs[0].shape[1]) else None


def _is_full(lengths: Node, steps: int) -> bool:
    """Whether lengths are known to be those of all steps."""
    return lengths.op.name == "full_lengths" or \
        lengths.op is constant_op and bool(np.all(lengths.settings["value"] == steps))


def _gradients(program, node: Node) -> list[Node] | None:
    """The gradient of an op, if there is one; None if anything else reads what is saved for it."""
    users = [n for t in node.outputs for n in program.users.get(t, ())]
    found = [n for n in dict.fromkeys(users) if n.op.name == f"{node.op.name}_gradient"
             and _forward_node(n) is node]
    saved = node.outputs[1 + FINALS[node.op.name]:]
    others = any(t in program.kept or set(program.users.get(t, ())) - {*found} for t in saved)
    return None if others or len(found) > 1 else found


def _forward_node(node: Node) -> Node:
    """The op whose gradient a node is."""
    return node.inputs[1 + FINALS[node.op.name.removesuffix("_gradient")]].node


def _two(states: list) -> list:
    """The states h and c; a cell without c is given none."""
    return [*states, NONE, NONE][:2]


# ---- weights -----------------------------------------------------------------------------------

def _packed(program, needs: Needs, cell: str, weights) -> int:
    """A value with all weights as the library has them; zero are the biases that we have not."""
    kind = weights[0].dtype
    count = needs.weights // kind.itemsize
    packed = View.whole(program.scratch((count,), kind.name), (count,))
    _zero(program, packed, kind.name)
    views = [program.views[t] for t in weights]
    for ours, theirs in _parts(needs, cell, packed.value, views, kind.itemsize):
        emit_copy(program, ours, theirs, kind.name)
    return packed.value


def _parts(needs: Needs, cell: str, packed: int, weights: list[View], itemsize: int):
    """Pairs of views, ours and the library's: by gate both matrices, and the biases we have."""
    *matrices, bias = weights
    units, gates = matrices[1].shape[0], CELLS[cell].gates
    rows = bias if len(bias.shape) == 2 else bias._replace(shape=(1, *bias.shape),
                                                           strides=(0, *bias.strides))
    for place, (at_matrix, at_bias) in enumerate(needs.places):
        row, gate = place // len(gates), gates[place % len(gates)]
        ours = matrices[row]
        shape, (down, along) = (units, ours.shape[0]), ours.strides
        yield (View(ours.value, ours.offset + gate * units * along, shape, (along, down)),
               View(packed, at_matrix // itemsize, shape, contiguous(shape)))
        if row < rows.shape[0]:
            first = rows.offset + row * rows.strides[0] + gate * units * rows.strides[1]
            yield (View(rows.value, first, (units,), rows.strides[1:]),
                   View(packed, at_bias // itemsize, (units,), (1,)))


def _zero(program, view: View, dtype: str) -> None:
    """Queue the filling of memory with zeros."""
    launch(program, "chain_zero", view.shape, [Operand("out0", view, dtype, True)],
           ["    @out0@ = 0;"], [])


# ---- time --------------------------------------------------------------------------------------

def _backwards(view: View) -> View:
    """Sequences from their last step to their first."""
    return view._replace(offset=view.offset + (view.shape[1] - 1) * view.strides[1],
                         strides=(view.strides[0], -view.strides[1], view.strides[2]))


def _in_time(program, t: Tensor, reverse: bool, lengths: Tensor | None) -> Pointer:
    """Sequences in the order in which their steps are run."""
    if not reverse and lengths is None:
        return program.read(t)
    fresh = View.whole(program.scratch(t.shape, t.dtype.name), t.shape)
    if lengths is None:
        emit_copy(program, _backwards(program.views[t]), fresh, t.dtype.name)
    else:
        live_steps(program, program.read(t), lengths, Pointer(fresh.value, 0, True), t, reverse)
    return Pointer(fresh.value)


def _out_of_time(program, run: Pointer, t: Tensor, reverse: bool, lengths: Tensor | None) -> None:
    """Copy sequences in the order of steps to a node's result, unless they are that."""
    if lengths is not None:
        live_steps(program, run, lengths, program.write(t), t, reverse)
    elif reverse:
        emit_copy(program, _backwards(View.whole(run.value, t.shape)), program.out(t),
                  t.dtype.name)


def _first(library, kernels):
    """An emitter that asks a library first."""
    return lambda program, node: library(program, node) or kernels(program, node)


RECURRENT = {name: _first(_emit_gradient if name.endswith("_gradient") else _emit_forward, kernels)
             for name, kernels in OWN.items()}
