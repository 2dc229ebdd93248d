"""Staging: things with large arrays handed to other processes in one file that they map."""
from __future__ import annotations

import mmap
import os
import pickle
import shutil
import tempfile

ALIGNED = 64                     # bytes, between which arrays begin
SHARED_MEMORY = "/dev/shm"
HEAD = 24                        # bytes of digits that say how long the table of parts is


def by_value():
    """cloudpickle, which scikit-learn brings along: it takes functions and classes of notebooks."""
    try:
        import cloudpickle
    except ImportError:                        # joblib before 1.6 has it inside
        from joblib.externals import cloudpickle
    return cloudpickle


def stage(thing, where: str | None = None) -> str:
    """Write anything that can be pickled to a file in a new folder.

    Arrays are written as they lie in memory, so that others need not copy them.

    Parameters
    ----------
    thing : object
        Functions and classes that were typed into a notebook or a script are taken along.
    where : str, optional
        In which folder; by default shared memory if there is room, or else that of temporary files.

    Returns
    -------
    str
        The path of the new folder; the file in it is called ``call``.
    """
    arrays: list = []
    text = by_value().dumps(thing, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(text), *(array.raw() for array in arrays)]
    folder = tempfile.mkdtemp(prefix="gradatim-mirrored-",
                              dir=where or roomy(sum(part.nbytes for part in parts)))
    try:
        with open(os.path.join(folder, "call"), "wb") as file:
            table = pickle.dumps([part.nbytes for part in parts])
            file.write(b"%0*d" % (HEAD, len(table)) + table)
            for part in parts:
                file.write(bytes(-file.tell() % ALIGNED))
                file.write(part)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


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
