"""Hinge, focal, divergence and relative losses against NumPy, their gradients and errors."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ParameterError
from gradatim.layers.losses import loss

RNG = np.random.default_rng(5)
Y, P = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 3))
BITS = RNG.integers(0, 2, (5, 3)).astype("float64")
DENSE, SHARES = RNG.dirichlet(np.ones(3), 5), RNG.dirichlet(np.ones(3), 5)
HOT, POSITIVE = np.eye(3)[[0, 2, 1, 1, 0]], RNG.uniform(0.1, 3.0, (5, 3))
CHANCES = RNG.uniform(0.05, 0.95, (5, 3))


def hinge(signs, p):
    return np.maximum(1.0 - signs * p, 0.0)


def focal(y, p, gamma=2.0):
    q = y * p + (1 - y) * (1 - p)
    return -(1 - q) ** gamma * (y * np.log(p) + (1 - y) * np.log(1 - p))


TABLE = [
    (layers.Hinge(), BITS, P, hinge(2 * BITS - 1, P).mean(-1)),
    (layers.Hinge(), 2 * BITS - 1, P, hinge(2 * BITS - 1, P).mean(-1)),
    (layers.SquaredHinge(), BITS, P, (hinge(2 * BITS - 1, P) ** 2).mean(-1)),
    (layers.CategoricalHinge(), HOT, P, np.maximum(
        ((1 - HOT) * P).max(-1) - (HOT * P).sum(-1) + 1, 0)),
    (layers.KLDivergence(), DENSE, SHARES, (DENSE * np.log(DENSE / SHARES)).sum(-1)),
    (layers.CosineSimilarity(), Y, P, -(Y * P).sum(-1) / np.linalg.norm(Y, axis=-1)
     / np.linalg.norm(P, axis=-1)),
    (layers.MeanAbsolutePercentageError(), Y, P, 100 * np.abs((Y - P) / Y).mean(-1)),
    (layers.MeanSquaredLogarithmicError(), POSITIVE, CHANCES,
     (np.log((1 + POSITIVE) / (1 + CHANCES)) ** 2).mean(-1)),
    (layers.BinaryFocalCrossentropy(), BITS, CHANCES, focal(BITS, CHANCES).mean(-1)),
    (layers.BinaryFocalCrossentropy(True, 0.7, 1.5), BITS, CHANCES,
     (focal(BITS, CHANCES, 1.5) * np.where(BITS == 1, 0.7, 0.3)).mean(-1)),
    (layers.BinaryFocalCrossentropy(True, 1.0), BITS, CHANCES,
     (focal(BITS, CHANCES) * BITS).mean(-1)),
    (layers.BinaryFocalCrossentropy(from_logits=True, label_smoothing=0.2), BITS,
     np.log(CHANCES / (1 - CHANCES)), focal(0.8 * BITS + 0.1, CHANCES).mean(-1)),
    (layers.BinaryFocalCrossentropy(gamma=0.0), BITS, CHANCES, focal(BITS, CHANCES, 0).mean(-1)),
    (layers.CategoricalFocalCrossentropy(), DENSE, SHARES,
     -(0.25 * (1 - SHARES) ** 2 * DENSE * np.log(SHARES)).sum(-1)),
    (layers.CategoricalFocalCrossentropy(0.5, 3.0, True, 0.3), HOT, np.log(SHARES),
     -(0.5 * (1 - SHARES) ** 3 * (0.7 * HOT + 0.1) * np.log(SHARES)).sum(-1))]
every = pytest.mark.parametrize("which, y, p, want", TABLE, ids=[
    f"{i}-{row[0]}" for i, row in enumerate(TABLE)])


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-5), ("float64", 1e-6)])
@every
def test_values(which, y, p, want, dtype, tolerance):
    tensors = [gt.placeholder(y.shape, dtype), gt.placeholder(p.shape, dtype)]
    got = gt.function(tensors, which(*tensors))(y.astype(dtype), p.astype(dtype))
    assert got.dtype == dtype and got.shape == (5,)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-6)


@every
def test_gradients(which, y, p, want):
    prediction = gt.placeholder(p.shape, "float64")
    each = which(gt.constant(y), prediction)
    (found,) = gt.function([prediction], gt.gradients(each.sum(), [prediction]))(p)
    run = gt.function([prediction], each.sum())
    for index in np.ndindex(p.shape):
        nudge = np.zeros_like(p)
        nudge[index] = 1e-6
        slope = (run(p + nudge) - run(p - nudge)) / 2e-6
        np.testing.assert_allclose(found[index], slope, rtol=1e-4, atol=1e-5)


SATURATED = [(layers.BinaryFocalCrossentropy(gamma=0.5, from_logits=True), [[1.0, 0.0]]),
             (layers.CategoricalFocalCrossentropy(gamma=0.5, from_logits=True), [[1.0, 0.0]])]


@pytest.mark.parametrize("which, y", SATURATED, ids=repr)
def test_certain_predictions_have_finite_gradients(which, y):
    logits = gt.placeholder((1, 2), "float32")
    (slope,) = gt.function([logits], gt.gradients(
        which(gt.constant(np.float32(y)), logits).sum(), [logits]))(np.float32([[500.0, -500.0]]))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", [
    "hinge", "kl_divergence", "mape", "categorical_focal_crossentropy"])
def test_names(name):
    assert loss(name) == loss(loss(name))


ERRORS = [
    (lambda: layers.BinaryFocalCrossentropy(alpha=1.5),
     "alpha must be a number in [0, 1], not 1.5"),
    (lambda: layers.CategoricalFocalCrossentropy(gamma=-1),
     "gamma must be a finite number from 0 on, not -1"),
    (lambda: layers.BinaryFocalCrossentropy(1),
     "apply_class_balancing must be True or False, not 1")]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:20] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text
