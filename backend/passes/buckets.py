"""Buckets: sums over replicas that can be made at once are made in one exchange."""
from __future__ import annotations

from ..context import surroundings
from ..graph import COLLECTIVES, Graph
from ..op import OPS
from ..tensor import Node, Tensor

LARGE = 2 ** 20     # elements from which an array goes alone: a copy would cost more than is won


def buckets(graph: Graph) -> Graph:
    """The graph with small ``all_reduce`` nodes that do not need each other joined in flat arrays.

    What further collectives need is exchanged together, as early as it can be; what only updates
    and outputs need, in the order in which it is known, so that full buckets travel while the rest
    is computed.
    """
    for _ in range(len(graph.steps)):
        group = next((g for g in groups(graph) if len(g) > 1), None)
        if group is None:
            break
        graph = packed(graph, group)
    return graph


def groups(graph: Graph) -> list[list[Node]]:
    """Small sums of one element type and device at one depth of collectives, in full buckets."""
    depth: dict[Tensor, int] = {}
    way: dict[Tensor, int] = {}                  # how many nodes one after another lead to it
    upstream: set[Node] = set()                  # nodes that a collective needs
    for node in reversed(graph.steps):
        if node.op.name in COLLECTIVES or node in upstream:
            upstream.update(t.node for t in node.inputs)
    found: dict[tuple, list[Node]] = {}
    for node in graph.steps:
        below, before = (max((by.get(t, 0) for t in node.inputs), default=0) for by in (depth, way))
        joins = node.op.name in COLLECTIVES
        for t in node.outputs:
            depth[t], way[t] = below + joins, before + 1
        spec = node.specs[0]
        if node.op.name == "all_reduce" and node.settings["operation"] == "sum" \
                and 0 < spec.size <= LARGE:
            place = below if node in upstream else float("inf")
            found.setdefault((place, spec.dtype.name, node.device or ""), []).append(node)
    pieces = []
    for key in sorted(found):
        room = 0
        for node in sorted(found[key], key=lambda n: way[n.outputs[0]]):      # known first
            room -= node.specs[0].size
            if room < 0:
                pieces.append([])
                room = LARGE - node.specs[0].size
            pieces[-1].append(node)
    return pieces


def packed(graph: Graph, group: list[Node]) -> Graph:
    """The graph with a group of sums in one exchange."""
    reshape, pieces = OPS["reshape"], {}
    with surroundings(device=group[0].device):
        flat = OPS["concatenate"](*(reshape(n.inputs[0], shape=(-1,)) for n in group), axis=0)
        total, first = OPS["all_reduce"](flat), 0
        for node in group:
            size = node.specs[0].size
            part = total[first:first + size]
            pieces[node] = reshape(part, shape=node.specs[0].shape)
            first += size
    return graph.rewrite(lambda node, inputs: (pieces[node],) if node in pieces else None)
