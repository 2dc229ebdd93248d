"""NativeProgram: a graph compiled to steps of the core, with the reference for the rest."""
from __future__ import annotations

from time import perf_counter
from typing import Iterator, Sequence

import numpy as np

from ..base import Program
from ..graph import COLLECTIVES, Graph
from ..lowering.clusters import Cluster, clusters
from ..lowering.halves import halves, notes
from ..lowering.in_place import bases, in_place
from ..lowering.view import View
from ..lowering.views import VIEWS
from ..passes.open_batch_norm import open_batch_norm
from ..tensor import LEAVES, Node, Tensor, Variable, constant_op
from .chain import chain, fits_chain
from .emit import EMIT
from .fusions import PATTERNS, multiplies_bfloat16
from .prepared import Prepared
from .words import words

SMALL = 16384    # elements up to which updates wait for each other, to be one step

class NativeProgram(Program):
    """Immutable; every run leases an arena of its own, so threads may run it at once."""

    def __init__(self, backend, graph: Graph, communicator=None, threads: int = 0):
        self._given, self.variables = graph, graph.variables         # in the order of the state
        graph = open_batch_norm(graph)
        self.backend, self.graph, self.communicator = backend, graph, communicator
        self.threads = threads or backend.threads()
        self._siblings: dict[int, NativeProgram] = {}
        self.core = backend.core.Program()
        self.views: dict[Tensor, View] = {}
        self._fall_backs: dict[str, None] = {}
        self._python: list[tuple[int, Node, list[int], list[int]]] = []
        # Moments of a convolution's outputs, and by which weights.
        self.moments: dict[Tensor, tuple[int, tuple[Tensor, ...]]] = {}
        self.users: dict[Tensor, list[Node]] = {}
        for node in graph.steps:
            for t in node.inputs:
                self.users.setdefault(t, []).append(node)
        self.kept = {*graph.outputs, *graph.updates.values()}
        # Weights that stay as they are: what is made of them alone is computed once.
        self._steady = bool(graph.inputs) and not graph.updates and communicator is None
        kinds = {"bfloat16"} if backend.bfloat16 else set()
        self._halves = halves(graph, self.users, self.kept, multiplies_bfloat16, kinds=kinds)
        self.notes = notes(graph, kinds, "this processor")
        self._bind_leaves()
        before = backend.core.set_threads(self.threads)
        try:
            self._compile()
        finally:
            backend.core.set_threads(before)
        self.fall_backs = tuple(self._fall_backs)
        # NumPy's threads and ours would wait for each other: where the reference has heavy work,
        # the steps between it take one thread.
        self._heavy = any(node.op.flops is not None for _, node, *_ in self._python)

    def _for_now(self) -> NativeProgram:
        """This program, or one made for as many threads as there may be now.

        Primitives of oneDNN are made for a number of threads and must run with it.
        """
        threads = 1 if self._heavy else self.backend.threads()
        if threads == self.threads:
            return self
        if threads not in self._siblings:
            made = NativeProgram(self.backend, self._given, self.communicator, threads)
            self._siblings.setdefault(threads, made)
        return self._siblings[threads]

    # ---- compiling -----------------------------------------------------------------------------

    def _bind_leaves(self) -> None:
        core, graph = self.core, self.graph
        self._fed = []
        for t in graph.inputs:
            if t not in self.views:
                self.views[t] = self.new(t.spec, "bound")
            self._fed.append(self.views[t].value)
        self._variables = []
        for v in self.variables:
            if v not in self.views:
                self.views[v] = self.new(v.spec, "bound")
            self._variables.append(self.views[v].value)
            if self._steady:
                core.fix(self.views[v].value)
        for node in graph.nodes:
            if node.op is constant_op and node.outputs[0] not in self.views:
                array = np.ascontiguousarray(node.settings["value"]).reshape(node.specs[0].shape)
                self.views[node.outputs[0]] = View.whole(core.constant(array), array.shape)

    def _compile(self) -> None:
        fixed = self._fixed_nodes()
        found = clusters(self.graph, lambda node: fits_chain(self, node), PATTERNS, fixed)
        order = self._small_updates_last(found)
        self._in_place = in_place(self.graph, order, self._is_view)
        # Outputs are written where the caller has them, but for views and halves, which are copied.
        self._straight = {t: self.new(t.spec, "bound") for t in self.graph.outputs
                          if self.stored(t) == t.dtype.name and t.node not in fixed}
        for cluster in order:
            if cluster.small_update:
                continue
            self.core.once(cluster.nodes[0] in fixed and self._reads_fixed(cluster))
            if cluster.kind == "chain":
                self.core.elementwise([chain(self, cluster)])
            elif cluster.kind == "fused":
                if EMIT[cluster.nodes[0].op.name](self, *cluster.nodes) is None:
                    for node in cluster.nodes:
                        self._single(node)
            else:
                self._single(cluster.nodes[0])
        self.core.once(False)
        for group in self._independent([c for c in order if c.small_update]):
            self.core.elementwise([chain(self, cluster) for cluster in group])
        self._results = []
        for t in self.graph.outputs:
            view = self._straight.pop(t, None)
            self._results.append((view.value if view is self.views[t] else self._copied(t), t.spec))
        where = {v: i for i, v in enumerate(self.variables)}
        self._updates, self._written = [], []
        for v, t in self.graph.updates.items():
            if self._in_place.get(t) is v:
                self._written.append(where[v])
            else:
                self._updates.append((where[v], self._copied(t), t.spec))
        self.core.finish()
        self._steps = len(self.core.steps)
        self.peak_bytes = self.core.arena_bytes + self.core.kept_bytes + sum(
            spec.nbytes for *_, spec in (*self._results, *self._updates))
        self._prepared = Prepared(bool(self.core.once_steps))
        written = {*self._written}
        self._writes = [i in written for i in range(len(self._variables))]
        self._bindings = [*self._fed, *(value for value, _ in self._results),
                          *(value for _, value, _ in self._updates)]

    def _fixed_nodes(self) -> set[Node]:
        """Nodes that read weights and constants alone."""
        found: set[Node] = set()
        fed = set(self.graph.inputs)
        for node in self.graph.steps if self._steady else ():
            if not fed.intersection((*node.inputs, *node.outputs)) and all(
                    t.node in found or t.node.op in LEAVES for t in node.inputs):
                found.add(node)
        return found

    def _reads_fixed(self, cluster: Cluster) -> bool:
        """Whether the core itself computes all that a cluster reads, from weights alone."""
        return all(t.node in cluster.nodes or self.core.fixed(self.views[t].value)
                   for n in cluster.nodes for t in n.inputs)

    def new(self, spec, home: str = "arena", dtype: str = "") -> View:
        """A value of the core for a tensor."""
        value = self.core.value(list(spec.shape), dtype or spec.dtype.name, home)
        return View.whole(value, spec.shape)

    def stored(self, t: Tensor) -> str:
        """The element type a tensor has in the core."""
        return self._halves.get(t, t.dtype.name)

    def out(self, t: Tensor) -> View:
        """Where a node's result goes."""
        if t not in self.views:
            variable = self._in_place.get(t)
            self.views[t] = self._straight.get(t) or (
                self.new(t.spec, dtype=self.stored(t)) if variable is None else
                self.views[variable])
        return self.views[t]

    def whole(self, t: Tensor) -> int:
        """The number of a value that holds a tensor contiguously; a view is copied first."""
        view = self.views[t]
        if not view.is_whole(self.core_size(view.value)):
            fresh = self.new(t.spec, dtype=self.stored(t))
            self._copy_view(view, fresh, t.spec, self.stored(t))
            self.views[t] = view = fresh
        return view.value

    def array(self, t: Tensor):
        """A tensor held contiguously, in its own shape."""
        return self.backend.core.Array(self.whole(t), list(t.shape))

    def result(self, t: Tensor):
        """Where a node's result goes, in its own shape."""
        return self.backend.core.Array(self.out(t).value, list(t.shape))

    def is_read(self, t: Tensor) -> bool:
        """Whether anything reads a node's result."""
        return t in self.users or t in self.kept

    def core_size(self, value: int) -> int:
        """How many elements a value has."""
        return self.core.size(value)

    def _copy_view(self, view: View, to: View, spec, dtype: str = "") -> None:
        core, dtype = self.backend.core, dtype or spec.dtype.name
        code = [core.Instruction("load", dtype, dtype, 0, 0, 0, 0, 0.0)]
        before = self.core.once(self.core.fixed(view.value))
        self.core.elementwise([self.core.chain(
            "copy", list(spec.shape), [view.operand(core, spec.shape)],
            [to.operand(core, spec.shape)], [0], code, 1, [])])
        self.core.once(before)

    def _copied(self, t: Tensor) -> int:
        """A bound value that receives a copy of a tensor."""
        value = self.new(t.spec, "bound").value
        self.core.copy(self.whole(t), value)
        return value

    def _small_updates_last(self, order: list[Cluster]) -> list[Cluster]:
        """The order with small chains that end in updates and outputs together at its end."""
        for cluster in order:
            inside = {n.outputs[0] for n in cluster.nodes}
            cluster.small_update = cluster.kind == "chain" and not cluster.sums and \
                cluster.nodes[0].specs[0].size <= SMALL and \
                not any(n.outputs[0] not in inside for t in inside for n in self.users.get(t, ()))
        return sorted(order, key=lambda c: c.small_update)

    def _independent(self, chains: list[Cluster]) -> Iterator[list[Cluster]]:
        """Neighbours in groups in which no chain reads a variable that another writes in place."""
        group: list[Cluster] = []
        read: set[Variable] = set()
        written: set[Variable] = set()
        for cluster in chains:
            reads = {v for n in cluster.nodes for t in n.inputs
                     for v in bases(self.graph, t, self._is_view)}
            writes = {self._in_place[n.outputs[0]] for n in cluster.nodes
                      if n.outputs[0] in self._in_place}
            if writes & read or reads & written:
                yield group
                group, read, written = [], set(), set()
            group.append(cluster)
            read, written = read | reads, written | writes
        if group:
            yield group

    def _is_view(self, t: Tensor) -> bool:
        """Whether a tensor is read where its node's first input lies."""
        return t.node.op.name in VIEWS or words(self, t)      # words: read again by gradients

    # ---- kinds of clusters ---------------------------------------------------------------------

    def _single(self, node: Node) -> None:
        made = None
        if not any(t in self.graph.inputs for t in node.outputs) and all(
                s.size for s in (*node.specs, *(t.spec for t in node.inputs))):
            if node.op.name in VIEWS:
                made = VIEWS[node.op.name](self, node)
            elif node.op.name in EMIT:
                made = EMIT[node.op.name](self, node)
        if made is None:
            self._reference(node)

    def _reference(self, node: Node) -> None:
        """Leave a node to the reference: a step that Python computes between two runs."""
        self.core.once(False)
        self._fall_backs[node.op.name] = None
        inputs = [self.whole(t) for t in node.inputs]
        outputs = [self.new(t.spec) if t in self.graph.inputs else self.out(t)
                   for t in node.outputs]
        outputs = [v.value for v in outputs]
        self.core.python_step(node.op.name, [*inputs, *outputs])
        self._python.append((len(self.core.steps) - 1, node, inputs, outputs))

    # ---- running -------------------------------------------------------------------------------

    def stretches(self, state: list, feeds: Sequence) -> Iterator:
        program = self._for_now()
        call, results, fresh, _kept = program._bound(state, feeds)
        at, threads = 0, program.threads
        for step, node, inputs, outputs in program._python:
            if step > at:
                call.run(at, step, threads)
            if self.communicator is not None and node.op.name in COLLECTIVES:
                out = _memory(call, outputs[0], node.outputs[0])
                made = yield node, _memory(call, inputs[0], node.inputs[0]), out
                if made is not out:
                    out[...] = made
            else:
                program._compute(call, node, inputs, outputs)
            at = step + 1
        if at < program._steps:
            call.run(at, program._steps, threads)
        for (i, _, _), array in zip(program._updates, fresh):
            state[i] = array
        program._release(state)
        return results

    def _release(self, state: list) -> None:
        """Leave the snapshots that other threads took in between to them."""
        for i in self._written:
            if not state[i].flags.writeable:
                state[i] = state[i].copy()

    def run_steps(self, state: list, tables: Sequence[np.ndarray], rows: np.ndarray) -> list:
        program, core = self._for_now(), self.backend.core
        if program is not self:
            return program.run_steps(state, tables, rows)
        plain = all(a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative and
                    core.converts(a.dtype.name, t.dtype.name)
                    for a, t in zip(tables, self.graph.inputs))
        if self._python or not plain or len(set(self._fed)) < len(self._fed):
            return super().run_steps(state, tables, rows)
        call = self._call(state)
        results = [np.empty((len(rows), *spec.shape), spec.dtype) for _, spec in self._results]
        fresh = [[np.empty(spec.shape, spec.dtype) for _ in range(2)]
                 for _, _, spec in self._updates]
        try:
            call.run_steps(self.threads, rows, list(zip(self._fed, tables)),
                           [(value, array) for (value, _), array in zip(self._results, results)],
                           [(self._variables[i], value, *pair)
                            for (i, value, _), pair in zip(self._updates, fresh)])
        finally:                        # what was finished counts, whatever ended the rest
            if call.done:
                for (i, _, _), pair in zip(self._updates, fresh):
                    state[i] = pair[(call.done - 1) % 2]
            self._release(state)
        return results

    def timed(self, state: Sequence, feeds: Sequence, runs: int = 20) -> list[tuple]:
        """Each step's name, FLOPs and median seconds over some runs, in order; state is kept."""
        program = self._for_now()
        if program is not self:
            return program.timed(state, feeds, runs)
        call, *_kept = self._bound([np.array(a, order="C") for a in state], feeds)
        python = {step: rest for step, *rest in self._python}
        times = np.empty((runs, self._steps))
        for run in range(runs if python else 0):
            for step in range(self._steps):
                begin = perf_counter()
                if step in python:
                    self._compute(call, *python[step])
                else:
                    call.run(step, step + 1, self.threads)
                times[run, step] = perf_counter() - begin
        medians = np.median(times, axis=0).tolist() if python else call.timed(runs, self.threads)
        return [(name, flops, seconds) for (name, flops, _), seconds in
                zip(self.core.steps, medians)]

    def _bound(self, state: list, feeds: Sequence) -> tuple:
        """A call with all its memory, results, fresh values of variables, and what must live."""
        feeds = [np.ascontiguousarray(a) if a.flags.aligned else a.copy() for a in feeds]
        results = [np.empty(spec.shape, spec.dtype) for _, spec in self._results]
        fresh = [np.empty(spec.shape, spec.dtype) for _, _, spec in self._updates]
        call = self._call(state)
        call.bind(self._bindings, [*feeds, *results, *fresh])
        return call, results, fresh, (feeds, state)

    def _call(self, state: list):
        """A call with the state bound, and with what is made of the weights alone.

        What cannot be written in place is copied first.
        """
        for i, written in enumerate(self._writes):
            array, flags = state[i], getattr(state[i], "flags", None)
            if not (type(array) is np.ndarray and flags.c_contiguous and flags.aligned
                    and (flags.writeable or not written)):
                state[i] = np.array(array, order="C")
        weights = state if self._steady else ()
        block = self._prepared.find(weights)
        call = self.backend.core.Call(self.core, block)
        call.bind(self._variables, state)
        if block is None and self._prepared.needed:
            self._prepared.store(weights, call.prepare(self.threads))
        return call

    def _compute(self, call, node: Node, inputs, outputs) -> None:
        arrays = [_memory(call, v, t) for v, t in zip(inputs, node.inputs)]
        with np.errstate(all="ignore"):
            made = self.backend.run(node.op, *arrays, **node.settings)
        for v, t, value in zip(outputs, node.outputs, made if len(outputs) > 1 else (made,)):
            _memory(call, v, t)[...] = value


def _memory(call, value: int, t: Tensor) -> np.ndarray:
    """Where a call has a tensor, as an array."""
    if not t.spec.size:
        return np.empty(t.shape, t.dtype)
    return np.frombuffer(call.memory(value), t.dtype).reshape(t.shape)
