"""Convolution and pooling layers against plain loops: values, gradients, lengths, errors."""
import itertools

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ParameterError, ShapeError, UnknownNameError
from gradatim.layers import Flow

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])


def data(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value(layer, x, training=False):
    tensor = gt.placeholder(x.shape, x.dtype)
    y = layer(tensor, training=training)
    return gt.function([tensor], y[0] if training else y)(x)


def with_lengths(layer, x, lengths):
    """The output with lengths, and whether they are passed on."""
    tensor, steps = gt.placeholder(x.shape, x.dtype), gt.placeholder((len(x),), "int64")
    out = layer(Flow(tensor, lengths=steps))
    return gt.function([tensor, steps], out.x)(x, np.array(lengths)), out.lengths is steps


def weighted(layer, x):
    """Random weights, all different from their first values, by name."""
    layer(gt.placeholder(x.shape, x.dtype))
    layer.set_weights([data(*w.shape, seed=i + 1) for i, w in enumerate(layer.get_weights())])
    return {name: v.numpy().astype("float64") for name, v in layer.weights.items()}


def per_axis(setting, rank):
    return (setting,) * rank if isinstance(setting, int) else tuple(setting)


def geometry(sizes, window, strides, dilation, padding):
    """Zeros before each axis and the number of windows on it."""
    low, out = [], []
    for n, k, s, d in zip(sizes, window, strides, dilation):
        reach = (k - 1) * d + 1
        if padding == "same":
            out.append(-(-n // s))
            low.append(max(0, (out[-1] - 1) * s + reach - n) // 2)
        else:
            low.append(reach - 1 if padding == "causal" else 0)
            out.append((n + low[-1] - reach) // s + 1)
    return low, out


def windows(x, window, strides=1, padding="valid", dilation=1):
    """(where in the output, {where in the window: (batch, channels)}) without what is outside."""
    rank = x.ndim - 2
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    low, out = geometry(x.shape[1:-1], window, strides, dilation, padding)
    for place in itertools.product(*map(range, out)):
        seen = {}
        for offset in itertools.product(*map(range, window)):
            at = [p * s + o * d - b for p, s, o, d, b in zip(place, strides, offset, dilation, low)]
            if all(0 <= a < n for a, n in zip(at, x.shape[1:-1])):
                seen[offset] = x[(slice(None), *at)]
        yield place, seen
    yield out, None


def slid(x, window, formula, **settings):
    """The array of ``formula(seen)``, (batch, outputs), over all windows."""
    *places, (out, _) = windows(x, window, **settings)
    parts = [formula(seen) for _, seen in places]
    return np.stack(parts, axis=1).reshape(len(x), *out, -1)


def convolved(x, kernel, groups=1, **settings):
    """Convolution, one group and one window after another."""
    depth, filters = kernel.shape[-2], kernel.shape[-1] // groups
    parts = []
    for g in range(groups):
        k = kernel[..., g * filters:(g + 1) * filters]
        inputs = x[..., g * depth:(g + 1) * depth]
        parts.append(slid(inputs, kernel.shape[:-2], lambda seen: sum(
            value @ k[offset] for offset, value in seen.items()), **settings))
    return np.concatenate(parts, axis=-1)


def depthwise(x, kernel, **settings):
    """Each channel with its own filters, the filters of a channel side by side."""
    return slid(x, kernel.shape[:-2], lambda seen: sum(
        (value[:, :, None] * kernel[offset]).reshape(len(x), -1)
        for offset, value in seen.items()), **settings)


# ---- convolution -------------------------------------------------------------------------------

FULL = [  # layer, input, settings of the loops
    (layers.Conv1D(4, 3), (7, 3), {}),
    (layers.Conv1D(4, 3, strides=2, padding="same"), (8, 3), {"strides": 2, "padding": "same"}),
    (layers.Conv1D(4, 2, padding="causal", dilation_rate=3), (7, 3),
     {"padding": "causal", "dilation": 3}),
    (layers.Conv1D(6, 3, padding="causal", strides=2, groups=2), (7, 4),
     {"padding": "causal", "strides": 2, "groups": 2}),
    (layers.Conv2D(4, 3), (5, 6, 2), {}),
    (layers.Conv2D(4, (2, 3), strides=(1, 2), padding="same"), (4, 5, 3),
     {"strides": (1, 2), "padding": "same"}),
    (layers.Conv2D(4, 2, dilation_rate=(2, 1), groups=2, use_bias=False), (5, 4, 4),
     {"dilation": (2, 1), "groups": 2}),
    (layers.Conv2D(6, [3, 3], padding="same", groups=3), (4, 4, 3),
     {"padding": "same", "groups": 3}),
    (layers.Conv2D(2, 1), (1, 1, 1), {}),
    (layers.Conv3D(3, (2, 1, 3), strides=(1, 2, 1), padding="same"), (3, 4, 4, 2),
     {"strides": (1, 2, 1), "padding": "same"}),
    (layers.Conv3D(4, 2, dilation_rate=(1, 1, 2), groups=2), (3, 2, 4, 4),
     {"dilation": (1, 1, 2), "groups": 2})]
DEPTHWISE = [
    (layers.DepthwiseConv1D(3, padding="causal", depth_multiplier=2), (6, 3),
     {"padding": "causal"}),
    (layers.DepthwiseConv1D(2, strides=2), (6, 3), {"strides": 2}),
    (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3), (4, 5, 2),
     {"padding": "same"}),
    (layers.DepthwiseConv2D((2, 3), strides=2, dilation_rate=1, use_bias=False), (5, 6, 3),
     {"strides": 2}),
    (layers.DepthwiseConv2D(2, dilation_rate=2), (5, 5, 1), {"dilation": 2})]
SEPARABLE = [
    (layers.SeparableConv1D(4, 3, padding="same", depth_multiplier=2), (6, 3),
     {"padding": "same"}),
    (layers.SeparableConv1D(4, 2, padding="causal", dilation_rate=2), (6, 3),
     {"padding": "causal", "dilation": 2}),
    (layers.SeparableConv2D(5, 3, strides=2, padding="same"), (5, 6, 2),
     {"strides": 2, "padding": "same"}),
    (layers.SeparableConv2D(2, 2, use_bias=False, depth_multiplier=3), (4, 4, 3), {})]


def table(rows):
    return pytest.mark.parametrize("layer, shape, settings", rows,
                                   ids=[repr(layer) for layer, *_ in rows])


def fresh(layer):
    return layers.from_config(layers.to_config(layer))


@BOTH
@pytest.mark.parametrize("batch", [1, 3])
@table(FULL)
def test_convolution(layer, shape, settings, batch, dtype):
    layer, x = fresh(layer), data(batch, *shape, dtype=dtype)
    w = weighted(layer, x)
    want = convolved(x.astype("float64"), w["kernel"], **settings) + w.get("bias", 0.0)
    for training in (False, True):
        y = value(layer, x, training)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, want, atol=TOLERANCE[dtype] * abs(want).max())


@BOTH
@table(DEPTHWISE)
def test_depthwise_convolution(layer, shape, settings, dtype):
    layer, x = fresh(layer), data(3, *shape, dtype=dtype)
    w = weighted(layer, x)
    want = depthwise(x.astype("float64"), w["kernel"], **settings) + w.get("bias", 0.0)
    np.testing.assert_allclose(value(layer, x), want, atol=TOLERANCE[dtype] * abs(want).max())


@BOTH
@table(SEPARABLE)
def test_separable_convolution(layer, shape, settings, dtype):
    layer, x = fresh(layer), data(3, *shape, dtype=dtype)
    w = weighted(layer, x)
    hidden = depthwise(x.astype("float64"), w["depthwise_kernel"], **settings)
    want = convolved(hidden, w["pointwise_kernel"]) + w.get("bias", 0.0)
    np.testing.assert_allclose(value(layer, x), want, atol=TOLERANCE[dtype] * abs(want).max())


@pytest.mark.parametrize("layer, shape", [
    (layers.Conv2D(3, 2, activation="relu"), (4, 4, 2)),
    (layers.DepthwiseConv1D(2, activation="relu"), (4, 2)),
    (layers.SeparableConv2D(3, 2, activation="relu"), (4, 4, 2))])
def test_the_activation_comes_last(layer, shape):
    plain = type(layer)(**{**layer.config(), "activation": None})
    x = data(2, *shape)
    weighted(plain, x), weighted(layer, x)
    np.testing.assert_array_equal(value(layer, x), np.maximum(value(plain, x), 0.0))


@pytest.mark.parametrize("layer, shape, weights", [
    (layers.Conv1D(5, 3), (7, 4), {"kernel": (3, 4, 5), "bias": (5,)}),
    (layers.Conv2D(6, (3, 2), groups=2), (7, 7, 4), {"kernel": (3, 2, 2, 6), "bias": (6,)}),
    (layers.Conv2D(6, 3, use_bias=False), (7, 7, 4), {"kernel": (3, 3, 4, 6)}),
    (layers.DepthwiseConv1D(3, depth_multiplier=2), (7, 4), {"kernel": (3, 4, 2), "bias": (8,)}),
    (layers.DepthwiseConv2D(3), (7, 7, 4), {"kernel": (3, 3, 4, 1), "bias": (4,)}),
    (layers.SeparableConv1D(5, 3), (7, 4),
     {"depthwise_kernel": (3, 4, 1), "pointwise_kernel": (1, 4, 5), "bias": (5,)}),
    (layers.SeparableConv2D(5, 3, depth_multiplier=2), (7, 7, 4),
     {"depthwise_kernel": (3, 3, 4, 2), "pointwise_kernel": (1, 1, 8, 5), "bias": (5,)})])
def test_weights_have_the_names_and_shapes_of_keras(layer, shape, weights):
    layer(gt.placeholder((2, *shape)))
    assert {name: v.shape for name, v in layer.weights.items()} == weights


@pytest.mark.parametrize("layer, kept", [
    (layers.Conv1D(2, 3, padding="causal"), True),
    (layers.Conv1D(2, 3, padding="causal", dilation_rate=2), True),
    (layers.Conv1D(2, 3, padding="causal", strides=2), False),
    (layers.Conv1D(2, 3, padding="same"), False), (layers.Conv1D(2, 1), False)])
def test_lengths_pass_causal_steps_of_one_only(layer, kept):
    assert with_lengths(layer, data(3, 6, 2), [6, 3, 1])[1] is kept


def test_penalties_and_initializers_reach_their_weights():
    layer = layers.SeparableConv1D(
        2, 2, depthwise_initializer=layers.Constant(2.0), pointwise_initializer="ones",
        bias_initializer=layers.Constant(3.0), depthwise_regularizer=layers.L2(0.1),
        pointwise_regularizer=layers.L1(0.2), bias_regularizer=layers.L2(0.3))
    layer(gt.placeholder((1, 4, 3)))
    assert [np.unique(w).tolist() for w in layer.get_weights()] == [[2.0], [1.0], [3.0]]
    assert [(str(r), v.name.rpartition("/")[2]) for r, v in layer.all_penalties()] == [
        ("L2(l2=0.1)", "depthwise_kernel"), ("L1(l1=0.2)", "pointwise_kernel"),
        ("L2(l2=0.3)", "bias")]


# ---- pooling -----------------------------------------------------------------------------------

MAX, MEAN = (lambda v: np.max(list(v), axis=0)), (lambda v: np.mean(list(v), axis=0))
POOLING = [
    (layers.MaxPooling1D(), MAX, (7, 3), (2,), {"strides": 2}),
    (layers.MaxPooling1D(3, strides=2, padding="same"), MAX, (8, 3), (3,),
     {"strides": 2, "padding": "same"}),
    (layers.MaxPooling2D(), MAX, (5, 4, 3), (2, 2), {"strides": 2}),
    (layers.MaxPooling2D((2, 3), strides=(1, 2), padding="same"), MAX, (4, 5, 2), (2, 3),
     {"strides": (1, 2), "padding": "same"}),
    (layers.AveragePooling1D(2), MEAN, (7, 3), (2,), {"strides": 2}),
    (layers.AveragePooling1D(4, strides=1, padding="same"), MEAN, (5, 3), (4,),
     {"strides": 1, "padding": "same"}),
    (layers.AveragePooling2D(3, strides=1), MEAN, (5, 4, 3), (3, 3), {"strides": 1}),
    (layers.AveragePooling2D((3, 2), padding="same"), MEAN, (5, 5, 2), (3, 2),
     {"strides": (3, 2), "padding": "same"}),
    (layers.MaxPooling3D((2, 3, 2), strides=1, padding="same"), MAX, (3, 4, 3, 2), (2, 3, 2),
     {"strides": 1, "padding": "same"}),
    (layers.MaxPooling3D(), MAX, (4, 5, 4, 2), (2, 2, 2), {"strides": 2}),
    (layers.AveragePooling3D((2, 3, 2), strides=(2, 1, 3), padding="same"), MEAN, (3, 4, 5, 2),
     (2, 3, 2), {"strides": (2, 1, 3), "padding": "same"})]


@BOTH
@pytest.mark.parametrize("layer, formula, shape, window, settings", POOLING,
                         ids=[repr(row[0]) for row in POOLING])
def test_pooling(layer, formula, shape, window, settings, dtype):
    x = data(3, *shape, dtype=dtype) - 2.0      # mostly below zero, so that padding would show
    want = slid(x.astype("float64"), window, lambda seen: formula(seen.values()), **settings)
    y = value(layer, x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert with_lengths(layers.MaxPooling1D(), data(3, 6, 2), [6, 3, 1])[1] is False


GLOBAL = [(layers.GlobalAveragePooling1D, np.mean, (5, 3)),
          (layers.GlobalAveragePooling2D, np.mean, (4, 5, 3)),
          (layers.GlobalMaxPooling1D, np.max, (5, 3)),
          (layers.GlobalMaxPooling2D, np.max, (4, 5, 3)),
          (layers.GlobalAveragePooling3D, np.mean, (2, 4, 3, 2)),
          (layers.GlobalMaxPooling3D, np.max, (2, 4, 3, 2))]


@BOTH
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind, formula, shape", GLOBAL)
def test_global_pooling(kind, formula, shape, keepdims, dtype):
    x = data(3, *shape, dtype=dtype) - 2.0
    want = formula(x.astype("float64"), axis=tuple(range(1, len(shape))), keepdims=keepdims)
    np.testing.assert_allclose(value(kind(keepdims=keepdims), x), want, rtol=TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind, formula", [(layers.GlobalAveragePooling1D, np.mean),
                                           (layers.GlobalMaxPooling1D, np.max)])
def test_global_pooling_sees_valid_steps_only(kind, formula, keepdims, dtype):
    x, lengths = data(4, 5, 3, dtype=dtype) - 2.0, [5, 2, 1, 0]
    x[1, 2:], x[2, 1:] = 1e6, np.nan
    y, kept = with_lengths(kind(keepdims=keepdims), x, lengths)
    want = np.stack([formula(row[:n].astype("float64"), axis=0) if n else np.zeros(3)
                     for row, n in zip(x, lengths)])
    assert not kept and np.isfinite(y).all()
    np.testing.assert_allclose(y, want[:, None] if keepdims else want, rtol=TOLERANCE[dtype])


def test_images_have_no_lengths():
    x = data(2, 3, 4, 2)
    y, kept = with_lengths(layers.GlobalAveragePooling2D(), x, [1, 1])
    np.testing.assert_allclose(y, x.mean(axis=(1, 2)))
    assert not kept


# ---- errors ------------------------------------------------------------------------------------

ARGUMENTS = [
    (lambda: layers.Conv2D(0, 3), "filters must be a whole number from 1 on, not 0"),
    (lambda: layers.Conv2D(4, 0), "kernel_size must be a whole number from 1 on, not 0"),
    (lambda: layers.Conv2D(4, (3, 3, 3)),
     "kernel_size must be a whole number or 2 of them, not (3, 3, 3)"),
    (lambda: layers.Conv2D(4, 3, strides=1.5),
     "strides must be a whole number or 2 of them, not 1.5"),
    (lambda: layers.Conv2D(4, 3, padding="causal"),
     "padding must be one of 'valid', 'same', not 'causal'"),
    (lambda: layers.Conv1D(4, 3, padding="full"),
     "padding must be one of 'valid', 'same', 'causal', not 'full'"),
    (lambda: layers.Conv1D(4, 3, dilation_rate=0),
     "dilation_rate must be a whole number from 1 on, not 0"),
    (lambda: layers.Conv1D(4, 3, groups=3), "4 filters cannot be divided into 3 groups\n"
                                            "  fix  use a number of groups that divides filters"),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0),
     "depth_multiplier must be a whole number from 1 on, not 0"),
    (lambda: layers.SeparableConv1D(4, 3, padding="full"),
     "padding must be one of 'valid', 'same', 'causal', not 'full'"),
    (lambda: layers.MaxPooling1D(padding="causal"),
     "padding must be one of 'valid', 'same', not 'causal'"),
    (lambda: layers.AveragePooling2D((2,)),
     "pool_size must be a whole number or 2 of them, not (2,)"),
    (lambda: layers.MaxPooling2D(strides=0), "strides must be a whole number from 1 on, not 0")]


@pytest.mark.parametrize("make, text", ARGUMENTS)
def test_arguments_are_checked_when_given(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


@pytest.mark.parametrize("make, text", [
    (lambda: layers.Conv1D(2, 3, activation="rely"), 'there is no activation "rely"'),
    (lambda: layers.SeparableConv2D(2, 3, pointwise_initializer="one"),
     'there is no initializer "one"')])
def test_unknown_names_are_told_when_given(make, text):
    with pytest.raises(UnknownNameError) as caught:
        make()
    assert str(caught.value).startswith(text)


AXES = {1: "(batch, length, channels)", 2: "(batch, height, width, channels)",
        3: "(batch, depth, height, width, channels)"}


@pytest.mark.parametrize("layer", [
    layers.Conv1D(2, 3), layers.Conv2D(2, 3), layers.DepthwiseConv1D(3), layers.DepthwiseConv2D(3),
    layers.SeparableConv1D(2, 3), layers.SeparableConv2D(2, 3), layers.MaxPooling1D(),
    layers.MaxPooling2D(), layers.AveragePooling1D(), layers.AveragePooling2D(),
    layers.GlobalAveragePooling1D(), layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling1D(),
    layers.GlobalMaxPooling2D(), layers.Conv3D(2, 3), layers.MaxPooling3D(),
    layers.AveragePooling3D(), layers.GlobalAveragePooling3D(), layers.GlobalMaxPooling3D(),
    layers.Conv1DTranspose(2, 3), layers.Conv2DTranspose(2, 3), layers.Conv3DTranspose(2, 3)],
                         ids=lambda layer: type(layer).__name__)
def test_axes_are_checked(layer):
    with pytest.raises(ShapeError) as caught:
        layer(gt.placeholder((2, 5)))
    name = type(layer).__name__
    assert str(caught.value) == (
        f"{name} needs {AXES[layer.rank]}\n"
        "  got  [5] (without batch)\n"
        "  fix  reshape the input; one channel is an axis of length 1")


def test_channels_must_fit_the_groups():
    with pytest.raises(ShapeError) as caught:
        layers.Conv1D(4, 3, groups=2, name="c")(gt.placeholder((2, 5, 3)))
    assert str(caught.value) == ('Conv1D "c": 3 channels cannot be divided into 2 groups\n'
                                 "  fix  use a number of groups that divides the channels")


def test_a_layer_is_for_the_channels_it_was_built_for():
    layer = layers.Conv1D(4, 3, name="c")
    layer(gt.placeholder((2, 5, 3)))
    layer(gt.placeholder((2, 9, 3)))                              # another length is no mistake
    with pytest.raises(ShapeError, match='Conv1D "c": the input has another shape'):
        layer(gt.placeholder((2, 5, 4)))
