"""Affine: what layers share that add a bias to sums of products, and apply an activation."""
from __future__ import annotations

from ..backend import Tensor
from ..backend.ops.activations import activation as find_activation
from .base import Layer


class Affine(Layer):
    """``activation(sums + bias)``, the sums being those of a dense layer or a convolution.

    Parameters
    ----------
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
    """

    def finish(self, activation, use_bias, *bias_settings) -> None:
        """Check and keep what is done to the sums."""
        self.activation, self.use_bias = activation, use_bias
        find_activation(activation)
        self.settle_weight("bias", *bias_settings)

    def add_bias(self, outputs: int) -> None:
        """One bias per output."""
        if self.use_bias:
            self.bias = self.add_weight("bias", (outputs,), **self.weight_settings("bias"))

    def finished(self, sums: Tensor) -> Tensor:
        """With bias and activation."""
        return find_activation(self.activation)(sums + self.bias if self.use_bias else sums)
