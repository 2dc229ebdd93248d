"""Segments: equal chains over many tensors as one launch, as an optimizer over all weights is."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .device import Pointer, Source, Table
from .expression import itemsize
from .steps import touched_how

THREADS = 256
BLOCKS = 2112          # 16 for each of the 132 multiprocessors of an H100 or H200
PIECE = 2048           # elements of a segment that one block computes
TABLE = 4000           # bytes of the table: a kernel's parameters have 4096 on every GPU

_PLAIN = """#include "common.cuh"
extern "C" __global__ void {name}({parameters}) {{
  int64 threads = int64(gridDim.x) * blockDim.x;
  for (int64 i = int64(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) {{
{body}
  }}
}}
EXPORT_FLAT({name})
"""


# Each block looks up which tensor it works on; the table is part of the kernel's parameters.
_SEGMENTS = """#include "common.cuh"
struct Segments {{
{fields}
  int64 count[{most}], first[{most}];
}};
extern "C" __global__ void {name}(Segments table, int segments{parameter}) {{
  int low = 0, high = segments - 1;
  while (low < high) {{
    int middle = (low + high + 1) / 2;
    if (table.first[middle] <= int64(blockIdx.x)) low = middle; else high = middle - 1;
  }}
{names}
  int64 begin = (blockIdx.x - table.first[low]) * {piece}, end = begin + {piece};
  if (end > table.count[low]) end = table.count[low];
{start}
  for (int64 i = begin + threadIdx.x; i < end; i += blockDim.x) {{
{body}
  }}
{end}
}}
{export}({name})
"""
# Each block adds up its piece; then one block adds up those of each tensor.
_SUM = """  __shared__ {kind} parts[32];
  {kind} sum = 0;"""
_SUM_END = """  sum = block_reduce<Sum>(sum, parts);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;"""
_TOTALS = """#include "common.cuh"
struct Totals {{ {kind}* total[{most}]; int64 first[{most} + 1]; }};
extern "C" __global__ void {name}(Totals table, const {kind}* partial) {{
  __shared__ {kind} parts[32];
  {kind} sum = 0;
  int64 end = table.first[blockIdx.x + 1];
  for (int64 i = table.first[blockIdx.x] + threadIdx.x; i < end; i += blockDim.x) sum += partial[i];
  sum = block_reduce<Sum>(sum, parts);
  if (threadIdx.x == 0) *table.total[blockIdx.x] = sum;
}}
EXPORT({name})
"""


class Part(NamedTuple):
    """What a flat chain reads or writes: element by element, or one number for all.

    Where there is one element only, ``whole`` is None: it may be part of a launch either way.
    """
    name: str
    kind: str
    written: bool
    whole: bool | None


class Flat(NamedTuple):
    """A chain all of whose tensors lie without gaps, which may become part of a larger launch.

    One that adds up to ``sum``, which lies in its last argument, has it in its body.
    """
    name: str
    body: str
    parts: tuple[Part, ...]
    arguments: tuple[Pointer, ...]
    count: int
    sums: bool = False


Spans = dict[int, list[tuple[int, int]]]         # of each value, bytes from one to before another


class _Group:
    """Flat chains of one text at one place, and what the steps from there on read and write."""

    def __init__(self, first: Flat):
        self.members, self.parts = [first], first.parts
        self.reads: Spans = {}
        self.writes: Spans = {}
        self.room = TABLE // (8 * (len(first.parts) + 2))

    def takes(self, chain: Flat) -> bool:
        """Whether a chain has the text of these, and there is room."""
        if len(self.members) == self.room or chain.body != self.members[0].body:
            return False
        return all(a[:3] == b[:3] and None in (a.whole, b.whole) or a == b
                   for a, b in zip(self.parts, chain.parts))

    def add(self, chain: Flat) -> None:
        """Take a chain in."""
        self.members.append(chain)
        if self.parts[0].whole is None:
            self.parts = chain.parts

    def passes(self, reads: Spans, writes: Spans) -> bool:
        """Whether an earlier step may as well run here."""
        return not (_meet(writes, self.reads) or _meet(writes, self.writes) or
                    _meet(reads, self.writes))

    def put_off(self, reads: Spans, writes: Spans) -> None:
        """Know of a step behind these."""
        for found, more in ((self.reads, reads), (self.writes, writes)):
            for value, spans in more.items():
                found.setdefault(value, []).extend(spans)


def _meet(one: Spans, other: Spans) -> bool:
    """Whether any bytes are in both."""
    return any(begin < end and first < last for value in one if value in other
               for begin, last in one[value] for first, end in other[value])


def _spans(program, step) -> tuple[Spans, Spans]:
    """What a step reads and what it writes; of a flat chain to the byte."""
    if not isinstance(step, Flat):
        reads, writes = touched_how(step)
        return ({v: [(0, program.values[v].nbytes)] for v in reads},
                {v: [(0, program.values[v].nbytes)] for v in writes})
    found: tuple[Spans, Spans] = {}, {}
    for part, pointer in zip(step.parts, step.arguments):
        size = itemsize(program.values[pointer.value].dtype) * (step.count if part.whole else 1)
        found[pointer.written].setdefault(pointer.value, []).append(
            (pointer.offset, pointer.offset + size))
    return found


def merge(program) -> None:
    """Replace flat chains by launches; equal ones run where the last of them stands.

    What decides is memory: a chain is put off if no step on the way reads what it writes, or
    writes what it reads or writes.
    """
    groups: list[_Group] = []
    steps: list = []
    for step in reversed(program.steps):
        reads, writes = _spans(program, step)
        home = None
        if isinstance(step, Flat):
            home = next((g for g in groups if g.takes(step) and g.passes(reads, writes)), None)
            if home is None:
                steps.append(_Group(step))
                groups.append(steps[-1])
            else:
                home.add(step)
        else:
            steps.append(step)
        # All groups behind the place where the step now runs would have to pass it.
        for group in groups[:groups.index(home) + 1 if home else None]:
            group.put_off(reads, writes)
    program.steps = []
    for step in reversed(steps):
        if not isinstance(step, _Group):
            program.steps.append(step)
        elif len(step.members) == 1 and not step.members[0].sums:
            _queue_one(program, step.members[0])
        else:
            _queue_all(program, step.members[::-1], step.parts, step.room)


def queue_plain(program, name: str, count: int, parameters, arguments, body: str) -> None:
    """Queue a chain of one shape."""
    text = _PLAIN.format(name=name, parameters=", ".join(parameters), body=body)
    blocks = min(-(-count // THREADS), BLOCKS)
    program.launch(Source(name, text), name, (blocks, 1, 1), (THREADS, 1, 1), arguments)


def _queue_one(program, chain: Flat) -> None:
    parameters = ["int64 count", *(f"{_type(p)} {p.name}" for p in chain.parts)]
    queue_plain(program, chain.name, chain.count, parameters,
                [np.int64(chain.count), *chain.arguments], _elements(chain.body, chain.parts))


def _queue_all(program, chains: list[Flat], parts, room: int) -> None:
    first = chains[0]
    blocks = [-(-c.count // PIECE) for c in chains]
    starts = np.cumsum([0, *blocks])
    pad = (0,) * (room - len(chains))
    words = [w for k in range(len(parts)) for w in (*(c.arguments[k] for c in chains), *pad)]
    words += [*(c.count for c in chains), *pad, *map(int, starts[:-1]), *pad]
    fields = "\n".join(f"  {_type(p)} {p.name}[{room}];" for p in parts)
    names = "\n".join(f"  {_type(p)} {p.name} = table.{p.name}[low];" for p in parts)
    kind, arguments = parts[-1].kind, [Table(tuple(words)), np.int32(len(chains))]
    more = {"parameter": "", "start": "", "end": "", "export": "EXPORT_FLAT"}
    if first.sums:
        more = {"parameter": f", {kind}* partial", "start": _SUM.format(kind=kind),
                "end": _SUM_END, "export": "EXPORT"}
        total = program.values[first.arguments[-1].value]
        partial = Pointer(program.scratch((int(starts[-1]),), total.dtype), 0, True)
        arguments.append(partial)
    text = _SEGMENTS.format(name=first.name, fields=fields, names=names, most=room, piece=PIECE,
                            body=_elements(first.body, parts), **more)
    program.launch(Source(first.name, text), first.name, (int(starts[-1]), 1, 1),
                   (THREADS, 1, 1), arguments)
    if first.sums:
        words = (*(c.arguments[-1] for c in chains), *pad, *map(int, starts), *pad)
        text = _TOTALS.format(name="finish_totals", kind=kind, most=room)
        program.launch(Source("finish_totals", text), "finish_totals", (len(chains), 1, 1),
                       (THREADS, 1, 1), [Table(words), partial._replace(written=False)])


def _type(part: Part) -> str:
    return f"{'' if part.written else 'const '}{part.kind}*"


def _elements(body: str, parts) -> str:
    """The body with each tensor's element in its place."""
    for part in parts:
        body = body.replace(f"@{part.name}@", f"{part.name}[{'i' if part.whole else '0'}]")
    return body
