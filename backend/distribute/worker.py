"""Worker: one of the processes of a crew; it calls what it finds in a folder, with the others."""
from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import traceback
from threading import Thread


def main(folder: str) -> None:
    """Call the method, and leave the object or an error in the folder."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    with open(os.path.join(folder, "paths"), "rb") as file:
        sys.path[:] = pickle.load(file)
    from ..context import surroundings
    from .crew import leave
    from .guard import in_turn
    from .mpi import world
    from .staging import staged
    team = world()
    if team.rank == 0:
        Thread(target=stop_with_parent, args=(folder,), daemon=True).start()
    path = os.path.join(folder, "call")
    try:
        thing, method, arguments, options = staged(path)
        team.barrier()
        if team.rank == 0:
            os.unlink(path)                    # all have opened it: it goes with the last of them
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with surroundings(shares=team.size):
            getattr(thing, method)(*arguments, **options)
        if team.rank == 0:
            leave(folder, "result", thing)
    except BaseException as error:
        team.board.say()
        in_turn(team.rank)
        if not isinstance(error, KeyboardInterrupt):
            text = "".join(traceback.format_exception(error))
            try:
                leave(folder, f"error-{team.rank}", (error, text))
            except Exception:                  # it cannot be pickled
                leave(folder, f"error-{team.rank}", (RuntimeError(repr(error)), text))
        os._exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def stop_with_parent(folder: str) -> None:
    """End all workers when the process that started them is gone; it holds our input open."""
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
