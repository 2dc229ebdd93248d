"""Watcher: a small process beside the ranks of a machine that says which of them was killed, when.

It is started as a script of its own (see ``board.py``), imports nothing but the standard library,
and ends with the last rank. A launcher stops all ranks when one is killed, so that no rank would
live to tell.
"""
import mmap
import os
import select
import socket
import sys
from struct import Struct

RECORD = Struct("<4q48s")          # of each rank: process, rank, state, step, its last exchange
RUNNING, LEFT, SAID = range(3)     # states: LEFT in good order, or it has SAID why it ends


def watch(descriptor: int, listener: int, size: int) -> None:
    """Wait for the ranks on the board; say which was the first to vanish without a word.

    Each rank holds a connection, which the operating system closes as soon as the rank begins to
    end; an epoll object reports in the order of events. What the launcher kills then comes later.
    """
    board = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    door, alive, offsets, explained = socket.socket(fileno=listener), select.epoll(), {}, False
    lines = [door.accept()[0] for _ in range(0, len(board), RECORD.size)]
    for line in lines:
        offset = offsets[line.fileno()] = int.from_bytes(line.recv(8), "little")
        handle = os.pidfd_open(RECORD.unpack_from(board, offset)[0])
        offsets[handle] = offset           # of a rank whose forked children keep the connection
        alive.register(line, select.EPOLLRDHUP)
        alive.register(handle, select.EPOLLIN)
    os.write(1, b"!")                      # from now on nothing is missed
    os.close(1)
    gone = set()
    while len(gone) < len(lines):
        for handle, _ in alive.poll(maxevents=1):
            alive.unregister(handle)
            offset = offsets[handle]
            explained = explained or offset not in gone and explain(board, offset, size)
            gone.add(offset)


def explain(board, offset: int, size: int) -> bool:
    """Say that a rank vanished if it did; whether the end of the job is explained by this rank."""
    process, rank, state, step, name = RECORD.unpack_from(board, offset)
    told = any(said == SAID for _, _, said, *_ in RECORD.iter_unpack(board))
    if state == RUNNING and not told:
        name = name.rstrip(b"\0").decode(errors="replace")
        print(f"gradatim: rank {rank} of {size} (process {process}) was killed, or ended without "
              f"a word, at step {step}, last exchange: {name}; all ranks end",
              file=sys.stderr, flush=True)
    return state != LEFT


if __name__ == "__main__":
    watch(*map(int, sys.argv[1:]))
