"""Embedding: a learned vector for each of a number of symbols."""
from __future__ import annotations

from ..backend import Spec
from ..backend.errors import DTypeError
from ..backend.ops.elementwise import cast, not_equal
from ..backend.ops.indexing import gather
from ..backend.ops.reductions import sum_
from .arguments import flag, positive_int
from .base import Layer
from .flow import Flow


class Embedding(Layer):
    """Replaces each whole number by the row of that number in a learned table.

    Bengio et al., "A neural probabilistic language model", 2003. Input ``(batch, ...)`` of
    integers in [0, input_dim), output ``(batch, ..., output_dim)``.

    Parameters
    ----------
    input_dim : int
        How many symbols there are.
    output_dim : int
        Length of a vector.
    embeddings_initializer : str or Initializer
        How the first vectors are drawn.
    embeddings_regularizer : Regularizer, optional
        A penalty added to the loss.
    embeddings_constraint : str or Constraint, optional
        What the table is put back to after every step.
    mask_zero : bool
        Whether 0 is padding. Then a row's length is how many of its numbers are not 0; the
        padding is taken to stand at the end. Lengths given from outside go before.

    Raises
    ------
    DTypeError
        If the input holds no integers.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Embedding(100, 8)(gt.placeholder((2, 5), "int64")).spec)
    float32[2, 5, 8]
    """
    keeps_time = takes_integers = True

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer="uniform",
                 embeddings_regularizer=None, mask_zero: bool = False,
                 embeddings_constraint=None, name: str | None = None):
        super().__init__(name)
        self.input_dim = positive_int("input_dim", input_dim)
        self.output_dim = positive_int("output_dim", output_dim)
        self.mask_zero = flag("mask_zero", mask_zero)
        self.settle_weight("embeddings", embeddings_initializer, embeddings_regularizer,
                           embeddings_constraint)

    def build(self, spec: Spec) -> None:
        self.embeddings = self.add_weight("embeddings", (self.input_dim, self.output_dim),
                                          **self.weight_settings("embeddings"))

    def check(self, spec: Spec) -> None:
        need_integers(self, spec)

    def forward(self, flow: Flow, training: bool) -> Flow:
        ids, lengths = flow.x, flow.lengths
        if lengths is None and self.mask_zero and ids.ndim == 2:
            count = sum_(cast(not_equal(ids, 0), dtype="float64"), axis=1)    # native sums these
            lengths = cast(count, dtype="int64")                              # (batch,)
        return flow.to(gather(self.embeddings, ids, axis=0), lengths=lengths)


def need_integers(layer: Layer, spec: Spec) -> None:
    """Refuse numbers that are not whole."""
    if spec.dtype.kind not in "iu":
        raise DTypeError(f"{layer.label}: the input must be integers, not {spec.dtype}",
                         fix='convert with gt.cast(x, dtype="int64")')
