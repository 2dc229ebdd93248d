"""What a program makes of the weights alone, kept for as long as the weights are the same."""
from __future__ import annotations

from typing import Sequence
from weakref import ref

import numpy as np

KEPT = 8          # sets of weights: models of one architecture share a program


class Prepared:
    """Blocks of the core, each with the arrays that it was made of.

    A block is found again only for the same array objects, and only if they cannot have changed: an
    array that owns its memory and is read-only. For all others the block is made anew at each call.
    No array is kept alive by this.
    """

    def __init__(self, needed: bool):
        self.needed = needed
        self._entries: tuple[tuple[tuple, object], ...] = ()    # replaced, never changed: threads

    def find(self, arrays: Sequence[np.ndarray]):
        """The block made of these arrays, or None."""
        for references, block in self._entries:
            if all(r() is a and not a.flags.writeable for r, a in zip(references, arrays)):
                return block
        return None

    def store(self, arrays: Sequence[np.ndarray], block) -> None:
        """Keep a block, if the arrays stay as they are."""
        if all(a.flags.owndata and not a.flags.writeable for a in arrays):
            alive = [e for e in self._entries if all(r() is not None for r in e[0])]
            self._entries = ((tuple(map(ref, arrays)), block), *alive[:KEPT - 1])
