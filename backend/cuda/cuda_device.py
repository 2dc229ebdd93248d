"""CudaDevice: one GPU through CuPy: memory, a stream, kernels by NVRTC, one graph of all launches.

Its tests run it on a CuPy that is none; so far no GPU has.
"""
from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from ..array_module import ArrayModule
from ..errors import BackendError
from .cpu_calls import matmul
from .cublaslt import WORKSPACE, CublasLt, NoAlgorithm
from .cudnn import Cudnn
from .cudnn_convolution import Convolutions
from .cudnn_rnn import Recurrences
from .device import (PIECE_BYTES, Call, Device, Launch, Needs, Pointer, Source, alone,
                     packed)
from .libraries import INSTALL
from .nvrtc import nvrtc
from .proof import prove_library
from .tune import Tuner

INSUFFICIENT_DRIVER, NO_DEVICE, PEER_ACCESS_ENABLED = 35, 100, 704         # of CUDA's runtime
BFLOAT16 = 80                                           # compute capability from which there is
SHARED_BYTES, MAX_SHARED_ATTRIBUTE = 48 * 1024, 8       # above that many a kernel has to ask
STAGED_BYTES, STAGES = PIECE_BYTES, 8                   # of pinned memory for a copy, and of them


def driver_problem(runtime) -> BackendError | None:
    """Why CUDA cannot be used here, before anything else is tried."""
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status not in (INSUFFICIENT_DRIVER, NO_DEVICE):
            return BackendError("the GPU cannot be used", why=str(error),
                                fix="see whether nvidia-smi works; start the machine anew")
        count = 0
        driver = runtime.driverGetVersion()
        if not driver:
            return BackendError("there is no driver for a GPU of NVIDIA",
                                fix='install it, or compute on the CPU with backend="auto"')
        if error.status == INSUFFICIENT_DRIVER:
            needed, known = (f"{v // 1000}.{v % 1000 // 10}"
                             for v in (runtime.runtimeGetVersion(), driver))
            return BackendError(
                f"the driver of the GPU knows CUDA {known}, and CuPy needs {needed}",
                fix='update the driver, or pip install "gradatim[cuda12]"')
    return None if count else BackendError(
        "the driver finds no GPU", fix="see whether CUDA_VISIBLE_DEVICES hides it")


def import_cupy():
    """CuPy, or why it is not here."""
    try:
        import cupy
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        raise BackendError("CuPy, which carries arrays to a GPU, " +
                           ("is not installed" if missing else "cannot be imported"),
                           why=None if missing else str(error), fix=INSTALL) from None
    return cupy


class Memory:
    """Bytes of CuPy's pool."""

    def __init__(self, pointer, nbytes: int):
        self._pointer, self.address, self.nbytes = pointer, pointer.ptr, nbytes


class CudaDevice(Device):
    """One GPU.

    Parameters
    ----------
    number : int
        Which of those that CUDA shows to this process.

    Raises
    ------
    BackendError
        With what is missing and how to get it: CuPy, a driver, a newer one, a GPU, a compiler.
    """

    def __init__(self, number: int = 0):
        self.cupy, self._process = import_cupy(), os.getpid()
        self._cuda, self._runtime = self.cupy.cuda, self.cupy.cuda.runtime
        problem = driver_problem(self._runtime)
        if problem is not None:
            raise problem
        super().__init__(number, self._runtime.getDeviceCount())
        if number >= self.count:
            raise BackendError(f'there is no device "{self.name}"', found=f"{self.count} GPUs",
                               fix='use "cuda:0", or see whether CUDA_VISIBLE_DEVICES hides it')
        nvrtc()
        self._device = self._cuda.Device(number)
        self.architecture = f"sm_{self._device.compute_capability}"
        if int(self._device.compute_capability) < BFLOAT16:
            self.halves = ("float16",)
        with self._device:
            self.stream = self._cuda.Stream(non_blocking=True)
            self.aside = self._cuda.Stream(non_blocking=True)
        self.xp = array_module(self.cupy)
        self._modules: dict[Source, object] = {}
        self._functions: dict[tuple[Source, str], object] = {}
        self._reached: set[int] = set()                 # devices that were asked for peer access
        self._stages: list[tuple] = []                  # pinned memory, and when it is free again
        self._workspace = self.allocate(WORKSPACE)
        self._cublaslt = None
        try:
            self._cublaslt = CublasLt(self._workspace.address)
        except BackendError as error:
            self.notes = (f"products by CuPy, outside of graphs: {error.what}",)

    @contextmanager
    def here(self):
        if os.getpid() != self._process:           # CUDA would crash or wait for ever
            raise BackendError(
                f"{self.name} belongs to the process that this one was forked from",
                fix='start processes with the method "spawn", or joblib\'s "loky"')
        with alone, self._device, self.stream:
            yield

    def _other(self, number: int) -> CudaDevice:
        return CudaDevice(number)

    # ---- memory --------------------------------------------------------------------------------

    def _allocate(self, nbytes: int) -> Memory | None:
        with self.here():
            try:
                return Memory(self._cuda.alloc(nbytes), nbytes)
            except self._cuda.memory.OutOfMemoryError:
                return None

    def _free_bytes(self) -> int:
        with self.here():
            pool = self.cupy.get_default_memory_pool()
            return self._device.mem_info[0] + pool.free_bytes()

    def upload(self, address: int, array: np.ndarray, ahead: bool = False) -> None:
        stream, content = self.aside if ahead else self.stream, array.reshape(-1).view(np.uint8)
        with self.here():
            for first in range(0, array.nbytes, STAGED_BYTES):
                part = content[first:first + STAGED_BYTES]
                pinned, free = self._stage(part.nbytes)
                np.frombuffer(pinned, np.uint8, part.nbytes)[...] = part
                self._move(address + first, pinned.ptr, part.nbytes, "HostToDevice", stream)
                free.record(stream)

    def fork(self) -> None:
        self._order(self.stream, self.aside)

    def join(self) -> None:
        self._order(self.aside, self.stream)

    def _order(self, first, then) -> None:
        """What is put in a stream from now on waits for what is in another, a stream of ours."""
        with self.here():
            event = self._cuda.Event()
            event.record(first)
            then.wait_event(event)

    def receive(self, to: int, other: Device, source: int, nbytes: int) -> None:
        if other is self:
            return self.copy(to, source, nbytes)
        other._order(other.stream, self.stream)
        with self.here():
            self._reach(other)
            self._runtime.memcpyPeerAsync(to, self._device.id, source, other._device.id, nbytes,
                                          self.stream.ptr)
        self._order(self.stream, other.stream)

    def _reach(self, other: CudaDevice) -> None:
        """Let copies go from GPU to GPU where they can; elsewhere the driver takes them through
        the host.
        """
        if other.number in self._reached:
            return
        self._reached.add(other.number)
        if self._runtime.deviceCanAccessPeer(self._device.id, other._device.id):
            try:
                self._runtime.deviceEnablePeerAccess(other._device.id)
            except self._runtime.CUDARuntimeError as error:
                if error.status != PEER_ACCESS_ENABLED:          # CuPy may have been first
                    raise

    def _stage(self, nbytes: int) -> tuple:
        """Pinned memory that no copy reads any more, and the event to say so of the next copy."""
        for pinned, free, size in self._stages:
            if size >= nbytes and free.done:
                return pinned, free
        if len(self._stages) == STAGES:
            self._stages.pop(0)[1].synchronize()
        size = 1 << (nbytes - 1).bit_length()
        self._stages.append((self._cuda.alloc_pinned_memory(size), self._cuda.Event(), size))
        return self._stages[-1][:2]

    def download(self, array: np.ndarray, address: int) -> None:
        with self.here():
            self._move(array.ctypes.data, address, array.nbytes, "DeviceToHost")
            self.synchronize()

    def copy(self, to: int, source: int, nbytes: int) -> None:
        with self.here():
            self._move(to, source, nbytes, "DeviceToDevice")

    def _move(self, to: int, source: int, nbytes: int, kind: str, stream=None) -> None:
        if nbytes:
            self._runtime.memcpyAsync(to, source, nbytes, getattr(self._runtime, f"memcpy{kind}"),
                                      (stream or self.stream).ptr)

    def array(self, address: int, shape, dtype, strides=None):
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if not size:
            return self.cupy.empty(shape, dtype)
        memory = self._cuda.UnownedMemory(address, size, self, self._device.id)
        return self.cupy.ndarray(shape, dtype, self._cuda.MemoryPointer(memory, 0), strides)

    def to_host(self, array) -> np.ndarray:
        return self.cupy.asnumpy(array, stream=self.stream)

    # ---- kernels and calls ---------------------------------------------------------------------

    def function(self, source: Source, name: str):
        with self.here():
            if source not in self._modules:
                module = self._cuda.function.Module()
                module.load(nvrtc().compiled(source, self.architecture))
                self._modules[source] = module
            if (source, name) not in self._functions:           # CuPy makes a new one each time
                self._functions[source, name] = self._modules[source].get_function(name)
            return self._functions[source, name]

    @cached_property
    def _by_cudnn(self) -> dict:
        """Who plans and queues which calls; nobody where cuDNN is missing or computes wrongly."""
        from . import CudaBackend
        if self._cublaslt is None:                       # cuDNN ends the process without it
            return {}
        with self.here():
            try:
                cudnn = Cudnn(self.stream.ptr)
                gpu = self._runtime.getDeviceProperties(self._device.id)["name"]
                tuner = Tuner(self, [gpu.decode(), f"driver {self._runtime.driverGetVersion()}",
                                     f"cuDNN {cudnn.version}"])
                found = {call: by for by in (Convolutions(cudnn, tuner), Recurrences(cudnn, tuner))
                         for call in by.calls}
                self.__dict__["_by_cudnn"] = found       # what the proof asks for
                prove_library(CudaBackend(self))
                return found
            except BackendError as error:
                self.notes += ("convolutions and recurrent layers by kernels of our own: "
                               f"{error.what}",)
                return {}

    def needs(self, call: str, settings: dict) -> Needs | None:
        with self.here():
            return self._by_cudnn[call].needs(call, settings) if call in self._by_cudnn else None

    def prepare(self, step: Launch | Call, addresses: list[int]):
        with self.here():
            return self._call(step, addresses) if isinstance(step, Call) else \
                self._launch(step, addresses)

    def _call(self, step: Call, addresses: list[int]):
        found = [addresses[a.value] + a.offset if isinstance(a, Pointer) else a
                 for a in step.arguments]
        if step.name == "copy":
            return lambda: self._move(*found, step.settings["nbytes"], "DeviceToDevice")
        if step.name != "matmul":
            return self._by_cudnn[step.name].prepare(step.name, found, step.settings)
        try:
            if self._cublaslt is not None:
                return self._cublaslt.matmul(self.stream.ptr, *found, **step.settings)
        except NoAlgorithm:
            pass

        def multiply() -> None:
            matmul(*found, **step.settings | {"tf32": False}, array=self.array, xp=self.cupy)

        multiply.captured = False                        # CuPy's own handle refuses to be
        return multiply

    def _launch(self, step: Launch, addresses: list[int]):
        values = [packed(a, addresses) for a in step.arguments]
        pointers = np.array([v.ctypes.data for v in values], np.uint64)
        driver, function = self._cuda.driver, step.function.ptr
        if step.shared > SHARED_BYTES:
            driver.funcSetAttribute(function, MAX_SHARED_ATTRIBUTE, step.shared)
        arguments = (function, *step.grid, *step.block, step.shared, self.stream.ptr,
                     pointers.ctypes.data, 0)

        def launch() -> None:
            driver.launchKernel(*arguments)

        launch.kept = pointers, values                   # the arguments point to these
        return launch

    def record(self, run):
        with self.here():
            self.stream.begin_capture(self._runtime.streamCaptureModeThreadLocal)
            try:
                run()
            except BaseException:
                self._end_capture()
                raise
            graph = self._end_capture()
        return graph and (lambda: graph.launch(self.stream))

    def _end_capture(self):
        """The graph, or None if something in it cannot be captured."""
        try:
            return self.stream.end_capture()
        except self._runtime.CUDARuntimeError:
            return None

    def synchronize(self) -> None:
        self.stream.synchronize()


def array_module(cupy) -> ArrayModule:
    """CuPy as ops know it."""
    from cupyx import scatter_add
    from cupyx.scipy import special

    def add(target, indices, values):
        scatter_add(target, indices, values)
        return target

    return ArrayModule(cupy, {"erf": special.erf, "erfinv": special.erfinv, "scatter_add": add,
                              "windows": cupy.lib.stride_tricks.sliding_window_view})
