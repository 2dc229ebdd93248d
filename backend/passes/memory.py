"""Shared memory: results whose lifetimes do not overlap share a buffer."""
from __future__ import annotations

from ..graph import Graph
from ..op import ufunc
from ..tensor import LEAVES, Tensor


def memory(graph: Graph) -> Graph:
    """The graph with a buffer number for every computed tensor (``graph.buffers``).

    An elementwise node takes over the buffer of an input of its own spec that it is the last to
    read, unless it also reads a view of that input, in which elements stand elsewhere. A node that
    is not elementwise may return a view of an input, so its inputs live on as long as its outputs.
    Devices share nothing.
    """
    last = last_uses(graph)
    buffers: dict[Tensor, int] = {}
    free: dict[tuple[str, int], list[int]] = {}
    ends: dict[int, list[Tensor]] = {}
    count = 0
    seen_by = _views(graph)
    for step, node in enumerate(graph.steps):
        taken = None
        if node.op.code is not None and len(node.specs) == 1 and node.specs[0].shape:
            taken = next((t for t in node.inputs if t in buffers and last[t] == step
                          and t.spec == node.specs[0] and _fresh(t)
                          and t.device == node.device
                          and not any(t in seen_by[u] for u in node.inputs if u is not t)), None)
        for t in node.outputs:
            size = node.device, t.spec.nbytes
            if taken is not None:
                buffers[t] = buffers[taken]
            elif free.get(size):
                buffers[t] = free[size].pop()
            else:
                buffers[t], count = count, count + 1
            ends.setdefault(last[t], []).append(t)
        for t in ends.pop(step, ()):
            if t is not taken:
                free.setdefault((t.device, t.spec.nbytes), []).append(buffers[t])
    return Graph(graph.outputs, graph.updates, graph.inputs, buffers)


def last_uses(graph: Graph) -> dict[Tensor, int]:
    """The step after which each computed tensor, and every view of it, is dead."""
    last: dict[Tensor, int] = {}
    for step, node in enumerate(graph.steps):
        for t in (*node.inputs, *node.outputs):
            last[t] = step
    for t in (*graph.outputs, *graph.updates.values()):
        last[t] = len(graph.steps)
    for node in reversed(graph.steps):
        if not all(_fresh(t) for t in node.outputs):
            end = max(last[t] for t in node.outputs)
            for t in node.inputs:
                last[t] = max(last[t], end)
    return last


def _views(graph: Graph) -> dict[Tensor, frozenset[Tensor]]:
    """For each tensor, the computed tensors whose memory it may be a view of."""
    seen: dict[Tensor, frozenset[Tensor]] = {t: frozenset() for n in graph.nodes for t in n.outputs}
    for node in graph.steps:
        below = frozenset().union(*(seen[t] | {t} for t in node.inputs))
        for t in node.outputs:
            seen[t] = frozenset() if _fresh(t) else below
    return seen


def peak_bytes(graph: Graph) -> int:
    """Bytes of all buffers: shared ones once, or one per tensor where no pass has shared them."""
    tensors = [t for n in graph.steps for t in n.outputs]
    sizes = {graph.buffers.get(t, t): t.spec.nbytes for t in tensors}
    return sum(sizes.values())


def _fresh(t: Tensor) -> bool:
    """Whether an op certainly wrote new memory, so that no view of something else is harmed."""
    return t.node.op not in LEAVES and isinstance(t.node.op.forward, ufunc)
