"""Guard: when one rank fails or leaves, all ranks end, and the user reads which one and where."""
from __future__ import annotations

import atexit
import os
import sys
import traceback
from time import sleep

from ..errors import DistributedError

TURN = 0.1        # seconds that a rank leaves to the one before it, which may say the same


def in_turn(rank: int) -> None:
    """Return when the ranks before this one have said what they have to say."""
    sleep(TURN * min(rank, 5))


def guard(communicator) -> None:
    """End all ranks as soon as this one ends otherwise than together with them.

    An exception that nobody catches is printed with the number of its rank and ends the job, as
    do `sys.exit` and `os._exit` with an error. Whoever just leaves while others wait for it makes
    their exchange fail: launchers take a rank that ends with exit code 0 for one that is through.

    Parameters
    ----------
    communicator : MPICommunicator
        Of all ranks.
    """
    process, exit_before, leave_before, status = os.getpid(), sys.exit, os._exit, ["", 0]

    def end(code: int, lines) -> None:
        """Print, in this rank's turn, and end the job."""
        in_turn(communicator.rank)
        communicator.board.say()
        mark = f"[rank {communicator.rank}] "
        sys.stderr.write("".join(f"{mark}{line}\n" for line in lines))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass                       # nobody reads it any more
        communicator.abort(code)

    def excepthook(kind, value, trace):
        if os.getpid() != process:         # a forked child is no rank
            return sys.__excepthook__(kind, value, trace)
        stopped = issubclass(kind, KeyboardInterrupt)
        text = "stopped" if stopped else "".join(traceback.format_exception(kind, value, trace))
        end(130 if stopped else 1, [*text.splitlines(), f"{kind.__name__} {place(communicator)}"])

    def exit(code=None):
        status[:] = "sys.exit", code if isinstance(code, int) else int(code is not None)
        exit_before(code)

    def leave(code):
        if not communicator.board.over:
            status[:] = "os._exit", code
            farewell()
        leave_before(code)

    def farewell():
        if os.getpid() != process:
            return
        name, code = status
        if code or communicator.lost:
            what = f"{name}({code})" if code else "the ranks have lost each other"
            end(code & 255 or 1, [f"{what} {place(communicator)}"])
        try:
            communicator.meet("exit", patient=True)
        except DistributedError as error:  # the others say so, too
            end(1, str(error).splitlines())
        communicator.board.leave()

    sys.excepthook, sys.exit, os._exit = excepthook, exit, leave
    atexit.register(farewell)


def place(communicator) -> str:
    """Where this rank is, in words."""
    return (f"on rank {communicator.rank} of {communicator.size} at step {communicator.step}, "
            f"last exchange: {communicator.last}; all ranks end")
