"""NCCL communicator: arrays of GPUs meet without the host; one process per GPU."""
from __future__ import annotations

from functools import cache

from ..errors import DistributedError
from .communicator import Communicator

# NCCL's names of element types and reductions, by NumPy's and ours.
TYPES = {"float16": "NCCL_FLOAT16", "float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64",
         "int32": "NCCL_INT32", "int64": "NCCL_INT64", "uint8": "NCCL_UINT8",
         "uint32": "NCCL_UINT32", "bool": "NCCL_UINT8"}
REDUCTIONS = {"sum": "NCCL_SUM", "max": "NCCL_MAX", "min": "NCCL_MIN"}


@cache
def joined(team: Communicator) -> NCCLCommunicator:
    """The NCCL communicator of some processes, made once."""
    return NCCLCommunicator(team)


class NCCLCommunicator(Communicator):
    """A rank with a GPU. It has been tested with a stand-in for CuPy, and has not run on a GPU.

    A program's collectives of what lies on the GPU are put in a stream beside its launches, and are
    part of its CUDA graph. The number that NCCL's ranks find each other by, and whatever lies on
    the host, go through the processes' own communicator.

    Parameters
    ----------
    team : Communicator
        How the processes meet on the host.

    Raises
    ------
    DistributedError
        On every rank, if CuPy or NCCL is missing on one, or two ranks have the same GPU.
    """

    def __init__(self, team: Communicator):
        self._team, self.rank, self.size = team, team.rank, team.size
        try:
            import cupy
            from cupy.cuda import nccl
            device = cupy.cuda.Device()
            place, why = device.pci_bus_id, ""
        except Exception as error:             # no CuPy, no library, no driver, no GPU
            place, why = "", f"{type(error).__name__}: {error}"
        self._check(team.gather((_host(), place, why)))
        self._nccl = nccl
        number = team.share(nccl.get_unique_id() if team.rank == 0 else None)
        self._handle = nccl.NcclCommunicator(team.size, number, team.rank)

    @staticmethod
    def _check(found: list) -> None:
        """Refuse ranks without a GPU, and two on one, which NCCL would answer with a hang."""
        for rank, (host, place, why) in enumerate(found):
            if why:
                raise DistributedError(f"rank {rank} cannot use NCCL", got=why.splitlines()[0],
                                       fix='pip install "gradatim[cuda12]" and see '
                                           "python -m gradatim doctor")
            if (first := [f[:2] for f in found].index((host, place))) < rank:
                raise DistributedError(
                    f"ranks {first} and {rank} have the same GPU", got=f"{place} on {host}",
                    fix="start one process per GPU: mpiexec -n with the number of GPUs, each with "
                        "a CUDA_VISIBLE_DEVICES of its own")

    def queues(self, node) -> bool:
        return node.op.name in ("all_reduce", "broadcast_from") and \
            node.specs[0].dtype.name in TYPES

    def queue(self, node, source: int, target: int, stream) -> None:
        """Put a collective of memory of the GPU in a stream, which may be recording a graph."""
        spec, settings = node.specs[0], node.settings
        kind = getattr(self._nccl, TYPES[spec.dtype.name])
        if node.op.name == "all_reduce":
            operation = getattr(self._nccl, REDUCTIONS[settings["operation"]])
            self._handle.allReduce(source, target, spec.size, kind, operation, stream.ptr)
        else:
            self._handle.broadcast(source, target, spec.size, kind, settings["root"], stream.ptr)

    def all_reduce(self, x, operation: str = "sum", out=None):
        return self._team.all_reduce(x, operation, out)

    def all_gather(self, x, axis: int = 0, out=None):
        return self._team.all_gather(x, axis, out)

    def broadcast_from(self, x, root: int = 0, out=None):
        return self._team.broadcast_from(x, root, out)

    def swap(self, x, other: int):
        return self._team.swap(x, other)

    def share(self, thing=None, root: int = 0):
        return self._team.share(thing, root)

    def gather(self, thing) -> list:
        return self._team.gather(thing)

    def barrier(self) -> None:
        self._team.barrier()

    def abort(self, code: int = 1) -> None:
        self._handle.abort()                   # first, or kernels on the GPU would wait for ever
        self._team.abort(code)

    @property
    def step(self) -> int:
        return self._team.step

    @step.setter
    def step(self, value: int) -> None:
        self._team.step = value


def _host() -> str:
    """The name of this machine."""
    import socket
    return socket.gethostname()
