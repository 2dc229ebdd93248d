"""The reference backend: NumPy, one op after another. It defines what every op means."""
from __future__ import annotations

from .array_module import numpy_module
from .base import Backend


class ReferenceBackend(Backend):
    """Always there; every other backend is compared with it.

    Examples
    --------
    >>> from gradatim.backend import get_backend
    >>> get_backend("reference").devices()
    ['cpu:0']
    """
    name = "reference"
    xp = numpy_module
    in_place = True


backend = ReferenceBackend()
