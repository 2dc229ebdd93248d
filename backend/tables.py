"""Tables: samples that steps take their rows of, and the copies that devices keep of them."""
from __future__ import annotations


class Tables(list):
    """Arrays ``(n, ...)`` that do not change as long as this object lives.

    Attributes
    ----------
    copies : dict
        What backends keep of them, such as a copy in a GPU's memory; it goes with this object.
    """

    def __init__(self, arrays):
        super().__init__(arrays)
        self.copies: dict = {}

    __hash__ = object.__hash__
    __eq__ = object.__eq__
