"""TimeDistributed: one layer applied to every step of a sequence."""
from __future__ import annotations

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.elementwise import cast
from ..backend.ops.indexing import full_lengths, sequence_mask
from ..backend.ops.shape import expand_dims
from .base import Layer, snake_case
from .flow import Flow
from .shaping import open_reshape


class TimeDistributed(Layer):
    """A layer applied to every step: the time axis is counted as part of the batch.

    Steps beyond a row's length weigh zero in batch statistics.

    Parameters
    ----------
    layer : Layer
        From ``(batch, ...)`` to ``(batch, ...)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.TimeDistributed(layers.Flatten())(gt.placeholder((5, 4, 2, 3))).spec)
    float32[5, 4, 6]
    """
    keeps_time = True

    def __init__(self, layer: Layer, name: str | None = None):
        super().__init__(name)
        if not isinstance(layer, Layer) or layer.takes_several:
            raise ParameterError(f"TimeDistributed holds a layer of one input, not {layer!r}")
        self.layer = layer
        self.add_child(layer.name or snake_case(type(layer).__name__), layer)

    def check(self, spec: Spec) -> None:
        if len(spec.shape) < 2:
            raise ShapeError(f"{self.label}: needs (batch, time, ...)",
                             got=f"{list(spec.shape)} (without batch)")

    def forward(self, flow: Flow, training: bool) -> Flow:
        x = flow.x
        inner = flow.to(open_reshape(x, *x.shape[2:]), lengths=None,      # (batch * time, ...)
                        weights=self.step_weights(flow))
        y = self.layer.run(inner, training)
        return y.to(open_reshape(y.x, x.shape[1], *y.x.shape[1:]), lengths=flow.lengths,
                    weights=flow.weights)

    @staticmethod
    def step_weights(flow: Flow) -> Tensor | None:
        """One weight per step, (batch * time,); None if all steps weigh one."""
        x, weights = flow.x, flow.weights
        if flow.lengths is None and weights is None:
            return None
        lengths = full_lengths(x) if flow.lengths is None else flow.lengths
        dtype = x.dtype if weights is None and x.spec.is_float else (
            np.dtype(flow.dtype) if weights is None else weights.dtype)
        steps = cast(sequence_mask(x, lengths), dtype=dtype.name)         # (batch, time)
        return open_reshape(steps if weights is None else steps * expand_dims(weights, axis=1))
