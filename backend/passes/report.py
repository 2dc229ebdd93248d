"""What a pass did, before and after, for people to read."""
from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..graph import Graph
from .memory import peak_bytes


class Report(NamedTuple):
    """The graphs before and after a pass; printed, the ops and bytes that changed."""
    name: str
    before: Graph
    after: Graph

    def __str__(self) -> str:
        old, new = (Counter(n.op.name for n in g.nodes) for g in (self.before, self.after))
        lines = [f"{self.name}: {old.total()} nodes, {new.total()} after"]
        lines += [f"  {op} {old[op]}, {new[op]} after" for op in sorted(old | new)
                  if old[op] != new[op] or op == "constant" and old != new]
        bytes_before, bytes_after = peak_bytes(self.before), peak_bytes(self.after)
        if bytes_before != bytes_after:
            lines.append(f"  peak {bytes_before:,} bytes, {bytes_after:,} after")
        return "\n".join(lines)
