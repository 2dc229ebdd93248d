"""MPI communicator: N processes that a launcher such as ``mpiexec`` started, through mpi4py."""
from __future__ import annotations

import os
from functools import cache
from multiprocessing import current_process
from time import sleep
from zlib import crc32

import numpy as np

from ..errors import DistributedError
from .communicator import Communicator

# What launchers tell a process: how many there are. MPICH and Slurm's PMI, Open MPI, Slurm.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")
SPINS = 2000        # looks at a request before the processor is left to others
NAP = 50e-6         # seconds between looks after that


def launched() -> int:
    """How many processes a launcher started; 0 in a process that no launcher started.

    Examples
    --------
    >>> from gradatim.backend.distribute import launched
    >>> launched()
    0
    """
    # Workers that joblib or multiprocessing start inherit the variables, but are no ranks.
    if current_process().name != "MainProcess" or not any(name in os.environ for name in RANKS):
        return 0
    found = next((os.environ[name] for name in SIZES if name in os.environ), "0")
    return int(found) if found.isdigit() else 0


@cache
def world() -> MPICommunicator:
    """The communicator of all processes of this job, made once.

    Raises
    ------
    DistributedError
        If there is no mpi4py or no MPI library, or the launcher was another MPI's.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise DistributedError("processes meet through MPI, and mpi4py cannot be loaded",
                               got=str(error).splitlines()[0],
                               fix='pip install "gradatim[mpi]"') from error
    # Messages of the user's own are on other communicators and cannot be taken for ours.
    found = MPICommunicator(MPI.COMM_WORLD.Dup())
    if launched() > 1 and found.size == 1:
        raise DistributedError(
            f"the launcher started {launched()} processes, and MPI knows only this one",
            got=MPI.Get_library_version().splitlines()[0].strip("\0 "),
            fix="start them with the mpiexec of that library, which is in the folder of python")
    return found


class MPICommunicator(Communicator):
    """A rank among processes.

    Before every exchange the ranks agree on what it is, its name, shape and element type, so that
    ranks which have lost each other stop with an error before any number is mixed up.

    Parameters
    ----------
    handle : mpi4py.MPI.Comm
        An intracommunicator that nobody else uses.
    """
    shares_memory = False

    def __init__(self, handle):
        from mpi4py import MPI
        self._mpi, self._handle = MPI, handle
        self.rank, self.size = handle.Get_rank(), handle.Get_size()
        self.operations = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN}
        self._codes: dict[tuple, int] = {}
        self._mine, self._all = np.empty(2, np.int64), np.empty(2, np.int64)

    def all_reduce(self, x, operation: str = "sum"):
        x = np.array(x, order="C")
        if self.size == 1:
            return x
        self.meet(f"all_reduce {operation}", x)
        self._handle.Allreduce(self._mpi.IN_PLACE, x,
                               self.operations["sum" if operation == "mean" else operation])
        return x / np.asarray(self.size, x.dtype) if operation == "mean" else x

    def all_gather(self, x, axis: int = 0):
        x = np.ascontiguousarray(x).reshape(np.shape(x))
        if self.size == 1:
            return x.copy()
        self.meet("all_gather", x)
        found = np.empty((self.size, *x.shape), x.dtype)
        self._handle.Allgather(x, found)
        return found.reshape(-1, *x.shape[1:]) if axis == 0 else np.concatenate(found, axis=axis)

    def broadcast_from(self, x, root: int = 0):
        x = np.array(x, order="C")
        if self.size > 1:
            self.meet(f"broadcast_from {root}", x)
            self._handle.Bcast(x, root)
        return x

    def swap(self, x, other: int):
        x = np.array(x, order="C")
        self.meet("swap", x)
        found = np.empty_like(x)
        self._handle.Sendrecv(x, other, recvbuf=found, source=other)
        return found

    def share(self, thing=None, root: int = 0):
        self.meet(f"share {root}")
        return self._handle.bcast(thing, root)

    def gather(self, thing) -> list:
        self.meet("gather")
        return self._handle.allgather(thing)

    def barrier(self) -> None:
        self.meet("barrier")

    def abort(self) -> None:
        self._handle.Abort(1)

    def reset(self) -> None:
        """Nothing: an abort has ended all ranks."""

    # ---- meeting -------------------------------------------------------------------------------

    def meet(self, name: str, x=None) -> None:
        """Wait until every rank has come to the same exchange.

        Raises
        ------
        DistributedError
            If another rank has come to another one.
        """
        key = (name,) if x is None else (name, x.shape, x.dtype.str)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = crc32(repr(key).encode())
        self._mine[:] = code, -code
        self.wait(self._handle.Iallreduce(self._mine, self._all, self._mpi.MAX), name)
        if self._all[0] != -self._all[1]:
            what = name if x is None else f"{name} of {x.dtype.name}{list(x.shape)}"
            found = self._handle.allgather(what)
            raise DistributedError(
                "the ranks have come to different exchanges",
                got="; ".join(f"rank {rank}: {what}" for rank, what in enumerate(found)),
                fix="every rank must make the same calls on the same data, in the same order")

    def wait(self, request, name: str) -> None:
        """Wait for a request; Ctrl-C is heard meanwhile."""
        for _ in range(SPINS):
            if request.Test():
                return
        while not request.Test():
            sleep(NAP)
