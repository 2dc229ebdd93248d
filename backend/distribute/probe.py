"""Probe: what `doctor` runs in processes of their own, which may hang or crash; prints JSON."""
from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np


def mpi() -> dict:
    """The version of mpi4py and of the library under it."""
    import mpi4py
    from mpi4py import MPI
    return {"mpi4py": mpi4py.__version__,
            "library": " ".join(MPI.Get_library_version().splitlines()[0].strip("\0").split())}


def ranks() -> dict | None:
    """How long two processes take for an all-reduce, in microseconds; told by the first."""
    from .mpi import world
    team = world()
    team.timeout = 4.0
    found = {"size": team.size}
    for name, size in (("8 B", 1), ("4 MB", 2 ** 19)):
        x, times = np.ones(size), []
        for _ in range(10):
            begin = perf_counter()
            total = team.all_reduce(x)
            times.append(perf_counter() - begin)
        if total[-1] != team.size:
            raise ArithmeticError(f"{team.size} ones are {total[-1]}")
        found[name] = round(1e6 * min(times))
    return found if team.rank == 0 else None


def gpus() -> dict:
    """Every GPU, the pairs that read each other's memory, NCCL, and an all-reduce of each pair."""
    import cupy
    from cupy.cuda import runtime
    count = runtime.getDeviceCount()
    found = {"cupy": cupy.__version__, "driver": runtime.driverGetVersion(), "cudnn": cudnn(),
             "names": [runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]}
    pairs = [(i, j) for i in range(count) for j in range(i)]
    found["peers"] = [[i, j] for i, j in pairs if runtime.deviceCanAccessPeer(i, j)]
    try:
        from cupy.cuda import nccl
        found["nccl"] = nccl.get_version()
    except ImportError as error:
        return found | {"nccl": 0, "why": str(error)}
    for pair in pairs or [(0,)]:
        print(json.dumps({"pair": pair}), flush=True)      # what was under way if it hangs
        summed_over(cupy, nccl, pair)
    return found


def cudnn() -> int:
    """The version of cuDNN, or 0 where it does not open."""
    from ..cuda.libraries import open_library
    from ..errors import BackendError
    try:
        open_library("cublasLt")                   # without it cuDNN ends processes
        return open_library("cuDNN").cudnnGetVersion()
    except BackendError:
        return 0


def summed_over(cupy, nccl, devices) -> None:
    """One all-reduce of ones over some GPUs of this process; raises if the sum is wrong."""
    communicators = nccl.NcclCommunicator.initAll(list(devices))
    arrays = []
    for device in devices:
        with cupy.cuda.Device(device):
            arrays.append(cupy.ones(2 ** 18, "float32"))
            cupy.cuda.Device(device).synchronize()
    nccl.groupStart()
    for device, communicator, array in zip(devices, communicators, arrays):
        with cupy.cuda.Device(device):
            communicator.allReduce(array.data.ptr, array.data.ptr, array.size, nccl.NCCL_FLOAT32,
                                   nccl.NCCL_SUM, cupy.cuda.Stream.null.ptr)
    nccl.groupEnd()
    for device, array in zip(devices, arrays):
        with cupy.cuda.Device(device):
            cupy.cuda.Device(device).synchronize()
            if float(array[-1]) != len(devices):
                raise ArithmeticError(f"{len(devices)} ones are {float(array[-1])}")


if __name__ == "__main__":
    told = {"mpi": mpi, "ranks": ranks, "gpus": gpus}[sys.argv[1]]()
    if told is not None:
        print(json.dumps(told), flush=True)
