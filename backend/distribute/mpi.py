"""MPI communicator: N processes that a launcher such as ``mpiexec`` started, through mpi4py."""
from __future__ import annotations

import pickle
from contextlib import nullcontext
from functools import cache
from zlib import crc32

import numpy as np

from ..errors import DistributedError
from .communicator import COMBINE, Communicator
from .deadline import TIMEOUT, Deadline
from .launched import launched
from .starting import start_within
from .window import Window

START = 60.0        # seconds that a rank waits for the others to start
LARGE = 2 ** 16     # bytes from which shared memory is faster than MPI's own way
FEW = 4             # ranks up to which it is: each reads what all have put


@cache
def world() -> MPICommunicator:
    """The communicator of all processes of this job, made once.

    Raises
    ------
    DistributedError
        If there is no mpi4py or no MPI library, or the launcher was another MPI's.
    """
    MPI = _started_mpi()
    # Messages of the user's own are on other communicators and cannot be taken for ours.
    found = MPICommunicator(MPI.COMM_WORLD.Dup())
    if launched() > 1 and found.size == 1:
        raise DistributedError(
            f"the launcher started {launched()} processes, and MPI knows only this one",
            got=MPI.Get_library_version().splitlines()[0].strip("\0 "),
            fix="start them with the mpiexec of that library, which is in the folder of python")
    if found.size > 1:
        from .board import Board
        from .guard import guard
        found.board = Board(MPI.COMM_WORLD)
        found.close = len(found.board.ranks) == found.size <= FEW
        guard(found)
    return found


def _started_mpi():
    """mpi4py's module, whose import waits for all ranks."""
    try:
        with start_within(START) if launched() > 1 else nullcontext():
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise DistributedError("processes meet through MPI, and mpi4py cannot be loaded",
                               got=str(error).splitlines()[0],
                               fix='pip install "gradatim[mpi]"') from error
    return MPI


class MPICommunicator(Communicator):
    """A rank among processes.

    Before every exchange the ranks agree on what it is, its name, shape and element type, so that
    ranks which have lost each other stop with an error before any number is mixed up. A rank that
    waits longer than ``timeout`` stops with an error that names those it waits for.

    Parameters
    ----------
    handle : mpi4py.MPI.Comm
        An intracommunicator that nobody else uses.

    Attributes
    ----------
    step : int
        The step of training, for messages.
    timeout : float
        How many seconds a rank waits for the others.
    """

    def __init__(self, handle):
        from mpi4py import MPI
        self._mpi, self._handle = MPI, handle
        self.rank, self.size = handle.Get_rank(), handle.Get_size()
        self.operations = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN}
        self._codes: dict[tuple, tuple[int, str, bytes]] = {}
        self._mine, self._all = np.empty(2, np.int64), np.empty(2, np.int64)
        self._deadline = Deadline(self, handle)
        self.timeout, self.last, self.board = TIMEOUT, "none", None
        self.lost = False                      # whether the ranks have lost each other for good
        self.close, self._window = False, None     # whether all are on this machine, and few

    def all_reduce(self, x, operation: str = "sum", out=None):
        name = f"all_reduce {operation}"
        if self._shares(x):
            x = np.ascontiguousarray(x)
            out = np.empty_like(x) if out is None else out
            flat, total = x.reshape(-1), out.reshape(-1)
            with np.errstate(all="ignore"):           # infinities and NaN are values
                for where, places in self._window.pieces(name, flat):
                    if out is not x:
                        places[self.rank] = flat[where]       # the same, and in this one's caches
                    for other in places[1:]:
                        places[0] = COMBINE[operation](places[0], other, out=total[where])
            return out
        found = copied(x, out)
        if self.size > 1:
            self.meet(name, found)
            self._wait(self._handle.Iallreduce(self._mpi.IN_PLACE, found,
                                               self.operations[operation]))
        return found

    def all_gather(self, x, axis: int = 0, out=None):
        x = np.ascontiguousarray(x).reshape(np.shape(x))
        self.meet("all_gather", x)
        found = np.empty((self.size, *x.shape), x.dtype)
        self._wait(self._handle.Iallgather(x, found))
        return np.concatenate(found, axis=axis, out=out)

    def broadcast_from(self, x, root: int = 0, out=None):
        found = copied(x, out)
        if self.size > 1:
            self.meet(f"broadcast_from {root}", found)
            self._wait(self._handle.Ibcast(found, root))
        return found

    def swap(self, x, other: int):
        if self._shares(x):
            found = np.empty(x.shape, x.dtype)
            for where, places in self._window.pieces("swap", np.ravel(x)):
                found.reshape(-1)[where] = places[other]
            return found
        x = np.array(x, order="C")
        self.meet("swap", x)
        found = np.empty_like(x)
        arrives, leaves = self._handle.Irecv(found, other), self._handle.Isend(x, other)
        self._wait(arrives)
        self._wait(leaves)
        return found

    def share(self, thing=None, root: int = 0):
        self.meet(f"share {root}")
        text = pickle.dumps(thing) if self.rank == root else b""
        size = np.array([len(text)])
        self._wait(self._handle.Ibcast(size, root))
        found = np.frombuffer(text, np.uint8) if self.rank == root else np.empty(size[0], np.uint8)
        self._wait(self._handle.Ibcast(found, root))
        return thing if self.rank == root else pickle.loads(found)

    def gather(self, thing) -> list:
        self.meet("gather")
        return self._gathered(thing)

    def _gathered(self, thing) -> list:
        text = np.frombuffer(pickle.dumps(thing), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self._wait(self._handle.Iallgather(np.array([text.size]), sizes))
        found = np.empty(sizes.sum(), np.uint8)
        self._wait(self._handle.Iallgatherv(text, [found, sizes]))
        return [pickle.loads(part) for part in np.split(found, np.cumsum(sizes)[:-1])]

    def barrier(self) -> None:
        self.meet("barrier")

    def abort(self, code: int = 1) -> None:
        self._handle.Abort(code)

    def _shares(self, x) -> bool:
        """Whether an array goes through memory that all ranks share, which is made when needed."""
        if not self.close or np.asarray(x).nbytes < LARGE:
            return False
        try:
            self._window = self._window or Window(self)
        except OSError:
            self.close = False
        return self.close

    # ---- meeting -------------------------------------------------------------------------------

    def meet(self, name: str, x=None, patient: bool = False) -> None:
        """Wait until every rank has come to the same exchange; for ever if patient.

        Raises
        ------
        DistributedError
            If another rank has come to another one, or has not come in time.
        """
        key = (name,) if x is None else (name, x.shape, x.dtype.str)
        known = self._codes.get(key)
        if known is None:
            text = name if x is None else f"{name} of {x.dtype.name}{list(x.shape)}"
            known = self._codes[key] = crc32(repr(key).encode()), text, text.encode()[:48]
        code, self.last, note = known
        if self.board is not None:
            self.board.note(self.step, note)
        self._mine[:] = code, -code
        self._wait(self._handle.Iallreduce(self._mine, self._all, self._mpi.MAX), patient)
        if self._all[0] != -self._all[1]:
            found = self._gathered(self.last)
            raise DistributedError(
                f"the ranks have come to different exchanges at step {self.step}",
                got="; ".join(f"rank {rank}: {what}" for rank, what in enumerate(found)),
                fix="every rank must make the same calls on the same data, in the same order")

    def _wait(self, request, patient: bool = False) -> None:
        """Wait for a request, but not longer than the deadline."""
        self._deadline.wait(request, None if patient else self.timeout)


def copied(x, out):
    """A contiguous copy, in ``out`` if it is given.

    Memory that is new at each step would cost more than the exchange itself: the operating system
    takes what was freed away, and gives it back page by page.
    """
    if out is None:
        return np.array(x, order="C")
    if out is not x:
        np.copyto(out, x)
    return out
