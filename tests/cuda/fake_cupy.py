"""A CuPy that is none: memory of NumPy, kernels compiled for the CPU, graphs that are lists.

What the CUDA backend asks of CuPy is done as CuPy would do it, and refused where CuPy or CUDA would
refuse it: addresses on the wrong side, another stream, memory taken while a graph is captured.
"""
import ctypes
import pickle
import types
import weakref

import numpy as np

from gradatim.backend.array_module import EXTRAS, SHARED
from gradatim.backend.cuda.cpu_calls import view
from gradatim.backend.cuda.cpu_device import CpuDevice
from gradatim.backend.cuda.cpu_rnn import rnn_forward, rnn_gradient

STREAM, AHEAD = 77, 78      # in the order in which a device makes them


class RnnCall(ctypes.Structure):
    """As in fake_cudnn.cpp."""
    _fields_ = [("settings", ctypes.c_int * 10), ("addresses", ctypes.c_void_p * 14)]


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, text="cudaError"):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    pass


class Pinned(np.ndarray):
    """Pinned memory."""
    @property
    def ptr(self):
        return self.ctypes.data


class Fake:
    """The modules ``cupy`` and ``cupyx``, and what they were asked to do.

    Attributes
    ----------
    log : list of str
        Names of what was queued or replayed.
    """
    STREAM, AHEAD = STREAM, AHEAD

    def __init__(self, gpus=1, driver=13000, status=None, free=2 ** 30):
        self.log, self.free, self.gpus = [], free, gpus
        self.status, self.driver_version = status, driver
        self.kernels, self.blocks, self.capturing = {}, {}, None
        self.cpu = CpuDevice()
        self.cannot_capture, self.kept = False, []
        self.peers, self.peers_enabled = [], False
        self.modules = self._modules()

    # ---- what happens ----

    def queue(self, name, run):
        self.given += 1
        if self.capturing is not None:
            self.capturing.append((name, run))
        else:
            self.log.append(name)
            run()

    def hooked(self, name, hook, run):
        """The numbers of a library's calls, which are queued like all else."""
        numbers = []

        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
        def queue(number):
            numbers.append(number)
            self.queue(name, lambda: run(number))
            return 0

        self.kept.append(queue)
        hook(queue)
        return numbers

    def beside(self, name, run):
        """What the other stream is given; it runs late, when somebody waits for it."""
        assert self.forked == self.given, "the other stream does not wait for what came before"
        self.ahead.append(lambda: self.queue(name, run))

    def layer(self, number):
        """A call of a recurrent layer: which of three, its settings, algorithm and addresses."""
        call = self.cudnn.fake_rnn_call
        call.restype = ctypes.POINTER(RnnCall)
        algorithm, cell, kind, math, batch, steps, features, units, which, training = \
            call(number).contents.settings
        settings = dict(cell=("relu", "tanh", "lstm", "gru")[cell], batch=batch, steps=steps,
                        features=features, units=units, dtype=("float32", "float64")[kind],
                        training=bool(training), tf32=math != 3)
        return which, settings, algorithm, [a or 0 for a in call(number).contents.addresses]

    def run_layer(self, number):
        """A layer's forward call, or both halves of its gradient when the second comes."""
        which, settings, _, addresses = self.layer(number)
        if which == 0:
            rnn_forward(*addresses, **settings)
        elif which == 2:
            rnn_gradient(*addresses, **settings)

    def inside(self, address, nbytes):
        """Whether an address is the device's."""
        return any(a <= address and address + nbytes <= a + n for a, n in self.blocks.items())

    def alloc(self, nbytes):
        assert self.capturing is None, "memory taken while a graph is captured"
        assert self.entered, "memory of no stream"
        if nbytes > self.free:
            raise OutOfMemoryError
        memory = np.full(max(nbytes, 512) + 512, 0xFF, np.uint8)
        pointer = types.SimpleNamespace(ptr=-(-memory.ctypes.data // 512) * 512, memory=memory)
        self.blocks[pointer.ptr] = max(nbytes, 512)
        weakref.finalize(pointer.memory, self.blocks.pop, pointer.ptr)
        return pointer

    def memcpy(self, to, source, nbytes, kind, stream):
        if stream == AHEAD:                # not before somebody waits for it
            assert kind == 1 and self.capturing is None
            self.ahead.append(lambda: self.memcpy(to, source, nbytes, kind, STREAM))
            return
        assert stream == STREAM
        assert (self.inside(to, nbytes), self.inside(source, nbytes)) == \
            {1: (True, False), 2: (False, True), 3: (True, True)}[kind]
        self.queue(("", "upload", "download", "copy")[kind],
                   lambda: ctypes.memmove(to, source, nbytes) and None)

    def memcpy_peer(self, to, to_device, source, source_device, nbytes, stream):
        assert stream == STREAM and to_device != source_device
        assert {to_device, source_device} <= set(range(self.gpus))
        assert self.inside(to, nbytes) and self.inside(source, nbytes)
        self.queue("peer", lambda: ctypes.memmove(to, source, nbytes) and None)

    def enable_peer(self, device):
        self.peers.append(device)
        if self.peers.count(device) > 1 or self.peers_enabled:
            raise CUDARuntimeError(704)

    def launch(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        assert stream == STREAM and extra == 0 and bx * by * bz <= 1024
        name, run = self.kernels[function]
        sizes = np.array([gx, gy, gz, bx, by, bz], np.uint32)

        def now():
            assert not run(parameters, sizes.ctypes.data, shared, 0)

        self.queue(name, now)

    def module(fake):
        class Module:
            def load(self, code):
                self.source = pickle.loads(code)

            def get_function(self, name):
                number = len(fake.kernels) + 1
                fake.kernels[number] = name, fake.cpu.function(self.source, name)
                return types.SimpleNamespace(ptr=number)
        return Module

    def stream(fake):
        class Graph:
            def __init__(self, queued):
                self.queued = queued

            def launch(self, stream):
                assert stream.ptr == STREAM
                fake.log.append("graph")
                for name, run in self.queued:
                    run()

        class Event:
            """Done when all is that the stream was given before it."""
            def __init__(self):
                self.mine = []

            def record(self, stream):
                self.mine = list(fake.ahead) if stream.ptr == AHEAD else []

            @property
            def done(self):
                return not any(run in fake.ahead for run in self.mine)

            def synchronize(self):
                while not self.done:
                    fake.ahead.pop(0)()

        class Stream:
            def __init__(self, non_blocking=False):
                assert non_blocking
                self.ptr = STREAM + fake.streams % 2
                fake.streams += 1

            def wait_event(self, event):
                if self.ptr == STREAM:
                    event.synchronize()
                else:
                    fake.forked = fake.given

            def __enter__(self):
                fake.entered += 1

            def __exit__(self, *error):
                fake.entered -= 1

            def synchronize(self):
                assert fake.capturing is None, "waiting while a graph is captured"

            def begin_capture(self, mode):
                assert mode == 1
                fake.capturing = []

            def end_capture(self):
                assert not fake.ahead, "a graph ends before what is beside it"
                queued, fake.capturing = fake.capturing, None
                if fake.cannot_capture:
                    raise CUDARuntimeError(900)
                return Graph(queued)
        return Stream, Event

    # ---- as modules ----

    def _modules(self):
        self.entered = self.streams = self.given = self.forked = 0
        self.ahead = []
        fake, new = self, types.SimpleNamespace

        class Device:
            compute_capability = "80"

            def __init__(self, number):
                self.id, self.mem_info = number, (fake.free, 2 ** 30)

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

        def count():
            if fake.status is not None:
                raise CUDARuntimeError(fake.status)
            return fake.gpus

        cupy = types.ModuleType("cupy")
        for name in SHARED:
            setattr(cupy, name, getattr(np, name))
        cupy.asarray = np.array                          # the host's arrays are copied
        runtime = new(CUDARuntimeError=CUDARuntimeError, getDeviceCount=count,
                      driverGetVersion=lambda: self.driver_version,
                      runtimeGetVersion=lambda: 13020,
                      getDeviceProperties=lambda number: {"name": b"Fake"}, memcpyAsync=self.memcpy,
                      memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3,
                      streamCaptureModeThreadLocal=1, memcpyPeerAsync=self.memcpy_peer,
                      deviceCanAccessPeer=lambda device, peer: device != peer,
                      deviceEnablePeerAccess=self.enable_peer)
        attributes = self.attributes = []
        stream, event = self.stream()
        cupy.cuda = new(
            runtime=runtime, Device=Device, Stream=stream, Event=event, alloc=self.alloc,
            alloc_pinned_memory=lambda n: np.empty(n, np.uint8).view(Pinned),
            memory=new(OutOfMemoryError=OutOfMemoryError),
            UnownedMemory=lambda ptr, size, owner, device: new(ptr=ptr, size=size),
            MemoryPointer=lambda memory, offset: memory.ptr + offset,
            function=new(Module=self.module()),
            driver=new(launchKernel=self.launch,
                       funcSetAttribute=lambda *a: attributes.append(a)))
        cupy.ndarray = lambda shape, dtype, pointer, strides: view(pointer, shape, dtype, strides)
        cupy.asnumpy = lambda array, stream: np.array(array)
        cupy.get_default_memory_pool = lambda: new(free_bytes=lambda: 1000)
        cupy.lib = np.lib
        cupyx = types.ModuleType("cupyx")
        cupyx.scatter_add = lambda *a: np.add.at(*a)
        cupyx.scipy = types.ModuleType("cupyx.scipy")
        cupyx.scipy.special = new(erf=EXTRAS["erf"], erfinv=EXTRAS["erfinv"])
        return {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": cupyx.scipy}


class Compiler:
    """Stands for NVRTC: its machine code is the source."""
    version = "13.0"

    def compiled(self, source, architecture):
        assert architecture in ("sm_75", "sm_80")
        return pickle.dumps(source)
