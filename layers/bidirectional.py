"""Bidirectional: a recurrent layer and a copy of it that reads time backwards."""
from __future__ import annotations

from ..backend import Tensor
from ..backend.errors import ParameterError
from ..backend.ops.shape import concatenate
from .arguments import one_of
from .base import Layer
from .flow import Flow, joined_updates
from .recurrent import Recurrent

MERGES = {
    "concat": lambda a, b: concatenate(a, b, axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) * 0.5}


class Bidirectional(Layer):
    """Reads sequences in both directions and joins what was found.

    Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997. The backward layer has
    weights of its own; it starts at a row's last valid step. Where all steps have outputs, those of
    one step are joined; otherwise the two last states.

    Parameters
    ----------
    layer : SimpleRNN, LSTM or GRU
        The forward layer; the backward layer is made from its arguments.
    merge_mode : {"concat", "sum", "mul", "ave"}
        How the two results become one: side by side, or entry by entry.

    Raises
    ------
    ParameterError
        If the layer is not recurrent, or runs backwards already.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Bidirectional(layers.LSTM(8))(gt.placeholder((2, 5, 4))).spec)
    float32[2, 16]
    """

    def __init__(self, layer: Recurrent, merge_mode: str = "concat", name: str | None = None):
        super().__init__(name)
        if not isinstance(layer, Recurrent):
            raise ParameterError(f"Bidirectional holds a recurrent layer, not {layer!r}",
                                 fix="pass for example layers.LSTM(32)")
        if layer.go_backwards:
            raise ParameterError("Bidirectional needs a layer with go_backwards=False",
                                 fix="the copy that reads backwards is made from it")
        self.layer, self.merge_mode = layer, one_of("merge_mode", merge_mode, MERGES)
        backward = type(layer)(**{**layer.config(), "go_backwards": True, "name": None})
        backward.aligned, backward.frozen = True, layer.frozen
        self.forward_layer = self.add_child("forward_layer", layer)
        self.backward_layer = self.add_child("backward_layer", backward)

    @property
    def keeps_time(self) -> bool:
        """As the layer does."""
        return self.layer.keeps_time

    def forward(self, flow: Flow, training: bool) -> Flow:
        there, back = (layer.run(flow, training)
                       for layer in (self.forward_layer, self.backward_layer))
        return there.to(self.merged(there.x, back.x), updates=joined_updates(there, back))

    def merged(self, there: Tensor, back: Tensor) -> Tensor:
        """The two results as one."""
        return MERGES[self.merge_mode](there, back)
