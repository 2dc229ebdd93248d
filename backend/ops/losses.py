"""Losses fused with the activation before them, which keeps them stable."""
from __future__ import annotations

import numpy as np

from ..errors import DTypeError, ParameterError, ShapeError
from ..op import OPS, normal, op
from ..spec import floating, same_float
from ..tensor import constant
from .emission import along, as_type, channels_first


def check_smoothing(label_smoothing):
    """Require a weight of the uniform distribution."""
    if not 0.0 <= label_smoothing < 1.0:
        raise ParameterError(
            f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")


# ---- softmax cross-entropy ---------------------------------------------------------------------
# loss = -sum over k of t[k] log softmax(logits)[k], with t = (1 - a) labels + a / K and label
# smoothing a (Szegedy et al., "Rethinking the inception architecture", 2016, section 7).
# Labels are class numbers of shape (...), or distributions of shape (..., K). A negative class
# number marks an entry to ignore: its loss and its gradient are zero. A number of K or more is an
# IndexError when the loss is computed.

def softmax_cross_entropy_spec(logits, labels, *, label_smoothing):
    """One number for each row of logits."""
    floating(logits)
    check_smoothing(label_smoothing)
    if not logits.shape or logits.shape[-1] == 0:
        raise ShapeError("the last axis of the logits holds the classes, and there are none")
    if labels.is_float:
        if labels.dtype != logits.dtype:
            raise DTypeError(f"the element types differ, {logits.dtype} and {labels.dtype}",
                             fix="convert one with gt.cast")
        want = logits.shape
    elif labels.dtype.kind in "iu":
        want = logits.shape[:-1]
    else:
        raise DTypeError(f"labels are class numbers or distributions, not {labels.dtype}")
    if labels.shape != want:
        raise ShapeError(f"the labels have the shape {list(labels.shape)}, not {list(want)}",
                         fix="class numbers have no class axis; distributions need one")
    return logits.like(*logits.shape[:-1])


def softmax_cross_entropy_forward(xp, logits, labels, *, label_smoothing=0.0):
    """Cross-entropy of the softmax of the logits."""
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    normalizer = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    keep = 1.0 - label_smoothing
    if labels.dtype.kind == "f":
        target = labels * keep + label_smoothing / logits.shape[-1]
        cost = normalizer[..., None] - shifted
        cost = xp.where(target == 0, xp.zeros_like(cost), cost)  # an impossible class may cost inf
        return xp.asarray(xp.sum(target * cost, axis=-1))
    index = xp.maximum(labels, 0).astype(xp.int64)[..., None]
    loss = normalizer - keep * xp.take_along_axis(shifted, index, axis=-1)[..., 0]
    if label_smoothing:
        loss = loss - label_smoothing * xp.mean(shifted, axis=-1)
    return xp.where(labels < 0, xp.zeros_like(loss), loss)


def softmax_cross_entropy_gradient_forward(xp, g, logits, labels, *, label_smoothing=0.0):
    """``g * (softmax(logits) * sum(t) - t)``."""
    classes = logits.shape[-1]
    result = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    result /= xp.sum(result, axis=-1, keepdims=True)
    keep, spread = 1.0 - label_smoothing, label_smoothing / classes
    if labels.dtype.kind == "f":
        target = labels * keep + spread
        result *= xp.sum(target, axis=-1, keepdims=True)
        result -= target
    else:
        if label_smoothing:
            result -= spread
        index = xp.maximum(labels, 0).astype(xp.int64)[..., None]
        at_label = xp.take_along_axis(result, index, axis=-1)
        xp.put_along_axis(result, index, at_label - keep, axis=-1)
        result = xp.where((labels < 0)[..., None], xp.zeros_like(result), result)
    result *= g[..., None]
    return result


def softmax_cross_entropy_gradient_spec(g, logits, labels, *, label_smoothing):
    """The spec of the logits."""
    loss = softmax_cross_entropy_spec(logits, labels, label_smoothing=label_smoothing)
    if g != loss:
        raise ShapeError(f"the gradient is {g}, and the loss {loss}")
    return logits


def softmax_cross_entropy_grad(g, out, logits, labels, *, label_smoothing):
    """By the logits one fused op; by dense labels minus the logarithm of the softmax."""
    by_logits = softmax_cross_entropy_gradient(g, logits, labels, label_smoothing=label_smoothing)
    if not labels.spec.is_float:
        return by_logits, None
    log_softmax = OPS["log_softmax"](logits, axis=-1)
    return by_logits, last(g) * log_softmax * (label_smoothing - 1.0)


def softmax_cross_entropy_second(gg, out, g, logits, labels, *, label_smoothing):
    """Derivative of ``sum(gg * g * (p * sum(t) - t))``, with p the softmax."""
    one = OPS["broadcast_like"](constant(np.ones((), g.dtype)), g)
    slope = softmax_cross_entropy_gradient(one, logits, labels, label_smoothing=label_smoothing)
    p = OPS["softmax"](logits, axis=-1)
    expected = (gg * p).sum(axis=-1, keepdims=True)
    weighted = last(g)
    by_labels = None
    if labels.spec.is_float:
        by_labels = weighted * (expected - gg) * (1.0 - label_smoothing)
        mass = labels.sum(axis=-1, keepdims=True) * (1.0 - label_smoothing) + label_smoothing
    else:
        mass = last(OPS["cast"](labels >= 0, dtype=logits.dtype.name))
    return (gg * slope).sum(axis=-1), weighted * mass * p * (gg - expected), by_labels


def last(x):
    """x with a class axis of length 1."""
    return OPS["expand_dims"](x, axis=-1)


def labelled(*arrays, **settings):
    """Samples for class numbers and for distributions, 4 classes; one entry is ignored."""
    def sampler(rng):
        logits = lambda *shape: rng.standard_normal((*shape, 4))
        front = lambda *shape: [rng.standard_normal(shape)] if "g" in arrays else []
        dense = rng.dirichlet(np.ones(4), 3)
        return [([*front(3), logits(3), np.array([0, 3, 1])], {}),
                ([*front(2, 3), logits(2, 3), np.array([[0, 3, 1], [2, -1, 0]], np.int32)],
                 {"label_smoothing": 0.1}),
                ([*front(3), logits(3), dense], {}),
                ([*front(3), logits(3), 2.0 * dense], {"label_smoothing": 0.2}),
                ([*front(1), rng.standard_normal((1, 1)), np.array([0])], {}),
                ([*front(), logits(), np.array(2)], {}),
                ([*front(0), logits(0), np.zeros(0, np.int64)], {})]
    return sampler


def emit_softmax_cross_entropy(emit, logits, labels, *, label_smoothing):
    """SoftmaxCrossEntropyLoss where it says the same, else minus the sum of t log p."""
    classes = logits.shape[-1]
    if labels.dtype.kind != "f" and len(logits.shape) > 1 and not label_smoothing:
        numbers = emit("Max", as_type(emit, labels, "int64"), emit.constant(-1))
        return emit("SoftmaxCrossEntropyLoss", channels_first(emit, logits), numbers,
                    reduction="none", ignore_index=-1)
    number = lambda value: emit.constant(value, logits.dtype)
    mixed = lambda t: emit("Add", emit("Mul", t, number(1.0 - label_smoothing)),
                           number(label_smoothing / classes))
    if labels.dtype.kind == "f":
        target = mixed(labels)
    else:
        column = along(emit, "Unsqueeze", as_type(emit, labels, "int64"), -1)
        hit = as_type(emit, emit("Equal", column, emit.constant(range(classes))), logits.dtype)
        counted = as_type(emit, emit("GreaterOrEqual", column, emit.constant(0)), logits.dtype)
        target = emit("Mul", mixed(hit), counted)
    cost = emit("Mul", target, emit("LogSoftmax", logits, axis=-1))
    return emit("Neg", emit("ReduceSum", cost, emit.constant([-1]), keepdims=0))


softmax_cross_entropy = op(
    "softmax_cross_entropy", forward=softmax_cross_entropy_forward,
    onnx=emit_softmax_cross_entropy,
    spec=softmax_cross_entropy_spec, grad=softmax_cross_entropy_grad,
    flops=lambda logits, labels, **_: 5 * logits.size, samples=labelled())
softmax_cross_entropy_gradient = op(
    "softmax_cross_entropy_gradient", forward=softmax_cross_entropy_gradient_forward,
    spec=softmax_cross_entropy_gradient_spec, grad=softmax_cross_entropy_second,
    flops=lambda g, logits, labels, **_: 5 * logits.size, samples=labelled("g"))


# ---- sigmoid cross-entropy ---------------------------------------------------------------------
# loss = -t log s(z) - (1 - t) log s(-z), with s the sigmoid and t = (1 - a) target + a / 2. The
# form below never takes the exponential of a positive number.

def sigmoid_cross_entropy_forward(xp, logits, targets, *, label_smoothing=0.0):
    """Cross-entropy of the sigmoid of the logits, entry by entry."""
    target = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing
    linear = xp.where(logits < 0, -logits * target, logits * (1.0 - target))
    return linear + xp.log1p(xp.exp(-xp.abs(logits)))


def sigmoid_cross_entropy_spec(logits, targets, *, label_smoothing):
    """Elementwise."""
    check_smoothing(label_smoothing)
    return same_float(logits, targets)


def sigmoid_cross_entropy_grad(g, out, logits, targets, *, label_smoothing):
    """``sigmoid(z) - t`` and ``-(1 - a) z``."""
    keep = 1.0 - label_smoothing
    target = targets * keep + 0.5 * label_smoothing
    return g * (OPS["sigmoid"](logits) - target), g * logits * -keep


TARGET = "({1} * (1 - {label_smoothing}) + 0.5 * {label_smoothing})"
sigmoid_cross_entropy = op(
    "sigmoid_cross_entropy", forward=sigmoid_cross_entropy_forward,
    spec=sigmoid_cross_entropy_spec, grad=sigmoid_cross_entropy_grad,
    code=f"({{0}} < 0 ? -{{0}} * {TARGET} : {{0}} * (1 - {TARGET})) + log1p(exp(-abs({{0}})))",
    flops=lambda logits, targets, **_: 8 * logits.size,
    samples=lambda rng: [case for settings in ({}, {"label_smoothing": 0.1})
                         for case in normal((4, 3), (4, 3), **settings)(rng)])
