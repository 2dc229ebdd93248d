"""Board: where each rank of a machine notes its step and exchange, for the others to read."""
from __future__ import annotations

import mmap
import os
import secrets
import socket
import subprocess
import sys
from struct import Struct

from . import watch
from .nameless import nameless
from .watch import LEFT, RECORD, SAID

STATE, PLACE = Struct("<q"), Struct("<q48s")        # parts of a RECORD, and where they begin
STATE_AT, PLACE_AT = 16, 24


class Board:
    """Shared memory with one record per rank of this machine, and the process that watches it.

    Parameters
    ----------
    handle : mpi4py.MPI.Comm
        All ranks; every one makes its board at the same time.

    Attributes
    ----------
    over : bool
        Whether this rank ends, and has said why or need not say it.
    """
    over = False

    def __init__(self, handle):
        from mpi4py import MPI
        node = handle.Split_type(MPI.COMM_TYPE_SHARED)
        first, self.ranks = node.Get_rank() == 0, node.allgather(handle.Get_rank())
        descriptor = nameless(RECORD.size * len(self.ranks), first, node.bcast, node.Barrier)
        self._memory = mmap.mmap(descriptor, 0)
        self._offset = RECORD.size * node.Get_rank()
        RECORD.pack_into(self._memory, self._offset, os.getpid(), handle.Get_rank(), 0, 0, b"none")
        node.Barrier()
        if first:
            unlink_shared_memory()
        if hasattr(os, "pidfd_open"):
            self._line = self._watched(node, descriptor, handle.Get_size())
        os.close(descriptor)
        node.Free()

    def _watched(self, node, descriptor: int, size: int) -> socket.socket:
        """The connection to the process that watches this machine's ranks, which is started."""
        name = node.bcast(f"\0gradatim-watch-{secrets.token_hex(8)}")    # \0: it is no file
        if node.Get_rank() == 0:
            door = socket.socket(socket.AF_UNIX)
            door.bind(name)
            door.listen(len(self.ranks))
        node.Barrier()
        line = socket.socket(socket.AF_UNIX)
        line.connect(name)
        line.send(self._offset.to_bytes(8, "little"))
        if node.Get_rank() == 0:
            watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", watch.__file__, *map(str, (descriptor, door.fileno(),
                                                                        size))],
                pass_fds=[descriptor, door.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, start_new_session=True)
            door.close()
            watcher.stdout.read(1)
            watcher.stdout.close()
            watcher.returncode = 0         # it outlives this process: nobody is to wait for it
        node.Barrier()
        return line

    def note(self, step: int, name: bytes) -> None:
        """This rank comes to an exchange."""
        PLACE.pack_into(self._memory, self._offset + PLACE_AT, step, name)

    def say(self) -> None:
        """This rank has told the user why it ends."""
        self.over = True
        STATE.pack_into(self._memory, self._offset + STATE_AT, SAID)

    def leave(self) -> None:
        """This rank ends in good order."""
        self.over = True
        STATE.pack_into(self._memory, self._offset + STATE_AT, LEFT)

    def last(self, rank: int) -> str:
        """Where a rank was last, in words, if it is on this machine."""
        if rank not in self.ranks:
            return "is on another machine"
        record = RECORD.unpack_from(self._memory, RECORD.size * self.ranks.index(rank))
        process, _, _, step, name = record
        return (f"last seen at step {step}, {name.rstrip(bytes(1)).decode(errors='replace')}; "
                f"process {process} {condition(process)}")


def condition(process: int) -> str:
    """How a process is, as far as the operating system tells."""
    try:
        with open(f"/proc/{process}/stat") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "is gone" if os.path.isdir("/proc/self") else "may run"
    return {"T": "is stopped", "t": "is stopped", "Z": "is gone", "D": "waits for a disk",
            "S": "sleeps", "R": "computes"}.get(letter, "runs")


def unlink_shared_memory() -> None:
    """Take away the names of MPI's shared memory, which stays open: killed ranks leave nothing."""
    try:
        with open("/proc/self/maps") as file:
            paths = {line.split(maxsplit=5)[5].strip() for line in file if "/dev/shm/mpich" in line}
    except OSError:
        return
    for path in paths:
        if not path.endswith("(deleted)") and os.path.exists(path):
            os.unlink(path)
