"""View: how a tensor lies in a value's memory: an offset and strides, in elements."""
from __future__ import annotations

import math
from typing import NamedTuple


class View(NamedTuple):
    """A tensor as it is seen in memory; transposing or broadcasting moves nothing."""
    value: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def whole(cls, value: int, shape) -> View:
        """All of a value, the last axis running fastest."""
        return cls(value, 0, tuple(shape), contiguous(shape))

    def is_whole(self, size: int) -> bool:
        """Whether the tensor is all of a value of ``size`` elements, in order."""
        return self.offset == 0 and math.prod(self.shape) == size and self.is_contiguous()

    def is_contiguous(self) -> bool:
        """Whether elements lie one after another."""
        return all(n == 1 or s == c for n, s, c in
                   zip(self.shape, self.strides, contiguous(self.shape)))

    def broadcast(self, shape, to) -> View:
        """Seen in a larger shape, as NumPy broadcasts."""
        lead = len(to) - len(shape)
        strides = (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(shape, self.strides))
        return self._replace(shape=tuple(to), strides=strides)

    def operand(self, core, shape):
        """For an elementwise chain of that shape."""
        return core.Operand(self.value, self.offset, list(self.strides))


def contiguous(shape) -> tuple[int, ...]:
    """Strides of memory in which the last axis runs fastest."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))
