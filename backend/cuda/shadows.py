"""Shadows: weights that are kept rounded beside the weights, for the products that read them so."""
from __future__ import annotations

from ..graph import Graph
from ..lowering.halves import KINDS
from ..passes.patterns import made
from ..tensor import Node, Variable
from .chain import Operand, assignment, launch


def with_shadows(graph: Graph) -> tuple[Graph, dict[Variable, Node]]:
    """The graph with variables in the place of rounded variables, and what each stands for.

    New weights are rounded where they are made, so that the optimizer's launch writes both. They
    are the program's own: states and files know nothing of them.
    """
    fed, found = set(graph.inputs), {}
    for node in graph.steps:
        if node.op.name in KINDS and isinstance(node.inputs[0], Variable) and \
                not fed.intersection((*node.inputs, *node.outputs)):
            shadow = Variable(node.specs[0], None, f"shadow/{node.inputs[0].name}", False)
            shadow.node.device = node.device
            found[node] = shadow
    replaced = graph.rewrite(lambda node, inputs: (found[node],) if node in found else None)
    updates = dict(replaced.updates)
    for node, shadow in found.items():
        new = updates.get(node.inputs[0])
        if new is not None:
            updates[shadow] = made(node.op.name, new, like=node)
    return Graph(replaced.outputs, updates, replaced.inputs), {s: n for n, s in found.items()}


def queue_shadows(program, shadows: dict[Variable, Node]) -> None:
    """Queue the rounding of weights that came from elsewhere."""
    for shadow, node in shadows.items():
        view, kind = program.views[shadow], program.stored(shadow)
        text = f"round_to_{KINDS[node.op.name]}(@in0@)"
        launch(program, f"chain_{node.op.name}", shadow.shape,
               [Operand("in0", program.views[node.inputs[0]], shadow.dtype.name),
                Operand("out1", view, kind, True)], [assignment("out1", kind, text)], [])
