"""CudaProgram: a graph as a list of launches over one arena."""
from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np

from ..base import Program, finished
from ..graph import COLLECTIVES, Graph
from ..lowering.clusters import clusters
from ..lowering.early import collectives_early
from ..lowering.halves import KINDS, halves, notes
from ..lowering.in_place import in_place
from ..lowering.view import View
from ..lowering.views import VIEWS
from ..passes.open_batch_norm import open_batch_norm
from ..tensor import Node, Tensor, constant_op
from . import arena
from .cache import text
from .chain import emit_chain, emit_copy, fits_chain
from .complaint import WORDS, Complaint
from .device import Call, Launch, Pointer, Source
from .emit import EMIT, multiplies_halves, patterns
from .emit_reduce import reads_halves
from .emit_windows import makes_halves
from .expression import itemsize
from .joins import join_collectives
from .lease import Lease
from .losses import join_losses
from .segments import Flat, merge
from .shadows import queue_shadows, with_shadows
from .stepping import Cursor
from .steps import ArrayStep, touched

STAGED_BYTES = 2 ** 28       # of feeds and outputs of several steps that are on the device at once


class Value(NamedTuple):
    """Memory of a program: ``home`` is arena, or fixed for what must stay from call to call."""
    shape: tuple[int, ...]
    dtype: str
    home: str

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * itemsize(self.dtype)


class CudaProgram(Program):
    """Immutable; every run leases memory of its own, so threads may run it at once."""

    def __init__(self, backend, graph: Graph, communicator=None):
        self.variables = graph.variables                      # in the order of the state
        self.device = backend.device
        told = notes(graph, self.device.halves, "this GPU")
        graph, self._shadows = with_shadows(open_batch_norm(graph))
        self.backend, self.graph, self.communicator = backend, graph, communicator
        self.values: list[Value] = []
        self.views: dict[Tensor, View] = {}
        self.steps: list[Launch | Call | ArrayStep | Flat] = []      # Flat until all are known
        self.constants: list[tuple[int, np.ndarray]] = []
        self.complaints: list[Complaint] = []                 # by the number that kernels write
        self.wrong: int | None = None                         # where they write it
        self._fall_backs: dict[str, None] = {}
        self.users: dict[Tensor, list[Node]] = {}
        self.passed: dict[Tensor, Any] = {}      # from a node's emitter to its gradient's
        for node in graph.steps:
            for t in node.inputs:
                self.users.setdefault(t, []).append(node)
        self.kept = {*graph.outputs, *graph.updates.values()}
        self._halves = halves(graph, self.users, self.kept, multiplies_halves, {
            shadow: KINDS[node.op.name] for shadow, node in self._shadows.items()},
            self.device.halves)
        self._bind_leaves()
        self._compile()
        self.cursor = Cursor(self)
        self._place()
        self.fall_backs = tuple(self._fall_backs)
        self.notes = (*self.device.notes, *told)              # some are found while compiling
        self._leases: deque[Lease] = deque()                  # those that are not in use
        self.device.holders.add(self)

    # ---- compiling -----------------------------------------------------------------------------

    def _bind_leaves(self) -> None:
        graph = self.graph
        for t in (*graph.inputs, *self.variables, *self._shadows):
            if t not in self.views:
                self.views[t] = self.new(t.spec, "fixed", self.stored(t))
        self.fed = [self.views[t].value for t in graph.inputs]
        self.bound = [self.views[v].value for v in self.variables]
        for node in graph.nodes:
            if node.op is constant_op and node.outputs[0] not in self.views:
                self.views[node.outputs[0]] = self.constant(node.settings["value"])

    def _compile(self) -> None:
        graph = self.graph
        # A bias is added by the chain that widens the sums, or they would be rounded twice.
        alone = {node for node in graph.steps if makes_halves(self, node)}
        order = clusters(graph, lambda node: fits_chain(self, node), patterns(alone), apart=True)
        self._keep_halves(alone, {n for c in order for n in c.nodes
                                  if c.kind == "chain" or reads_halves(n)})
        if any(map(self._is_aside, graph.steps)):
            order = collectives_early(order)
        self._in_place = in_place(graph, order, lambda t: t.node.op.name in VIEWS)
        for cluster in order:
            if cluster.kind == "chain":
                emit_chain(self, cluster)
            elif cluster.kind == "single" or \
                    EMIT[cluster.nodes[0].op.name](self, *cluster.nodes) is None:
                for node in cluster.nodes:
                    self._single(node)
        changed = {*graph.updates}
        self.results = [(self._result(t, changed), t.spec) for t in graph.outputs]
        where = {v: i for i, v in enumerate(self.variables)}
        self.updated = [where[v] for v in graph.updates if v not in self._shadows]
        pending = [(self._fresh(t), v) for v, t in graph.updates.items()
                   if self._in_place.get(t) is not v]
        for value, v in pending:                     # all at once, when everything is computed
            to = self.views[v].value
            self.call("copy", [Pointer(to, 0, True), Pointer(value)], nbytes=self.values[to].nbytes)
        join_collectives(self)
        join_losses(self)
        merge(self)
        steps, self.steps = self.steps, []
        queue_shadows(self, self._shadows)
        merge(self)
        self.steps, self.rounding = steps, self.steps        # the second once new weights are there

    def _keep_halves(self, makers: set[Node], readers: set[Node]) -> None:
        """Store in two bytes what is made so, where all that read it widen it themselves."""
        for node in makers:
            out = node.outputs[0]
            taken = out in self.kept or out in self.views             # returned, or fed
            if not taken and readers.issuperset(self.users.get(out, ())):
                self._halves[out] = self.stored(node.inputs[0])

    def _result(self, t: Tensor, changed: set) -> int:
        """A value that holds an output to the end, as it was before the updates."""
        view = self.views[t]
        if any(view.value == self.views[v].value for v in changed):
            return self._fresh(t)
        return self.whole(t)

    def _fresh(self, t: Tensor) -> int:
        """A value of its own with a tensor's elements."""
        view = self.views[t]
        home = self.values[view.value].home
        if home == "arena" and view.is_whole(self._size(view.value)) and \
                list(self.graph.updates.values()).count(t) == 1 and t not in self.graph.outputs:
            return view.value
        fresh = self.new(t.spec, dtype=self.stored(t))
        if t.spec.size:
            emit_copy(self, view, fresh, self.stored(t))
        return fresh.value

    def _single(self, node: Node) -> None:
        made = None
        if not self._is_joint(node) and \
                not any(t in self.graph.inputs for t in node.outputs) and all(
                    s.size for s in (*node.specs, *(t.spec for t in node.inputs))):
            name = node.op.name
            made = VIEWS[name](self, node) if name in VIEWS else \
                EMIT[name](self, node) if name in EMIT else None
        if made is None:
            self._reference(node)

    def _is_joint(self, node: Node) -> bool:
        """Whether replicas meet at a node."""
        return self.communicator is not None and node.op.name in COLLECTIVES

    def _is_aside(self, node: Node) -> bool:
        """Whether replicas meet without the host."""
        return self._is_joint(node) and self.communicator.queues(node)

    def _reference(self, node: Node) -> None:
        """Leave a node to the array module, between launches."""
        joint = self._is_joint(node)
        if not joint:
            self._fall_backs[node.op.name] = None
        inputs = tuple(self.whole(t) for t in node.inputs)
        outputs = tuple((self.new(t.spec) if t in self.graph.inputs else self.out(t)).value
                        for t in node.outputs)
        self.steps.append(ArrayStep(node.op.name, node, inputs, outputs, joint,
                                    self._is_aside(node)))

    def _place(self) -> None:
        """Offsets of all values in the memory of a lease."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for at, step in enumerate(self.steps):
            for value in touched(step):
                first.setdefault(value, at)
                last[value] = at
        for value, _ in self.results:
            first.setdefault(value, 0)
            last[value] = len(self.steps)
        fixed = [i for i, v in enumerate(self.values) if v.home == "fixed"]
        self.offsets, total = {}, 0
        for value in fixed:
            self.offsets[value] = total
            total += arena.aligned(self.values[value].nbytes)
        planned, more = arena.plan({v: self.values[v].nbytes for v in first
                                    if self.values[v].home == "arena"}, first, last)
        self.offsets.update((value, total + offset) for value, offset in planned.items())
        self.bytes = total + more
        state = sum(arena.aligned(v.spec.nbytes) for v in self.variables)
        self.peak_bytes, self.device_bytes = self.bytes - state, self.bytes

    # ---- what emitters use ---------------------------------------------------------------------

    def stored(self, t: Tensor) -> str:
        """The element type a tensor has in memory."""
        return self._halves.get(t, t.dtype.name)

    def new(self, spec, home: str = "arena", dtype: str = "") -> View:
        """Memory for a tensor."""
        self.values.append(Value(tuple(spec.shape), dtype or spec.dtype.name, home))
        return View.whole(len(self.values) - 1, spec.shape)

    def scratch(self, shape, dtype: str) -> int:
        """Memory for what only the next steps need."""
        self.values.append(Value(tuple(shape), dtype, "arena"))
        return len(self.values) - 1

    def constant(self, array) -> View:
        """Memory that holds an array from the start."""
        array = np.asarray(array)
        self.values.append(Value(array.shape, array.dtype.name, "fixed"))
        self.constants.append((len(self.values) - 1, np.ascontiguousarray(array)))
        return View.whole(len(self.values) - 1, array.shape)

    def complaint(self, kind: type[Exception], text: str, about: Tensor) -> list:
        """Two arguments: where a kernel tells what is wrong in a tensor, and the number of it.

        Runs go on to their end; then the first complaint is raised.
        """
        if self.wrong is None:
            self.wrong = self.constant(np.zeros(WORDS, np.int64)).value
        self.complaints.append(Complaint(kind, text, about))
        return [Pointer(self.wrong), np.int32(len(self.complaints))]

    def out(self, t: Tensor) -> View:
        """Where a node's result goes."""
        if t not in self.views:
            variable = self._in_place.get(t)
            self.views[t] = self.new(t.spec, dtype=self.stored(t)) if variable is None else \
                self.views[variable]
        return self.views[t]

    def whole(self, t: Tensor) -> int:
        """The number of a value that holds a tensor contiguously; a view is copied first."""
        view = self.views[t]
        if not view.is_whole(self._size(view.value)):
            fresh = self.new(t.spec, dtype=self.stored(t))
            if t.spec.size:
                emit_copy(self, view, fresh, self.stored(t))
            self.views[t] = view = fresh
        return view.value

    def read(self, t: Tensor) -> Pointer:
        """An argument: a tensor's elements, contiguous."""
        return Pointer(self.whole(t))

    def write(self, t: Tensor) -> Pointer:
        """An argument: where a node's result goes."""
        return Pointer(self.out(t).value, 0, True)

    def is_rounded(self, t: Tensor) -> bool:
        """Whether a tensor holds numbers that were rounded to two bytes, however it is stored."""
        return t in self._shadows or t.node.op.name in KINDS

    def is_read(self, t: Tensor) -> bool:
        """Whether anything reads a node's result."""
        return t in self.users or t in self.kept

    def kernel(self, file: str, name: str, grid, block, arguments, shared: int = 0,
               **macros) -> None:
        """Queue a kernel of ``kernels/``; macros stand for its element types."""
        given = tuple(sorted((k, str(v)) for k, v in macros.items()))
        self.launch(Source(Path(file).stem, text(file), given), name, grid, block, arguments,
                    shared)

    def launch(self, source: Source, name: str, grid, block, arguments, shared: int = 0) -> None:
        """Queue a kernel."""
        self.steps.append(self.launched(source, name, grid, block, arguments, shared))

    def launched(self, source: Source, name: str, grid, block, arguments, shared: int = 0
                 ) -> Launch:
        """A launch that is queued by whoever wants it."""
        return Launch(name, self.device.function(source, name), tuple(grid), tuple(block), shared,
                      tuple(arguments))

    def call(self, name: str, arguments, **settings) -> None:
        """Queue a library's call."""
        if name == "matmul" and self.backend.tf32:
            settings["tf32"] = True
        self.steps.append(Call(name, tuple(arguments), settings))

    def library(self, name: str, **settings):
        """A function that queues a library's call with arguments, or None if kernels have to do.

        The call's last argument is a workspace of the size that the library wants.
        """
        needs = self.device.needs(name, settings)
        return needs and (lambda *arguments: self.call(
            name, (*arguments, self.room(needs.workspace)), **settings))

    def room(self, nbytes: int) -> Pointer:
        """An argument: memory that a call writes to."""
        return Pointer(self.scratch((nbytes,), "uint8"), 0, True)

    def _size(self, value: int) -> int:
        return int(np.prod(self.values[value].shape, dtype=np.int64))

    # ---- running -------------------------------------------------------------------------------

    def stretches(self, state: list, feeds: Sequence) -> Iterator:
        lease = self._take()
        try:
            lease.load(state)
            lease.feed(feeds)
            yield from lease.stretches()
            results = lease.results()
            lease.hand_over(state)
        finally:
            lease.give_back()
        return results

    def queue(self, state: list, feeds: Sequence) -> Lease:
        """Queue a run, and the memory it is in: its results are there until it is given back."""
        lease = self._take()
        try:
            lease.load(state)
            lease.feed(feeds)
            finished(lease.stretches(), self.communicator)
            lease.hand_over(state)
        except BaseException:
            lease.give_back()
            raise
        return lease

    def holds(self, tables) -> bool:
        dtypes = [t.dtype for t in self.graph.inputs]
        return self.device.resident(tables, dtypes) is not None

    def run_steps(self, state: list, tables: Sequence, rows: np.ndarray) -> list:
        lease, found = self._take(), []
        try:
            at_once = self._steps_at_once()
            if at_once:
                lease.load(state)
                try:
                    for first in range(0, max(len(rows), 1), at_once):
                        found.append(lease.stepper.steps(tables, rows[first:first + at_once]))
                        lease.complain(rows, first)
                finally:                    # what was finished counts, whatever ended the rest
                    lease.hand_over(state)
        finally:
            lease.give_back()
        return [np.concatenate(parts) for parts in zip(*found)] if at_once else \
            super().run_steps(state, tables, rows)

    def _steps_at_once(self) -> int:
        """Of how many steps feeds and outputs may be on the device; 0 if of none."""
        each = sum(t.spec.nbytes for t in (*self.graph.inputs, *self.graph.outputs))
        free = self.device.free_bytes()
        return (STAGED_BYTES if free is None else min(STAGED_BYTES, free // 4)) // max(each, 1)

    @property
    def missing_bytes(self) -> int:
        return 0 if any(not lease.is_bare for lease in self._leases.copy()) else self.bytes

    def held_bytes(self, device) -> int:
        """Bytes of memory that is not in use and holds nothing."""
        return self.bytes * sum(lease.is_bare for lease in self._leases.copy())

    def give_way(self, device) -> None:
        """Let go of memory that is not in use and holds nothing."""
        for lease in self._leases.copy():
            if lease.is_bare:
                with suppress(ValueError):                    # somebody took it meanwhile
                    self._leases.remove(lease)

    def take_back(self, lease: Lease) -> None:
        """Memory that nobody uses any more."""
        self._leases.append(lease)

    def _take(self) -> Lease:
        """The memory that was used last, where the weights may be still; or new memory."""
        try:
            return self._leases.pop()
        except IndexError:
            return Lease(self)
