"""Dense: the fully connected layer, activation(x @ kernel + bias)."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.errors import ShapeError
from .affine import Affine
from .arguments import positive_int


class Dense(Affine):
    """A fully connected layer on the last axis: ``activation(x @ kernel + bias)``.

    Parameters
    ----------
    units : int
        Number of outputs.

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
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)

    def build(self, spec: Spec) -> None:
        if not spec.shape:
            raise ShapeError("Dense needs a feature axis beside the batch axis",
                             fix="reshape the input to (batch, features)")
        self.kernel = self.add_weight("kernel", (spec.shape[-1], self.units),
                                      **self.weight_settings("kernel"))
        self.add_bias(self.units)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(x @ self.kernel)                  # (batch, ..., units)
