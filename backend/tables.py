"""Tables: samples that steps take their rows of, and the copies that devices keep of them."""
from __future__ import annotations

import numpy as np


class Tables(list):
    """Arrays ``(n, ...)`` that do not change as long as this object lives.

    Attributes
    ----------
    in_memory : bool
        Whether all are arrays of NumPy; others are read from files.
    copies : dict
        By device and element types, memory with their numbers; None if there is no room for it.
    """

    def __init__(self, arrays):
        super().__init__(arrays)
        self.copies: dict = {}
        self.in_memory = all(type(a) is np.ndarray for a in self)

    def held_bytes(self, device) -> int:
        """Bytes of a device's memory that their copies take."""
        return sum(memory.nbytes for key, found in self.copies.items()
                   if found and key[0] is device for memory in found)

    def give_way(self, device) -> None:
        """Let go of the copies, which do not come back."""
        self.copies.update((key, None) for key in self.copies if key[0] is device)

    __hash__ = object.__hash__
    __eq__ = object.__eq__
