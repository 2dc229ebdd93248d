"""Recurrent layers and Bidirectional against loops over time: values, lengths, dropout, errors."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ParameterError, ShapeError
from gradatim.layers import Flow

B, T, F, U = 4, 5, 3, 2
LENGTHS = [5, 3, 1, 0]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])


def data(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value(layer, x, lengths=None, training=False, step=0):
    """The output of a layer on arrays."""
    tensor, steps = gt.placeholder(x.shape, x.dtype), gt.placeholder((len(x),), "int64")
    given = lengths is not None
    flow = layer(Flow(tensor, lengths=steps if given else None, seed=gt.constant(np.int64(7)),
                      step=gt.constant(np.int64(step))), training=training)
    inputs = [tensor, steps][:1 + given]
    return gt.function(inputs, flow.x)(*[x, np.array(lengths)][:1 + given])


def weighted(layer, x):
    """Random weights by name."""
    layer(gt.placeholder(x.shape, x.dtype))
    layer.set_weights([0.7 * data(*w.shape, seed=i + 1)
                       for i, w in enumerate(layer.get_weights())])
    return {name: v.numpy().astype("float64") for name, v in layer.variables().items()}


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def simple_step(function):
    def step(x, h, c, w, r, b):
        return function(x @ w + h @ r + b), c
    return step


def lstm_step(x, h, c, w, r, b):
    i, f, candidate, o = np.split(x @ w + h @ r + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(c), c


def gru_after_step(x, h, c, w, r, b):
    (xz, xr, xh), (hz, hr, hh) = np.split(x @ w + b[0], 3), np.split(h @ r + b[1], 3)
    z, reset = sigmoid(xz + hz), sigmoid(xr + hr)
    return z * h + (1 - z) * np.tanh(xh + reset * hh), c


def gru_before_step(x, h, c, w, r, b):
    xz, xr, xh = np.split(x @ w + b, 3)
    rz, rr, rh = np.split(r, 3, axis=1)
    z, reset = sigmoid(xz + h @ rz), sigmoid(xr + h @ rr)
    return z * h + (1 - z) * np.tanh(xh + (reset * h) @ rh), c


# Layer and its step; the step gets a row's input, state and cell.
KINDS = [
    (layers.SimpleRNN, {}, simple_step(np.tanh)),
    (layers.SimpleRNN, {"activation": "relu"}, simple_step(lambda z: np.maximum(z, 0))),
    (layers.SimpleRNN, {"activation": "sigmoid"}, simple_step(sigmoid)),
    (layers.SimpleRNN, {"activation": "linear"}, simple_step(lambda z: z)),
    (layers.SimpleRNN, {"activation": None}, simple_step(lambda z: z)),
    (layers.LSTM, {}, lstm_step),
    (layers.GRU, {}, gru_after_step),
    (layers.GRU, {"reset_after": False}, gru_before_step)]
every = pytest.mark.parametrize(
    "kind, settings, step", KINDS,
    ids=["-".join([k.__name__, *map(str, s.values())]) for k, s, _ in KINDS])
MAIN = [KINDS[0], KINDS[5], KINDS[6]]
main = pytest.mark.parametrize("kind, settings, step", MAIN, ids=[k.__name__ for k, *_ in MAIN])


def looped(step, x, w, lengths=None, backwards=False, layer=""):
    """Outputs in the order of processing, zero beyond the lengths, and last states; row by row."""
    kernel, recurrent = w[f"{layer}kernel"], w[f"{layer}recurrent_kernel"]
    shape = {lstm_step: (4 * U,), gru_before_step: (3 * U,), gru_after_step: (2, 3 * U)}
    bias = w.get(f"{layer}bias", np.zeros(shape.get(step, (U,))))
    outputs, last = np.zeros((len(x), T, U)), np.zeros((len(x), U))
    for n, row in enumerate(x.astype("float64")):
        row = row[:T if lengths is None else lengths[n]]
        h, c = np.zeros(U), np.zeros(U)
        for t, entry in enumerate(row[::-1] if backwards else row):
            h, c = step(entry, h, c, kernel, recurrent, bias)
            outputs[n, t] = h
        last[n] = h
    return outputs, last


def stripped(weights):
    """Names without the layer's."""
    return {name.partition("/")[2]: v for name, v in weights.items()}


@BOTH
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("backwards", [False, True])
@every
def test_outputs_and_last_states(kind, settings, step, backwards, lengths, dtype):
    x = data(B, T, F, dtype=dtype)
    for sequences in (True, False):
        layer = kind(U, return_sequences=sequences, go_backwards=backwards, **settings)
        w = stripped(weighted(layer, x))
        want = looped(step, x, w, lengths, backwards)[0 if sequences else 1]
        for training in (False, True):
            y = value(layer, x, lengths, training)
            assert y.dtype == dtype
            np.testing.assert_allclose(y, want, atol=TOLERANCE[dtype])


@every
def test_without_bias(kind, settings, step):
    x, layer = data(B, T, F), kind(U, use_bias=False, **settings)
    w = stripped(weighted(layer, x))
    assert list(w) == ["kernel", "recurrent_kernel"]
    np.testing.assert_allclose(value(layer, x), looped(step, x, w)[1], atol=1e-12)


@main
def test_batch_size_is_free(kind, settings, step):
    layer = kind(U)
    w = stripped(weighted(layer, data(2, T, F)))
    for batch in (1, 7):
        x = data(batch, T, F, seed=batch)
        np.testing.assert_allclose(value(layer, x), looped(step, x, w)[1], atol=1e-12)


@pytest.mark.parametrize("layer, shapes", [
    (layers.SimpleRNN(U), [(F, U), (U, U), (U,)]),
    (layers.LSTM(U), [(F, 4 * U), (U, 4 * U), (4 * U,)]),
    (layers.GRU(U), [(F, 3 * U), (U, 3 * U), (2, 3 * U)]),
    (layers.GRU(U, reset_after=False), [(F, 3 * U), (U, 3 * U), (3 * U,)])])
def test_weights_have_the_names_and_shapes_of_keras(layer, shapes):
    layer(gt.placeholder((B, T, F)))
    assert list(layer.weights) == ["kernel", "recurrent_kernel", "bias"]
    assert [v.shape for v in layer.weights.values()] == shapes


def test_first_weights():
    layer = layers.LSTM(U)
    layer(gt.placeholder((B, T, F), "float64"))
    kernel, recurrent, bias = layer.get_weights()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(U), atol=1e-12)
    assert abs(kernel).max() <= np.sqrt(6 / (F + 4 * U)) and kernel.std() > 0
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], U))


@pytest.mark.parametrize("settings, want", [
    ({"unit_forget_bias": False}, [0.0, 0.0, 0.0, 0.0]),
    ({"bias_initializer": layers.Constant(0.5)}, [0.5, 1.0, 0.5, 0.5]),
    ({"bias_initializer": "ones", "unit_forget_bias": False}, [1.0, 1.0, 1.0, 1.0])])
def test_first_bias_of_lstm(settings, want):
    layer = layers.LSTM(U, **settings)
    layer(gt.placeholder((B, T, F)))
    np.testing.assert_array_equal(layer.get_weights()[2], np.repeat(np.float32(want), U))


def test_penalties_reach_their_weights():
    layer = layers.Bidirectional(layers.GRU(
        U, kernel_regularizer=layers.L2(0.1), recurrent_regularizer=layers.L1(0.2),
        bias_regularizer=layers.L2(0.3)))
    layer(gt.placeholder((B, T, F)))
    each = [("L2(l2=0.1)", "kernel"), ("L1(l1=0.2)", "recurrent_kernel"), ("L2(l2=0.3)", "bias")]
    assert [(str(r), v.name) for r, v in layer.all_penalties()] == [
        (r, f"bidirectional/{side}/{name}")
        for side in ("forward_layer", "backward_layer") for r, name in each]


# ---- lengths -----------------------------------------------------------------------------------

@main
def test_lengths_pass_where_every_step_has_an_output(kind, settings, step):
    steps = gt.placeholder((B,), "int64")
    for sequences in (True, False):
        for wrap in (lambda layer: layer, layers.Bidirectional):
            layer = wrap(kind(U, return_sequences=sequences))
            out = layer(Flow(gt.placeholder((B, T, F)), lengths=steps))
            assert (out.lengths is steps) is sequences


@main
def test_what_stands_beyond_the_length_does_not_matter(kind, settings, step):
    x = data(B, T, F)
    other = x.copy()
    for row, n in zip(other, LENGTHS):
        row[n:] = np.nan
    for layer in (kind(U, return_sequences=True), layers.Bidirectional(kind(U))):
        weighted(layer, x)
        np.testing.assert_array_equal(value(layer, other, LENGTHS), value(layer, x, LENGTHS))


# ---- states from outside -----------------------------------------------------------------------

@every
def test_a_sequence_in_two_parts_is_the_whole_sequence(kind, settings, step):
    layer, x = kind(U, return_sequences=True, **settings), data(B, T, F)
    w = stripped(weighted(layer, x))
    tensor = gt.placeholder(x.shape, "float64")
    states = [gt.constant(np.zeros((B, U))) for _ in range(layer.states)]
    first, states = layer.carry(tensor[:, :2], states)
    second, states = layer.carry(tensor[:, 2:], states)
    got = gt.function([tensor], [first, second, states[0]])(x)
    outputs, last = looped(step, x, w)
    for a, b in zip(got, (outputs[:, :2], outputs[:, 2:], last)):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert len(states) == layer.states


# ---- dropout -----------------------------------------------------------------------------------

@main
def test_dropout_drops_a_feature_at_all_steps_or_none(kind, settings, step):
    layer = kind(U, dropout=0.5, return_sequences=True, name="r")
    x = data(B, T, 8) + 3.0
    w = stripped(weighted(layer, x))
    masks = gt.run(gt.dropout_mask(
        gt.constant(x), gt.constant(np.int64(7)), gt.constant(np.int64(4)),
        gt.constant(np.int64(0)), rate=0.5, stream=layer.stream, shared_axes=(1,)))
    assert set(np.unique(masks)) == {0.0, 2.0} and (masks == masks[:, :1]).all()
    want = looped(step, x * masks, w)[0]
    np.testing.assert_allclose(value(layer, x, training=True, step=4), want, atol=1e-12)
    np.testing.assert_allclose(value(layer, x, step=4), looped(step, x, w)[0], atol=1e-12)
    assert np.abs(value(layer, x, training=True, step=5) - want).max() > 1e-3


def test_the_two_directions_drop_apart():
    layer = layers.Bidirectional(layers.LSTM(U, dropout=0.5))
    layer(gt.placeholder((B, T, F)))
    assert layer.forward_layer.stream != layer.backward_layer.stream


# ---- bidirectional -----------------------------------------------------------------------------

MERGED = {"concat": lambda a, b: np.concatenate([a, b], axis=-1), "sum": np.add,
          "mul": np.multiply, "ave": lambda a, b: (a + b) / 2}


@pytest.mark.parametrize("mode", MERGED)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("sequences", [True, False])
@main
def test_bidirectional(kind, settings, step, sequences, lengths, mode):
    layer = layers.Bidirectional(kind(U, return_sequences=sequences), merge_mode=mode)
    x = data(B, T, F)
    w = stripped(weighted(layer, x))
    there = looped(step, x, w, lengths, layer="forward_layer/")
    back = looped(step, x, w, lengths, backwards=True, layer="backward_layer/")
    for row, n in zip(back[0], lengths or [T] * B):     # from processing order to that of time
        row[:n] = row[:n][::-1].copy()
    want = MERGED[mode](*(found[0 if sequences else 1] for found in (there, back)))
    np.testing.assert_allclose(value(layer, x, lengths), want, atol=1e-12)


def test_bidirectional_has_weights_of_its_own_in_both_directions():
    layer = layers.Bidirectional(layers.LSTM(U, name="inner"), name="both")
    layer(gt.placeholder((B, T, F)))
    assert list(layer.variables()) == [
        f"both/{side}/{name}" for side in ("forward_layer", "backward_layer")
        for name in ("kernel", "recurrent_kernel", "bias")]
    first, second = layer.get_weights()[0], layer.get_weights()[3]
    assert not np.array_equal(first, second)
    assert layer.forward_layer.go_backwards is False
    assert repr(layer) == "Bidirectional(layer=LSTM(units=2, name='inner'), name='both')"


def test_bidirectional_of_bidirectional_nets_is_saved_and_loaded(tmp_path):
    model = gt.Sequential([
        gt.Input((T, F)), layers.Bidirectional(layers.GRU(U, return_sequences=True), "sum"),
        layers.Bidirectional(layers.LSTM(U))])
    model.save(tmp_path / "net.h5")
    again = layers.load_network(tmp_path / "net.h5")
    x = data(B, T, F, dtype="float32")
    np.testing.assert_array_equal(value(again, x, LENGTHS), value(model, x, LENGTHS))


# ---- errors ------------------------------------------------------------------------------------

ARGUMENTS = [
    (lambda: layers.LSTM(0), "units must be a whole number from 1 on, not 0"),
    (lambda: layers.GRU(2, dropout=1.0), "dropout must be a number in [0, 1), not 1.0"),
    (lambda: layers.SimpleRNN(2, activation="gelu"),
     "activation must be one of 'tanh', 'relu', 'sigmoid', 'linear', None, not 'gelu'"),
    (lambda: layers.LSTM(2, activation="relu"),
     "LSTM: activation can only be \"tanh\", not 'relu'\n"
     "  fix  use SimpleRNN for another activation"),
    (lambda: layers.GRU(2, recurrent_activation="hard_sigmoid"),
     "GRU: recurrent_activation can only be \"sigmoid\", not 'hard_sigmoid'\n"
     '  fix  leave it at "sigmoid"'),
    (lambda: layers.Bidirectional(layers.LSTM(2), "max"),
     "merge_mode must be one of 'concat', 'sum', 'mul', 'ave', not 'max'"),
    (lambda: layers.Bidirectional(layers.Dense(2)),
     "Bidirectional holds a recurrent layer, not Dense(units=2)\n"
     "  fix  pass for example layers.LSTM(32)"),
    (lambda: layers.Bidirectional(layers.LSTM(2, go_backwards=True)),
     "Bidirectional needs a layer with go_backwards=False\n"
     "  fix  the copy that reads backwards is made from it")]


@pytest.mark.parametrize("make, text", ARGUMENTS)
def test_arguments_are_checked_when_given(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


@main
def test_axes_are_checked(kind, settings, step):
    with pytest.raises(ShapeError) as caught:
        kind(U)(gt.placeholder((B, T)))
    assert str(caught.value) == (
        f"{kind.__name__} needs (batch, time, features)\n"
        f"  got  [{T}] (without batch)\n"
        "  fix  reshape the input; one feature is an axis of length 1")
