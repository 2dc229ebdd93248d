"""Which device the CUDA backend of this machine has: a GPU, or what the environment names."""
from __future__ import annotations

import os

from ..distribute.gpus import own_gpu
from ..errors import BackendError
from .device import Device


def open_device() -> Device:
    """The GPU of this process, or its stand-in where ``GRADATIM_CUDA`` says so.

    ``stand-in:2`` are two of them.
    """
    wanted = os.environ.get("GRADATIM_CUDA", "")
    kind, _, count = wanted.partition(":")
    if not wanted:
        from .cuda_device import CudaDevice
        return CudaDevice(own_gpu())
    if kind != "stand-in" or not (count or "1").isdigit() or count == "0":
        raise BackendError(f"GRADATIM_CUDA is {wanted!r}", fix="unset it, or set it to stand-in")
    from .cpu_device import CpuDevice
    return CpuDevice(number=own_gpu(int(count)), count=int(count)) if count else CpuDevice()
