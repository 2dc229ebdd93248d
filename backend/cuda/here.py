"""The CUDA backend of this machine: importing this file opens its device."""
from __future__ import annotations

from . import CudaBackend
from .chosen import open_device
from .proof import prove

backend = CudaBackend(open_device())
if not backend.device.stand_in:
    prove(backend)
