"""Which device the CUDA backend of this machine has: a GPU, or what the environment names."""
from __future__ import annotations

import os

from ..errors import BackendError
from .device import Device


def open_device() -> Device:
    """The GPU of this process, or its stand-in where ``GRADATIM_CUDA`` says so."""
    wanted = os.environ.get("GRADATIM_CUDA", "")
    if wanted == "stand-in":
        from .cpu_device import CpuDevice
        return CpuDevice()
    if wanted:
        raise BackendError(f"GRADATIM_CUDA is {wanted!r}", fix="unset it, or set it to stand-in")
    from ..distribute.gpus import own_gpu
    from .cuda_device import CudaDevice
    return CudaDevice(own_gpu())
