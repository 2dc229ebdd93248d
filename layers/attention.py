"""Attention: every step of one sequence gathers what it looks for in the steps of another."""
from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ShapeError
from ..backend.ops.elementwise import tanh, where
from ..backend.ops.indexing import sequence_mask
from ..backend.ops.matmul import matmul
from ..backend.ops.reductions import softmax
from ..backend.ops.shape import expand_dims, transpose
from .arguments import flag, fraction, one_of, positive_int
from .base import Layer
from .flow import Flow, joined_updates
from .dropout import Dropout
from .shaping import open_reshape


class Attending(Layer):
    """What attention layers share: query, value and key, and what must not be looked at."""
    keeps_time = takes_several = True

    def attend_with(self, dropout, use_causal_mask) -> None:
        """Check and keep what is done to the scores."""
        self.dropout = fraction("dropout", dropout)
        self.use_causal_mask = flag("use_causal_mask", use_causal_mask)
        self.dropping = self.add_child("dropout", Dropout(dropout))

    def run(self, flow, training: bool) -> Flow:
        """One sequence alone looks into itself."""
        return super().run([flow, flow] if isinstance(flow, Flow) else flow, training)

    def check(self, spec: list[Spec]) -> None:
        shapes = [s.shape for s in spec]
        if len(shapes) not in (2, 3) or any(len(shape) != 2 for shape in shapes):
            raise ShapeError(f"{self.label}: needs a query, a value and perhaps a key, "
                             "each (batch, time, features)",
                             got=" and ".join(map(str, map(list, shapes))) + " (without batch)")
        if shapes[-1][0] != shapes[1][0]:
            raise ShapeError(f"{self.label}: the value has {shapes[1][0]} steps and the key "
                             f"{shapes[-1][0]}", fix="every step of the value needs one key")

    def forward(self, flow: list[Flow], training: bool) -> Flow:
        query, value = flow[0], flow[1]
        y = self.attended(query, value, flow[-1].x, training)
        return query.to(y, updates=joined_updates(*flow))

    @abstractmethod
    def attended(self, query: Flow, value: Flow, key: Tensor, training: bool) -> Tensor:
        """The formula, (batch, steps of the query, features)."""

    def gathered(self, scores: Tensor, values: Tensor, query: Flow, value: Flow,
                 training: bool) -> Tensor:
        """The mean of values weighted by the softmax of scores, (..., query steps, features)."""
        lowest = float(np.finfo(scores.dtype).min)
        if self.use_causal_mask:
            past = np.tri(*scores.shape[-2:], dtype=bool)              # (query steps, steps)
            scores = where(past, scores, lowest)
        if value.lengths is not None:
            kept = sequence_mask(value.x, value.lengths)               # (batch, steps)
            heads = (1,) * (scores.ndim - 3)
            scores = where(open_reshape(kept, *heads, 1, kept.shape[1]), scores, lowest)
            # A row without any step gathers nothing, not what stands in its padding.
            values = where(open_reshape(kept, *heads, kept.shape[1], 1), values, 0.0)
        weights = self.dropping.run(query.to(softmax(scores, axis=-1)), training).x
        return matmul(weights, values)


class Attention(Attending):
    """``softmax(score(query, key)) value``: attention without weights of its own but for scales.

    Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation",
    2015, equations 7 and 8. Called on ``[query, value]`` or ``[query, value, key]`` of shapes
    ``(batch, query steps, features)`` and ``(batch, steps, features)``; the key is the value by
    default. Steps beyond a row's length are not looked at; the output has the query's lengths.

    Parameters
    ----------
    use_scale : bool
        Whether there is a learned factor: of the products, or in ``tanh``.
    score_mode : {"dot", "concat"}
        ``query . key``, or ``c sum(tanh(scale * (query + key)))`` with a learned c.
    dropout : float
        Share of the weights dropped while training, in [0, 1).
    use_causal_mask : bool
        Whether no step looks at later ones.

    Raises
    ------
    ShapeError
        If the inputs have other axes, or the value and the key differ in steps.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> query, value = gt.placeholder((2, 3, 8)), gt.placeholder((2, 5, 8))
    >>> print(layers.Attention()([query, value]).spec)
    float32[2, 3, 8]
    """

    def __init__(self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0,
                 use_causal_mask: bool = False, name: str | None = None):
        super().__init__(name)
        self.use_scale = flag("use_scale", use_scale)
        self.score_mode = one_of("score_mode", score_mode, ("dot", "concat"))
        self.attend_with(dropout, use_causal_mask)

    def build(self, spec: list[Spec]) -> None:
        self.scale = self.add_weight("scale", (), "ones") if self.use_scale else 1.0
        if self.score_mode == "concat":
            self.factor = self.add_weight("concat_score_weight", (), "ones")

    def check(self, spec: list[Spec]) -> None:
        super().check(spec)
        if spec[0].shape[-1] != spec[-1].shape[-1]:
            raise ShapeError(f"{self.label}: the query has {spec[0].shape[-1]} features and the "
                             f"key {spec[-1].shape[-1]}")

    def attended(self, query, value, key, training):
        return self.gathered(self.scores(query.x, key), value.x, query, value, training)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(batch, query steps, steps)."""
        if self.score_mode == "dot":
            products = matmul(query, key, transpose_y=True)
            return products * self.scale if self.use_scale else products
        both = expand_dims(query, axis=2) + expand_dims(key, axis=1)
        return tanh(both * self.scale if self.use_scale else both).sum(axis=-1) * self.factor


class MultiHeadAttention(Attending):
    """Several attentions side by side, each on projections of its own.

    Vaswani et al., "Attention is all you need", 2017, section 3.2.2. Called on one sequence, which
    then looks into itself, on ``[query, value]`` or on ``[query, value, key]``, or with these as
    arguments, of shapes ``(batch, time, features)``. Steps beyond a row's length are not looked
    at; the output has the query's lengths.

    Parameters
    ----------
    num_heads : int
        How many.
    key_dim : int
        Features of a head's query and key.
    value_dim : int, optional
        Features of a head's value; ``key_dim`` by default.
    dropout : float
        Share of the weights dropped while training, in [0, 1).
    use_bias : bool
        Whether projections have biases.
    output_shape : int, optional
        Features of the output; the query's by default.
    kernel_initializer, bias_initializer : str or Initializer
        How the first values are drawn.
    kernel_regularizer, bias_regularizer : Regularizer, optional
        Penalties added to the loss.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What they are put back to after every step.
    use_causal_mask : bool
        Whether no step looks at later ones.

    Raises
    ------
    ShapeError
        If the inputs have other axes, or the value and the key differ in steps.

    Notes
    -----
    Weights have Keras's shapes and order: kernels ``(features, num_heads, key_dim)`` and biases
    ``(num_heads, key_dim)`` of query, key and value, then ``(num_heads, value_dim, output)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.placeholder((2, 5, 8))
    >>> print(layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x).spec)
    float32[2, 5, 8]
    >>> net = gt.Sequential([gt.Input((5, 8)), layers.MultiHeadAttention(2, 4), layers.Dense(3)])
    >>> print(net(x).spec)
    float32[2, 5, 3]
    """

    def __init__(self, num_heads: int, key_dim: int, value_dim: int | None = None,
                 dropout: float = 0.0, use_bias: bool = True, output_shape: int | None = None,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 bias_constraint=None, use_causal_mask: bool = False, name: str | None = None):
        super().__init__(name)
        self.num_heads = positive_int("num_heads", num_heads)
        self.key_dim = positive_int("key_dim", key_dim)
        self.value_dim = value_dim if value_dim is None else positive_int("value_dim", value_dim)
        self.output_shape = output_shape if output_shape is None else \
            positive_int("output_shape", output_shape)
        self.use_bias = flag("use_bias", use_bias)
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.settle_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.attend_with(dropout, use_causal_mask)

    def __call__(self, query, value=None, key=None, training: bool = False):
        if not isinstance(query, (list, tuple)):
            query = [query, query if value is None else value, *([] if key is None else [key])]
        return super().__call__(query, training)

    def build(self, spec: list[Spec]) -> None:
        query, value, key = spec[0].shape[-1], spec[1].shape[-1], spec[-1].shape[-1]
        each = self.value_dim or self.key_dim
        self.query = self.projection("query", (query,), (self.num_heads, self.key_dim))
        self.key = self.projection("key", (key,), (self.num_heads, self.key_dim))
        self.value = self.projection("value", (value,), (self.num_heads, each))
        self.output = self.projection("output", (self.num_heads, each),
                                      (self.output_shape or query,))

    def projection(self, name: str, given: tuple, made: tuple) -> tuple:
        """Kernel and bias of a matrix product from some axes to others."""
        kernel = self.add_weight(f"{name}_kernel", (*given, *made),
                                 **self.weight_settings("kernel"))
        bias = self.add_weight(f"{name}_bias", made, **self.weight_settings("bias")) \
            if self.use_bias else None
        return math.prod(given), kernel, bias

    def check(self, spec: list[Spec]) -> None:
        super().check(spec)
        for name, got, built in zip(("query", "value"), (spec[0], spec[1]), self.built or spec):
            if got.shape[-1] != built.shape[-1]:
                raise ShapeError(f"{self.label}: the {name} has {got.shape[-1]} features, and the "
                                 f"layer was built for {built.shape[-1]}")

    @staticmethod
    def projected(x: Tensor, projection: tuple) -> Tensor:
        """(batch, time, all made features)."""
        given, kernel, bias = projection
        y = matmul(x, kernel.reshape(given, -1))
        return y if bias is None else y + bias.reshape(-1)

    def heads(self, x: Tensor) -> Tensor:
        """(batch, heads, time, features) from (batch, time, heads * features)."""
        parted = open_reshape(x, x.shape[1], self.num_heads, x.shape[-1] // self.num_heads)
        return transpose(parted, axes=(0, 2, 1, 3))

    def attended(self, query, value, key, training):
        q = self.heads(self.projected(query.x, self.query) * (1.0 / math.sqrt(self.key_dim)))
        k = self.heads(self.projected(key, self.key))
        v = self.heads(self.projected(value.x, self.value))
        y = self.gathered(matmul(q, k, transpose_y=True), v, query, value, training)
        joined = open_reshape(transpose(y, axes=(0, 2, 1, 3)), y.shape[2], v.shape[1] * v.shape[3])
        return self.projected(joined, self.output)
