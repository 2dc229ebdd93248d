"""The CUDA backend: the whole step as one list of launches, replayed as one graph on a GPU."""
from __future__ import annotations

from functools import cached_property

import numpy as np

from ..base import Backend
from ..memory import check_memory
from ..parts import is_placed
from .device import Device


class CudaBackend(Backend):
    """Runs graphs on a GPU by kernels of its own and cuBLASLt.

    What it has no kernel for is left to functions of CuPy, op by op, inside the program; ``plan()``
    lists such ops. With the environment variable ``GRADATIM_CUDA=stand-in`` the CPU plays the part
    of the GPU, which is slow and meant for tests.

    Parameters
    ----------
    device : Device
        The GPU, or its stand-in.
    tf32 : bool
        Whether products of float32 read their factors with ten bits after the point.
    """
    name = "cuda"
    precisions = ("float32", "float64", "tf32", "bfloat16", "float16")

    def __init__(self, device: Device, tf32: bool = False):
        self.device, self.tf32 = device, tf32
        self.xp = self.device.xp
        self.automatic = not self.device.stand_in

    def run(self, op, *arrays, **settings):
        """One op at once, by the array module."""
        with self.device.here():
            made = op.forward(self.xp, *map(self.xp.asarray, arrays), **settings)
            return tuple(map(self.device.to_host, made)) if isinstance(made, tuple) else \
                self.device.to_host(made)

    def join(self, team):
        """Through NCCL; on the stand-in through the host's own memory."""
        from ..distribute.nccl import joined
        with self.device.here():               # whose GPU NCCL takes
            return team if self.device.stand_in else joined(team)

    def free_bytes(self) -> int | None:
        return self.device.free_bytes()

    def devices(self) -> list[str]:
        others = (f"cuda:{number}" for number in range(self.device.count))
        return list(dict.fromkeys([self.device.name, *others]))

    def on(self, name: str) -> CudaBackend:
        """The backend of a device; what is placed on a CPU, or nowhere, is this one's."""
        kind, _, number = name.partition(":")
        number = int(number) if kind == "cuda" else self.device.number
        return self if number == self.device.number else \
            CudaBackend(self.device.neighbour(number), self.tf32)

    def compile(self, graph, device: str = "", communicator=None):
        """A program of launches for this device, or one for each that the graph is placed on."""
        from .placed import PlacedProgram
        from .program import CudaProgram
        if communicator is None and is_placed(graph) and \
                len({self.on(name).device for name in graph.devices}) > 1:
            return PlacedProgram(self, graph, lambda parts: [
                self.on(part.device).compile(part.graph.detached()) for part in parts])
        program = CudaProgram(self, graph, communicator)
        made = [t for node in program.graph.nodes for t in node.outputs]
        check_memory(program.device_bytes, [*made, *graph.variables],
                     f"a run on {self.device.name}", self.free_bytes())
        return program

    @cached_property
    def _with_tf32(self) -> CudaBackend:
        return CudaBackend(self.device, tf32=True)

    def in_precision(self, name: str | None) -> Backend:
        """The backend of the same device that multiplies as is asked."""
        return self._with_tf32 if name == "tf32" else self

    def asarray(self, value):
        """The array on the host, where feeds come from."""
        return np.asarray(value)
