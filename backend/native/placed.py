"""PlacedProgram: parts of a graph on several thread groups, at once where they are independent."""
from __future__ import annotations

from threading import Event, Lock
from typing import Sequence

import numpy as np

from ..base import Program
from ..graph import Graph
from ..parts import cut, source
from ..tensor import Tensor, Variable, constant_op
from .groups import inside, thread_groups
from .program import NativeProgram


class PlacedProgram(Program):
    """A program per part; each starts when those it waits for have finished.

    Results are those of one device with as many threads as a group has.
    """

    def __init__(self, backend, graph: Graph):
        self.backend, self.graph = backend, graph
        self.parts = cut(graph)
        devices = {part.device for part in self.parts}
        groups = thread_groups(backend.core, [d for d in graph.devices if d in devices])
        self.groups = [groups[part.device] for part in self.parts]
        # Compiled where it will run: how work is divided depends on how many threads there are.
        graphs = [part.graph.detached() for part in self.parts]
        self.programs = [NativeProgram(backend, g) for g in graphs] if inside() else [
            group.submit(backend.core, NativeProgram, backend, g).result()
            for g, group in zip(graphs, self.groups)]
        self.fall_backs = tuple(dict.fromkeys(op for p in self.programs for op in p.fall_backs))
        self.peak_bytes = sum(p.peak_bytes for p in self.programs)
        self.followers: list[list[int]] = [[] for _ in self.parts]
        for i, part in enumerate(self.parts):
            for j in part.after:
                self.followers[j].append(i)
        self.place = {v: i for i, v in enumerate(graph.variables)}
        self._outputs = [source(graph, t) for t in graph.outputs]
        written = {v for part in self.parts for v in part.graph.updates}
        self._updates = {v: source(graph, t) for v, t in graph.updates.items() if v not in written}

    def run(self, state: list, feeds: Sequence) -> list:
        values: dict[Tensor, np.ndarray] = dict(zip(self.graph.variables, state))
        values.update(zip(self.graph.inputs, feeds))
        results = (*self._outputs, *self._updates.values())
        computed = {t for part in self.parts for t in part.graph.outputs}
        # What is there already may be written over before all is done, or be the caller's.
        early = {t: np.array(t.node.settings["value"] if t.node.op is constant_op else values[t])
                 for t in results if t not in computed}
        run = _Run(self, state, values)
        run.in_turn() if inside() else run.at_once()
        found = []
        for i, t in enumerate(results):
            value = early[t] if t in early else values[t]
            found.append(np.array(value) if t in results[:i] else value)
        for v, value in zip(self._updates, found[len(self._outputs):]):
            state[self.place[v]] = value
        return found[:len(self._outputs)]


class _Run:
    """One run: the values so far, and which parts may start."""

    def __init__(self, program: PlacedProgram, state: list, values: dict):
        self.program, self.state, self.values = program, state, values
        self.waiting = [len(part.after) for part in program.parts]
        self.lock, self.done, self.errors = Lock(), Event(), []
        self.started = 0                       # parts submitted that have not ended

    def in_turn(self) -> None:
        """Compute one part after another, in this thread."""
        for i in range(len(self.waiting)):
            self._compute(i)

    def at_once(self) -> None:
        """Compute all parts, each in its group's thread as soon as it may start.

        An error of one of them is raised when none is running any more.
        """
        ready = [i for i, count in enumerate(self.waiting) if not count]
        self.started = len(ready)
        if not ready:
            return
        self._submit(ready)
        try:
            self.done.wait()
        except BaseException as error:         # Ctrl-C: no part starts any more
            self.errors.append(error)
            self.done.wait()
        if self.errors:
            raise self.errors[0]

    def _submit(self, ready: list[int]) -> None:
        for i in ready:
            try:
                self.program.groups[i].submit(self.program.backend.core, self._work, i)
            except RuntimeError as error:      # Python is shutting down
                self._ended(i, error)

    def _work(self, i: int) -> None:
        try:
            if not self.errors:
                self._compute(i)
            self._ended(i)
        except BaseException as error:
            self._ended(i, error)

    def _ended(self, i: int, error: BaseException | None = None) -> None:
        ready = []
        with self.lock:
            if error is not None:
                self.errors.append(error)
            if not self.errors:
                for j in self.program.followers[i]:
                    self.waiting[j] -= 1
                    if not self.waiting[j]:
                        ready.append(j)
            self.started += len(ready) - 1
            if not self.started:
                self.done.set()
        self._submit(ready)

    def _compute(self, i: int) -> None:
        part, place = self.program.parts[i], self.program.place
        variables: tuple[Variable, ...] = part.graph.variables
        state = [self.state[place[v]] for v in variables]
        made = self.program.programs[i].run(state, [self.values[t] for t in part.feeds])
        self.values.update(zip(part.graph.outputs, made))
        for v, value in zip(variables, state):
            if v in part.graph.updates:
                self.state[place[v]] = value
