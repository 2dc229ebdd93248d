"""What a pass did, before and after, for people to read."""
from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..graph import Graph
from .memory import peak_bytes


class Report(NamedTuple):
    """The graphs before and after a pass; printed, how many nodes and bytes there are of each.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((256,))
    >>> print(gt.function([x], gt.exp(gt.exp(x) + 1.0)).reports[-1])
    memory: 5 nodes
      bytes  3,072 -> 1,024
    """
    name: str
    before: Graph
    after: Graph

    def __str__(self) -> str:
        counts = [Counter(n.op.name for n in g.nodes) for g in (self.before, self.after)]
        rows = {op: [c[op] for c in counts] for op in sorted(counts[0] | counts[1])}
        rows["bytes"] = [peak_bytes(g) for g in (self.before, self.after)]
        rows = {label: _change(*pair) for label, pair in rows.items() if pair[0] != pair[1]}
        width = max(map(len, rows), default=0)
        totals = _change(*(c.total() for c in counts), unit=" nodes")
        return "\n".join([f"{self.name}: {totals}",
                          *(f"  {label:<{width}}  {change}" for label, change in rows.items())])


def _change(before: int, after: int, unit: str = "") -> str:
    return f"{before:,}{unit}" if before == after else f"{before:,}{unit} -> {after:,}"
