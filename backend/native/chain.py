"""Chains: what a cluster of elementwise nodes is as a register program of the core."""
from __future__ import annotations

import numpy as np

from ..errors import Error, GraphError
from ..lowering.clusters import Cluster
from ..lowering.expression import parse
from ..lowering.view import View
from ..tensor import Node, Tensor, constant_op
from .assembler import Assembler


def fits_chain(program, node: Node) -> bool:
    """Whether the core can compute a node inside an elementwise chain."""
    spec = node.specs[0]
    if node.op.code is None or len(node.specs) > 1 or not spec.size or \
            any(t in program.graph.inputs for t in node.outputs):
        return False
    try:
        _assemble(Assembler(program.backend.loops), node,
                  {t: (i, t.dtype.name) for i, t in enumerate(node.inputs)})
    except Error:
        return False
    return True


def _assemble(assembler: Assembler, node: Node, registers) -> tuple[int, str]:
    dtype = node.specs[0].dtype.name
    kinds = [t.dtype.name for t in node.inputs if t.dtype != bool]
    tree = parse(node.op.code, node.settings)
    result = assembler.tree(tree, [registers[t] for t in node.inputs],
                            kinds[0] if kinds and node.op.name != "cast" else dtype)
    if result[1] != dtype and node.op.name not in ("cast", "zeros_like", "ones_like"):
        raise GraphError(f"{node.op.name} gives {result[1]}, not {dtype}")
    return assembler.cast(result, dtype)


def chain(program, cluster: Cluster):
    """A chain of the core, not yet a step."""
    core, shape = program.backend.core, cluster.shape
    inside = {n.outputs[0] for n in cluster.nodes}
    assembler = Assembler(program.backend.loops)
    registers: dict[Tensor, tuple[int, str]] = {}
    operands: list[View] = []

    def load(t: Tensor, view: View) -> tuple[int, str]:
        operands.append(view.broadcast(view.shape, shape))
        return assembler.load(len(operands) - 1, t.dtype.name)

    for node in cluster.nodes:
        if node in cluster.sums:
            registers[node.outputs[0]] = _summand(program, assembler, node, registers, load)
            continue
        for t in node.inputs:
            if t in registers or t in inside:
                continue
            number = _number(program, t)
            registers[t] = load(t, program.views[t]) if number is None else \
                assembler.number(number, t.dtype.name)
        registers[node.outputs[0]] = _assemble(assembler, node, registers) \
            if program.stored(node.outputs[0]) != "bfloat16" else \
            assembler.cast(registers[node.inputs[0]], "bfloat16")
    wanted = [t for t in cluster.written if t.node not in cluster.sums]
    wanted.sort(key=lambda t: registers[t][0])
    sums = sorted((n.outputs[0] for n in cluster.sums), key=lambda t: registers[t][0])
    code, places, used = assembler.registers([registers[t][0] for t in (*wanted, *sums)])
    outputs = [program.out(t) for t in wanted]
    names = ",".join(dict.fromkeys(n.op.name for n in cluster.nodes))
    return program.core.chain(
        names if len(names) < 60 else names[:57] + "...", list(shape),
        [v.operand(core, shape) for v in operands], [v.operand(core, shape) for v in outputs],
        places[:len(wanted)], [core.Instruction(*line) for line in code], used,
        [core.Columns(place, program.out(t).value, t.spec.size)
         for place, t in zip(places[len(wanted):], sums)])


def _summand(program, assembler: Assembler, node: Node, registers, load) -> tuple[int, str]:
    """What a chain adds up for a sum: an input, times its row's weight."""
    x, *weights = node.inputs
    if not weights:
        return registers[x]
    view = program.views[weights[0]]
    column = View(view.value, view.offset, (*view.shape, *(1,) * (x.ndim - 1)),
                  (*view.strides, *(0,) * (x.ndim - 1)))
    dtype = x.dtype.name
    return assembler.operation("mul", dtype, dtype, (registers[x], load(weights[0], column)))


def _number(program, t: Tensor) -> float | None:
    """The value of a constant that is one number, if a float holds it exactly."""
    if t.node.op is not constant_op or t.spec.size != 1 or t in program.graph.inputs:
        return None
    number = np.asarray(t.node.settings["value"]).item()
    return float(number) if float(number) == number else None
