"""The native backend: the whole step as one list of primitives over one arena, on the CPU."""
from __future__ import annotations

from ..array_module import numpy_module
from ..base import Backend
from ..context import threads_of
from ..parts import is_placed
from .emit_tables import DIRECT
from .library import open_core


class NativeBackend(Backend):
    """Runs graphs by oneDNN and by loops of its own, compiled when gradatim was installed.

    What it has no primitive for is left to the reference, node by node, inside the program;
    ``plan()`` lists such ops.
    """
    name = "native"
    xp = numpy_module

    def __init__(self):
        self.core, self.onednn = open_core()
        self.loops = frozenset(self.core.loops())
        self.bfloat16 = self.core.has_bfloat16()

    def run(self, op, *arrays, **settings):
        """One op at once: by the core where it takes the arrays as they are, else as `xp` does."""
        made = DIRECT[op.name](self.core, *arrays, **settings) if op.name in DIRECT else None
        return super().run(op, *arrays, **settings) if made is None else made

    def threads(self) -> int:
        """How many threads a run takes now: what OpenMP grants, less what ``n_jobs`` holds back."""
        return threads_of(self.core.thread_limit())

    def compile(self, graph, device: str = "", communicator=None):
        """A program whose steps run in one call without the GIL; one per part on several devices.

        Replicas meet in an order, so each is one program whatever devices its graph names.
        """
        from .placed import PlacedProgram
        from .program import NativeProgram
        if communicator is None and is_placed(graph):
            return PlacedProgram(self, graph)
        return NativeProgram(self, graph, communicator)


backend = NativeBackend()
