"""Initializers and regularizers: formulas, repeatability, names, equality and errors."""
import math

import numpy as np
import pytest
from scipy import stats

import gradatim as gt
from gradatim import layers
from gradatim.layers.initializers import INITIALIZERS, fans

MATRIX = gt.Spec.of((300, 200), "float64")
NAMES = sorted(set(INITIALIZERS))


def drawn(initializer, spec=MATRIX, seed=0, stream=1):
    return initializer(spec, seed, stream)


@pytest.mark.parametrize("shape, expected", [
    ((), (1, 1)), ((7,), (7, 7)), ((4, 5), (4, 5)), ((3, 4, 5), (12, 15)),
    ((3, 2, 4, 5), (24, 30)), ((3, 3, 1, 8), (9, 72))])
def test_fans_count_the_window(shape, expected):
    assert fans(shape) == expected


# Standard deviation by the papers' formulas for a 300 by 200 matrix, and the bound of the values.
SCALED = [
    (layers.GlorotUniform(), math.sqrt(2 / 500), math.sqrt(6 / 500)),
    (layers.GlorotNormal(), math.sqrt(2 / 500), 2 * math.sqrt(2 / 500) / 0.87962566103423978),
    (layers.HeUniform(), math.sqrt(2 / 300), math.sqrt(6 / 300)),
    (layers.HeNormal(), math.sqrt(2 / 300), 2 * math.sqrt(2 / 300) / 0.87962566103423978),
    (layers.LecunUniform(), math.sqrt(1 / 300), math.sqrt(3 / 300)),
    (layers.LecunNormal(), math.sqrt(1 / 300), 2 * math.sqrt(1 / 300) / 0.87962566103423978),
    (layers.VarianceScaling(3.0, "fan_out", "untruncated_normal"), math.sqrt(3 / 200), math.inf),
    (layers.RandomUniform(-0.2, 0.2), 0.4 / math.sqrt(12), 0.2),
    (layers.RandomNormal(stddev=0.3), 0.3, math.inf),
    (layers.TruncatedNormal(stddev=0.3), 0.3 * 0.87962566103423978, 0.6)]


@pytest.mark.parametrize("initializer, deviation, bound", SCALED, ids=lambda v: repr(v)[:30])
def test_moments_and_bounds(initializer, deviation, bound):
    w = drawn(initializer)
    assert w.std() == pytest.approx(deviation, rel=0.02)
    assert abs(w.mean()) < 5 * deviation / math.sqrt(w.size)
    assert abs(w).max() <= bound * (1 + 1e-12)


@pytest.mark.parametrize("initializer, distribution", [
    (layers.RandomNormal(0.5, 2.0), stats.norm(0.5, 2.0)),
    (layers.TruncatedNormal(0.5, 2.0), stats.truncnorm(-2, 2, 0.5, 2.0)),
    (layers.RandomUniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
    (layers.HeUniform(), stats.uniform(-math.sqrt(6 / 300), 2 * math.sqrt(6 / 300)))],
    ids=lambda v: repr(v)[:24])
def test_distribution(initializer, distribution):
    assert stats.kstest(drawn(initializer).ravel(), distribution.cdf).pvalue > 1e-3


def test_truncation_constant_is_the_deviation_of_the_cut_normal():
    assert stats.truncnorm(-2, 2).std() == pytest.approx(layers.initializers.TRUNCATED_DEVIATION,
                                                         abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_stream_decide(name):
    initializer = layers.initializer(name)
    first, second = drawn(initializer), drawn(initializer)
    np.testing.assert_array_equal(first, second)
    assert first.shape == MATRIX.shape and first.dtype == MATRIX.dtype
    fixed = name in ("zeros", "ones", "constant", "identity")
    for other in (drawn(initializer, seed=1), drawn(initializer, stream=2)):
        assert np.array_equal(first, other) == fixed


@pytest.mark.parametrize("name", NAMES)
def test_precisions_agree(name):
    initializer = layers.initializer(name)
    single = drawn(initializer, gt.Spec.of((30, 20), "float32"))
    double = drawn(initializer, gt.Spec.of((30, 20), "float64"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (3, 2, 4, 5)])
def test_orthogonal(shape):
    w = drawn(layers.Orthogonal(gain=2.0), gt.Spec.of(shape, "float64")).reshape(-1, shape[-1])
    w = w if w.shape[0] >= w.shape[1] else w.T
    np.testing.assert_allclose(w.T @ w, 4.0 * np.eye(w.shape[1]), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations():
    spec = gt.Spec.of((2, 2), "float64")
    corners = [drawn(layers.Orthogonal(), spec, stream=s)[0, 0] for s in range(400)]
    cosine = stats.kstest(np.arccos(np.clip(corners, -1, 1)) / np.pi, stats.uniform.cdf)
    assert cosine.pvalue > 1e-3


def test_fixed_values():
    np.testing.assert_array_equal(drawn(layers.Identity(3.0), gt.Spec.of((2, 3))),
                                  [[3, 0, 0], [0, 3, 0]])
    np.testing.assert_array_equal(drawn(layers.Constant([1.0, 2.0]), gt.Spec.of((2, 2))),
                                  [[1, 2], [1, 2]])
    assert drawn(layers.Ones(), gt.Spec.of(3, "int64")).dtype == np.int64


def test_layers_draw_by_their_path_and_not_by_order_of_creation():
    build = lambda: layers.Sequential([layers.Input((4,)), layers.Dense(5), layers.Dense(5)])
    layers.Dense(7)(gt.placeholder((2, 3)))
    first, second = build(), build()
    for a, b in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)
    first.initialize(1)
    assert not np.array_equal(first.get_weights()[0], second.get_weights()[0])


@pytest.mark.parametrize("a, b, equal", [
    (layers.HeNormal(), layers.HeNormal(), True),
    (layers.HeNormal(), layers.HeUniform(), False),
    (layers.Constant(2.0), layers.Constant(2.0), True),
    (layers.Constant(2.0), layers.Constant(3.0), False),
    (layers.RandomNormal(0.0, 1.0), layers.RandomNormal(stddev=1), True),
    (layers.L1(0.1), layers.L2(0.1), False), (layers.L2(), layers.L2(0.01), True)])
def test_equality_and_hash(a, b, equal):
    assert (a == b) is equal
    assert not equal or hash(a) == hash(b)


def test_repr_shows_what_was_chosen():
    assert repr(layers.RandomNormal(stddev=0.1)) == "RandomNormal(stddev=0.1)"
    assert repr(layers.VarianceScaling(2.0, mode="fan_out")) == \
        "VarianceScaling(scale=2.0, mode='fan_out')"
    assert repr(layers.GlorotUniform()) == "GlorotUniform()"


W = np.array([[1.0, -2.0], [0.5, 0.0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty, value, slope", [
    (layers.L1(0.1), 0.35, 0.1 * np.sign(W)), (layers.L2(0.1), 0.525, 0.2 * W),
    (layers.L1L2(0.1, 0.1), 0.875, 0.1 * np.sign(W) + 0.2 * W),
    (layers.L1L2(l2=0.1), 0.525, 0.2 * W), (layers.L1L2(l1=0.1), 0.35, 0.1 * np.sign(W))])
def test_penalties_and_their_gradients(penalty, value, slope, dtype):
    w = gt.variable(W.astype(dtype))
    result = penalty(w)
    assert result.shape == () and result.dtype == dtype
    got, gradient = gt.run([result, gt.gradients(result, [w])[0]])
    np.testing.assert_allclose(got, value, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)


def test_a_layer_collects_its_penalties():
    layer = layers.Dense(2, kernel_regularizer="l2", bias_regularizer=layers.L1(0.5))
    layer(gt.placeholder((3, 4)))
    assert [(p, w.name) for p, w in layer.all_penalties()] == [
        (layers.L2(), "dense/kernel"), (layers.L1(0.5), "dense/bias")]


@pytest.mark.parametrize("make, kind, text", [
    (lambda: layers.initializer("glorot_unifrom"), gt.backend.errors.UnknownNameError,
     'there is no initializer "glorot_unifrom"\n  fix  did you mean "glorot_uniform"?'),
    (lambda: layers.initializer(3), ValueError,
     "an initializer is a name or an object, not 3\n"
     '  fix  pass "glorot_uniform", or layers.RandomNormal(stddev=0.1)'),
    (lambda: layers.regularizer("l3"), ValueError,
     'there is no regularizer "l3"\n  fix  use one of l1, l1_l2, l2'),
    (lambda: layers.L2(-1.0), ValueError, "l2 must be a finite number from 0 on, not -1.0"),
    (lambda: layers.RandomNormal(stddev=-1.0), ValueError,
     "stddev must be a finite number from 0 on, not -1.0"),
    (lambda: layers.RandomUniform(1.0, 0.0), ValueError,
     "minval is above maxval, 1.0 and 0.0"),
    (lambda: layers.VarianceScaling(mode="fan"), ValueError,
     "mode must be one of 'fan_in', 'fan_out', 'fan_avg', not 'fan'"),
    (lambda: layers.VarianceScaling(0.0), ValueError, "scale must be above 0, not 0.0"),
    (lambda: drawn(layers.Orthogonal(), gt.Spec.of(3)), ValueError,
     "Orthogonal needs at least two axes\n  got  float32[3]"),
    (lambda: drawn(layers.Identity(), gt.Spec.of(3)), ValueError,
     "Identity makes matrices only\n  got  float32[3]"),
    (lambda: drawn(layers.Constant([1.0, 2.0]), gt.Spec.of((2, 3))), ValueError,
     "the constant's shape does not fit the weight's\n  got  [2] for [2, 3]")])
def test_errors(make, kind, text):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text
