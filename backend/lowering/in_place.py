"""In place: updates that a chain may write straight into their variable's memory."""
from __future__ import annotations

from typing import Callable

from ..graph import Graph
from ..tensor import Tensor, Variable
from .clusters import Cluster


def in_place(graph: Graph, order: list[Cluster], is_view: Callable[[Tensor], bool]
             ) -> dict[Tensor, Variable]:
    """Which results are written where a variable is.

    ``is_view`` says whether a tensor is read where its node's first input lies. An elementwise
    chain may do so when nothing after it reads the old value; the loop over blocks
    reads an element before it writes it.
    """
    place = {n: i for i, c in enumerate(order) for n in c.nodes}
    last: dict[Variable, int] = {}
    odd = set(graph.outputs)
    for i, cluster in enumerate(order):
        for node in cluster.nodes:
            for t in node.inputs:
                for v in bases(graph, t, is_view):
                    last[v] = i
                    if cluster.kind == "chain" and t is not v:
                        odd.add((v, i))      # read through a view by a chain
    found: dict[Tensor, Variable] = {}
    results = list(graph.updates.values())
    for v, t in graph.updates.items():
        at = place.get(t.node, -1)
        if at >= 0 and order[at].kind == "chain" and last.get(v, -1) <= at and \
                (v, at) not in odd and v not in odd and t not in graph.outputs and \
                v not in results and results.count(t) == 1 and t.spec == v.spec:
            found[t] = v
    return found


def bases(graph: Graph, t: Tensor, is_view: Callable[[Tensor], bool]) -> list[Variable]:
    """The variable a tensor is, or is a view of."""
    while t not in graph.inputs and is_view(t):
        t = t.node.inputs[0]
    return [t] if isinstance(t, Variable) else []
