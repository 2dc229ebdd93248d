"""GPUs: which ones there are, and which one is that of this process among its neighbours."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from multiprocessing import current_process

from ..errors import DistributedError
from .launched import LOCAL_RANKS, LOCAL_SIZES, launched, told

SECONDS = 6.0        # that the driver may take to answer


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use; CUDA is not touched."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, "--query-gpu=name", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return []
    names = done.stdout.splitlines() if done.returncode == 0 else []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names if chosen is None else names[:len([c for c in chosen.split(",") if c.strip()])]


def own_gpu(count: int | None = None) -> int:
    """The number of this process's GPU among so many, by default those that the driver lists.

    Ranks of one machine take one each, in their order. Processes that joblib or `multiprocessing`
    has started, as those of a search, take them in turn.

    Raises
    ------
    DistributedError
        If there are more ranks than GPUs: two ranks on one would wait for each other for ever.
    """
    rank = told(LOCAL_RANKS, 0)
    size = max(told(LOCAL_SIZES, 1), rank + 1)
    ranks, worker = launched() > 1 and size > 1, re.search(r"-(\d+)$", current_process().name)
    if not ranks and worker is None:
        return 0
    count = len(visible_gpus()) if count is None else count
    if not ranks:                                    # "LokyProcess-1", "SpawnPoolWorker-2"
        return (int(worker[1]) - 1) % max(count, 1)
    if 0 < count < size:
        raise DistributedError(f"{size} processes on this machine cannot share its GPUs",
                               got=f"{count} GPU{'s' * (count > 1)}",
                               fix=f'start {count} here, or pass backend="native"')
    return rank if count else 0
