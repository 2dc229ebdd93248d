"""How much memory is free, and the error for what needs more, before anything is allocated."""
from __future__ import annotations

from pathlib import Path
from typing import Iterable, Sequence

from .errors import MemoryLimitError
from .graph import Graph
from .tensor import Tensor, Variable

SYSTEM = Path("/")          # tests look elsewhere
BEYOND_DOUBT = 2 ** 48      # elements that no machine holds


def check_memory(needed: int, tensors: Iterable[Tensor], what: str,
                 free: int | None = None) -> None:
    """Raise if more bytes are needed than are free, and name the largest tensors.

    ``free`` is what a device says of its own memory; otherwise it is the host's.

    Memory that is free now may be gone when it is asked for, and the other way round; what is
    refused here is what could not have been had at this moment.
    """
    free = free_bytes() if free is None else free
    if free is None or needed <= free:
        return
    largest = sorted(dict.fromkeys(tensors), key=lambda t: -t.spec.nbytes)[:3]
    raise MemoryLimitError(
        f"{what} would take {needed:,} bytes of memory, and {free:,} are free",
        largest="; ".join(map(_described, largest)),
        fix="take a smaller batch_size, fewer units or shorter sequences")


def check_elements(graph: Graph) -> None:
    """Raise if one tensor alone is larger than any memory.

    Of such a graph a program cannot even be made: its sizes may be beyond 64 bits.
    """
    largest = max((t for n in graph.nodes for t in n.outputs), key=lambda t: t.spec.size,
                  default=None)
    if largest is not None and largest.spec.size > BEYOND_DOUBT:
        check_memory(largest.spec.nbytes, [largest], "one tensor")


def check_run(graph: Graph, peak_bytes: int) -> None:
    """Raise if a run takes more than is free, with the weights that are still to be drawn."""
    new = [v for v in graph.variables if not v.drawn]
    made = [t for node in graph.steps for t in node.outputs]
    check_memory(peak_bytes + sum(v.spec.nbytes for v in new), [*made, *new], "a run")


def check_programs(programs: Sequence, what: str) -> None:
    """Raise if programs that take turns need more of a device's memory than is free."""
    made = [t for p in programs for node in p.graph.nodes for t in node.outputs]
    check_memory(sum(p.missing_bytes for p in dict.fromkeys(programs)),
                 [*made, *(v for p in programs for v in p.graph.variables)], what,
                 programs[0].backend.free_bytes())


def free_bytes() -> int | None:
    """Bytes a process can still get: of the machine, of its control group, of its address space.

    None where the system does not tell.
    """
    found = [n for n in (_machine(), *_control_groups(), _address_space()) if n is not None]
    return max(min(found), 0) if found else None


def _described(t: Tensor) -> str:
    name = t.name if isinstance(t, Variable) else t.node.settings.get("name") or t.node.op.name
    return f"{name} {t.spec} of {t.spec.nbytes:,} bytes"


def _machine() -> int | None:
    rows = _rows("proc/meminfo")
    if "MemAvailable:" not in rows:
        return None
    return 1024 * (rows["MemAvailable:"] + rows.get("SwapFree:", 0))


def _control_groups() -> Iterable[int]:
    """What is left below the limit of each group the process is in, and of the groups above."""
    for line in _text("proc/self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root, limit, used = ("sys/fs/cgroup/memory", "memory.limit_in_bytes",
                             "memory.usage_in_bytes") if kinds else (
                             "sys/fs/cgroup", "memory.max", "memory.current")
        group = path.strip("/")
        while True:
            folder = f"{root}/{group}".rstrip("/")
            most, now = _number(f"{folder}/{limit}"), _number(f"{folder}/{used}")
            if most is not None and now is not None:
                # Pages of files that nobody reads give way to whoever asks for memory.
                yield most - now + _rows(f"{folder}/memory.stat").get("inactive_file", 0)
            if not group:
                break
            group = group.rpartition("/")[0]


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:                     # no such limits on this system
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _text("proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * resource.getpagesize()


def _text(path: str) -> str:
    try:
        return (SYSTEM / path).read_text()
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _rows(path: str) -> dict[str, int]:
    """The first number after each name."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
