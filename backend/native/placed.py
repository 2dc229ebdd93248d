"""PlacedProgram on thread groups: parts of a graph at once where they are independent."""
from __future__ import annotations

from threading import Event, Lock

from .. import placed
from ..graph import Graph
from ..parts import Part
from .groups import inside, thread_groups
from .program import NativeProgram


class PlacedProgram(placed.PlacedProgram):
    """Each part starts when those it waits for have finished.

    Results are those of one device with as many threads as a group has.
    """

    def __init__(self, backend, graph: Graph):
        super().__init__(backend, graph, self._compiled)
        self.followers: list[list[int]] = [[] for _ in self.parts]
        for i, part in enumerate(self.parts):
            for j in part.after:
                self.followers[j].append(i)

    def _compiled(self, parts: list[Part]) -> list[NativeProgram]:
        """Compiled where it will run: how work is divided depends on how many threads there are."""
        core, devices = self.backend.core, {part.device for part in parts}
        groups = thread_groups(core, [d for d in self.graph.devices if d in devices])
        self.groups = [groups[part.device] for part in parts]
        graphs = [part.graph.detached() for part in parts]
        return [NativeProgram(self.backend, g) for g in graphs] if inside() else [
            group.submit(core, NativeProgram, self.backend, g).result()
            for g, group in zip(graphs, self.groups)]

    def compute(self, state: list, values: dict) -> None:
        if inside():
            super().compute(state, values)
        else:
            _Run(self, state, values).at_once()


class _Run:
    """One run: the values so far, and which parts may start."""

    def __init__(self, program: PlacedProgram, state: list, values: dict):
        self.program, self.state, self.values = program, state, values
        self.waiting = [len(part.after) for part in program.parts]
        self.lock, self.done, self.errors = Lock(), Event(), []
        self.started = 0                       # parts submitted that have not ended

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
                self.program.compute_part(i, self.state, self.values)
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
