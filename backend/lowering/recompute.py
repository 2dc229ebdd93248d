"""What chains compute anew rather than write to memory and read again."""
from __future__ import annotations

from typing import Collection

from ..tensor import Node, Tensor, Variable

LARGEST = 48     # nodes in one elementwise chain: its registers must stay in the cache
MOST = 6         # nodes given to another chain at once
CHEAP = frozenset(("add", "subtract", "multiply", "negative", "square", "where", "greater",
                   "relu"))


def recompute(plan, users: dict[Tensor, list[Node]], kept: set[Tensor],
              fixed: Collection[Node]) -> None:
    """Give chains nodes of other chains where less is read and written by that.

    What is ``fixed`` by the weights stays where it is. It sets every cluster's ``written``, and
    takes away nodes that nothing needs any more.
    """
    traffic = _Traffic(plan, users, kept)
    for node in sorted(plan.of, key=plan.place.__getitem__, reverse=True):
        chain, t = plan.of[node], node.outputs[0]
        if chain.kind != "chain" or node in chain.sums or node in fixed or t in kept:
            continue
        others = traffic.readers(t)
        if not others or any(c.kind != "chain" or c.shape != chain.shape for c in others):
            continue
        recipes = [r for r in ([node], _cone(node, chain, traffic, fixed))
                   if len(r) <= MOST and all(n.op.name in CHEAP or _moves(n, r, others, users)
                                             for n in r)]
        found = [(traffic.saved(chain, others, r), len(r), i) for i, r in enumerate(recipes)]
        if found and min(found)[0] < 0:
            traffic.give(others, recipes[min(found)[2]])
    for cluster in plan.clusters:
        cluster.written = {t for n in cluster.nodes if plan.of[n] is cluster for t in n.outputs
                           if t in kept or traffic.readers(t)}
    for cluster in plan.clusters:
        if cluster.kind == "chain":
            live = traffic.live(cluster)
            cluster.nodes = [n for n in cluster.nodes if n in live]
    plan.clusters = [c for c in plan.clusters if c.nodes]


def _cone(node: Node, chain, traffic: _Traffic, fixed) -> list[Node]:
    """A node and what only this chain has of all it is computed from."""
    nodes, waiting = [], [node]
    while waiting:
        n = waiting.pop()
        nodes.append(n)
        waiting += [t.node for t in n.inputs if t.node in chain.nodes and t.node not in fixed and
                    t.node not in chain.sums and t.node not in nodes and not traffic.readers(t)]
    return nodes


def _moves(node: Node, recipe: list[Node], others: list, users) -> bool:
    """Whether a node is computed in one other chain instead of its own, not anew."""
    return len(others) == 1 and all(n in recipe or n in others[0].nodes
                                    for n in users.get(node.outputs[0], ()))


class _Traffic:
    """Which clusters hold a node, and how many bytes they read and write."""

    def __init__(self, plan, users, kept):
        self.plan, self.users, self.kept = plan, users, kept
        self.holders = {node: [cluster] for node, cluster in plan.of.items()}

    def readers(self, t: Tensor) -> list:
        """Clusters that read a tensor because they do not compute it themselves."""
        own = self.holders[t.node]
        return list(dict.fromkeys(c for n in self.users.get(t, ()) for c in self.holders[n]
                                  if c not in own))

    def live(self, chain) -> set[Node]:
        """Nodes of a chain that its sums or other clusters need."""
        waiting = [n for n in chain.nodes if n in chain.sums or self.plan.of[n] is chain and
                   (n.outputs[0] in self.kept or self.readers(n.outputs[0]))]
        inside, live = set(chain.nodes), set()
        while waiting:
            n = waiting.pop()
            if n not in live:
                live.add(n)
                waiting += [t.node for t in n.inputs if t.node in inside]
        return live

    def bytes(self, chain) -> int:
        """What a chain reads and writes."""
        live = self.live(chain)
        read = {_source(t) for n in live for t in n.inputs if t.node not in live}
        written = [t for n in live if self.plan.of[n] is chain for t in n.outputs
                   if t in self.kept or self.readers(t)]
        return sum(t.spec.size * t.spec.dtype.itemsize for t in (*read, *written))

    def saved(self, chain, others: list, recipe: list[Node]) -> int:
        """How many bytes more move when other chains are given nodes; below zero is a gain."""
        if any(isinstance(t, Variable) for n in recipe for t in n.inputs) or \
                any(len({*c.nodes, *recipe}) > LARGEST for c in others):
            return 0
        # What the recipe reads may be written by chains that did not write it before.
        concerned = dict.fromkeys([chain, *others, *(self.plan.of[t.node] for n in recipe
                                   for t in n.inputs if t.node in self.plan.of)])
        concerned = [c for c in concerned if c.kind == "chain"]
        before = sum(map(self.bytes, concerned))
        kept = [(c, list(c.nodes)) for c in others], {n: list(self.holders[n]) for n in recipe}
        self.give(others, recipe)
        after = sum(map(self.bytes, concerned))
        for c, nodes in kept[0]:
            c.nodes = nodes
        self.holders.update(kept[1])
        return after - before

    def give(self, others: list, recipe: list[Node]) -> None:
        """Let other chains compute nodes as well."""
        for chain in others:
            new = [n for n in recipe if n not in chain.nodes]
            chain.nodes = sorted([*chain.nodes, *new], key=self.plan.place.__getitem__)
            for n in new:
                self.holders[n].append(chain)


def _source(t: Tensor) -> Tensor:
    """The tensor whose memory is read for one that is seen in a larger shape."""
    while t.node.op.name in ("broadcast_to", "broadcast_like", "expand_dims", "reshape"):
        t = t.node.inputs[0]
    return t
