"""Words: embedded tokens that a recurrent net reads are projected once per word, not per step.

A step's projection is a row of ``table @ kernel``, because the step's input is a row of the table.
Cotangents of all steps with one word are added up before they meet the kernel or the table, since
products are linear. With far fewer words than steps, as in text read by the character, what is left
of the products over the input is next to nothing; forward, every number keeps its bits.
"""
from __future__ import annotations

from typing import NamedTuple

from ..lowering.clusters import FLOATS
from ..tensor import Node, Tensor

# Recurrent ops, and which of their inputs is x.
SEQUENCE = {"lstm": 0, "lstm_gradient": 6, "gru": 0, "gru_gradient": 5, "simple_rnn": 0,
            "simple_rnn_gradient": 3}


class Words(NamedTuple):
    """The table whose rows are the inputs of all steps, and their numbers."""
    table: Tensor              # (words, features)
    tokens: Tensor             # (batch, time) int64


def words(program, x: Tensor) -> Words | None:
    """Where sequences come from a table with at most half as many rows as they have steps."""
    if x.node.op.name != "gather" or x in program.graph.inputs:
        return None
    found = Words(*x.node.inputs)
    fits = x.node.settings["axis"] == 0 and found.tokens.dtype == "int64" and \
        found.table.ndim == 2 and found.tokens.ndim == 2 and \
        0 < 2 * found.table.shape[0] <= found.tokens.size
    return found if fits else None


def usual(program, node: Node) -> bool:
    """Whether the core computes a recurrent node, and not the reference."""
    inputs = [*node.inputs, None, None]
    x, lengths = inputs[SEQUENCE[node.op.name]], inputs[SEQUENCE[node.op.name] + 4]
    return x.dtype.name in FLOATS and (lengths is None or lengths.dtype == "int64") and \
        not any(t in program.graph.inputs for t in node.outputs) and \
        all(s.size for s in (*node.specs, *(t.spec for t in node.inputs)))


def left_out(program, gather: Node) -> bool:
    """Whether nothing reads embedded tokens but recurrent nodes that read the table instead."""
    x = gather.outputs[0]
    return x not in program.kept and words(program, x) is not None and all(
        node.op.name in SEQUENCE and usual(program, node) and
        [i for i, t in enumerate(node.inputs) if t is x] == [SEQUENCE[node.op.name]]
        for node in program.users.get(x, ()))


def table_gradient(program, gradient: Node) -> Node | None:
    """The node that alone reads the cotangent of embedded tokens: it adds up a table's."""
    dx, x = gradient.outputs[0], gradient.inputs[SEQUENCE[gradient.op.name]]
    found, readers = words(program, x), program.users.get(dx, ())
    if found is None or dx in program.kept or len(readers) != 1 or not usual(program, gradient):
        return None
    node = readers[0]
    fits = node.op.name == "scatter_add" and node.settings["axis"] == 0 and \
        node.inputs[0] is found.tokens and node.inputs[1] is dx and \
        node.specs[0] == found.table.spec and node.outputs[0] not in program.graph.inputs
    return node if fits else None


def is_table_gradient(program, node: Node) -> bool:
    """Whether a recurrent gradient computes what this node adds up."""
    before = node.inputs[1].node
    return before.op.name.endswith("_gradient") and before.op.name in SEQUENCE and \
        table_gradient(program, before) is node
