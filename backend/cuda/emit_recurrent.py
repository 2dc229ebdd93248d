"""Recurrent ops by kernels: one product over all steps, then a product and a kernel for each."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..lowering.halves import SEEN_THROUGH
from ..lowering.view import View
from ..ops.recurrent import order
from ..tensor import Node, Tensor
from .chain import Operand, launch
from .columns import flat
from .device import Pointer, Table
from .emit_reduce import queue_reduce, sizes
from .expression import FLOATS, TYPES

NONE = np.uint64(0)            # an address that is not given
ACTIVATIONS = ("tanh", "relu", "sigmoid", "linear")


class Matrix(NamedTuple):
    """Part of a value seen as a matrix, in elements."""
    value: int
    first: int
    shape: tuple[int, int]
    strides: tuple[int, int]

    @property
    def turned(self) -> Matrix:
        """Rows and columns exchanged."""
        return self._replace(shape=self.shape[::-1], strides=self.strides[::-1])

    def columns(self, first: int, last: int) -> Matrix:
        """Some of the columns."""
        return self._replace(first=self.first + first * self.strides[1],
                             shape=(self.shape[0], last - first))


def with_lengths(program, name: str, count: int, lengths: Tensor, dtype: str, arguments) -> None:
    """Queue a kernel over rows that end where the lengths say, which are its second argument."""
    first, *rest = arguments
    program.kernel("recurrent.cu", name, *flat(count), [first, program.read(lengths), *rest],
                   T=TYPES[dtype], I=TYPES[lengths.dtype.name])


def live_steps(program, x: Pointer, lengths: Tensor, to: Pointer, t: Tensor,
               reverse: bool = False) -> None:
    """Queue a copy of sequences like ``t`` with zeros behind their ends, or one run backwards."""
    with_lengths(program, "live_steps", t.spec.size, lengths, t.dtype.name,
                 [x, to, *sizes(*t.shape), np.int32(reverse)])


def reads_ten_bits(program, kernel: Tensor) -> bool:
    """Whether products may read float32 with ten bits after the point.

    They may where a kernel was rounded to as few or fewer: of the states, too, what is beyond them
    is not worth slower products.
    """
    while kernel.node.op.name in SEEN_THROUGH:
        kernel = kernel.node.inputs[0]
    return program.backend.tf32 or program.is_rounded(kernel)


def _matrix(value: int, rows: int, columns: int, first: int = 0) -> Matrix:
    return Matrix(value, first, (rows, columns), (columns, 1))


class Sequences:
    """What a recurrent node reads, and how its steps are queued."""

    def __init__(self, program, node: Node, first: int, states: int):
        self.program, self.node = program, node
        given: list[Tensor | None] = [*node.inputs, None, None, None]
        self.x, self.kernel, self.recurrent, self.bias, self.lengths = given[first:first + 5]
        self.states = [NONE if t is None else program.read(t)
                       for t in given[first + 5:first + 5 + states]]
        self.batch, self.steps, self.features = self.x.shape
        self.units, self.width = self.recurrent.shape
        self.rows = self.batch * self.steps
        self.dtype = self.x.dtype.name
        self.reverse = node.settings["reverse"]
        self.order = list(order(self.steps, self.reverse))
        self.size = Table((self.batch, self.steps, self.units, int(self.reverse)))
        self.lengths_read = NONE if self.lengths is None else program.read(self.lengths)
        self.macros = {"T": TYPES[self.dtype],
                       "I": "int64" if self.lengths is None else TYPES[self.lengths.dtype.name]}
        self.kernels = _matrix(program.whole(self.recurrent), self.units, self.width)
        self.tf32 = reads_ten_bits(program, self.recurrent)

    def scratch(self, *shape: int) -> int:
        """Memory for numbers of the sequences' type."""
        return self.program.scratch(shape, self.dtype)

    def product(self, x: Matrix, y: Matrix, out: Matrix, bias: Pointer | None = None) -> None:
        """``out = x @ y + bias``."""
        size = np.dtype(self.dtype).itemsize
        arguments = [Pointer(m.value, m.first * size, m is out) for m in (x, y, out)]
        self.program.call("matmul", [*arguments, *([bias] if bias else [])], dtype=self.dtype,
                          factors=self.dtype, activation="", tf32=self.tf32,
                          matrices=tuple((m.shape, m.strides) for m in (x, y, out)))

    def step(self, name: str, t: int, *arguments) -> None:
        """Queue a kernel for step ``t``."""
        self.program.kernel("recurrent.cu", name, *flat(self.batch * self.units),
                            [self.size, np.int64(t), *arguments], **self.macros)

    def inputs(self) -> int:
        """The inputs of all steps, zero beyond the lengths."""
        value = self.program.whole(self.x)
        if self.lengths is None:
            return value
        masked = self.scratch(*self.x.shape)
        live_steps(self.program, Pointer(value), self.lengths, Pointer(masked, 0, True), self.x)
        return masked

    def project(self, out: int) -> None:
        """``x W + b`` of all steps; of two rows of biases the first."""
        self.product(_matrix(self.inputs(), self.rows, self.features),
                     _matrix(self.program.whole(self.kernel), *self.kernel.shape),
                     _matrix(out, self.rows, self.width), self.program.read(self.bias))

    def at(self, value: int, t: int, width: int) -> Matrix:
        """One step of sequences, (batch, width)."""
        return Matrix(value, t * width, (self.batch, width), (self.steps * width, 1))

    def close(self, dz: int, before: int | None, db: int | None = None) -> None:
        """Gradients of x, both kernels and the bias from the cotangents of ``x W + b``."""
        program, dx, dkernel, drecurrent, dbias = self.program, *self.node.outputs[:4]
        slopes = _matrix(dz, self.rows, self.width)
        weights = _matrix(program.whole(self.kernel), *self.kernel.shape)
        self.product(_matrix(self.inputs(), self.rows, self.features).turned, slopes,
                     _matrix(program.out(dkernel).value, *self.kernel.shape))
        if program.is_read(dx):
            self.product(slopes, weights.turned,
                         _matrix(program.out(dx).value, self.rows, self.features))
        else:
            program.out(dx)
        if before is not None:
            self.product(_matrix(before, self.rows, self.units).turned,
                         _matrix(dz if db is None else db, self.rows, self.width),
                         _matrix(program.out(drecurrent).value, self.units, self.width))
        to = program.write(dbias)
        for part, value in enumerate([dz] if db is None else [dz, db]):
            offset = part * self.width * np.dtype(self.dtype).itemsize
            queue_reduce(program, "sum", value, to._replace(offset=offset),
                         (1, self.rows, self.width), self.dtype, self.dtype)

    def add(self, x: int, y: int, out: Tensor) -> None:
        """The sum of what the last step left and what its product gives."""
        shape = (self.batch, self.units)
        views = (View.whole(x, shape), View.whole(y, shape), self.program.out(out))
        launch(self.program, "chain_add", shape,
               [Operand(name, view, self.dtype, name == "out2")
                for name, view in zip(("in0", "in1", "out2"), views)],
               ["    @out2@ = @in0@ + @in1@;"], [])


def _fits(node: Node, first: int) -> bool:
    inputs = [*node.inputs, None]
    lengths = inputs[first + 4] if len(node.inputs) > first + 4 else None
    return node.inputs[first].dtype.name in FLOATS and \
        (lengths is None or lengths.dtype.name in TYPES)


def _outputs(program, node: Node) -> list[Pointer]:
    return [program.write(t) for t in node.outputs]


def _read(pointer: Pointer) -> Pointer:
    return pointer._replace(written=False)


# ---- forward -----------------------------------------------------------------------------------

def _lstm(program, node: Node):
    if not _fits(node, 0):
        return None
    s = Sequences(program, node, 0, 2)
    outputs, h, c, gates, cells = _outputs(program, node)
    term = s.scratch(s.batch, s.width)
    s.project(gates.value)
    before, cell = s.states
    for t in s.order:
        if before is not NONE:
            s.product(_matrix(before.value, s.batch, s.units), s.kernels,
                      _matrix(term, s.batch, s.width))
        s.step("lstm_step", t, gates, NONE if before is NONE else Pointer(term), before, cell,
               s.lengths_read, outputs, h, c, cells)
        before, cell = _read(h), _read(c)
    return True


def _gru(program, node: Node):
    if not _fits(node, 0):
        return None
    s, after = Sequences(program, node, 0, 1), node.settings["reset_after"]
    outputs, h, gates, inner = _outputs(program, node)
    wide = s.width if after else 2 * s.units
    term, second = s.scratch(s.batch, wide), s.scratch(s.batch, s.units)
    s.project(gates.value)
    bias = program.read(s.bias)
    bias = bias._replace(offset=s.width * np.dtype(s.dtype).itemsize)
    before, = s.states
    for t in s.order:
        if before is not NONE:
            s.product(_matrix(before.value, s.batch, s.units), s.kernels.columns(0, wide),
                      _matrix(term, s.batch, wide))
        found = NONE if before is NONE else Pointer(term)
        if after:
            s.step("gru_step", t, gates, found, bias, before, s.lengths_read, outputs, h, inner)
        else:
            s.step("gru_gates", t, gates, found, before, inner)
            s.product(s.at(inner.value, t, s.units), s.kernels.columns(wide, s.width),
                      _matrix(second, s.batch, s.units))
            s.step("gru_candidate", t, gates, Pointer(second), before, s.lengths_read, outputs, h)
        before = _read(h)
    return True


def _simple_rnn(program, node: Node):
    if not _fits(node, 0):
        return None
    s = Sequences(program, node, 0, 1)
    outputs, h = _outputs(program, node)
    term = s.scratch(s.batch, s.units)
    s.project(outputs.value)
    activation = np.int32(ACTIVATIONS.index(node.settings["activation"]))
    before, = s.states
    for t in s.order:
        if before is not NONE:
            s.product(_matrix(before.value, s.batch, s.units), s.kernels,
                      _matrix(term, s.batch, s.units))
        s.step("simple_rnn_step", t, activation, outputs,
               NONE if before is NONE else Pointer(term), before, s.lengths_read, h)
        before = _read(h)
    return True


# ---- gradients ---------------------------------------------------------------------------------

def _lstm_gradient(program, node: Node):
    if not _fits(node, 6):
        return None
    s = Sequences(program, node, 6, 2)
    dy, dh, dc, *saved = map(program.read, node.inputs[:6])
    dz, before = s.scratch(s.batch, s.steps, s.width), s.scratch(s.batch, s.steps, s.units)
    following, rest = s.scratch(s.batch, s.units), s.scratch(s.batch, s.units)
    by_cell = program.write(node.outputs[5])
    then = (dh, NONE, dc)
    for t in reversed(s.order):
        s.step("lstm_step_gradient", t, dy, *then, *saved, *s.states, s.lengths_read,
               Pointer(dz, 0, True), Pointer(before, 0, True), Pointer(rest, 0, True), by_cell)
        s.product(s.at(dz, t, s.width), s.kernels.turned, _matrix(following, s.batch, s.units))
        then = (Pointer(following), Pointer(rest), _read(by_cell))
    s.add(following, rest, node.outputs[4])
    s.close(dz, before)
    return True


def _gru_gradient(program, node: Node):
    if not _fits(node, 5):
        return None
    s, after = Sequences(program, node, 5, 1), node.settings["reset_after"]
    dy, dh, *saved = map(program.read, node.inputs[:5])
    gates, inner = saved[1:]
    da, before = s.scratch(s.batch, s.steps, s.width), s.scratch(s.batch, s.steps, s.units)
    db = s.scratch(s.batch, s.steps, s.width) if after else None
    following, rest = s.scratch(s.batch, s.units), s.scratch(s.batch, s.units)
    d_inner, two = s.scratch(s.batch, s.units), 2 * s.units
    written = [Pointer(da, 0, True), NONE if db is None else Pointer(db, 0, True),
               Pointer(before, 0, True), Pointer(rest, 0, True)]
    then = (dh, NONE)
    for t in reversed(s.order):
        s.step("gru_step_gradient", t, dy, *then, *saved, *s.states, s.lengths_read, *written)
        if after:
            s.product(s.at(db, t, s.width), s.kernels.turned, _matrix(following, s.batch, s.units))
        else:
            slopes = s.at(da, t, s.width)
            s.product(slopes.columns(two, s.width), s.kernels.columns(two, s.width).turned,
                      _matrix(d_inner, s.batch, s.units))
            s.step("gru_reset_gradient", t, Pointer(d_inner), gates, Pointer(before), written[0],
                   written[3])
            s.product(slopes.columns(0, two), s.kernels.columns(0, two).turned,
                      _matrix(following, s.batch, s.units))
        then = (Pointer(following), Pointer(rest))
    s.add(following, rest, node.outputs[4])
    if after:
        s.close(da, before, db)
        return True
    s.close(da, None)
    slopes = _matrix(da, s.rows, s.width)
    out = _matrix(program.out(node.outputs[2]).value, s.units, s.width)
    s.product(_matrix(before, s.rows, s.units).turned, slopes.columns(0, two), out.columns(0, two))
    s.product(_matrix(inner.value, s.rows, s.units).turned, slopes.columns(two, s.width),
              out.columns(two, s.width))
    return True


def _simple_rnn_gradient(program, node: Node):
    if not _fits(node, 3):
        return None
    s = Sequences(program, node, 3, 1)
    dy, dh, outputs = map(program.read, node.inputs[:3])
    dz, before = s.scratch(s.batch, s.steps, s.units), s.scratch(s.batch, s.steps, s.units)
    following, rest = s.scratch(s.batch, s.units), s.scratch(s.batch, s.units)
    activation = np.int32(ACTIVATIONS.index(node.settings["activation"]))
    then = (dh, NONE)
    for t in reversed(s.order):
        s.step("simple_rnn_step_gradient", t, activation, dy, *then, outputs, *s.states,
               s.lengths_read, Pointer(dz, 0, True), Pointer(before, 0, True),
               Pointer(rest, 0, True))
        s.product(s.at(dz, t, s.units), s.kernels.turned, _matrix(following, s.batch, s.units))
        then = (Pointer(following), Pointer(rest))
    s.add(following, rest, node.outputs[4])
    s.close(dz, before)
    return True


OWN = {"lstm": _lstm, "lstm_gradient": _lstm_gradient, "gru": _gru, "gru_gradient": _gru_gradient,
       "simple_rnn": _simple_rnn, "simple_rnn_gradient": _simple_rnn_gradient}
