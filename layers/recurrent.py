"""Recurrent layers: a state that is carried from step to step of a sequence."""
from __future__ import annotations

from abc import abstractmethod

import numpy as np

from ..backend import Spec, Tensor, constant
from ..backend.errors import ParameterError
from ..backend.ops.indexing import full_lengths, reverse_sequence, row_offset
from ..backend.ops.random import dropout_mask
from ..backend.ops.recurrent_gru import gru
from ..backend.ops.recurrent_lstm import lstm
from ..backend.ops.recurrent_simple import ACTIVATIONS, simple_rnn
from ..backend.ops.shape import flip
from .arguments import fraction, one_of, positive_int
from .base import Layer
from .flow import Flow
from .initializers import initializer


class Recurrent(Layer):
    """What recurrent layers share: three weights, the order of time, lengths and input dropout.

    A subclass sets ``gates`` and defines ``scan``.

    Parameters
    ----------
    units : int
        Length of the state.
    activation : {"tanh", "relu", "sigmoid", "linear"} or None
        None is linear.
    use_bias : bool
        Whether to add a bias.
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        How the first values are drawn.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : Regularizer, optional
        Penalties added to the loss.
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
        What they are put back to after every step, such as ``"max_norm"``.
    dropout : float
        Fraction of the input features that are dropped while training, the same at all steps of a
        sequence (Gal and Ghahramani 2016).
    return_sequences : bool
        Whether to give the outputs of all steps.
    go_backwards : bool
        Whether to start at a row's last valid step; the outputs come in that order.

    Raises
    ------
    ShapeError
        If the input has other axes.
    """
    input_axes = "(batch, time, features)"
    gates = 1
    states = 1           # tensors carried from step to step
    aligned = False      # whether outputs keep the order of time even where time runs backwards

    def __init__(self, units: int, activation: str | None = "tanh", use_bias: bool = True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, kernel_constraint=None, recurrent_constraint=None,
                 bias_constraint=None, dropout: float = 0.0, return_sequences: bool = False,
                 go_backwards: bool = False, name: str | None = None):
        super().__init__(name)
        self.units, self.use_bias = positive_int("units", units), use_bias
        self.activation = one_of("activation", activation, (*ACTIVATIONS, None))
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.settle_weight("recurrent", recurrent_initializer, recurrent_regularizer,
                           recurrent_constraint)
        self.settle_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.dropout = fraction("dropout", dropout)
        self.return_sequences, self.go_backwards = return_sequences, go_backwards

    @property
    def keeps_time(self) -> bool:
        """Where every step has an output."""
        return bool(self.return_sequences)

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """One per unit and gate."""
        return (self.gates * self.units,)

    def build(self, spec: Spec) -> None:
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (spec.shape[-1], width),
                                      **self.weight_settings("kernel"))
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, width),
                                                **self.weight_settings("recurrent"))
        self.bias = self.add_weight("bias", self.bias_shape, **self.weight_settings("bias")) \
            if self.use_bias else None

    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Kernel, recurrent kernel and bias, which is zero where there is none."""
        bias = constant(np.zeros(self.bias_shape, self.dtype)) if self.bias is None else self.bias
        return self.kernel, self.recurrent_kernel, bias

    @abstractmethod
    def scan(self, *data: Tensor | None, reverse: bool) -> tuple[Tensor, ...]:
        """All outputs ``(batch, time, units)`` and the last state, from the op."""

    def forward(self, flow: Flow, training: bool) -> Flow:
        x, reverse = flow.x, bool(self.go_backwards)
        if training and self.dropout:
            x = x * self.mask(flow)
        outputs, last, *_ = self.scan(x, *self.parameters(), flow.lengths, reverse=reverse)
        if not self.return_sequences:
            return flow.to(last, lengths=None)
        return flow.to(turned(outputs, flow.lengths) if reverse and not self.aligned else outputs)

    def carry(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Outputs of all steps from given states, and the states after the last one."""
        outputs, *rest = self.scan(x, *self.parameters(), full_lengths(x), *states, reverse=False)
        return outputs, rest[:self.states]

    def mask(self, flow: Flow) -> Tensor:
        """What inputs are multiplied by; a feature is dropped at all steps or at none."""
        return dropout_mask(flow.x, *flow.keys, row_offset(flow.x), rate=self.dropout,
                            stream=self.stream, shared_axes=(1,))


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Every row's steps the other way round; padding stays at the end."""
    return flip(x, axis=1) if lengths is None else reverse_sequence(x, lengths)


class SimpleRNN(Recurrent):
    """``h_t = activation(x_t kernel + h_{t-1} recurrent_kernel + bias)``.

    Elman, "Finding structure in time", 1990. Input ``(batch, time, features)``, output ``(batch,
    units)``, the state after a row's last valid step, or ``(batch, time, units)``, which is zero
    beyond a row's length.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.SimpleRNN(8)(gt.placeholder((2, 5, 4))).spec)
    float32[2, 8]
    """

    def scan(self, *data, reverse):
        return simple_rnn(*data, reverse=reverse, activation=self.activation or "linear")


def require_standard(label: str, activation, recurrent_activation) -> None:
    """Gated cells have the activations of their papers, which backends compute as one kernel."""
    for name, value, only, fix in (
            ("activation", activation, "tanh", "use SimpleRNN for another activation"),
            ("recurrent_activation", recurrent_activation, "sigmoid", 'leave it at "sigmoid"')):
        if value != only:
            raise ParameterError(f'{label}: {name} can only be "{only}", not {value!r}', fix=fix)


class LSTM(Recurrent):
    """Long short-term memory: a state and a cell that gates write to, keep and read.

    ``i, f, o = sigmoid(x W + h R + b)``, ``c <- f c + i tanh(x W + h R + b)``, ``h <- o tanh(c)``;
    Hochreiter and Schmidhuber, "Long short-term memory", 1997; the forget gate f from Gers,
    Schmidhuber and Cummins, 2000. Weights hold the gates in the order i, f, c, o. Input ``(batch,
    time, features)``, output ``(batch, units)``, the state after a row's last valid step, or
    ``(batch, time, units)``, which is zero beyond a row's length.

    Parameters
    ----------
    activation : {"tanh"}
        Of the candidate and the cell.
    recurrent_activation : {"sigmoid"}
        Of the gates.
    unit_forget_bias : bool
        Whether the forget gate's bias starts at one (Jozefowicz et al. 2015).

    Raises
    ------
    ParameterError
        If another activation is asked for.
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.LSTM(8, return_sequences=True)(gt.placeholder((2, 5, 4))).spec)
    float32[2, 5, 8]
    """
    gates, states = 4, 2

    def __init__(self, units: int, activation: str = "tanh", recurrent_activation: str = "sigmoid",
                 use_bias: bool = True, kernel_initializer="glorot_uniform",
                 recurrent_initializer="orthogonal", bias_initializer="zeros",
                 unit_forget_bias: bool = True, kernel_regularizer=None,
                 recurrent_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 recurrent_constraint=None, bias_constraint=None, dropout: float = 0.0,
                 return_sequences: bool = False, go_backwards: bool = False,
                 name: str | None = None):
        require_standard("LSTM", activation, recurrent_activation)
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer,
                         bias_initializer, kernel_regularizer, recurrent_regularizer,
                         bias_regularizer, kernel_constraint, recurrent_constraint,
                         bias_constraint, dropout, return_sequences, go_backwards, name)
        self.recurrent_activation, self.unit_forget_bias = recurrent_activation, unit_forget_bias

    def weight_settings(self, weight):
        settings = super().weight_settings(weight)
        if weight != "bias" or not self.unit_forget_bias:
            return settings
        draw, forget = initializer(self.bias_initializer), slice(self.units, 2 * self.units)

        def with_forget_gate_open(spec, seed, stream):
            value = np.array(draw(spec, seed, stream))
            value[forget] = 1
            return value
        return settings | {"initializer": with_forget_gate_open}

    def scan(self, *data, reverse):
        return lstm(*data, reverse=reverse)


class GRU(Recurrent):
    """Gated recurrent unit: a state that one gate keeps and another hides from the candidate.

    ``z, r = sigmoid(x W + h R + b)``, ``h <- z h + (1 - z) tanh(x W + r (h R + b') + b)``; Cho et
    al., "Learning phrase representations using RNN encoder-decoder", 2014. Weights hold the gates
    in the order z, r, candidate; with ``reset_after`` there are two rows of biases. Input ``(batch,
    time, features)``, output ``(batch, units)``, the state after a row's last valid step, or
    ``(batch, time, units)``, which is zero beyond a row's length.

    Parameters
    ----------
    activation : {"tanh"}
        Of the candidate.
    recurrent_activation : {"sigmoid"}
        Of the gates.
    reset_after : bool
        Whether r is applied after the matrix product, ``r (h R + b')``, or before, ``(r h) R``.

    Raises
    ------
    ParameterError
        If another activation is asked for.
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GRU(8)(gt.placeholder((2, 5, 4))).spec)
    float32[2, 8]
    """
    gates = 3

    def __init__(self, units: int, activation: str = "tanh", recurrent_activation: str = "sigmoid",
                 use_bias: bool = True, kernel_initializer="glorot_uniform",
                 recurrent_initializer="orthogonal", bias_initializer="zeros",
                 kernel_regularizer=None, recurrent_regularizer=None, bias_regularizer=None,
                 kernel_constraint=None, recurrent_constraint=None, bias_constraint=None,
                 dropout: float = 0.0, return_sequences: bool = False, go_backwards: bool = False,
                 reset_after: bool = True, name: str | None = None):
        require_standard("GRU", activation, recurrent_activation)
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer,
                         bias_initializer, kernel_regularizer, recurrent_regularizer,
                         bias_regularizer, kernel_constraint, recurrent_constraint,
                         bias_constraint, dropout, return_sequences, go_backwards, name)
        self.recurrent_activation, self.reset_after = recurrent_activation, reset_after

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """One row for inputs and one for the state, where they are not simply added."""
        width = self.gates * self.units
        return (2, width) if self.reset_after else (width,)

    def scan(self, *data, reverse):
        return gru(*data, reverse=reverse, reset_after=bool(self.reset_after))
