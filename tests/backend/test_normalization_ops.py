"""Batch and layer normalisation against their formulas, precision and error texts."""
import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import ParameterError, ShapeError


def run(tensors, feeds):
    return gt.function(list(feeds), tensors, backend="reference")(*feeds.values())


def channels(rng, n):
    return [rng.standard_normal(n), rng.uniform(0.5, 2, n), rng.standard_normal(n),
            rng.standard_normal(n)]


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (3, 4, 5, 2), (2, 1, 1, 1), (5, 1)])
def test_batch_norm_by_its_formula(shape):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape), *channels(rng, shape[-1])]
    x, mean, variance, gamma, beta = arrays
    inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    y = gt.batch_norm(*inputs, epsilon=0.01)
    w = rng.standard_normal(shape)
    got = run([y, *gt.gradients((y * w).sum(), inputs)], dict(zip(inputs, arrays)))
    root, axes = np.sqrt(variance + 0.01), tuple(range(len(shape) - 1))
    want = [(x - mean) / root * gamma + beta, w * gamma / root,
            -(w * gamma / root).sum(axes), (-w * (x - mean) * gamma / (2 * root**3)).sum(axes),
            (w * (x - mean) / root).sum(axes), w.sum(axes)]
    for g, expected in zip(got, want):
        np.testing.assert_allclose(g, expected, atol=1e-12)


def test_batch_norm_in_training_has_the_papers_gradient():
    """Ioffe and Szegedy 2015, section 3: statistics of the batch, gradients through them."""
    rng = np.random.default_rng(1)
    value, w = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    x = gt.placeholder((8, 3), "float64")
    mean = x.mean(axis=0)
    variance = ((x - mean) ** 2.0).mean(axis=0)
    y = gt.batch_norm(x, mean, variance, np.ones(3), np.zeros(3), epsilon=1e-3)
    (got,) = run(gt.gradients((y * w).sum(), [x]), {x: value})
    m, v = value.mean(0), value.var(0) + 1e-3
    by_variance = (w * (value - m)).sum(0) * -0.5 * v**-1.5
    by_mean = -(w / np.sqrt(v)).sum(0)
    want = w / np.sqrt(v) + by_variance * 2 * (value - m) / 8 + by_mean / 8
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_large_mean_costs_no_precision():
    rng = np.random.default_rng(2)
    x = (1000 + rng.standard_normal((64, 4))).astype("float32")
    mean, variance = x.mean(0, dtype="float64"), x.var(0, dtype="float64")
    vectors = [mean.astype("float32"), variance.astype("float32"), np.ones(4, "float32"),
               np.zeros(4, "float32")]
    want = (x - vectors[0].astype("float64")) / np.sqrt(variance + 1e-3)
    got = gt.batch_norm.forward(gt.get_backend("reference").xp, x, *vectors)
    np.testing.assert_allclose(got, want, atol=2e-6)
    rows = np.ascontiguousarray(x.T)
    got = gt.layer_norm.forward(gt.get_backend("reference").xp, rows)
    want = (rows - mean[:, None]) / np.sqrt(variance + 1e-3)[:, None]
    np.testing.assert_allclose(got, want, atol=2e-4)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 7), (2, 2, 3, 4), (3, 1), (0, 2)])
def test_layer_norm_by_its_formula_and_plain_ops(shape):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape), rng.standard_normal(shape[-1]),
              rng.standard_normal(shape[-1])]
    x, gamma, beta = inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    y = gt.layer_norm(x, gamma, beta, epsilon=0.01)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    plain = centred / (variance + 0.01) ** 0.5 * gamma + beta
    w = rng.standard_normal(shape)
    for a, b in zip(*(run([t, *gt.gradients((t * t * w).sum(), inputs)],
                          dict(zip(inputs, arrays))) for t in (y, plain))):
        np.testing.assert_allclose(a, b, atol=1e-11)


def test_layer_norm_without_scale_and_shift():
    rng = np.random.default_rng(4)
    value = rng.standard_normal((3, 6))
    x = gt.placeholder((3, 6), "float64")
    got = run(gt.layer_norm(x, epsilon=0.0), {x: value})
    np.testing.assert_allclose(got.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(got.var(-1), 1, atol=1e-14)


def test_blocks_change_nothing(monkeypatch):
    from gradatim.backend.ops import normalization
    rng, xp = np.random.default_rng(5), gt.get_backend("reference").xp
    x, g = rng.standard_normal((2, 50, 3, 4))
    vectors = channels(rng, 4)
    calls = [("batch_norm", (x, *vectors)), ("batch_norm_sums", (g, x, vectors[0])),
             ("layer_norm", (x, *vectors[2:])), ("layer_norm_gradient", (g, x))]
    whole = [OPS[name].forward(xp, *arrays) for name, arrays in calls]
    monkeypatch.setattr(normalization, "BLOCK", 200)
    for (name, arrays), want in zip(calls, whole):
        np.testing.assert_allclose(OPS[name].forward(xp, *arrays), want, atol=1e-12)


@pytest.mark.parametrize("name, shapes, settings, error, text", [
    ("batch_norm", [(4, 3), (3,), (3,), (2,), (3,)], {}, ShapeError,
     "gamma must be [3], one number per channel, not [2]"),
    ("batch_norm", [(4, 3), (1,), (3,), (3,), (3,)], {}, ShapeError,
     "mean must be [3], one number per channel, not [1]"),
    ("batch_norm", [(4, 3), (3,), (3,), (3,), (3,)], {"epsilon": -1.0}, ParameterError,
     "epsilon must be a number from 0 on, not -1.0"),
    ("layer_norm", [(4, 3), (3,), (4,)], {}, ShapeError,
     "beta must be [3], one number per channel, not [4]"),
    ("layer_norm", [()], {}, ShapeError, "needs at least one dimension, the channels"),
    ("layer_norm_gradient", [(4, 3), (4, 2)], {}, ShapeError,
     "the gradient must be [4, 2], not [4, 3]")])
def test_error_texts(name, shapes, settings, error, text):
    with pytest.raises(error) as caught:
        OPS[name](*map(gt.placeholder, shapes), **settings)
    assert caught.value.what == f"{name}: {text}"
