"""Launched: what a launcher such as ``mpiexec`` has told this process of those it started."""
from __future__ import annotations

import os
from multiprocessing import current_process

# Variables of MPICH and of Slurm's PMI, of Open MPI, and of Slurm itself.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")
LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE")
LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


def told(names: tuple[str, ...], otherwise: int) -> int:
    """The number that the first of these variables holds."""
    return next((int(os.environ[name]) for name in names
                 if os.environ.get(name, "").isdigit()), otherwise)


def launched() -> int:
    """How many processes a launcher started; 0 in a process that no launcher started.

    Examples
    --------
    >>> from gradatim.backend.distribute import launched
    >>> launched()
    0
    """
    # Workers that joblib or multiprocessing start inherit the variables, but are no ranks.
    if current_process().name != "MainProcess" or not any(name in os.environ for name in RANKS):
        return 0
    return told(SIZES, 0)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
