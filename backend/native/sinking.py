"""Sinking: what only a later chain reads is computed there, and never written to memory."""
from __future__ import annotations

from ..tensor import Node, Tensor


def sink(clusters, of, users: dict[Tensor, list[Node]], kept: set, largest: int) -> None:
    """Move nodes from the chain they were put into to the one chain that reads them.

    A chain reads each operand once and writes each result that is read elsewhere once. Moving a
    node saves its result's write and read; what it reads must then be read by the later chain.
    There is no circle, because the later chain waits for the earlier one as it is.
    """
    for chain in reversed(clusters):
        if chain.kind != "chain":
            continue
        for node in reversed(chain.nodes[:]):
            out = node.outputs[0]
            readers = {of[n] for n in users.get(out, ())}
            if out in kept or len(readers) != 1:
                continue
            (later,) = readers
            if later is chain or later.kind != "chain" or len(later.nodes) >= largest or \
                    later.nodes[0].specs[0].shape != node.specs[0].shape:
                continue
            if _worth(node, chain, later, of, users, kept):
                chain.nodes.remove(node)
                later.nodes.insert(0, node)
                of[node] = later
    clusters[:] = [c for c in clusters if c.nodes]


def _worth(node: Node, chain, later, of, users, kept) -> bool:
    """Whether no more bytes pass through memory when a node moves; at a tie its inputs follow."""
    moved = -2 * node.specs[0].nbytes                       # its write and its read
    for t in dict.fromkeys(node.inputs):
        read_by = [of[n] for n in users[t]]
        if later not in read_by:
            moved += t.spec.nbytes
        if of.get(t.node) is chain:
            if t not in kept and all(c is chain for c in read_by):
                moved += t.spec.nbytes                      # it was not written before
        elif [n for n in users[t] if of[n] is chain] == [node]:
            moved -= t.spec.nbytes
    return moved <= 0
