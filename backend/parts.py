"""Parts: a placed graph cut into graphs of one device each, and what each has to wait for."""
from __future__ import annotations

from typing import NamedTuple

from .graph import Graph
from .tensor import LEAVES, Node, Tensor, Variable, constant_op, copy_op


class Part(NamedTuple):
    """Nodes of one device that are computed together.

    Attributes
    ----------
    device : str
        Where.
    graph : Graph
        What: its inputs are what is fed or comes from other parts, already carried over; its
        outputs what other parts read or is returned; its updates those that may be written in
        place, because whoever else reads the old value has finished.
    feeds : tuple of Tensor
        For each input of the graph, the tensor of the whole graph whose value it is.
    after : tuple of int
        Numbers of the parts to wait for, all smaller than this one's.
    """
    device: str
    graph: Graph
    feeds: tuple[Tensor, ...]
    after: tuple[int, ...]


def is_placed(graph: Graph) -> bool:
    """Whether there are several devices, and copies wherever they meet."""
    def at_home(node: Node) -> bool:
        return node.op is copy_op or all(
            t.node.op is constant_op or graph.place(t.node) == graph.place(node)
            for t in node.inputs)

    return len(graph.devices) > 1 and all(map(at_home, graph.steps))


def source(graph: Graph, t: Tensor) -> Tensor:
    """The tensor whose value was carried over to be this one."""
    while t not in graph.inputs and graph.moves(t.node):
        t = t.node.inputs[0]
    return t


def cut(graph: Graph) -> list[Part]:
    """The parts of a placed graph, in an order in which what they wait for comes first.

    Nodes are together if they are on one device, wait for the same copies from other devices, and
    are waited for by the same copies to other devices. So a part starts as soon as it can, sends as
    soon as it can, and no two parts wait for each other: on a way from a part back to it the copies
    waited for would only have become more. Elementwise work that a single part on the same device
    reads is done there, where it costs next to nothing, and takes no memory between them.
    """
    groups = _fewer(graph, _groups(graph))
    number = {t: i for i, nodes in enumerate(groups) for n in nodes for t in n.outputs}
    for t in graph.inputs:
        number.pop(t, None)                    # the node may be computed, but this one is fed
    origin = {t: source(graph, t) for nodes in groups for n in nodes for t in n.inputs}
    results = [source(graph, t) for t in (*graph.outputs, *graph.updates.values())]
    readers: dict[Tensor, set[int]] = {}
    reads: list[dict[Tensor, None]] = []       # what comes from outside
    after: list[set[int]] = []                 # parts waited for directly
    before: list[set[int]] = []                # these, and all that they waited for
    for i, nodes in enumerate(groups):
        inputs = dict.fromkeys(t for n in nodes for t in n.inputs)
        for t in inputs:
            readers.setdefault(origin[t], set()).add(i)
        reads.append({t: None for t in inputs if t in graph.inputs or graph.moves(t.node)
                      or number.get(t, i) != i})
        after.append({number[origin[t]] for t in reads[i] if origin[t] in number})
        before.append(after[i].union(*(before[j] for j in after[i])))
    handed = {origin[t] for read in reads for t in read}
    wanted: list[dict[Tensor, None]] = [{} for _ in groups]
    for t in (*results, *handed):
        if t in number:
            wanted[number[t]][t] = None
    updates: list[dict[Variable, Tensor]] = [{} for _ in groups]
    for v, t in graph.updates.items():
        i = number.get(t, -1)
        if i >= 0 and t not in handed and results.count(t) == 1 and v not in results and \
                v not in graph.inputs and readers.get(v, set()) <= before[i] | {i}:
            updates[i][v] = t
            del wanted[i][t]
    return [Part(graph.place(nodes[0]), Graph(wanted[i], updates[i], reads[i]),
                 tuple(origin[t] for t in reads[i]), tuple(sorted(after[i])))
            for i, nodes in enumerate(groups)]


def _groups(graph: Graph) -> list[list[Node]]:
    """The nodes of each part; copies from other devices are left out: parts hand over so."""
    bit: dict[Node, int] = {}                  # of each copy of what is computed elsewhere
    waits: dict[Node, int] = {}
    for node in graph.steps:
        below = [t.node for t in node.inputs if t not in graph.inputs]
        if graph.moves(node) and any(n.op not in LEAVES for n in below):
            bit[node] = 1 << len(bit)
        waits[node] = bit.get(node, 0)
        for n in below:
            waits[node] |= waits.get(n, 0)
    sends = dict.fromkeys(graph.steps, 0)
    for node in reversed(graph.steps):
        for t in node.inputs:
            if t.node in sends and t not in graph.inputs:
                sends[t.node] |= sends[node] | bit.get(node, 0)
    found: dict[tuple, list[Node]] = {}
    for node in graph.steps:
        if not graph.moves(node):
            key = waits[node].bit_count(), -sends[node].bit_count(), waits[node], sends[node]
            found.setdefault((*key, graph.place(node)), []).append(node)
    return [found[key] for key in sorted(found, key=lambda key: key[:2])]


def _fewer(graph: Graph, groups: list[list[Node]]) -> list[list[Node]]:
    """The groups with elementwise ones joined to the only group that waits for them.

    There is no other way from the one to the other, so nothing comes to wait for itself.
    """
    place = {node: i for i, node in enumerate(graph.steps)}
    of = {node: i for i, nodes in enumerate(groups) for node in nodes}
    users: dict[Node, list[Node]] = {}
    for node in graph.steps:
        for t in node.inputs:
            if t not in graph.inputs:
                users.setdefault(t.node, []).append(node)
    groups = list(groups)
    for i in reversed(range(len(groups))):
        after = {of.get(user) for n in groups[i] for user in users.get(n, ())} - {i}
        j = after.pop() if len(after) == 1 else None       # None: a copy to another device
        if j is not None and all(n.op.code is not None for n in groups[i]):
            groups[j] = sorted(groups[i] + groups[j], key=place.__getitem__)
            of.update((n, j) for n in groups[i])
            groups[i] = []
    return [nodes for nodes in groups if nodes]
