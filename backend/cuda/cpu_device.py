"""CpuDevice: the CPU in the part of a GPU, so that launch lists and kernels run without one.

Kernels are compiled by the system's C++ compiler with ``shim/cuda_cpu.hpp``, memory is NumPy's, and
libraries are NumPy. Slow, and meant for tests.
"""
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from threading import RLock
from weakref import WeakSet

import numpy as np

from ..array_module import numpy_module
from ..errors import BackendError
from . import cpu_calls, cpu_rnn
from .cache import KERNELS, cached
from .cpu_calls import view
from .device import Call, Device, Launch, Needs, Pointer, Source, packed

SHIM = Path(__file__).parent / "shim"
# Shared memory is static: without unique symbols each library of kernels has its own.
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fno-gnu-unique", "-fno-math-errno", "-w", f"-I{KERNELS}",
         f"-I{SHIM}")


CALLS = {**cpu_calls.CALLS, **cpu_rnn.CALLS}
NEEDS = {**cpu_calls.NEEDS, **dict.fromkeys(cpu_rnn.CALLS, cpu_rnn.needs)}


class Memory:
    """Bytes at a multiple of 256; what nobody wrote is NaN, so that its use shows."""

    def __init__(self, nbytes: int):
        self._bytes, self.nbytes = np.full(nbytes + 256, 0xFF, np.uint8), nbytes
        self.address = -(-self._bytes.ctypes.data // 256) * 256


class CpuDevice(Device):
    """See the file's first lines.

    Attributes
    ----------
    schedule : int
        In what order the threads of a block run: 0 forward, 1 backward, above that drawn.
    flags : tuple of str
        Further flags for the compiler, such as those of a sanitizer.
    libraries : bool
        Whether there are calls for what kernels of our own do, too.
    memory : int or None
        How many bytes there are in all; None for as many as the host has.
    """
    xp = numpy_module
    stand_in = True
    architecture = "cpu"

    def __init__(self, flags: tuple[str, ...] = (), libraries: bool = False,
                 memory: int | None = None, number: int = 0, count: int = 1):
        super().__init__(number, count)
        self.compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
        if self.compiler is None:
            raise BackendError("the stand-in for a GPU needs a C++ compiler, and there is none",
                               fix="install g++, or set CXX")
        self.flags, self.schedule, self.libraries = flags, 0, libraries
        self.memory, self._taken = memory, WeakSet()
        self._libraries: dict[Source, ctypes.CDLL] = {}
        self._lock = RLock()                 # the shim runs one launch at a time

    def _other(self, number: int) -> CpuDevice:
        return CpuDevice(self.flags, self.libraries, self.memory, number, self.count)

    def _allocate(self, nbytes: int) -> Memory | None:
        if self.memory is not None and nbytes > self._free_bytes():
            return None
        memory = Memory(nbytes)
        self._taken.add(memory)
        return memory

    def _free_bytes(self) -> int | None:
        return None if self.memory is None else \
            self.memory - sum(memory.nbytes for memory in self._taken)

    def upload(self, address: int, array: np.ndarray, ahead: bool = False) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        ctypes.memmove(to, source, nbytes)

    def array(self, address: int, shape, dtype, strides=None) -> np.ndarray:
        return view(address, shape, dtype, strides)

    def needs(self, call: str, settings: dict) -> Needs | None:
        return NEEDS[call](settings) if self.libraries else None

    def function(self, source: Source, name: str):
        with self._lock:
            if source not in self._libraries:
                path = self._built(".so", source.name, source.whole, "c++",
                                   "-include", str(self._prelude), "-shared")
                self._libraries[source] = ctypes.CDLL(str(path))
            function = getattr(self._libraries[source], f"{name}_on_cpu")
            function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                 ctypes.c_uint64)
            return function

    @cached_property
    def _prelude(self) -> Path:
        """The header before every kernel, with what the compiler made of it; loads the shim."""
        runs = self._built(".so", "the shim", (SHIM / "cuda_cpu.cpp").read_text(), "c++", "-shared")
        ctypes.CDLL(str(runs), ctypes.RTLD_GLOBAL)
        text = f'#include "{SHIM / "cuda_cpu.hpp"}"\n#include "{KERNELS / "common.cuh"}"\n'
        header = cached(".hpp", [text, *self._headers], text.encode)
        made = self._built(".gch", "the prelude", text, "c++-header", file=header)
        beside = header.with_suffix(".hpp.gch")
        if not beside.exists():
            try:
                os.link(made, beside)
            except OSError:                # another process was first; or slower without it
                pass
        return header

    @cached_property
    def _headers(self) -> list[str]:
        return [p.read_text() for p in (SHIM / "cuda_cpu.hpp", *sorted(KERNELS.glob("*.cuh")))]

    def _built(self, ending: str, name: str, text: str, language: str, *flags: str,
               file: Path | str = "-") -> Path:
        """What the compiler makes of a text, from the cache if it is there."""
        def build() -> bytes:
            with tempfile.TemporaryDirectory() as work:
                target = Path(work) / "made"
                made = subprocess.run(
                    [self.compiler, *FLAGS, *self.flags, *flags, "-x", language, str(file), "-o",
                     str(target)], input=text, text=True, capture_output=True)
                if made.returncode:
                    raise BackendError(f"the kernels {name} do not compile",
                                       why=made.stderr[:2000])
                return target.read_bytes()

        return cached(ending, [text, *self._headers, self.compiler, *FLAGS, *self.flags, *flags],
                      build)

    def prepare(self, step: Launch | Call, addresses: list[int]):
        if isinstance(step, Call):
            function = CALLS[step.name]
            found = [addresses[a.value] + a.offset if isinstance(a, Pointer) else a
                     for a in step.arguments]
            return lambda: function(*found, **step.settings)
        kept = [packed(a, addresses) for a in step.arguments]
        pointers = np.array([v.ctypes.data for v in kept], np.uint64)
        sizes = np.array([*step.grid, *step.block], np.uint32)

        def launch() -> None:
            with self._lock:
                failed = step.function(pointers.ctypes.data, sizes.ctypes.data, step.shared,
                                       self.schedule)
            if failed:
                raise BackendError(f'the threads of the kernel "{step.name}" wait for each other '
                                   "for ever", why="not all of them meet the same barrier")

        launch.kept = kept                  # the pointers point to these
        return launch

    def record(self, run):
        return run
