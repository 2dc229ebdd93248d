"""Dense: the fully connected layer, activation(x @ kernel + bias)."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.errors import ShapeError
from ..backend.ops.activations import activation as find_activation
from .arguments import positive_int
from .base import Layer


class Dense(Layer):
    """A fully connected layer on the last axis: ``activation(x @ kernel + bias)``.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or callable, optional
        Applied to the result; None is linear.
    use_bias : bool
        Whether to add a bias.
    kernel_initializer, bias_initializer : str or Initializer
        How the first values are drawn.
    kernel_regularizer, bias_regularizer : Regularizer, optional
        Penalties added to the loss.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What they are put back to after every step, such as ``"max_norm"``.

    Raises
    ------
    ShapeError
        If the input has no feature axis.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Dense(3)(gt.placeholder((2, 5, 4))).spec)
    float32[2, 5, 3]
    """
    keeps_time = any_rank = True

    def __init__(self, units: int, activation=None, use_bias: bool = True,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 bias_constraint=None, name: str | None = None):
        super().__init__(name)
        self.units = positive_int("units", units)
        self.activation, self.use_bias = activation, use_bias
        find_activation(activation)
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.settle_weight("bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, spec: Spec) -> None:
        if not spec.shape:
            raise ShapeError("Dense needs a feature axis beside the batch axis",
                             fix="reshape the input to (batch, features)")
        self.kernel = self.add_weight("kernel", (spec.shape[-1], self.units),
                                      **self.weight_settings("kernel"))
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), **self.weight_settings("bias"))

    def call(self, x: Tensor) -> Tensor:
        x = x @ self.kernel                                    # (batch, ..., units)
        return find_activation(self.activation)(x + self.bias if self.use_bias else x)
