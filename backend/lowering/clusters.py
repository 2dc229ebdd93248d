"""Clusters: which nodes of a graph become one step of a program, and in what order they run."""
from __future__ import annotations

import sys
from collections import Counter
from typing import Callable, Collection, Sequence

from ..graph import Graph
from ..spec import axes_of
from ..tensor import Node, Tensor
from .recompute import LARGEST, recompute

FLOATS = ("float32", "float64")
SUMMED = 4096    # elements from which a chain adds up its results while it has them
COLUMNS = 512    # the longest last axis along which it does


class Cluster:
    """Nodes that are computed together; ``kind`` says how.

    ``before`` has a bit for every cluster that must run earlier; a ``small_update`` can wait. A
    chain may end in ``sums`` of its results. ``written`` is what other clusters read.
    """
    small_update = False

    def __init__(self, kind: str, nodes: list[Node], number: int):
        self.kind, self.nodes, self.number, self.before = kind, nodes, number, 0
        self.sums: set[Node] = set()
        self.written: set[Tensor] = set()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a chain: what each of its nodes has, but the sums."""
        return self.nodes[0].specs[0].shape


class _Plan:
    """The clusters made so far, and what each waits for."""

    def __init__(self, graph: Graph, summed: int):
        self.place, self.summed = {node: i for i, node in enumerate(graph.steps)}, summed
        self.clusters: list[Cluster] = []
        self.of: dict[Node, Cluster] = {}

    def make(self, kind: str, nodes: list[Node]) -> Cluster:
        cluster = Cluster(kind, [], len(self.clusters))
        self.clusters.append(cluster)
        for node in nodes:
            self.add(cluster, node)
        return cluster

    def add(self, cluster: Cluster, node: Node) -> None:
        cluster.nodes.append(node)
        self.of[node] = cluster
        new = 0
        for t in node.inputs:
            other = self.of.get(t.node)
            if other is not None and other is not cluster:
                new |= other.before | 1 << other.number
        if new & ~cluster.before:
            bit = 1 << cluster.number
            cluster.before |= new
            for other in self.clusters:
                if other.before & bit:
                    other.before |= new

    def may_join(self, chain: Cluster, node: Node) -> bool:
        """Whether nothing that the node reads waits for the chain, and so nothing would circle."""
        bit = 1 << chain.number
        return not any(t.node in chain.sums or self.of[t.node] is not chain and
                       self.of[t.node].before & bit for t in node.inputs if t.node in self.of)

    def sum_joins(self, node: Node) -> bool:
        """Whether a sum is added up by the chain that computes what it sums."""
        sums = _sums_columns(node, self.summed)
        chain = self.of.get(node.inputs[0].node) if sums else None
        if chain is None or chain.kind != "chain" or chain.shape != node.inputs[0].shape or \
                not self.may_join(chain, node):
            return False
        self.add(chain, node)
        chain.sums.add(node)
        return True


def clusters(graph: Graph, elementwise: Callable[[Node], bool], patterns: Sequence = (),
             fixed: Collection[Node] = (), apart: bool = False) -> list[Cluster]:
    """The graph's steps as clusters, in an order in which inputs come first.

    Nodes that are ``fixed`` by the weights never share a chain with others. With ``apart`` only
    those do that share tensors, and equal chains can be told by their text; sums over few elements
    are in chains, too, as many of them are one step.
    """
    plan = _Plan(graph, 1 if apart else SUMMED)
    users: dict[Tensor, list[Node]] = {}
    for node in graph.steps:
        for t in node.inputs:
            users.setdefault(t, []).append(node)
    kept = {*graph.outputs, *graph.updates.values(), *graph.inputs}
    fused: dict[Node, tuple[list[Node], Node]] = {}      # and at which of them its step is made
    for node in graph.steps:
        # A product waits for a bias that is computed: nothing else reads it before the sum.
        for pattern, place in patterns:
            nodes = pattern(node, users, kept)
            if nodes and not any(n in fused for n in nodes) and (
                    place is max or _ready(nodes, plan.place)):
                at = place(nodes, key=plan.place.__getitem__)
                fused.update((n, (nodes, at)) for n in nodes)
    largest = sys.maxsize if apart else LARGEST
    chains: dict[tuple, Cluster] = {}          # the latest of each shape
    for node in graph.steps:
        if node in fused:
            nodes, at = fused[node]
            if node is at:
                plan.make("fused", nodes)
            continue
        if not elementwise(node):
            if not plan.sum_joins(node):
                plan.make("single", [node])
            continue
        shape = node.specs[0].shape, node in fixed
        near = [plan.of[t.node] for t in node.inputs if t.node in plan.of]
        if shape in chains:
            near.append(chains[shape])
        for chain in dict.fromkeys(near):
            if chain.kind == "chain" and len(chain.nodes) < largest and \
                    (chain.shape, chain.nodes[0] in fixed) == shape and plan.may_join(chain, node):
                plan.add(chain, node)
                break
        else:
            chain = plan.make("chain", [node])
        chains[shape] = chain
    if apart:
        plan = _apart(plan)
    recompute(plan, users, kept, fixed)
    return _freeing_early(_ordered(plan), kept, set(graph.updates.values()))


def _apart(plan: _Plan) -> _Plan:
    """The plan with chains cut where no tensor of their own shape holds them together."""
    cut = _Plan.__new__(_Plan)
    cut.place, cut.clusters, cut.of = plan.place, [], {}
    for cluster in _ordered(plan):
        parts = _connected(cluster) if cluster.kind == "chain" else [cluster.nodes]
        for nodes in parts:
            cut.make(cluster.kind, nodes).sums = cluster.sums.intersection(nodes)
    return cut


def _connected(chain: Cluster) -> list[list[Node]]:
    """A chain's nodes in groups of which each shares no tensor of the chain's shape with others."""
    group: dict[Node, list[Node]] = {}
    holders: dict[Tensor, Node] = {}
    for node in chain.nodes:
        group[node] = [node]
        for t in (*node.inputs, *node.outputs):
            other = holders.setdefault(t, node)
            if group[other] is not group[node] and t.shape == chain.shape and (
                    t.shape or t.node in group):       # reading a number again costs nothing
                group[other].extend(group[node])
                for n in group[node]:
                    group[n] = group[other]
    return [_by_structure(nodes) for nodes in {id(g): g for g in group.values()}.values()]


def _by_structure(nodes: list[Node]) -> list[Node]:
    """Inputs before what reads them, in an order that equal graphs have in common."""
    read = {t.node for n in nodes for t in n.inputs}
    found: dict[Node, None] = {}
    inside = set(nodes)
    stack = [(n, False) for n in nodes if n not in read][::-1]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            found[node] = None
        elif node not in found:
            stack.append((node, True))
            stack += [(t.node, False) for t in reversed(node.inputs) if t.node in inside]
    return list(found)


def _sums_columns(node: Node, summed: int) -> bool:
    """Whether a node sums over all axes of much, or over all but a short last one."""
    if node.op.name not in ("sum", "batch_sum") or node.specs[0].dtype.name not in FLOATS:
        return False
    x = node.inputs[0]
    axes = axes_of(node.settings["axis" if node.op.name == "sum" else "axes"], x.ndim)
    if len(axes) == x.ndim:
        return x.spec.size >= summed
    return x.spec.size >= SUMMED and axes == tuple(range(x.ndim - 1)) and x.shape[-1] <= COLUMNS


def _ready(nodes: list[Node], place: dict[Node, int]) -> bool:
    """Whether all that the nodes read is there when the first of them comes."""
    first = min(place[n] for n in nodes)
    return all(t.node in nodes or place.get(t.node, -1) < first for n in nodes for t in n.inputs)


def _ordered(plan: _Plan) -> list[Cluster]:
    """Clusters sorted so that inputs come first, otherwise by their first node."""
    first = {c: min(plan.place[n] for n in c.nodes) for c in plan.clusters}
    order: list[Cluster] = []
    done: set[Cluster] = set()
    for start in sorted(plan.clusters, key=first.__getitem__):
        stack = [(start, False)]
        while stack:
            cluster, expanded = stack.pop()
            if expanded:
                order.append(cluster)
            elif cluster not in done:
                done.add(cluster)
                stack.append((cluster, True))
                own = set(cluster.nodes)
                below = {plan.of[t.node] for n in cluster.nodes for t in n.inputs
                         if t.node in plan.of and t.node not in own} - done
                stack.extend((c, False) for c in sorted(below, key=lambda c: -first[c]))
    return order


def _freeing_early(order: list[Cluster], kept: set[Tensor],
                   updates: set[Tensor]) -> list[Cluster]:
    """The order, but what ends the need for more memory than it takes comes as soon as it can.

    A kernel's gradient then reads the gradient of its layer while that is in the cache, and the
    gradients of all layers are never in memory together.
    """
    place = {cluster: i for i, cluster in enumerate(order)}
    reads: dict[Cluster, set[Tensor]] = {}
    readers: dict[Tensor, list[Cluster]] = {}
    for cluster in order:
        inside = set(cluster.nodes)
        reads[cluster] = {t for n in cluster.nodes for t in n.inputs if t.node not in inside}
        for t in reads[cluster]:
            readers.setdefault(t, []).append(cluster)
    left = Counter({t: len(found) for t, found in readers.items()})
    unmade = {t for c in order for t in c.written}
    size = {t: t.spec.nbytes for t in unmade - kept}
    done: dict[Cluster, None] = {}

    def is_early(cluster: Cluster) -> bool:
        if updates & cluster.written or unmade & reads[cluster]:
            return False                                # updates wait for all readers
        freed = sum(size.get(t, 0) for t in reads[cluster] if left[t] == 1)
        return freed > sum(size.get(t, 0) for t in cluster.written)

    for start in order:
        waiting = [start]
        while waiting:
            cluster = waiting.pop()
            if cluster in done or cluster is not start and not is_early(cluster):
                continue
            done[cluster] = None
            unmade -= cluster.written
            left.subtract(reads[cluster])
            near = {c for t in cluster.written | reads[cluster] for c in readers.get(t, ())}
            waiting += sorted(near, key=place.__getitem__, reverse=True)
    return list(done)
