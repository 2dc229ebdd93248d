"""Layers give Keras's numbers: literal sums that Keras 3.15 computed from the same inputs."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ParameterError, ShapeError
from gradatim.layers import Flow


def filled(shape, start):
    """What both were given as inputs, weights and slopes: waves."""
    return np.cos(np.arange(np.prod(shape)) * 1.7 + start).reshape(shape)


def computed(layer, shapes):
    """The layer's output of waves with waves as weights, float64."""
    arrays = [filled((2, *shape), i) for i, shape in enumerate(shapes)]
    xs = [gt.placeholder(a.shape, "float64") for a in arrays]
    y = layer(xs if len(xs) > 1 else xs[0])
    if layer.weights:
        layer.set_weights([filled(w.shape, 10 + i) for i, w in enumerate(layer.get_weights())])
    return gt.function(xs, y)(*arrays)


# Layer, shapes of its inputs, output shape, sum of the output, and its sum times a wave.
NUMBERS = [
    (layers.MultiHeadAttention(2, 3), [(4, 5)], (4, 5), -14.0928014924, 8.536146402535),
    (layers.MultiHeadAttention(2, 3, 2, output_shape=4, use_causal_mask=True),
     [(3, 5), (4, 2), (4, 6)], (3, 4), -0.515875633657, 2.973305789319),
    (layers.Attention(use_scale=True), [(3, 5), (4, 5)], (3, 5), -0.186593721604, -2.586149141495),
    (layers.Attention(use_scale=True, score_mode="concat"), [(3, 5), (4, 2), (4, 5)], (3, 2),
     0.321751385165, 0.003713197539),
    (layers.Attention(use_causal_mask=True), [(3, 5), (4, 2), (4, 5)], (3, 2),
     -2.85846024613, 0.926178984983),
    (layers.RMSNormalization(), [(4, 5)], (4, 5), -0.898560839342, -1.150791690453),
    (layers.Conv3D(3, (2, 3, 2), strides=(1, 2, 1), padding="same"), [(3, 4, 3, 2)], (3, 2, 3, 3),
     26.6197712962, -11.945605607178),
    (layers.Conv1DTranspose(3, 4, strides=3), [(4, 2)], (13, 3), 18.7381506671, 1.213742442727),
    (layers.Conv2DTranspose(3, (3, 4), strides=2, padding="same"), [(3, 4, 2)], (6, 8, 3),
     70.674622433, 3.386296446074),
    (layers.Conv2DTranspose(3, (3, 2), strides=(2, 3)), [(3, 4, 2)], (7, 12, 3),
     123.565370836, 0.647680551793),
    (layers.Conv2DTranspose(3, 3, strides=2, output_padding=1, padding="same"), [(3, 4, 2)],
     (6, 8, 3), 70.6096819892, 0.326953096962),
    (layers.Conv2DTranspose(3, 3, strides=2, output_padding=0, padding="same"), [(3, 4, 2)],
     (5, 7, 3), 51.3533457513, 2.763795875827),
    (layers.Conv2DTranspose(3, 3, strides=2, output_padding=1), [(3, 4, 2)], (8, 10, 3),
     117.675311022, -6.431325966767),
    (layers.Conv3DTranspose(3, 2, strides=2, padding="same"), [(2, 3, 2, 2)], (4, 6, 4, 3),
     141.251761465, -1.94770852397),
    (layers.Conv3DTranspose(3, 3, strides=2), [(2, 3, 2, 2)], (5, 7, 5, 3),
     257.471444547, 0.84492625283)]


@pytest.mark.parametrize("layer, shapes, shape, total, slope", NUMBERS,
                         ids=[repr(row[0]) for row in NUMBERS])
def test_keras_computes_the_same(layer, shapes, shape, total, slope):
    y = computed(layers.from_config(layers.to_config(layer)), shapes)
    assert y.shape == (2, *shape)
    # Keras's MultiHeadAttention takes its softmax in float32.
    np.testing.assert_allclose(y.sum(), total, rtol=1e-7)
    np.testing.assert_allclose((y * filled(y.shape, 5)).sum(), slope, rtol=1e-7)


# ---- volumes: what moves entries, against NumPy -----------------------------------------------

@pytest.mark.parametrize("layer, formula", [
    (layers.ZeroPadding3D(((1, 0), 0, (0, 2))),
     lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 2), (0, 0)))),
    (layers.ZeroPadding3D(1), lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))),
    (layers.Cropping3D(((0, 1), 1, (0, 1))), lambda x: x[:, :-1, 1:-1, :-1]),
    (layers.UpSampling3D((1, 2, 3)), lambda x: x.repeat(2, axis=2).repeat(3, axis=3))],
    ids=lambda value: repr(value) if isinstance(value, layers.Layer) else "formula")
def test_moving_voxels(layer, formula):
    x = filled((2, 3, 4, 2, 2), 0)
    np.testing.assert_array_equal(gt.run(layer(gt.constant(x))), formula(x))


def test_spatial_dropout_drops_channels_of_volumes():
    x = np.ones((3, 2, 3, 4, 50))
    y = gt.run(layers.SpatialDropout3D(0.5)(gt.constant(x), training=True)[0])
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1, :1], y.shape))
    assert set(np.unique(y)) == {0.0, 2.0}


# ---- attention among sequences of unequal length ----------------------------------------------

def attention_layers():
    return [layers.Attention(), layers.Attention(score_mode="concat", use_causal_mask=True),
            layers.MultiHeadAttention(2, 3), layers.MultiHeadAttention(2, 3, use_causal_mask=True)]


@pytest.mark.parametrize("layer", attention_layers(), ids=repr)
def test_rows_of_a_batch_are_as_if_they_were_alone(layer):
    x, lengths = filled((3, 5, 4), 0), np.array([5, 2, 0])
    tensor, steps = gt.placeholder(x.shape, "float64"), gt.placeholder((3,), "int64")
    out = layer([Flow(tensor, lengths=steps)] * 2)
    assert out.lengths is steps
    y = gt.function([tensor, steps], out.x)(x, lengths)
    for row, n in enumerate(lengths[:2]):
        alone = gt.run(layer([gt.constant(x[row:row + 1, :n])] * 2))
        np.testing.assert_allclose(y[row, :n], alone[0], rtol=1e-12, atol=1e-12)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("layer", attention_layers()[1::2], ids=repr)
def test_causal_attention_does_not_see_later_steps(layer):
    x, other = filled((2, 5, 4), 0), filled((2, 5, 4), 0)
    other[:, 3:] = 9.0
    tensor = gt.placeholder(x.shape, "float64")
    run = gt.function([tensor], layer([tensor, tensor]))
    np.testing.assert_array_equal(run(x)[:, :3], run(other)[:, :3])
    assert (run(x)[:, 3:] != run(other)[:, 3:]).any()


def test_one_sequence_alone_looks_into_itself():
    x, layer = gt.constant(filled((2, 5, 4), 0)), layers.MultiHeadAttention(2, 3)
    first = gt.run(layer(x))
    for y in (layer([x, x]), layer(x, x), layer(x, value=x, key=x), layer([x, x, x])):
        np.testing.assert_array_equal(gt.run(y), first)
    np.testing.assert_array_equal(gt.run(gt.Sequential([layer])(x)), first)
    inputs = gt.Input((5, 4), "float64")
    np.testing.assert_array_equal(gt.run(gt.Model(inputs, layer(inputs))(x)), first)


def test_dropped_weights_are_scaled_up():
    layer = layers.Attention(dropout=0.5)
    query, value = (gt.constant(np.full(shape, 1.0)) for shape in ((2, 3, 4), (2, 400, 4)))
    y, _ = layer([query, value], training=True)
    y = gt.run(y)
    assert 0.85 < y.mean() < 1.15 and y.std() > 0.01
    np.testing.assert_allclose(gt.run(layer([query, value])), 1.0)


SHAPES = {"x": (2, 3, 4), "flat": (2, 4), "narrow": (2, 3, 2), "long": (2, 5, 4)}
WRONG = [
    (lambda: layers.Attention(), ["x", "flat"],
     'Attention "attention": needs a query, a value and perhaps a key, '
     "each (batch, time, features)\n"
     "  got  [3, 4] and [4] (without batch)"),
    (lambda: layers.Attention(), ["x"],
     'Attention "attention": needs a query, a value and perhaps a key, '
     "each (batch, time, features)\n"
     "  got  [3, 4] (without batch)"),
    (lambda: layers.Attention(), ["x", "narrow"],
     'Attention "attention": the query has 4 features and the key 2'),
    (lambda: layers.MultiHeadAttention(2, 3), ["x", "long", "x"],
     'MultiHeadAttention "multi_head_attention": the value has 5 steps and the key 3\n'
     "  fix  every step of the value needs one key")]


@pytest.mark.parametrize("make, names, text", WRONG)
def test_inputs_of_attention_are_checked(make, names, text):
    with pytest.raises(ShapeError) as caught:
        make()([gt.placeholder(SHAPES[name]) for name in names])
    lines = str(caught.value).splitlines()
    assert [line for line in lines if not line.startswith("  at")] == text.splitlines()


def test_attention_built_for_other_features_says_so():
    layer = layers.MultiHeadAttention(2, 3)
    layer(gt.placeholder((2, 3, 4)))
    with pytest.raises(ShapeError, match="the query has 2 features, and the layer was built for 4"):
        layer(gt.placeholder((2, 3, 2)))


@pytest.mark.parametrize("make, text", [
    (lambda: layers.Conv1DTranspose(2, 3, padding="causal"),
     "padding must be one of 'valid', 'same', not 'causal'"),
    (lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=2),
     "output_padding must be from 0 on and less than strides, not 2"),
    (lambda: layers.Conv2DTranspose(2, 3, output_padding=(0, 0, 0)),
     "output_padding must be from 0 on and less than strides, not (0, 0, 0)"),
    (lambda: layers.MultiHeadAttention(0, 3), "num_heads must be a whole number from 1 on, not 0"),
    (lambda: layers.Attention(score_mode="product"),
     "score_mode must be one of 'dot', 'concat', not 'product'"),
    (lambda: layers.Attention(dropout=1), "dropout must be a number in [0, 1), not 1"),
    (lambda: layers.ZeroPadding3D((1, 2)),
     "padding must be a whole number from 0 on, three, or three pairs, not (1, 2)")])
def test_arguments_are_checked_when_given(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value).splitlines()[0] == text


def test_an_even_window_cut_to_the_same_size_takes_no_output_padding():
    layer = layers.Conv2DTranspose(2, 2, strides=2, padding="same", output_padding=0)
    with pytest.raises(ParameterError, match="output_padding=0 does not go with an even window"):
        layer(gt.placeholder((2, 3, 3, 1)))
