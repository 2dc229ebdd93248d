"""PlanReport: what running a graph will take, known before anything runs."""
from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from .graph import Graph


class PlanReport(NamedTuple):
    """Steps, work and memory of one run.

    Attributes
    ----------
    steps : int
        Ops that are computed.
    flops : int
        Floating-point operations.
    peak_bytes : int
        Bytes of results alive at once; each counts from when it is made until its last reader.
    variable_bytes, input_bytes : int
        Bytes of the weights and of what is fed.
    ops : dict
        FLOPs by op, the largest first.
    fall_backs : tuple of str
        Ops the backend leaves to the reference; known to the ``plan()`` of a `Function`.
    devices : dict
        FLOPs by device.
    moved_bytes : int
        Bytes that copies carry from one device to another.
    notes : tuple of str
        What the backend does otherwise than asked; known to the ``plan()`` of a `Function`.
    device_bytes : int
        Bytes that a run takes of a GPU's memory, weights and feeds included; known to the
        ``plan()`` of a `Function`.
    precision : str
        How factors of products are read, if not as they are; known to the ``plan()`` of a
        `Function`.

    Examples
    --------
    >>> import gradatim as gt
    >>> x, w = gt.placeholder((128, 784)), gt.variable((784, 10))
    >>> report = gt.function([x], x @ w).plan()
    >>> report.flops == 2 * 128 * 784 * 10
    True
    >>> print(report)
    steps                          1
    FLOPs                  2,007,040
    peak bytes                 5,120
    variable bytes            31,360
    input bytes              401,408
      matmul                  100.0%
    """
    steps: int
    flops: int
    peak_bytes: int
    variable_bytes: int
    input_bytes: int
    ops: dict[str, int]
    fall_backs: tuple[str, ...] = ()
    devices: dict[str, int] = {}
    moved_bytes: int = 0
    notes: tuple[str, ...] = ()
    device_bytes: int = 0
    precision: str = ""

    def __str__(self) -> str:
        rows = {"steps": self.steps, "FLOPs": self.flops, "peak bytes": self.peak_bytes,
                "variable bytes": self.variable_bytes, "input bytes": self.input_bytes}
        rows |= {f"  {name}": f"{flops / max(self.flops, 1):.1%}"
                 for name, flops in list(self.ops.items())[:8]}
        if len(self.devices) > 1:
            rows |= {f"FLOPs on {name}": flops for name, flops in self.devices.items()}
            rows["moved bytes"] = self.moved_bytes
        if self.precision:
            rows["precision"] = self.precision
        if self.device_bytes:
            rows["device bytes"] = self.device_bytes
        texts = {label: v if isinstance(v, str) else f"{v:,}" for label, v in rows.items()}
        width = max(32, *(len(label) + 2 + len(text) for label, text in texts.items()))
        lines = [f"{label}{text:>{width - len(label)}}" for label, text in texts.items()]
        if self.fall_backs:
            lines.append("left to the reference: " + ", ".join(self.fall_backs))
        return "\n".join([*lines, *self.notes])


def plan(graph: Graph) -> PlanReport:
    """Count steps, FLOPs and bytes of a graph by walking it once."""
    last, alive, peak = {}, 0, 0
    for step, node in enumerate(graph.steps):
        for t in (*node.inputs, *node.outputs):
            last[t] = step
    for t in (*graph.outputs, *graph.updates.values()):
        last[t] = len(graph.steps)
    ops: Counter = Counter()
    devices = dict.fromkeys(graph.devices, 0)
    ends: dict[int, int] = {}
    for step, node in enumerate(graph.steps):
        flops = node.op.count_flops(*(t.spec for t in node.inputs), **node.settings)
        ops[node.op.name] += flops
        devices[graph.place(node)] += flops
        for t in node.outputs:
            alive += t.spec.nbytes
            ends[last[t]] = ends.get(last[t], 0) + t.spec.nbytes
        peak = max(peak, alive)
        alive -= ends.pop(step, 0)
    return PlanReport(len(graph.steps), ops.total(), peak,
                      sum(v.spec.nbytes for v in graph.variables),
                      sum(t.spec.nbytes for t in graph.inputs), dict(ops.most_common()),
                      devices=devices, moved_bytes=sum(
                          n.specs[0].nbytes for n in graph.steps if graph.moves(n)))


def together(functions) -> PlanReport:
    """One report of compiled functions that are called one after another, some of them again.

    Steps and FLOPs are those of all calls; memory is that of each function, once.
    """
    reports = [f.plan() for f in functions]
    single = [f.plan() for f in dict.fromkeys(functions)]
    ops, devices = Counter(), Counter()
    for report in reports:
        ops.update(report.ops)
        devices.update(report.devices)
    return PlanReport(
        steps=sum(r.steps for r in reports), flops=ops.total(),
        peak_bytes=sum(r.peak_bytes for r in single),
        variable_bytes=max(r.variable_bytes for r in single),
        input_bytes=sum(r.input_bytes for r in reports), ops=dict(ops.most_common()),
        fall_backs=tuple(dict.fromkeys(op for r in single for op in r.fall_backs)),
        devices=dict(devices), moved_bytes=sum(r.moved_bytes for r in reports),
        notes=tuple(dict.fromkeys(note for r in single for note in r.notes)),
        device_bytes=sum(r.device_bytes for r in single), precision=reports[0].precision)
