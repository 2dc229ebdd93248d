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


class Handle:
    """NcclCommunicator: checks what it is told."""

    def __init__(self, size, number, rank):
        assert number == ("number", 0) and (size, rank) == (HERE.team.size, HERE.team.rank)
        self.aborted = False

    def abort(self):
        self.aborted = True


@pytest.fixture
def fake(monkeypatch):
    """CuPy's names that the communicator uses."""
    cupy, cuda, nccl = (ModuleType(n) for n in ("cupy", "cupy.cuda", "cupy.cuda.nccl"))
    cupy.cuda, cuda.nccl = cuda, nccl
    cuda.Device = lambda: SimpleNamespace(pci_bus_id=HERE.gpu)
    nccl.get_unique_id = lambda: ("number", HERE.team.rank)
    nccl.NcclCommunicator = Handle
    for module in (cupy, cuda, nccl):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return SimpleNamespace(cupy=cupy, nccl=nccl)


def everywhere(size, work, gpus=None):
    """What ``work(communicator)`` returns on every rank, each with a GPU."""
    def one(team):
        HERE.team = team
        HERE.gpu = gpus[HERE.team.rank] if gpus else f"0000:0{HERE.team.rank}:00.0"
        return work(NCCLCommunicator(HERE.team))
    with ThreadPoolExecutor(size) as pool:
        jobs = [pool.submit(one, team) for team in local_communicators(size)]
        return [job.result() for job in jobs]


def test_what_is_on_the_host_does_not_go_through_nccl(fake):
    assert everywhere(2, lambda c: float(c.all_reduce(np.float32(c.rank + 1)))) == [3.0, 3.0]
    assert everywhere(2, lambda c: c.all_gather(np.ones(1)).tolist()) == [[1, 1]] * 2
    assert everywhere(2, lambda c: c.broadcast_from(np.array([c.rank])).tolist()) == [[0]] * 2
    assert everywhere(2, lambda c: c.swap(np.array([c.rank]), 1 - c.rank).tolist()) == [[1], [0]]
    assert everywhere(2, lambda c: (c.share(c.rank), c.gather(c.rank), c.barrier())) == [
        (0, [0, 1], None)] * 2


def test_steps_are_counted_where_messages_are_made(fake):
    def work(c):
        c.step += 3
        return c.step, HERE.team.step
    assert everywhere(2, work) == [(3, 3)] * 2


def test_an_abort_frees_the_gpu_first(fake):
    (found,) = everywhere(1, lambda c: (c.abort(), c._handle.aborted))
    assert found == (None, True)


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
