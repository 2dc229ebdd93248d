"""Activation, shaping, merging, noise, embedding and time-distributed layers."""
import re

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError
from gradatim.layers import Flow

DTYPES = ["float32", "float64"]


def data(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value(layer, *arrays, training=False):
    """The layer's output on arrays."""
    xs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    y = layer(xs if layer.takes_several else xs[0], training=training)
    return gt.function(xs, y[0] if training else y)(*arrays)


def text(layer, batch, shapes, dtype="float32", training=False):
    """The layer's graph without shapes, which must be the same at any batch size."""
    xs = [gt.placeholder((batch, *s), dtype, name=f"x{i}") for i, s in enumerate(shapes)]
    y = layer(xs if layer.takes_several else xs[0], training=training)
    graph = gt.graph(y[0] if training else y)
    return re.sub(r" : .*|(?<=placeholder name='x\d') shape=\([^)]*\)", "", str(graph))


def gradient_norms(layer, *arrays):
    """Norms of the gradients of a weighted sum by every input."""
    xs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    y = layer(xs if layer.takes_several else xs[0])
    loss = (y * data(*y.shape, seed=9).astype(y.dtype)).sum()
    return [np.linalg.norm(g) for g in gt.function(xs, gt.gradients(loss, xs))(*arrays)]


def prelu(x):
    return np.where(x < 0, np.array([0.5, 0.25, 2.0]) * x, x)


# Layer, input shape without batch, and the formula in NumPy.
ONE = [
    (layers.Activation("tanh"), (4,), np.tanh),
    (layers.Activation(gt.square), (4,), np.square),
    (layers.ReLU(), (4,), lambda x: np.maximum(x, 0)),
    (layers.ReLU(max_value=0.5), (4,), lambda x: np.clip(x, 0, 0.5)),
    (layers.ReLU(negative_slope=0.1), (4,), lambda x: np.where(x < 0, 0.1 * x, x)),
    (layers.ReLU(1.0, 0.1, 0.5), (40,),
     lambda x: np.where(x >= 1, 1, np.where(x >= 0.5, x, 0.1 * (x - 0.5)))),
    (layers.LeakyReLU(), (4,), lambda x: np.where(x < 0, 0.3 * x, x)),
    (layers.ELU(alpha=0.7), (4,), lambda x: np.where(x < 0, 0.7 * np.expm1(x), x)),
    (layers.Softmax(), (2, 4), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (layers.Softmax(axis=1), (2, 4), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (layers.PReLU(layers.Constant([0.5, 0.25, 2.0])), (3,), prelu),
    (layers.PReLU(layers.Constant([0.5, 0.25, 2.0]), shared_axes=[1]), (4, 3), prelu),
    (layers.Flatten(), (2, 3, 4), lambda x: x.reshape(len(x), -1)),
    (layers.Flatten(), (3,), lambda x: x),
    (layers.Flatten(), (), lambda x: x[:, None]),
    (layers.Reshape((3, 8)), (2, 3, 4), lambda x: x.reshape(-1, 3, 8)),
    (layers.Reshape((-1, 2, 3)), (24,), lambda x: x.reshape(-1, 4, 2, 3)),
    (layers.Reshape(24), (2, 12), lambda x: x.reshape(-1, 24)),
    (layers.Permute((3, 1, 2)), (2, 3, 4), lambda x: x.transpose(0, 3, 1, 2)),
    (layers.RepeatVector(3), (4,), lambda x: np.repeat(x[:, None], 3, axis=1)),
    (layers.ZeroPadding1D((1, 2)), (4, 3), lambda x: np.pad(x, ((0, 0), (1, 2), (0, 0)))),
    (layers.ZeroPadding2D(2), (3, 4, 2), lambda x: np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))),
    (layers.ZeroPadding2D((1, 2)), (3, 4, 2),
     lambda x: np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)))),
    (layers.ZeroPadding2D(((0, 1), (2, 3))), (3, 4, 2),
     lambda x: np.pad(x, ((0, 0), (0, 1), (2, 3), (0, 0)))),
    (layers.Cropping1D((1, 2)), (5, 3), lambda x: x[:, 1:-2]),
    (layers.Cropping1D(0), (5, 3), lambda x: x),
    (layers.Cropping2D(((0, 1), (2, 0))), (4, 5, 3), lambda x: x[:, :-1, 2:]),
    (layers.UpSampling1D(3), (4, 2), lambda x: np.repeat(x, 3, axis=1)),
    (layers.UpSampling2D((2, 3)), (4, 2, 3),
     lambda x: np.repeat(np.repeat(x, 2, axis=1), 3, axis=2)),
    (layers.TimeDistributed(layers.Softmax(axis=1)), (3, 2, 4),
     lambda x: np.exp(x) / np.exp(x).sum(2, keepdims=True)),
    (layers.TimeDistributed(layers.Flatten()), (3, 2, 4), lambda x: x.reshape(-1, 3, 8)),
    (layers.Dropout(0.5), (4,), lambda x: x),
    (layers.SpatialDropout1D(0.5), (4, 3), lambda x: x),
    (layers.SpatialDropout2D(0.5), (4, 3, 2), lambda x: x),
    (layers.GaussianNoise(0.5), (4,), lambda x: x)]
# The same for layers of several inputs.
SEVERAL = [
    (layers.Add(), [(3, 4)] * 3, lambda x, y, z: x + y + z),
    (layers.Add(), [(3, 4), (1, 4)], lambda x, y: x + y),
    (layers.Subtract(), [(4,)] * 2, lambda x, y: x - y),
    (layers.Multiply(), [(4,)] * 3, lambda x, y, z: x * y * z),
    (layers.Average(), [(4,)] * 3, lambda x, y, z: (x + y + z) / 3),
    (layers.Maximum(), [(4,)] * 3, lambda x, y, z: np.maximum(np.maximum(x, y), z)),
    (layers.Minimum(), [(4,)] * 2, np.minimum),
    (layers.Concatenate(), [(3, 4), (3, 2)], lambda *xs: np.concatenate(xs, -1)),
    (layers.Concatenate(axis=1), [(3, 4), (2, 4)], lambda *xs: np.concatenate(xs, 1)),
    (layers.Dot(1), [(4,), (4,)], lambda x, y: (x * y).sum(1, keepdims=True)),
    (layers.Dot(-1), [(4,), (3, 4)], lambda x, y: np.einsum("bk,bnk->bn", x, y)),
    (layers.Dot((1, 2)), [(4, 3), (5, 4)], lambda x, y: np.einsum("bkm,bnk->bmn", x, y)),
    (layers.Dot((2, 1)), [(3, 4), (4, 5, 2)], lambda x, y: np.einsum("bmk,bknp->bmnp", x, y)),
    (layers.Dot(2, normalize=True), [(3, 4), (5, 4)],
     lambda x, y: np.einsum("bmk,bnk->bmn", x / np.linalg.norm(x, axis=2, keepdims=True),
                            y / np.linalg.norm(y, axis=2, keepdims=True)))]
CASES = [(layer, [shape], formula) for layer, shape, formula in ONE] + SEVERAL
NAMES = [f"{number}-{layer!r}" for number, (layer, _, _) in enumerate(CASES)]


def fresh(layer):
    """A layer of the same settings, not built yet."""
    return layers.from_config(layers.to_config(layer)) \
        if not callable(getattr(layer, "activation", None)) else layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("layer, shapes, formula", CASES, ids=NAMES)
def test_formula(layer, shapes, formula, batch, dtype):
    arrays = [data(batch, *s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
    got = value(fresh(layer), *arrays)
    want = formula(*(a.astype("float64") for a in arrays))
    assert got.dtype == dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer, shapes, formula", CASES, ids=NAMES)
def test_batch_size_is_not_in_the_graph(layer, shapes, formula, training):
    layer = fresh(layer)
    assert text(layer, 2, shapes, training=training) == text(layer, 7, shapes, training=training)


@pytest.mark.parametrize("layer, shapes, formula", CASES, ids=NAMES)
def test_gradients_flow(layer, shapes, formula):
    norms = gradient_norms(fresh(layer), *(data(3, *s, seed=i) for i, s in enumerate(shapes)))
    assert all(np.isfinite(norms)) and all(n > 0 for n in norms)


@pytest.mark.parametrize("layer, shapes, formula", CASES, ids=NAMES)
def test_lengths_pass_exactly_where_time_is_kept(layer, shapes, formula):
    kept = {"Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "ZeroPadding2D",
            "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "Dot"}
    lengths = gt.placeholder((2,), "int64")
    flows = [Flow(gt.placeholder((2, *s)), lengths=lengths if i == 0 else None)
             for i, s in enumerate(shapes)]
    out = fresh(layer)(flows if layer.takes_several else flows[0])
    ends = type(layer).__name__ in kept or getattr(layer, "axis", None) == 1 and \
        layer.takes_several
    assert out.lengths is (None if ends else lengths)


def test_merging_keeps_updates_of_all_inputs():
    a, b = gt.variable(1.0), gt.variable(2.0)
    flows = [Flow(gt.placeholder((2, 3)), updates={v: v + 1.0}) for v in (a, b)]
    assert set(layers.Add().run(flows, True).updates) == {a, b}


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_softmax_over_time_leaves_padding_out(shape):
    x, lengths = data(*shape), np.array([5, 2, 0, 1])
    tensors = [gt.placeholder(shape, "float64"), gt.placeholder((4,), "int64")]
    y = gt.function(tensors, layers.Softmax(axis=1)(Flow(*tensors)).x)(x, lengths)
    for row, full, length in zip(y, np.exp(x), lengths):
        np.testing.assert_allclose(row[:length], full[:length] / full[:length].sum(0), rtol=1e-12)
        assert not row[length:].any()


# ---- noise -------------------------------------------------------------------------------------

KEYS = [gt.placeholder((), "int64", name) for name in ("seed", "step")]


def noisy(layer, x, seed=0, step=0, path="noise"):
    layer.set_path(path)
    tensor = gt.placeholder(x.shape, x.dtype)
    y = layer(Flow(tensor, seed=KEYS[0], step=KEYS[1]), training=True).x
    return gt.function([tensor, *KEYS], y)(x, np.int64(seed), np.int64(step))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate, dtype):
    y = noisy(layers.Dropout(rate), np.ones((200, 100), dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)] if rate else [1], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(rate, abs=0.02)


def test_gaussian_noise_is_normal():
    noise = noisy(layers.GaussianNoise(0.3), np.ones((200, 100))) - 1
    assert noise.std() == pytest.approx(0.3, rel=0.02) and abs(noise.mean()) < 0.01


@pytest.mark.parametrize("layer", [layers.Dropout(0.5), layers.GaussianNoise(1.0)])
def test_noise_is_a_function_of_seed_step_path_and_position(layer):
    x = np.ones((8, 6))
    first = noisy(layer, x)
    np.testing.assert_array_equal(first, noisy(layer, x))
    np.testing.assert_array_equal(first[:3], noisy(layer, x[:3]))
    for change in ({"seed": 1}, {"step": 1}, {"path": "other"}):
        assert not np.array_equal(first, noisy(layer, x, **change))
    assert not np.array_equal(first[0], first[1])


def test_noise_is_the_op_of_the_layers_keys_and_path():
    x, keys = data(4, 5), (np.int64(5), np.int64(2))
    given = [gt.constant(np.int64(n)) for n in (5, 2, 0)]     # seed, step, offset
    stream = layers.Dropout(0.5, name="noise").stream
    mask = gt.run(gt.dropout_mask(gt.constant(x), *given, rate=0.5, stream=stream))
    noise = gt.run(gt.normal_like(gt.constant(x), *given, stddev=0.3, stream=stream))
    np.testing.assert_array_equal(noisy(layers.Dropout(0.5), x, *keys), x * mask)
    np.testing.assert_array_equal(noisy(layers.GaussianNoise(0.3), x, *keys), x + noise)


def test_without_keys_seed_and_step_are_zero():
    x = np.ones((4, 5), "float32")
    layer = layers.Dropout(0.5)
    keyed = noisy(layer, x, path="dropout")
    np.testing.assert_array_equal(value(layer, x, training=True), keyed)


@pytest.mark.parametrize("layer, shape, shared", [
    (layers.SpatialDropout1D(0.5), (20, 4, 30), (1,)),
    (layers.SpatialDropout2D(0.5), (20, 4, 3, 30), (1, 2))])
def test_spatial_dropout_drops_whole_features(layer, shape, shared):
    y = noisy(layer, np.ones(shape))
    np.testing.assert_array_equal(y.min(axis=shared), y.max(axis=shared))
    assert (y == 0).mean() == pytest.approx(0.5, abs=0.1)


# ---- embedding ---------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 5, 2)])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_embedding_looks_rows_up(shape, dtype):
    layer = layers.Embedding(7, 4)
    ids = np.random.default_rng(0).integers(0, 7, shape).astype(dtype)
    got = value(layer, ids)
    table = layer.get_weights()[0]
    np.testing.assert_array_equal(got, table[ids])
    assert table.shape == (7, 4) and abs(table).max() <= 0.05


def test_embedding_gradient_sums_over_occurrences():
    layer, ids = layers.Embedding(4, 2), np.array([[1, 1, 3]])
    x = gt.placeholder(ids.shape, "int64")
    y = layer(x)
    g = gt.gradients((y * np.array([[[1.0], [2.0], [4.0]]], "float32")).sum(),
                     [layer.embeddings])[0]
    np.testing.assert_array_equal(gt.run(g, {x: ids}), [[0, 0], [3, 3], [0, 0], [4, 4]])


def test_embedding_lengths():
    ids = np.array([[3, 1, 0, 0], [1, 2, 3, 1], [0, 0, 0, 0]])
    x, given = gt.placeholder(ids.shape, "int64"), gt.placeholder((3,), "int64")
    masked = layers.Embedding(5, 2, mask_zero=True)
    np.testing.assert_array_equal(gt.run(masked(Flow(x)).lengths, {x: ids}), [2, 4, 0])
    assert masked(Flow(x, lengths=given)).lengths is given
    assert layers.Embedding(5, 2)(Flow(x)).lengths is None
    assert layers.Embedding(5, 2)(Flow(x, lengths=given)).lengths is given


def test_embedding_takes_sequences_of_any_length_and_the_flow_decides_precision():
    layer = layers.Embedding(5, 2)
    assert layer(Flow(gt.placeholder((2, 3), "int64"), dtype="float64")).x.dtype == "float64"
    assert layer(Flow(gt.placeholder((2, 9), "int64"), dtype="float64")).x.shape == (2, 9, 2)
    assert text(layers.Embedding(5, 2), 2, [(3,)], "int64") == \
        text(layers.Embedding(5, 2), 7, [(3,)], "int64")


# ---- time distributed --------------------------------------------------------------------------

def test_time_distributed_equals_the_layer_step_by_step():
    layer = layers.TimeDistributed(layers.Dense(3, activation="tanh"))
    x = data(2, 4, 5)
    got = value(layer, x)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(got, np.tanh(x @ kernel + bias), rtol=1e-12)
    assert list(layer.variables()) == ["time_distributed/dense/kernel",
                                       "time_distributed/dense/bias"]


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_time_distributed_statistics_leave_padding_out(with_lengths, with_weights):
    x, lengths, weights = data(3, 4, 2), np.array([4, 1, 2]), np.array([1.0, 2.0, 0.5])
    tensors = [gt.placeholder(x.shape, "float64"), gt.placeholder((3,), "int64"),
               gt.placeholder((3,), "float64")]
    flow = Flow(tensors[0], lengths=tensors[1] if with_lengths else None,
                weights=tensors[2] if with_weights else None)
    layer = layers.TimeDistributed(layers.BatchNormalization(momentum=0.0))
    out = layer(flow, training=True)
    assert out.lengths is flow.lengths and out.weights is flow.weights
    mean, variance = gt.function(tensors, list(out.updates.values()))(x, lengths, weights)
    w = np.ones((3, 4))
    w *= np.arange(4) < lengths[:, None] if with_lengths else 1
    w *= weights[:, None] if with_weights else 1
    want = np.average(x.reshape(-1, 2), axis=0, weights=w.ravel())
    np.testing.assert_allclose(mean, want, rtol=1e-12)
    np.testing.assert_allclose(
        variance, np.average((x.reshape(-1, 2) - want) ** 2, axis=0, weights=w.ravel()))


# ---- an identity is a layer too ----------------------------------------------------------------

def test_a_model_holds_layers_that_do_nothing_at_inference():
    x = gt.Input((4,))
    h = layers.Dense(3)(x)
    model = gt.Model(x, layers.Dense(2)(layers.Flatten()(layers.Dropout(0.5)(h))))
    assert list(model.children) == ["dense", "dropout", "flatten", "dense_1"]
    a, b, c, d = model.get_weights()
    array = data(2, 4, dtype="float32")
    np.testing.assert_allclose(value(model, array), (array @ a + b) @ c + d, rtol=1e-5)


# ---- errors ------------------------------------------------------------------------------------

@pytest.mark.parametrize("make, kind, message", [
    (lambda: layers.Dropout(1.0), ParameterError, "rate must be a number in [0, 1), not 1.0"),
    (lambda: layers.GaussianNoise(-1.0), ParameterError,
     "stddev must be a finite number from 0 on, not -1.0"),
    (lambda: layers.Reshape((-1, -1)), ParameterError,
     "target_shape must hold whole numbers from 0 on and at most one -1, not (-1, -1)"),
    (lambda: layers.Reshape((5,), name="r")(gt.placeholder((2, 3))), ShapeError,
     'Reshape "r": 3 entries do not fill the shape [5]\n  got  [3] (without batch)'),
    (lambda: layers.Permute((1, 3)), ParameterError,
     "dims must hold each of 1, 2, ... once, not (1, 3)"),
    (lambda: layers.Permute((1, "2")), ParameterError,
     "dims must hold each of 1, 2, ... once, not (1, '2')"),
    (lambda: layers.Permute((2, 1))(gt.placeholder((2, 3))), ShapeError,
     'Permute "permute": the input has 1 axes, not 2 (without batch)'),
    (lambda: layers.ZeroPadding1D(-1), ParameterError,
     "padding must be a whole number from 0 on or a pair, not -1"),
    (lambda: layers.Cropping2D(((1, 1), 2, 3)), ParameterError,
     "cropping must be a whole number from 0 on, a pair, or a pair of pairs, "
     "not ((1, 1), 2, 3)"),
    (lambda: layers.Cropping1D(2)(gt.placeholder((2, 4, 3))), ShapeError,
     'Cropping1D "cropping1d": nothing would be left of [4]\n  got  cropping ((2, 2),)'),
    (lambda: layers.UpSampling2D()(gt.placeholder((2, 3))), ShapeError,
     "UpSampling2D needs (batch, height, width, channels)\n"
     "  got  [3] (without batch)\n  fix  reshape the input; one channel is an axis of length 1"),
    (lambda: layers.SpatialDropout1D(0.5)(gt.placeholder((2, 3)), training=True), ShapeError,
     "SpatialDropout1D needs (batch, length, channels)\n  got  [3] (without batch)\n"
     "  fix  reshape the input; one channel is an axis of length 1"),
    (lambda: layers.Softmax(axis=0), ParameterError,
     "axis must be a whole number and not 0, the batch axis, not 0"),
    (lambda: layers.Concatenate(axis=-2)([gt.placeholder((2, 3))] * 2), ShapeError,
     'Concatenate "concatenate": axis -2 of 2 is the batch axis'),
    (lambda: layers.Add()([gt.placeholder((2, 3))]), ShapeError,
     'Add "add": needs at least two inputs, not 1'),
    (lambda: layers.Subtract()([gt.placeholder((2, 3))] * 3), ShapeError,
     'Subtract "subtract": needs two inputs, not 3'),
    (lambda: layers.Add()(gt.placeholder((2, 3))), ParameterError,
     'Add "add" takes a list of tensors'),
    (lambda: layers.Dot(1)([gt.placeholder((2, 3)), gt.placeholder((2, 4))]), ShapeError,
     'Dot "dot": the axes 1 have the lengths 3 and 4\n  got  float32[2, 3]  float32[2, 4]'),
    (lambda: layers.Dot(0), ParameterError,
     "axes must be one or two whole numbers and not 0, the batch axis, not 0"),
    (lambda: layers.Embedding(5, 2)(gt.placeholder((2, 3))), DTypeError,
     'Embedding "embedding": the input must be integers, not float32\n'
     '  fix  convert with gt.cast(x, dtype="int64")'),
    (lambda: layers.Embedding(0, 2), ParameterError,
     "input_dim must be a whole number from 1 on, not 0"),
    (lambda: layers.Embedding(5, 2, "unifrom"), ValueError,
     'there is no initializer "unifrom"\n  fix  did you mean "uniform"?'),
    (lambda: layers.TimeDistributed(layers.Add()), ParameterError,
     "TimeDistributed holds a layer of one input, not Add()"),
    (lambda: layers.TimeDistributed(layers.Flatten())(gt.placeholder((2,))), ShapeError,
     'TimeDistributed "time_distributed": needs (batch, time, ...)\n  got  [] (without batch)'),
    (lambda: layers.PReLU(shared_axes=[3])(gt.placeholder((2, 4))), ParameterError,
     "PReLU cannot share axis 3\n  got  an input with axes 1 to 1"),
    (lambda: layers.Activation("rleu"), ValueError,
     'there is no activation "rleu"\n  fix  did you mean "relu"?')])
def test_errors(make, kind, message):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == message


def test_prelu_refuses_another_shape_but_lets_shared_axes_change():
    layer = layers.PReLU(shared_axes=[1])
    layer(gt.placeholder((2, 4, 3)))
    assert layer(gt.placeholder((2, 9, 3))).shape == (2, 9, 3)
    with pytest.raises(ShapeError, match="was built for"):
        layer(gt.placeholder((2, 4, 2)))
