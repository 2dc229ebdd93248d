"""Crew: processes that are started for one call, from a notebook or any script, and end with it."""
from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections import deque
from importlib.util import find_spec
from threading import Thread

from ..errors import DistributedError
from .launch import PACKAGE, alone, environment, mpiexec
from .staging import by_value, stage

WORKER = "gradatim.backend.distribute.worker"
# What MPICH's launcher prints of ends that are told here in our own words.
CHATTER = re.compile(rb"\[mpiexec@|={83}|=   [A-Z]|YOUR APPLICATION TERMINATED WITH THE|"
                     rb"This typically refers to a problem|Please see the FAQ page for debugging")
PATIENCE = 5.0                   # seconds for an end in good order


def call_on_workers(workers: int, thing, method: str, *arguments, **options):
    """Call a method in several new processes, which meet through MPI, and return the object.

    Every process gets a copy of the object and calls its method with the same arguments, whose
    arrays they share. What comes back is the object of the first one.

    Parameters
    ----------
    workers : int
        How many processes.
    thing : object
        Anything that can be pickled.
    method : str
        The name of its method.
    *arguments, **options
        What it is given.

    Returns
    -------
    object

    Raises
    ------
    DistributedError
        If there is no MPI, or a worker was killed. Errors that the method raises are raised here.
    """
    if find_spec("mpi4py") is None:
        raise DistributedError("workers meet through MPI, and there is no mpi4py",
                               fix='pip install "gradatim[mpi]"')
    command = [mpiexec(), "-n", str(workers), sys.executable, "-m", WORKER]
    paths = [str(PACKAGE.parent), *(os.path.abspath(path) for path in sys.path)]
    with stage((thing, method, arguments, options)) as folder:
        with open(os.path.join(folder, "paths"), "wb") as file:
            pickle.dump(paths, file)           # first: modules are found on them
        code, interrupted, said = attended([*command, folder])
        raise_what_failed(folder, workers)
        if interrupted and code:
            raise KeyboardInterrupt
        try:
            with open(os.path.join(folder, "result"), "rb") as file:
                return pickle.load(file)
        except FileNotFoundError:
            told = [line for line in said if line.startswith("gradatim: rank")]
            raise DistributedError(f"the {workers} workers ended with exit code {code}",
                                   got="\n       ".join(told or said[-5:])) from None


def attended(command: list[str]) -> tuple[int, bool, list[str]]:
    """Run a launcher; its exit code, whether Ctrl-C was pressed, and its last lines of complaint.

    The first Ctrl-C is handed on, so that training ends in good order; the second ends it.
    """
    complaint: deque = deque(maxlen=200)
    process = subprocess.Popen(command, env=alone(environment()), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)       # Ctrl-C comes to this process alone
    pumps = [Thread(target=pump, args=pair, daemon=True) for pair in
             ((process.stdout, sys.stdout, None), (process.stderr, sys.stderr, complaint))]
    for thread in pumps:
        thread.start()
    interrupted = False
    try:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                process.send_signal(signal.SIGINT)
    except BaseException:
        end(process)
        raise
    finally:
        process.stdin.close()                  # its end is a sign for workers that were left alone
        for thread in pumps:
            thread.join(PATIENCE)
    return process.returncode, interrupted, b"".join(complaint).decode(errors="replace").split("\n")


def end(process: subprocess.Popen) -> None:
    """End a launcher and, through it, what it started."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pump(source, target, kept: deque | None) -> None:
    """Hand on what workers print: a notebook shows only what its own process prints."""
    read = source.readline if kept is None else lambda: source.read1(65536)      # bars have no end
    while part := read():
        if kept is not None:
            kept.append(part)
        elif CHATTER.match(part):
            continue
        target.write(part.decode(errors="replace"))
        target.flush()
    source.close()


def raise_what_failed(folder: str, workers: int) -> None:
    """Raise the error of the first worker that left one."""
    for rank in range(workers):
        path = os.path.join(folder, f"error-{rank}")
        if os.path.exists(path):
            with open(path, "rb") as file:
                error, text = pickle.load(file)
            raise error from DistributedError(f"in worker {rank} of {workers}:\n{text}")


def leave(folder: str, name: str, thing) -> None:
    """Put something in the folder, whole or not at all."""
    path = os.path.join(folder, name)
    with open(f"{path}.part", "wb") as file:
        by_value().dump(thing, file)
    os.replace(f"{path}.part", path)
