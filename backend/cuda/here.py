"""The CUDA backend of this machine: its first GPU, or what the environment names in its place."""
from __future__ import annotations

import os

from ..errors import BackendError
from . import CudaBackend
from .device import Device


def open_device() -> Device:
    """The GPU, or what the environment names in its place."""
    wanted = os.environ.get("GRADATIM_CUDA", "")
    if wanted == "stand-in":
        from .cpu_device import CpuDevice
        return CpuDevice()
    if wanted:
        raise BackendError(f"GRADATIM_CUDA is {wanted!r}", fix="unset it, or set it to stand-in")
    from .cuda_device import CudaDevice
    return CudaDevice()


backend = CudaBackend(open_device())
