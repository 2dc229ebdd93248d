"""Staging: things with large arrays handed to other processes in one file that they map."""
from __future__ import annotations

import mmap
import os
import pickle
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Iterator

ALIGNED = 64                     # bytes, between which arrays begin
PREFIX = "gradatim-mirrored-"    # of the names of folders
NEW = 60.0                       # seconds in which a folder's maker comes to lock it
SHARED_MEMORY = "/dev/shm"
HEAD = 24                        # bytes of digits that say how long the table of parts is


def by_value():
    """cloudpickle, which scikit-learn brings along: it takes functions and classes of notebooks."""
    try:
        import cloudpickle
    except ImportError:                        # joblib before 1.6 has it inside
        from joblib.externals import cloudpickle
    return cloudpickle


@contextmanager
def stage(thing, where: str | None = None) -> Iterator[str]:
    """Write anything that can be pickled to a file in a new folder, which goes with the context.

    Arrays are written as they lie in memory, so that others need not copy them. The folders of
    processes that were killed before they could take them away are taken away here.

    Parameters
    ----------
    thing : object
        Functions and classes that were typed into a notebook or a script are taken along.
    where : str, optional
        In which folder; by default shared memory if there is room, or else that of temporary files.

    Yields
    ------
    str
        The path of the new folder; the file in it is called ``call``.
    """
    arrays: list = []
    text = by_value().dumps(thing, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(text), *(array.raw() for array in arrays)]
    where = where or roomy(sum(part.nbytes for part in parts)) or tempfile.gettempdir()
    for path in Path(where).glob(f"{PREFIX}*"):
        if abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=where)
    try:
        with locked(folder):
            with open(os.path.join(folder, "call"), "wb") as file:
                table = pickle.dumps([part.nbytes for part in parts])
                file.write(b"%0*d" % (HEAD, len(table)) + table)
                for part in parts:
                    file.write(bytes(-file.tell() % ALIGNED))
                    file.write(part)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder, which the operating system opens however this process ends.

    Raises
    ------
    OSError
        If another process holds it, or there is no such folder any more.
    """
    from fcntl import LOCK_EX, LOCK_NB, flock      # not on every system that one process runs on
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def abandoned(folder: Path) -> bool:
    """Whether the process that made a folder is gone."""
    try:
        if time() - os.stat(folder).st_mtime < NEW:
            return False
        with locked(folder):
            return True
    except OSError:
        return False


def roomy(size: int) -> str | None:
    """Shared memory if so many bytes leave half of it free."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None
    return SHARED_MEMORY if free > 2 * size and os.access(SHARED_MEMORY, os.W_OK) else None


def staged(path: str):
    """What `stage` wrote; arrays are those of the file until somebody writes to them."""
    with open(path, "rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    place = HEAD + int(bytes(memory[:HEAD]))
    parts = []
    for size in pickle.loads(memory[HEAD:place]):
        place += -place % ALIGNED
        parts.append(memory[place:place + size])
        place += size
    return pickle.loads(parts[0], buffers=parts[1:])
