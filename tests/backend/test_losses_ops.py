"""Losses fused with their activations: plain formulas, extreme logits, ignored labels, errors."""
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax

import gradatim as gt
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError

RNG = np.random.default_rng(5)
LOGITS = RNG.standard_normal((6, 4)) * 3.0
CLASSES = np.array([0, 3, 1, 1, 2, 0])
DENSE = RNG.dirichlet(np.ones(4), 6)


def loss_and_slopes(op, logits, labels, **settings):
    """The loss, and the gradient of its sum by floating-point inputs."""
    x, y = gt.placeholder(logits.shape, logits.dtype), gt.placeholder(labels.shape, labels.dtype)
    loss = op(x, y, **settings)
    wrt = [t for t in (x, y) if t.spec.is_float]
    return gt.run([loss, *gt.gradients(loss.sum(), wrt)], {x: logits, y: labels})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [CLASSES, DENSE, 3.0 * DENSE], ids=["classes", "dense", "mass"])
def test_softmax_cross_entropy_by_its_definition(labels, smoothing):
    target = np.eye(4)[labels] if labels.ndim == 1 else labels
    target = target * (1.0 - smoothing) + smoothing / 4
    loss, slope, *by_labels = loss_and_slopes(gt.softmax_cross_entropy, LOGITS, labels,
                                              label_smoothing=smoothing)
    log_p = log_softmax(LOGITS, axis=-1)
    np.testing.assert_allclose(loss, -(target * log_p).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(
        slope, softmax(LOGITS, axis=-1) * target.sum(-1, keepdims=True) - target, atol=1e-12)
    for found in by_labels:
        np.testing.assert_allclose(found, -(1.0 - smoothing) * log_p, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_cross_entropy_of_extreme_logits(dtype):
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [3e38, 0.0], [0.0, -np.inf]], dtype)
    loss, slope = loss_and_slopes(gt.softmax_cross_entropy, logits, np.array([0, 1, 0, 0]))
    np.testing.assert_array_equal(loss, [0.0, 2e4, 0.0, 0.0])
    np.testing.assert_array_equal(slope, [[0, 0], [1, -1], [0, 0], [0, 0]])
    dense = np.eye(2, dtype=dtype)[[0, 1, 0, 0]]
    loss, *_ = loss_and_slopes(gt.softmax_cross_entropy, logits, dense)
    np.testing.assert_array_equal(loss, [0.0, 2e4, 0.0, 0.0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_negative_label_is_ignored(smoothing):
    labels = np.where(np.arange(6) == 2, -1, CLASSES)
    whole = loss_and_slopes(gt.softmax_cross_entropy, LOGITS, CLASSES, label_smoothing=smoothing)
    loss, slope = loss_and_slopes(gt.softmax_cross_entropy, LOGITS, labels,
                                  label_smoothing=smoothing)
    assert loss[2] == 0.0 and not slope[2].any()
    others = np.arange(6) != 2
    np.testing.assert_array_equal(loss[others], whole[0][others])
    np.testing.assert_array_equal(slope[others], whole[1][others])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_a_label_beyond_the_classes_is_refused(dtype):
    with pytest.raises(IndexError):
        loss_and_slopes(gt.softmax_cross_entropy, LOGITS, np.array([0, 1, 4, 0, 0, 0], dtype))


def test_one_class_costs_nothing():
    loss, slope = loss_and_slopes(gt.softmax_cross_entropy, LOGITS[:, :1], np.zeros(6, int))
    np.testing.assert_array_equal(loss, np.zeros(6))
    np.testing.assert_array_equal(slope, np.zeros((6, 1)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sigmoid_cross_entropy_by_its_definition(smoothing):
    targets = RNG.uniform(size=LOGITS.shape)
    t = targets * (1.0 - smoothing) + 0.5 * smoothing
    loss, slope, by_targets = loss_and_slopes(gt.sigmoid_cross_entropy, LOGITS, targets,
                                              label_smoothing=smoothing)
    np.testing.assert_allclose(loss, -t * log_expit(LOGITS) - (1 - t) * log_expit(-LOGITS),
                               rtol=1e-12)
    np.testing.assert_allclose(slope, expit(LOGITS) - t, atol=1e-14)
    np.testing.assert_allclose(by_targets, -(1.0 - smoothing) * LOGITS, rtol=1e-12)


def test_sigmoid_cross_entropy_of_extreme_logits():
    logits = np.array([1e4, 1e4, -1e4, -1e4, 50.0, -50.0], np.float32)
    targets = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], np.float32)
    loss, slope, _ = loss_and_slopes(gt.sigmoid_cross_entropy, logits, targets)
    np.testing.assert_allclose(loss, [0, 1e4, 0, 1e4, np.exp(-50.0), np.exp(-50.0)], rtol=1e-5)
    np.testing.assert_allclose(slope, [0, 1, 0, -1, 0, 0], atol=1e-20)


def test_the_hessian_of_softmax_cross_entropy():
    x = gt.placeholder((4,), "float64", batch=False)
    (slope,) = gt.gradients(gt.softmax_cross_entropy(x, np.array(2)), [x])
    rows = [gt.gradients(slope[i], [x])[0] for i in range(4)]
    p = softmax(LOGITS[0])
    np.testing.assert_allclose(gt.run(rows, {x: LOGITS[0]}), np.diag(p) - np.outer(p, p),
                               atol=1e-14)


ERRORS = [
    (lambda x: gt.softmax_cross_entropy(x, np.zeros((6, 1), int)), ShapeError,
     "softmax_cross_entropy: the labels have the shape [6, 1], not [6]"),
    (lambda x: gt.softmax_cross_entropy(x, np.zeros(6, np.float32)), ShapeError,
     "softmax_cross_entropy: the labels have the shape [6], not [6, 4]"),
    (lambda x: gt.softmax_cross_entropy(x, DENSE), DTypeError,
     "softmax_cross_entropy: the element types differ, float32 and float64"),
    (lambda x: gt.softmax_cross_entropy(x, np.zeros(6, bool)), DTypeError,
     "softmax_cross_entropy: labels are class numbers or distributions, not bool"),
    (lambda x: gt.softmax_cross_entropy(x[:, :0], CLASSES), ShapeError,
     "softmax_cross_entropy: the last axis of the logits holds the classes, and there are none"),
    (lambda x: gt.softmax_cross_entropy(x, CLASSES, label_smoothing=1.0), ParameterError,
     "softmax_cross_entropy: label_smoothing must be at least 0 and below 1, not 1.0"),
    (lambda x: gt.sigmoid_cross_entropy(x, x, label_smoothing=-0.1), ParameterError,
     "sigmoid_cross_entropy: label_smoothing must be at least 0 and below 1, not -0.1"),
    (lambda x: gt.sigmoid_cross_entropy(x, np.zeros(5, np.float32)), ShapeError,
     "sigmoid_cross_entropy: the shapes do not broadcast: [6, 4] and [5]")]


@pytest.mark.parametrize("make, error, text", ERRORS, ids=[row[2] for row in ERRORS])
def test_error(make, error, text):
    with pytest.raises(error) as caught:
        make(gt.placeholder((6, 4)))
    assert str(caught.value).splitlines()[0] == text
