"""Which tensors are stored as bfloat16 or float16, in two bytes: those that only products read."""
from __future__ import annotations

from typing import Callable

from ..tensor import Node, Tensor

CONVOLUTIONS = ("convolution", "convolution_data_gradient", "convolution_kernel_gradient")
SEEN_THROUGH = ("reshape", "transpose", "expand_dims", "squeeze", "stop_gradient")
KINDS = {"round_to_bfloat16": "bfloat16", "round_to_float16": "float16"}


def halves(graph, users: dict[Tensor, list[Node]], kept: set[Tensor],
           takes: Callable[[Node], bool], rounded: dict[Tensor, str] = {},
           kinds=frozenset(KINDS.values())) -> dict[Tensor, str]:
    """Tensors in two bytes, and as what: both factors of every product that reads one are so.

    All other rounded tensors are float32, with the same values; products of those are exact in
    float32, so where processors have no such products nothing but time is lost.

    Parameters
    ----------
    takes : callable
        Whether the backend has a product for a node's factors in two bytes.
    rounded : dict
        Variables that hold rounded numbers, and which.
    kinds : set of str
        What the backend can store.
    """
    fed = set(graph.inputs)
    found = {t: kind for t, kind in rounded.items() if kind in kinds}
    for node in graph.steps:
        out, kind = node.outputs[0], KINDS.get(node.op.name)
        if node.op.name in SEEN_THROUGH:
            kind = found.get(node.inputs[0])
        if kind in kinds and out.dtype == "float32" and out.spec.size and out not in kept and \
                out not in fed:
            found[out] = kind

    def reads(node: Node) -> bool:
        """Whether a node takes a tensor that is stored in two bytes."""
        if node.op.name in SEEN_THROUGH:
            return node.outputs[0] in found
        return node.outputs[0] not in fed and bool(node.specs[0].size) and \
            len({found.get(t) for t in node.inputs}) == 1 and takes(node)

    while True:
        odd = {t for t in found if not all(map(reads, users.get(t, ())))}
        odd |= {t for t in found if t.node.op.name in SEEN_THROUGH
                and (t.node.inputs[0] not in found or t.node.inputs[0] in odd)}
        if not odd:
            return found | {new: found[v] for v, new in graph.updates.items() if v in found}
        found = {t: kind for t, kind in found.items() if t not in odd}


def notes(graph, kinds, device: str) -> tuple[str, ...]:
    """What a plan says of rounded numbers that a device cannot multiply as such."""
    rounded = {KINDS[n.op.name] for n in graph.steps if n.op.name in KINDS}
    return tuple(f"products of {kind} numbers are computed in float32: {device} has no "
                 "instructions for them" for kind in KINDS.values()
                 if kind in rounded and kind not in kinds)
