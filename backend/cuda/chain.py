"""Chains: a cluster of elementwise nodes as one generated kernel, with sums in its epilogue."""
from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from ..lowering.clusters import COLUMNS, Cluster
from ..lowering.view import View, contiguous
from ..tensor import Node, Tensor, constant_op
from .device import Pointer, Source
from .draws import drawn, draws
from .expression import HALVES, STORED, TYPES, fits, itemsize, number, written
from .segments import THREADS, Flat, Part, queue_plain

ROWS_AT_ONCE = 8       # elements that a thread adds up before a block writes what it has
SUMMING_BLOCKS = 264

# A block adds up some rows of all columns: threads side by side take columns, those behind rows.
_SUMMING = """#include "common.cuh"
extern "C" __global__ void {name}({parameters}, int64 rows_each, int columns) {{
  __shared__ {type} parts[{threads}];
  int64 first = blockIdx.x * rows_each, last = first + rows_each, rows = count / columns;
  if (last > rows) last = rows;
{starts}
  for (int64 row = first + threadIdx.y; row < last; row += blockDim.y) {{
    int64 i = row * columns + threadIdx.x;
{body}
  }}
{ends}
}}
EXPORT({name})
"""
_END = """  __syncthreads();
  parts[threadIdx.y * blockDim.x + threadIdx.x] = sum{k};
  __syncthreads();
  if (threadIdx.y == 0) {{
    {type} total = parts[threadIdx.x];
    for (int y = 1; y < int(blockDim.y); ++y) total += parts[y * blockDim.x + threadIdx.x];
    partial{k}[blockIdx.x * columns + threadIdx.x] = total;
  }}"""


class Operand(NamedTuple):
    """Memory that a chain reads or writes, in the chain's own shape."""
    name: str
    view: View
    dtype: str
    written: bool = False


def fits_chain(program, node: Node) -> bool:
    """Whether a node can be computed inside a chain."""
    return bool(node.specs[0].size) and (draws(node) or fits(node)) and \
        not any(t in program.graph.inputs for t in node.outputs)


class _Writer:
    """The text of a chain as it grows, and what it reads and writes."""

    def __init__(self, program, cluster: Cluster):
        self.program, self.shape = program, cluster.shape
        self.operands: list[Operand] = []
        self.lines: list[str] = []
        self.names: dict[Tensor, str] = {}
        self._loaded: dict[tuple, str] = {}

    def load(self, t: Tensor, view: View) -> str:
        """The name of an operand's element."""
        view, stored = view.broadcast(view.shape, self.shape), self.program.stored(t)
        key = (view, stored)
        if key not in self._loaded:
            name = f"in{len(self.operands)}"
            self.operands.append(Operand(name, view, stored))
            self._loaded[key] = self.line(t.dtype.name, element(name, stored))
        return self._loaded[key]

    def line(self, dtype: str, text: str) -> str:
        """A new variable."""
        name = f"x{len(self.lines)}"
        self.lines.append(f"    {TYPES[dtype]} {name} = {text};")
        return name

    def read(self, t: Tensor) -> str:
        """The text of a tensor's element."""
        if t not in self.names:
            value = _number(self.program, t)
            self.names[t] = self.load(t, self.program.views[t]) if value is None else \
                number(value, t.dtype.name)
        return self.names[t]

    def compute(self, node: Node) -> None:
        """The line of a node."""
        dtype = node.specs[0].dtype.name
        if draws(node):
            text = drawn(node, [self.read(t) for t in node.inputs[-3:]])
        else:
            text, _ = written(node, [(self.read(t), t.dtype.name) for t in node.inputs])
        self.names[node.outputs[0]] = self.line(dtype, text)

    def summand(self, node: Node) -> str:
        """What is added up for a sum: an input, times its row's weight."""
        x, *weights = node.inputs
        text = self.read(x)
        if weights:
            view = self.program.views[weights[0]]
            column = View(view.value, view.offset, (*view.shape, *(1,) * (x.ndim - 1)),
                          (*view.strides, *(0,) * (x.ndim - 1)))
            text = f"{text} * {self.load(weights[0], column)}"
        return self.line(x.dtype.name, text)


def emit_chain(program, cluster: Cluster) -> None:
    """Queue the launches that compute a cluster."""
    writer = _Writer(program, cluster)
    sums: list[tuple[Node, str]] = []
    for node in cluster.nodes:
        if node in cluster.sums:
            sums.append((node, writer.summand(node)))
        else:
            writer.compute(node)
    for t in (t for n in cluster.nodes for t in n.outputs
              if t in cluster.written and n not in cluster.sums):
        view, name = program.out(t).broadcast(t.shape, cluster.shape), f"out{len(writer.operands)}"
        writer.operands.append(Operand(name, view, program.stored(t), True))
        writer.lines.append(assignment(name, program.stored(t), writer.names[t]))
    ops = "_".join(dict.fromkeys(n.op.name for n in cluster.nodes))[:56]
    name = "chain_" + re.sub(r"\W", "_", ops)
    launch(program, name, cluster.shape, writer.operands, writer.lines, sums)


def assignment(name: str, dtype: str, text: str) -> str:
    """The line that writes an operand's element."""
    return f"    store(&@{name}@, {text});" if dtype in HALVES else f"    @{name}@ = {text};"


def element(name: str, dtype: str) -> str:
    """The text of an operand's element as a number to compute with."""
    return f"widen(@{name}@)" if dtype in HALVES else f"@{name}@"


def emit_copy(program, view: View, to: View, dtype: str, widened: str = "") -> None:
    """Queue a copy between two views of one shape; numbers of two bytes may be widened."""
    operands = [Operand("in0", view, dtype), Operand("out1", to, widened or dtype, True)]
    text = element("in0", dtype) if widened else "@in0@"
    launch(program, "chain_copy", to.shape, operands, [f"    @out1@ = {text};"], [])


def launch(program, name: str, shape, operands: list[Operand], lines: list[str],
           sums: list[tuple[Node, str]]) -> None:
    """Queue a generated kernel; ``@name@`` in its lines stands for an operand's element."""
    count = math.prod(shape)
    dims, strides = collapsed(shape, [o.view.strides for o in operands])
    parameters, arguments, index = ["int64 count"], [np.int64(count)], []
    general = [o for o, s in zip(operands, strides) if any(s) and s != contiguous(dims)]
    parts = [Part(o.name, STORED[o.dtype], o.written, any(s) if count > 1 else None)
             for o, s in zip(operands, strides)]
    total = sums[0][0].outputs[0] if len(sums) == 1 and sums[0][0].specs[0].size == 1 else None
    if not general and (not sums or total is not None):
        arguments, body = list(map(_pointer, operands)), list(lines)
        if total is not None:
            parts.append(Part("total", STORED[total.dtype.name], True, False))
            arguments.append(Pointer(program.out(total).value, 0, True))
            body.append(f"    sum += {sums[0][1]};")
        program.steps.append(Flat(name, "\n".join(body), tuple(parts), tuple(arguments), count,
                                  total is not None))
        return
    if general:
        index.append("    int64 rest = i;")
        for axis in reversed(range(len(dims))):
            parameters.append(f"int64 d{axis}")
            arguments.append(np.int64(dims[axis]))
            index.append(f"    int64 i{axis} = rest;" if axis == 0 else
                         f"    int64 i{axis} = rest % d{axis}; rest /= d{axis};")
    body = "\n".join([*index, *lines])
    for operand, own in zip(operands, strides):
        kind = STORED[operand.dtype]
        parameters.append(f"{'' if operand.written else 'const '}{kind}* {operand.name}")
        arguments.append(_pointer(operand))
        where = "i" if own == contiguous(dims) else "0"
        if operand in general:
            used = [axis for axis, s in enumerate(own) if s]
            where = " + ".join(f"i{axis} * {operand.name}_s{axis}" for axis in used)
            parameters += [f"int64 {operand.name}_s{axis}" for axis in used]
            arguments += [np.int64(own[axis]) for axis in used]
        body = body.replace(f"@{operand.name}@", f"{operand.name}[{where}]")
    if sums:
        _launch_sums(program, name, shape, parameters, arguments, body, sums)
        return
    queue_plain(program, name, count, parameters, arguments, body)


def _pointer(operand: Operand) -> Pointer:
    return Pointer(operand.view.value, operand.view.offset * itemsize(operand.dtype),
                   operand.written)


def _launch_sums(program, name: str, shape, parameters, arguments, body: str, sums) -> None:
    count, dtype = math.prod(shape), sums[0][0].specs[0].dtype.name
    kind = TYPES[dtype]
    by_column = any(n.specs[0].size > 1 for n, _ in sums)
    columns = shape[-1] if shape and (by_column or shape[-1] <= COLUMNS) else 1
    deep = max(THREADS // columns, 1)
    rows = count // columns
    blocks = min(-(-rows // (deep * ROWS_AT_ONCE)), SUMMING_BLOCKS)
    each = -(-rows // blocks)
    starts, ends = [], []
    for k, (node, text) in enumerate(sums):
        partial = program.scratch((blocks, columns), dtype)
        parameters.append(f"{kind}* partial{k}")
        arguments.append(Pointer(partial, 0, True))
        starts.append(f"  {kind} sum{k} = 0;")
        body += f"\n    sum{k} += {text};"
        ends.append(_END.format(k=k, type=kind))
    source = _SUMMING.format(name=name, parameters=", ".join(parameters), type=kind,
                             threads=columns * deep, starts="\n".join(starts), body=body,
                             ends="\n".join(ends))
    partials = [a.value for a in arguments[-len(sums):]]
    program.launch(Source(name, source), name, (blocks, 1, 1), (columns, deep, 1),
                   [*arguments, np.int64(each), np.int32(columns)])
    for (node, _), partial in zip(sums, partials):
        out = node.outputs[0]
        program.kernel("sums.cu", "finish_sums", (1, 1, 1), (THREADS, 1, 1),
                       [Pointer(partial), Pointer(program.out(out).value, 0, True),
                        np.int32(blocks), np.int32(columns), np.int32(out.spec.size)], T=kind)


def collapsed(shape, strides: list[tuple]) -> tuple[tuple, list[tuple]]:
    """The shape with as few axes as all strides allow, and the strides of it."""
    dims: list[int] = []
    found: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        own = [s[axis] for s in strides]
        if dims and all(f[-1] == n * s for f, s in zip(found, own)):
            dims[-1] *= n
            for f, s in zip(found, own):
                f[-1] = s
        else:
            dims.append(n)
            for f, s in zip(found, own):
                f.append(s)
    return tuple(dims), [tuple(f) for f in found]


def _number(program, t: Tensor) -> float | None:
    """The value of a constant that is one number, if a float holds it exactly."""
    if t.node.op is not constant_op or t.spec.size != 1 or t in program.graph.inputs:
        return None
    value = np.asarray(t.node.settings["value"]).item()
    return value if float(value) == value else None
