"""Flow: what passes from layer to layer beside the tensor."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping

import numpy as np

from ..backend import Tensor, Variable, constant


@dataclass(frozen=True)
class Flow:
    """A tensor on its way through a net, and what rides beside it.

    Attributes
    ----------
    x : Tensor
        ``(batch, ...)``.
    lengths : Tensor or None
        ``(batch,)`` int64: valid steps of each row; time-preserving layers pass it on.
    weights : Tensor or None
        ``(batch,)``: weight of each row in batch statistics; padding rows weigh zero.
    seed, step : Tensor or None
        0-d int64 keys of random layers.
    updates : mapping of Variable to Tensor
        New values of moving statistics; returned, never hidden.
    own_share : Tensor or None
        ``(batch,)``: share of its own target in the loss of a sample that was mixed with the one
        at its place from the other end of the batch.
    dtype : str
        Element type of the weights.
    """
    x: Tensor
    lengths: Tensor | None = None
    weights: Tensor | None = None
    seed: Tensor | None = None
    step: Tensor | None = None
    updates: Mapping[Variable, Tensor] = field(default_factory=dict)
    own_share: Tensor | None = None
    dtype: str = "float32"

    @property
    def keys(self) -> tuple[Tensor, Tensor]:
        """Seed and step, zero where none is given."""
        return tuple(constant(np.int64(0)) if key is None else key
                     for key in (self.seed, self.step))

    def to(self, x: Tensor, **changes) -> Flow:
        """The flow with another tensor."""
        return replace(self, x=x, **changes)


def as_flow(x) -> Flow:
    """A flow from a tensor or an array."""
    return x if isinstance(x, Flow) else Flow(x if isinstance(x, Tensor) else constant(x))


def joined_updates(*flows: Flow) -> dict:
    """The updates of several flows together."""
    return {v: t for f in flows for v, t in f.updates.items()}
