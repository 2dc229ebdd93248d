"""The NCCL communicator, with a CuPy that plays in this process: threads are the ranks."""
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import local
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gradatim.backend.distribute import local_communicators
from gradatim.backend.distribute.nccl import NCCLCommunicator
from gradatim.backend.errors import DistributedError

HERE = local()                                  # which rank a thread is


class Array(np.ndarray):
    """An array of a GPU: NCCL is told its address."""

    @property
    def data(self):
        MEMORY[self.ctypes.data] = self
        return SimpleNamespace(ptr=self.ctypes.data)


MEMORY: dict = {}
CALLS: list = []


class Handle:
    """NcclCommunicator: checks what it is told, and moves numbers through a local communicator."""

    def __init__(self, size, number, rank):
        assert number == ("number", 0) and (size, rank) == (HERE.team.size, HERE.team.rank)
        self.team, self.aborted = HERE.other, False

    def _in(self, address, count, kind):
        array = MEMORY[address]
        assert (array.size, f"type {array.dtype}") == (count, kind)
        assert array.flags.c_contiguous
        return np.array(array)

    def allReduce(self, source, target, count, kind, operation, stream):
        CALLS.append(("allReduce", operation, stream))
        MEMORY[target][...] = self.team.all_reduce(self._in(source, count, kind), operation)

    def allGather(self, source, target, count, kind, stream):
        found = self.team.all_gather(self._in(source, count, kind)[None])
        MEMORY[target][...] = found

    def broadcast(self, source, target, count, kind, root, stream):
        MEMORY[target][...] = self.team.broadcast_from(self._in(source, count, kind), root)

    def send(self, source, count, kind, other, stream):
        assert HERE.grouped
        self.sent = self._in(source, count, kind)

    def recv(self, target, count, kind, other, stream):
        assert HERE.grouped
        MEMORY[target][...] = self.team.swap(self.sent, other)

    def abort(self):
        self.aborted = True


def on_gpu(value, dtype=None):
    return np.array(value, dtype, order="C").view(Array)


@pytest.fixture
def fake(monkeypatch):
    """CuPy's names that the communicator uses."""
    cupy, cuda, nccl = (ModuleType(n) for n in ("cupy", "cupy.cuda", "cupy.cuda.nccl"))
    cupy.ndarray, cupy.cuda, cuda.nccl = Array, cuda, nccl
    cupy.ascontiguousarray = lambda x: on_gpu(x)
    cupy.empty_like = lambda x: np.full_like(np.asarray(x), 99).view(Array)
    cupy.empty = lambda shape, dtype: np.full(shape, 99, dtype).view(Array)
    cupy.concatenate = lambda xs, axis: np.concatenate(xs, axis=axis).view(Array)
    cuda.Device = lambda: SimpleNamespace(pci_bus_id=HERE.gpu)
    cuda.get_current_stream = lambda: SimpleNamespace(ptr=7, synchronize=lambda: None)
    nccl.get_unique_id = lambda: ("number", HERE.team.rank)
    nccl.NcclCommunicator = Handle
    nccl.groupStart = lambda: setattr(HERE, "grouped", True)
    nccl.groupEnd = lambda: setattr(HERE, "grouped", False)
    for name in ("float32", "float64", "int64"):
        setattr(nccl, f"NCCL_{name.upper()}", f"type {name}")
    for name in ("sum", "max", "min"):
        setattr(nccl, f"NCCL_{name.upper()}", name)
    for module in (cupy, cuda, nccl):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return SimpleNamespace(cupy=cupy, nccl=nccl)


def everywhere(size, work, gpus=None):
    """What ``work(communicator)`` returns on every rank, each with a GPU."""
    teams = list(zip(local_communicators(size), local_communicators(size)))

    def one(pair):
        HERE.team, HERE.other = pair
        HERE.gpu = gpus[HERE.team.rank] if gpus else f"0000:0{HERE.team.rank}:00.0"
        return work(NCCLCommunicator(HERE.team))
    with ThreadPoolExecutor(size) as pool:
        return [job.result() for job in [pool.submit(one, pair) for pair in teams]]


@pytest.mark.parametrize("operation, want", [("sum", np.sum), ("max", np.max), ("min", np.min),
                                             ("mean", np.mean)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_reduce(fake, operation, want, dtype):
    parts = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(dtype)
    CALLS.clear()
    for found in everywhere(3, lambda c: c.all_reduce(on_gpu(parts[c.rank]), operation)):
        assert isinstance(found, Array) and found.dtype == dtype
        np.testing.assert_allclose(found, want(parts, axis=0), rtol=1e-5)
    assert CALLS == [("allReduce", "sum" if operation == "mean" else operation, 7)] * 3


def test_other_exchanges(fake):
    row = lambda c: on_gpu([[c.rank, c.rank]], "float32")
    for found in everywhere(2, lambda c: c.all_gather(row(c))):
        assert isinstance(found, Array) and found.tolist() == [[0, 0], [1, 1]]
    for found in everywhere(2, lambda c: c.all_gather(row(c), axis=1)):
        assert found.tolist() == [[0, 0, 1, 1]]
    for found in everywhere(2, lambda c: c.broadcast_from(row(c), 1)):
        assert found.tolist() == [[1, 1]]
    assert [f.tolist() for f in everywhere(2, lambda c: c.swap(row(c), 1 - c.rank))] == [
        [[1, 1]], [[0, 0]]]


def test_what_is_on_the_host_does_not_go_through_nccl(fake):
    CALLS.clear()
    assert everywhere(2, lambda c: float(c.all_reduce(np.float32(c.rank + 1)))) == [3.0, 3.0]
    assert everywhere(2, lambda c: c.all_gather(np.ones(1)).tolist()) == [[1, 1]] * 2
    assert everywhere(2, lambda c: c.broadcast_from(np.array([c.rank])).tolist()) == [[0]] * 2
    assert everywhere(2, lambda c: c.swap(np.array([c.rank]), 1 - c.rank).tolist()) == [[1], [0]]
    assert everywhere(2, lambda c: (c.share(c.rank), c.gather(c.rank), c.barrier())) == [
        (0, [0, 1], None)] * 2
    assert not CALLS


def test_an_abort_frees_the_gpu_first(fake):
    (found,) = everywhere(1, lambda c: (c.abort(), c.reset(), c._handle.aborted))
    assert found == (None, None, True)


def test_two_ranks_on_one_gpu_are_refused(fake):
    with pytest.raises(DistributedError, match="ranks 0 and 2 have the same GPU") as caught:
        everywhere(3, lambda c: None, gpus=["a", "b", "a"])
    assert caught.value.facts["got"].startswith("a on ")
    assert "one process per GPU" in caught.value.facts["fix"]


def test_a_rank_without_nccl_ends_all(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    del fake.cupy.cuda
    with pytest.raises(DistributedError, match="rank 0 cannot use NCCL"):
        everywhere(2, lambda c: None)
