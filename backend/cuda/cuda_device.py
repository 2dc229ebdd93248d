"""CudaDevice: one GPU through CuPy."""
from __future__ import annotations

from ..errors import BackendError
from .device import Device


class CudaDevice(Device):
    """One GPU."""

    def __init__(self, number: int = 0):
        raise BackendError("there is no GPU here")
