"""Deadline: a rank does not wait for ever, and says which ranks have not come."""
from __future__ import annotations

import os
from time import monotonic, sleep

import numpy as np

from ..errors import DistributedError
from .launched import LOCAL_SIZES, processors, told

TIMEOUT = 60.0      # seconds that a rank waits for the others
LOOKS = 2000        # at a request before the processor is left to others; few if ranks share it
AWAKE = 0.01        # seconds after which a rank sleeps between looks: to wake up takes long
NAP = 0.005         # how long it sleeps, as a share of what it has waited
LONGEST = 2e-3      # seconds that it sleeps at most
TAG = 4711          # of the messages of those who wait


class Deadline:
    """Waits for requests. Who waits long tells the others, so that all know who has come.

    Parameters
    ----------
    communicator : MPICommunicator
        Of this rank.
    handle : mpi4py.MPI.Comm
        What its messages go through; nobody else uses the tag.
    """

    def __init__(self, communicator, handle):
        self._communicator, self._handle = communicator, handle
        self._waits = 0                            # equal on all ranks that do the same
        self._seen = [0] * communicator.size       # how many waits each rank has told of
        self._sent: list = []
        here = told(LOCAL_SIZES, communicator.size)
        self._looks = LOOKS if here <= processors() else LOOKS // 100

    def wait(self, request, timeout: float | None) -> None:
        """Until a request is complete; for ever if there is no timeout.

        Raises
        ------
        DistributedError
            After the timeout, naming the ranks that have not come.
        """
        self._waits += 1
        for _ in range(self._looks):
            if request.Test():
                return
        start, told = monotonic(), timeout is None
        while not request.Test():
            waited = monotonic() - start
            os.sched_yield() if waited < AWAKE else sleep(min(NAP * waited, LONGEST))
            if not told and waited > min(1.0, timeout / 4):
                told = True
                self._tell()
            if timeout is not None and waited > timeout and not request.Test():
                raise self._error(timeout)

    def _tell(self) -> None:
        """Send all others the number of this wait."""
        self._hear()
        number, here = np.array([self._waits]), self._communicator
        self._sent = [r for r in self._sent if not r.Test()] + [
            self._handle.Isend(number, other, TAG) for other in range(here.size)
            if other != here.rank]

    def _hear(self) -> None:
        """Take in what the others have told."""
        from mpi4py import MPI
        state, number = MPI.Status(), np.empty(1, np.int64)
        while self._handle.Iprobe(MPI.ANY_SOURCE, TAG, state):
            self._handle.Recv(number, state.source, TAG)
            self._seen[state.source] = max(self._seen[state.source], int(number[0]))

    def _error(self, timeout: float) -> DistributedError:
        """Who is missing, and where each of them was last."""
        self._hear()
        here = self._communicator
        here.lost = True
        late = [r for r in range(here.size) if r != here.rank and self._seen[r] < self._waits]
        where = [] if here.board is None else [f"rank {r} {here.board.last(r)}" for r in late]
        return DistributedError(
            f"{here.last} at step {here.step} waited {timeout:g} s; ranks not arrived: {late}",
            got="; ".join(where),
            fix="see what those ranks do; if they are only slow, allow more time with timeout=")
