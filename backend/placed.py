"""PlacedProgram: parts of a graph on several devices, each as a program of its own."""
from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from .base import Backend, Program
from .graph import Graph
from .parts import Part, cut, source
from .tensor import Tensor, Variable, constant_op


class PlacedProgram(Program):
    """A program per part; what one makes is handed to the others as an array of the host.

    Parameters
    ----------
    backend : Backend
        Whose it is.
    graph : Graph
        With copies wherever devices meet.
    compiled : callable ``list of Part -> list of Program``
        Makes a program of each part.
    """

    def __init__(self, backend: Backend, graph: Graph, compiled: Callable[[list[Part]], list]):
        self.backend, self.graph = backend, graph
        self.parts = cut(graph)
        self.programs: list[Program] = compiled(self.parts)
        self.fall_backs = tuple(dict.fromkeys(op for p in self.programs for op in p.fall_backs))
        self.notes = tuple(dict.fromkeys(note for p in self.programs for note in p.notes))
        self.peak_bytes = sum(p.peak_bytes for p in self.programs)
        self.device_bytes = sum(p.device_bytes for p in self.programs)
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
        self.compute(state, values)
        found = []
        for i, t in enumerate(results):
            value = early[t] if t in early else values[t]
            found.append(np.array(value) if t in results[:i] else value)
        for v, value in zip(self._updates, found[len(self._outputs):]):
            state[self.place[v]] = value
        return found[:len(self._outputs)]

    def compute(self, state: list, values: dict) -> None:
        """All parts, one after another."""
        for i in range(len(self.parts)):
            self.compute_part(i, state, values)

    def compute_part(self, i: int, state: list, values: dict) -> None:
        """One part; what it makes goes to the values, what it updates to the state."""
        part = self.parts[i]
        variables: tuple[Variable, ...] = part.graph.variables
        own = [state[self.place[v]] for v in variables]
        made = self.programs[i].run(own, [values[t] for t in part.feeds])
        values.update(zip(part.graph.outputs, made))
        for v, value in zip(variables, own):
            if v in part.graph.updates:
                state[self.place[v]] = value
