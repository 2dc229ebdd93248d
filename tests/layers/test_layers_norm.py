"""Normalisation layers against NumPy: statistics, weights, lengths, updates and errors."""
import re

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import DataError, ParameterError, ShapeError
from gradatim.layers import Flow

DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}


def data(*shape, dtype="float64", seed=0):
    return (3.0 + 2.0 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def trained(layer, x, lengths=None, weights=None):
    """Output, new moving mean and new moving variance of a training step."""
    tensors = {"x": gt.placeholder(x.shape, x.dtype)}
    if lengths is not None:
        tensors["lengths"] = gt.placeholder(lengths.shape, lengths.dtype)
    if weights is not None:
        tensors["weights"] = gt.placeholder(weights.shape, weights.dtype)
    flow = layer(Flow(**tensors), training=True)
    outputs = [flow.x, flow.updates[layer.moving_mean], flow.updates[layer.moving_variance]]
    given = [a for a in (x, lengths, weights) if a is not None]
    return gt.function(list(tensors.values()), outputs)(*given)


def infer(layer, x):
    tensor = gt.placeholder(x.shape, x.dtype)
    return gt.function([tensor], layer(tensor))(x)


def random_weights(layer, seed=1):
    """Weights that are no identity; positive, so that they serve as variances too."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()])
    return {name: v.numpy() for name, v in layer.weights.items()}


# ---- batch normalisation -----------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 4, 5, 3)])
def test_training_uses_the_statistics_of_the_batch(shape, dtype):
    layer, x = layers.BatchNormalization(momentum=0.9, epsilon=0.01), data(*shape, dtype=dtype)
    infer(layer, x)
    w = random_weights(layer)
    y, mean, variance = trained(layer, x)
    axes = tuple(range(len(shape) - 1))
    m, v = x.astype("float64").mean(axes), x.astype("float64").var(axes)
    want = w["gamma"] * (x - m) / np.sqrt(v + 0.01) + w["beta"]
    np.testing.assert_allclose(y, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(mean, 0.9 * w["moving_mean"] + 0.1 * m, rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(variance, 0.9 * w["moving_variance"] + 0.1 * v,
                               rtol=TOLERANCE[dtype])
    assert y.dtype == mean.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_uses_the_moving_statistics(dtype):
    layer, x = layers.BatchNormalization(epsilon=0.01), data(4, 5, 3, dtype=dtype)
    infer(layer, x)
    w = random_weights(layer)
    want = w["gamma"] * (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + 0.01) + w["beta"]
    np.testing.assert_allclose(infer(layer, x), want, rtol=TOLERANCE[dtype],
                               atol=TOLERANCE[dtype])


@pytest.mark.parametrize("shape, with_lengths", [
    ((6, 3), False), ((6, 4, 3), False), ((6, 4, 3), True), ((6, 4, 2, 3), True)])
@pytest.mark.parametrize("with_weights", [False, True])
def test_rows_are_weighted_and_padding_is_left_out(shape, with_lengths, with_weights):
    layer, x = layers.BatchNormalization(momentum=0.0, epsilon=0.0), data(*shape)
    lengths = np.array([4, 1, 0, 3, 2, 4]) if with_lengths else None
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 0.0]) if with_weights else None
    y, mean, variance = trained(layer, x, lengths, weights)
    w = np.ones(shape[:-1])
    w *= 1 if weights is None else weights.reshape(-1, *(1,) * (len(shape) - 2))
    if with_lengths:
        mask = np.arange(shape[1]) < lengths[:, None]
        w *= mask.reshape(*shape[:2], *(1,) * (len(shape) - 3))
    flat, w = x.reshape(-1, 3), w.ravel()
    m = np.average(flat, axis=0, weights=w)
    v = np.average((flat - m) ** 2, axis=0, weights=w)
    np.testing.assert_allclose(mean, m, rtol=1e-10)
    np.testing.assert_allclose(variance, v, rtol=1e-10)
    np.testing.assert_allclose(y, (x - m) / np.sqrt(v), rtol=1e-8, atol=1e-8)


def test_padding_rows_of_weight_zero_change_nothing():
    x, weights = data(5, 3), np.ones(5)
    padded = np.concatenate([x, np.zeros((3, 3))])
    plain = trained(layers.BatchNormalization(), x, None, weights)
    more = trained(layers.BatchNormalization(), padded, None, np.append(weights, np.zeros(3)))
    for a, b in zip(plain, more):
        np.testing.assert_allclose(a, b[:5] if b.ndim == 2 else b, rtol=1e-12)


def test_a_batch_of_weight_zero_leaves_finite_statistics():
    for values in trained(layers.BatchNormalization(), data(4, 3), None, np.zeros(4)):
        assert np.isfinite(values).all()


def test_weights_of_another_precision_are_taken():
    single = trained(layers.BatchNormalization(), data(4, 3, dtype="float32"), None, np.ones(4))
    np.testing.assert_allclose(single[0].mean(0), 0, atol=1e-6)


def test_gradient_goes_through_the_statistics():
    """In float64, by one random direction, against a central difference."""
    layer, x = layers.BatchNormalization(), data(5, 3)
    direction, factors = data(5, 3, seed=2), data(5, 3, seed=3)
    tensor = gt.placeholder(x.shape, "float64")
    loss = (layer(tensor, training=True)[0] * factors).sum()
    f = gt.function([tensor], [loss, gt.gradients(loss, [tensor])[0]])
    slope = (f(x)[1] * direction).sum()
    numeric = (f(x + 1e-5 * direction)[0] - f(x - 1e-5 * direction)[0]) / 2e-5
    assert slope == pytest.approx(numeric, rel=1e-6)
    # The output does not change when all rows are shifted, so the gradients sum to zero.
    np.testing.assert_allclose(f(x)[1].sum(0), 0, atol=1e-10)


@pytest.mark.parametrize("make", [layers.BatchNormalization, layers.LayerNormalization])
@pytest.mark.parametrize("center, scale", [(True, False), (False, True), (False, False)])
def test_center_and_scale_can_be_switched_off(make, center, scale):
    layer, x = make(center=center, scale=scale), data(4, 3)
    y = infer(layer, x)
    assert ("beta" in layer.weights, "gamma" in layer.weights) == (center, scale)
    np.testing.assert_allclose(y, infer(make(), x), rtol=1e-12)


def test_moving_statistics_are_weights_that_no_optimizer_changes():
    layer = layers.BatchNormalization()
    layer(gt.placeholder((2, 3)))
    assert list(layer.variables()) == [f"batch_normalization/{name}" for name in
                                       ("gamma", "beta", "moving_mean", "moving_variance")]
    assert list(layer.trainable_variables()) == ["batch_normalization/gamma",
                                                 "batch_normalization/beta"]
    np.testing.assert_array_equal(layer.get_weights(), [[1] * 3, [0] * 3, [0] * 3, [1] * 3])


# ---- layer normalisation -----------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3)])
def test_layer_normalization(shape, dtype):
    layer, x = layers.LayerNormalization(epsilon=0.01), data(*shape, dtype=dtype)
    infer(layer, x)
    w = random_weights(layer)
    double = x.astype("float64")
    want = (double - double.mean(-1, keepdims=True)) / np.sqrt(
        double.var(-1, keepdims=True) + 0.01) * w["gamma"] + w["beta"]
    np.testing.assert_allclose(infer(layer, x), want, rtol=TOLERANCE[dtype],
                               atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 6), (2, 3, 4, 6)])
def test_group_normalization(shape, groups, dtype):
    layer, x = layers.GroupNormalization(groups, epsilon=0.01), data(*shape, dtype=dtype)
    infer(layer, x)
    w = random_weights(layer)
    parts = [part for part in np.split(x.astype("float64"), groups, axis=-1)]
    axes = tuple(range(1, len(shape)))
    want = np.concatenate([(p - p.mean(axes, keepdims=True))
                           / np.sqrt(p.var(axes, keepdims=True) + 0.01) for p in parts], axis=-1)
    np.testing.assert_allclose(infer(layer, x), want * w["gamma"] + w["beta"],
                               rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 2, 6)])
def test_group_normalization_leaves_padding_out(shape):
    x, lengths = data(*shape), np.array([5, 2, 0, 1])
    tensors = [gt.placeholder(shape, "float64"), gt.placeholder((4,), "int64")]
    y = gt.function(tensors, layers.GroupNormalization(3)(Flow(*tensors)).x)(x, lengths)
    assert np.isfinite(y).all()
    for row, full, length in zip(y, x, lengths):
        if length:
            alone = infer(layers.GroupNormalization(3), full[None, :length])[0]
            np.testing.assert_allclose(row[:length], alone, rtol=1e-10)


# ---- fixed statistics --------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, None])
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3)])
def test_normalization_adapts_and_inverts(shape, axis, dtype):
    x = data(*shape, dtype=dtype)
    layer, back = layers.Normalization(axis), layers.Normalization(axis, invert=True)
    infer(layer, x), infer(back, x)
    axes = None if axis is None else tuple(range(len(shape) - 1))
    mean, variance = x.mean(axes), x.var(axes)
    layer.set_statistics(mean, variance)
    y = infer(layer, x)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance), rtol=1e-4, atol=1e-5)
    back.adapt(x)
    np.testing.assert_allclose(infer(back, y), x, rtol=1e-4)
    assert not layer.trainable_variables() and y.dtype == dtype


def test_normalization_keeps_constant_features_finite():
    layer = layers.Normalization(mean=5.0, variance=0.0)
    np.testing.assert_array_equal(infer(layer, np.full((2, 3), 5.0)), np.zeros((2, 3)))
    np.testing.assert_allclose(infer(layer, np.full((2, 3), 6.0)), 1e7)


def test_normalization_without_statistics_changes_nothing_and_takes_whole_numbers():
    x = np.array([[1, 2], [3, 4]])
    y = infer(layers.Normalization(), x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x)


def test_normalization_refuses_statistics_that_cannot_be_and_keeps_the_old():
    layer = layers.Normalization()
    layer.adapt(data(5, 2))
    before = layer.get_weights()
    for mean, variance, kind in [(np.zeros(3), np.ones(2), ShapeError),
                                 (np.zeros(2), np.ones(3), ShapeError),
                                 ([0.0, np.nan], 1.0, DataError), (0.0, -1.0, DataError)]:
        with pytest.raises(kind):
            layer.set_statistics(mean, variance)
    np.testing.assert_array_equal(layer.get_weights(), before)


# ---- what all share ----------------------------------------------------------------------------

ALL = [layers.BatchNormalization, layers.LayerNormalization, layers.Normalization,
       lambda: layers.GroupNormalization(3)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("make", ALL)
def test_batch_size_is_not_in_the_graph(make, training, ragged):
    def text(batch):
        flow = Flow(gt.placeholder((batch, 4, 3), name="x"))
        if ragged:
            flow = flow.to(flow.x, lengths=gt.placeholder((batch,), "int64", name="n"),
                           weights=gt.placeholder((batch,), name="w"))
        out = make()(flow, training=training)
        graph = str(gt.Graph([out.x], out.updates))
        return re.sub(r" : .*|(?<=placeholder name='\w') shape=\([^)]*\)", "", graph)
    assert text(2) == text(7)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", ALL)
def test_lengths_pass(make, training):
    lengths = gt.placeholder((2,), "int64")
    assert make()(Flow(gt.placeholder((2, 4, 3)), lengths), training).lengths is lengths


@pytest.mark.parametrize("make, kind, message", [
    (lambda: layers.BatchNormalization(axis=1), ParameterError,
     "axis must be -1, the last axis, not 1\n"
     "  fix  move the features to the end with layers.Permute"),
    (lambda: layers.BatchNormalization(momentum=1.0), ParameterError,
     "momentum must be a number in [0, 1), not 1.0"),
    (lambda: layers.LayerNormalization(epsilon=-1.0), ParameterError,
     "epsilon must be a finite number from 0 on, not -1.0"),
    (lambda: layers.LayerNormalization()(gt.placeholder((2,))), ShapeError,
     "LayerNormalization needs a feature axis beside the batch axis\n"
     "  fix  reshape the input to (batch, features)"),
    (lambda: layers.GroupNormalization(4)(gt.placeholder((2, 6))), ShapeError,
     'GroupNormalization "group_normalization": 6 channels do not fall into 4 groups\n'
     "  fix  choose a divisor for groups"),
    (lambda: layers.BatchNormalization(scale="no"), ParameterError,
     "scale must be True or False, not 'no'"),
    (lambda: layers.Normalization(mean=1.0), ParameterError,
     "mean and variance go together\n  got  only mean"),
    (lambda: layers.Normalization(mean=1.0, variance=-2.0), DataError,
     "a variance is negative\n  got  -2"),
    (lambda: layers.Normalization(mean=[1.0, 2.0], variance=1.0)(gt.placeholder((2, 3))),
     ShapeError, 'Normalization "normalization": mean has another shape than the features\n'
     "  got  [2], not [3]"),
    (lambda: layers.Normalization().set_statistics(0.0, 1.0), ParameterError,
     'Normalization "normalization" has no weights yet\n'
     "  fix  call it on a tensor first, or start with Input(shape)")])
def test_errors(make, kind, message):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == message
