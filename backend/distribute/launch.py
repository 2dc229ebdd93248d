"""Launch: start a script on several processes of this machine, and again where it was killed."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import DistributedError

PACKAGE = Path(__file__).resolve().parents[2]       # the folder of gradatim
STOPPED = 130                                       # the exit code after Ctrl-C


def mpiexec() -> str:
    """The path of ``mpiexec``: that of this Python's own environment, or else the first there is.

    Raises
    ------
    DistributedError
        If there is none.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    found = beside if os.access(beside, os.X_OK) else shutil.which("mpiexec")
    if found is None:
        raise DistributedError("there is no mpiexec to start processes with",
                               fix='pip install "gradatim[mpi]"')
    return found


def environment(**variables: str) -> dict[str, str]:
    """That of a new process: it finds this gradatim, and Open MPI starts as root in containers."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **variables}


def alone(variables: dict[str, str]) -> dict[str, str]:
    """An environment without what a launcher told this process, which is not for its children."""
    return {name: value for name, value in variables.items()
            if not name.startswith(("PMI", "OMPI_COMM", "HYDI", "HYDRA", "SLURM_", "MPI_"))}


def launch(script: list[str], workers: int, restarts: int = 0) -> int:
    """Run a Python script on several processes, as ``mpiexec`` does.

    Parameters
    ----------
    script : list of str
        The script and its arguments.
    workers : int
        How many processes.
    restarts : int
        How often they may be started again after they failed. A fit that has a ``checkpoint=``
        goes on from there.

    Returns
    -------
    int
        The exit code of the last start.

    Raises
    ------
    DistributedError
        If there is no ``mpiexec``.
    """
    command = [mpiexec(), "-n", str(workers), sys.executable, *script]
    code = 0
    for again in range(restarts + 1):
        if again:
            print(f"gradatim: the processes ended with exit code {code}; "
                  f"start {again} of {restarts} again", file=sys.stderr, flush=True)
        with subprocess.Popen(command, env=environment()) as process:
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                raise
        if code in (0, STOPPED):
            break
    return code if code >= 0 else 128 - code
