"""Recurrent ops against their decomposed forms, explicit loops and central differences."""
import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import Error
from gradatim.backend.ops import recurrent_gru, recurrent_lstm, recurrent_simple

T, F, U = 4, 3, 4
FORMS = {"lstm": recurrent_lstm.decompose_lstm, "gru": recurrent_gru.decompose_gru,
         "simple_rnn": recurrent_simple.decompose_simple_rnn}
GRADIENT_FORMS = {"lstm_gradient": recurrent_lstm.decompose_lstm_gradient,
                  "gru_gradient": recurrent_gru.decompose_gru_gradient,
                  "simple_rnn_gradient": recurrent_simple.decompose_simple_rnn_gradient}
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
STATES = {"lstm": 2, "gru": 1, "simple_rnn": 1}
VARIANTS = [("lstm", {}), ("gru", {"reset_after": True}), ("gru", {"reset_after": False}),
            ("simple_rnn", {"activation": "tanh"}), ("simple_rnn", {"activation": "relu"}),
            ("simple_rnn", {"activation": "sigmoid"}), ("simple_rnn", {"activation": "linear"})]


def over(variants):
    """A test for each op and its settings."""
    names = ["-".join([name, *map(str, settings.values())]) for name, settings in variants]
    return pytest.mark.parametrize("name, settings", variants, ids=names)


every, kinds = over(VARIANTS), over(VARIANTS[:4])
both_ways = pytest.mark.parametrize("reverse", [False, True])
extras = pytest.mark.parametrize("given", ["nothing", "lengths", "states"])


def make(name, settings, given="states", lengths=(4, 0, 2), dtype="float64", seed=0):
    """Arrays for an op: x, kernel, recurrent_kernel, bias, then lengths and states if given."""
    rng = np.random.default_rng(seed)
    width = GATES[name] * U
    bias = (2, width) if settings.get("reset_after") else (width,)
    shapes = [(len(lengths), T, F), (F, width), (U, width), bias]
    arrays = [rng.standard_normal(s) * 0.7 for s in shapes]
    states = [rng.standard_normal((len(lengths), U)) for _ in range(STATES[name])]
    if given != "nothing":
        arrays.append(np.array(lengths))
    if given == "states":
        arrays += states
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def place(arrays):
    return [gt.placeholder(a.shape, a.dtype, name=f"x{i}") for i, a in enumerate(arrays)]


def weighted(outputs, seed=1):
    """One number that depends on every entry of the outputs."""
    rng = np.random.default_rng(seed)
    parts = [(t * rng.standard_normal(t.shape).astype(t.dtype)).sum() for t in outputs]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def floats(inputs):
    return [t for t in inputs if t.dtype.kind == "f"]


def compare(got, want, tolerance=1e-10):
    for number, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, number
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=f"number {number}")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {"tanh": np.tanh, "relu": lambda z: z * (z > 0), "sigmoid": sigmoid,
               "linear": lambda z: z}


def by_rows(name, x, kernel, recurrent, bias, lengths=None, *states, reverse=False, **settings):
    """The textbook: one row after another, one step after another; a reversed row is turned."""
    outputs = np.zeros((len(x), T, U))
    finals = [np.zeros((len(x), U)) for _ in range(STATES[name])]
    for row in range(len(x)):
        length = T if lengths is None else lengths[row]
        sequence = x[row, :length][::-1] if reverse else x[row, :length]
        state = [s[row] for s in states] or [np.zeros(U) for _ in finals]
        made = []
        for step in sequence:
            state = STEP[name](step, kernel, recurrent, bias, *state, **settings)
            made.append(state[0])
        outputs[row, :length] = np.reshape(made[::-1] if reverse else made, (length, U))
        for final, s in zip(finals, state):
            final[row] = s
    return [outputs, *finals]


def lstm_step(x, kernel, recurrent, bias, h, c):
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, kernel, recurrent, bias, h, reset_after):
    first, second = bias if reset_after else (bias, 0 * bias)
    xz, xr, xh = np.split(x @ kernel + first, 3)
    hz, hr, hh = np.split(h @ recurrent + second, 3)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    inner = r * hh if reset_after else (r * h) @ recurrent[:, 2 * U:]
    return (z * h + (1 - z) * np.tanh(xh + inner),)


def simple_step(x, kernel, recurrent, bias, h, activation):
    return (ACTIVATIONS[activation](x @ kernel + h @ recurrent + bias),)


STEP = {"lstm": lstm_step, "gru": gru_step, "simple_rnn": simple_step}


@every
@both_ways
@extras
def test_equals_a_loop_over_rows(name, settings, reverse, given):
    arrays = make(name, settings, given)
    inputs = place(arrays)
    outputs = OPS[name](*inputs, reverse=reverse, **settings)[:1 + STATES[name]]
    got = gt.function(inputs, list(outputs))(*arrays)
    compare(got, by_rows(name, *arrays, reverse=reverse, **settings))


@every
@both_ways
@extras
def test_equals_its_decomposed_form(name, settings, reverse, given):
    """Values of all outputs, and first gradients through the outputs and final states."""
    arrays = make(name, settings, given)
    inputs = place(arrays)
    results = []
    for form in (OPS[name], FORMS[name]):
        outputs = form(*inputs, reverse=reverse, **settings)
        slopes = gt.gradients(weighted(outputs[:1 + STATES[name]]), floats(inputs))
        results.append(gt.function(inputs, [*outputs, *slopes])(*arrays))
    compare(*results)


@kinds
@both_ways
@pytest.mark.parametrize("only", [0, 1])
def test_one_output_alone_has_a_gradient(name, settings, reverse, only):
    arrays = make(name, settings)
    inputs = place(arrays)
    slopes = [gt.function(inputs, gt.gradients(
        weighted([form(*inputs, reverse=reverse, **settings)[only]]), floats(inputs)))(*arrays)
        for form in (OPS[name], FORMS[name])]
    compare(*slopes)


@kinds
@both_ways
@pytest.mark.parametrize("saved", [False, True], ids=["outputs", "saved"])
def test_second_gradient_equals_the_decomposed_form(name, settings, reverse, saved):
    arrays = make(name, settings)
    inputs = place(arrays)
    results = []
    for form in (OPS[name], FORMS[name]):
        outputs = form(*inputs, reverse=reverse, **settings)
        loss = weighted(outputs if saved else outputs[:1 + STATES[name]])
        first = gt.gradients(loss * loss, floats(inputs))
        second = gt.gradients(weighted(first, seed=2), floats(inputs))
        results.append(gt.function(inputs, second)(*arrays))
    scale = max(np.abs(a).max() for a in results[1])
    compare(*results, tolerance=1e-10 * scale)


@pytest.mark.parametrize("name", GRADIENT_FORMS)
def test_gradient_ops_equal_their_decomposed_forms(name):
    op = OPS[name]
    for arrays, settings in op.samples(np.random.default_rng(3)):
        inputs = place(arrays)
        compare(*(gt.function(inputs, list(form(*inputs, **settings)))(*arrays)
                  for form in (op, GRADIENT_FORMS[name])))


@every
@both_ways
@pytest.mark.parametrize("order", [1, 2])
def test_gradient_against_central_differences(name, settings, reverse, order):
    """Along one direction per input; order 2 takes the gradient of a gradient's projection."""
    arrays = make(name, settings, lengths=(4, 2), seed=4)
    inputs = place(arrays)
    loss = weighted(OPS[name](*inputs, reverse=reverse, **settings)[:1 + STATES[name]])
    if order == 2:
        loss = weighted(gt.gradients(loss, floats(inputs)), seed=5)
    value = gt.function(inputs, loss)
    slopes = gt.function(inputs, gt.gradients(loss, floats(inputs)))(*arrays)
    rng, step = np.random.default_rng(6), 1e-6
    where = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    for i, slope in zip(where, slopes, strict=True):
        direction = rng.standard_normal(arrays[i].shape)
        ends = [float(value(*arrays[:i], arrays[i] + s * step * direction, *arrays[i + 1:]))
                for s in (1, -1)]
        exact = float(np.sum(slope * direction))
        assert abs((ends[0] - ends[1]) / (2 * step) - exact) < 1e-6 * max(1, abs(exact)), i


@kinds
def test_a_shared_parameter_is_differentiated_once(name, settings):
    """Second order stays right where one input of the op is computed from another."""
    arrays = make(name, settings, given="nothing")
    inputs = place(arrays)
    results = []
    for form in (OPS[name], FORMS[name]):
        scaled = inputs[0] * inputs[1].sum()
        outputs = form(scaled, *inputs[1:], **settings)
        first = gt.gradients(weighted(outputs), inputs)
        second = gt.gradients(weighted(first, seed=2), inputs)
        results.append(gt.function(inputs, [*first, *second])(*arrays))
    scale = max(np.abs(a).max() for a in results[1])
    compare(*results, tolerance=1e-10 * scale)


@every
@both_ways
@pytest.mark.parametrize("padding", [1e3, np.nan, np.inf])
def test_padding_does_not_matter(name, settings, reverse, padding):
    arrays = make(name, settings)
    inputs = place(arrays)
    outputs = OPS[name](*inputs, reverse=reverse, **settings)
    slopes = gt.gradients(weighted(outputs[:1 + STATES[name]]), floats(inputs))
    run = gt.function(inputs, [*outputs, *slopes])
    want = run(*arrays)
    padded = arrays[0].copy()
    beyond = np.arange(T) >= arrays[4][:, None]
    padded[beyond] = padding
    got = run(padded, *arrays[1:])
    compare(got, want, tolerance=0)
    dx = got[len(outputs)]
    assert not dx[beyond].any() and dx[~beyond].all()
    assert not got[0][beyond].any()


@every
def test_length_zero_keeps_the_initial_state(name, settings):
    arrays = make(name, settings, lengths=(0, 0))
    inputs = place(arrays)
    outputs = OPS[name](*inputs, **settings)
    got = gt.function(inputs, list(outputs[:1 + STATES[name]]))(*arrays)
    assert not got[0].any()
    compare(got[1:], arrays[5:], tolerance=0)


@every
@both_ways
def test_a_short_row_equals_the_row_alone(name, settings, reverse):
    arrays = make(name, settings, given="lengths")
    inputs = place(arrays)
    outputs = OPS[name](*inputs, reverse=reverse, **settings)
    outputs, final = gt.function(inputs, list(outputs[:2]))(*arrays)
    alone = [arrays[0][2:3, :2], *arrays[1:4]]
    inputs = place(alone)
    short = OPS[name](*inputs, reverse=reverse, **settings)
    want, last = gt.function(inputs, list(short[:2]))(*alone)
    compare([outputs[2, :2], final[2]], [want[0], last[0]], tolerance=1e-14)


@every
@pytest.mark.filterwarnings("error")
def test_large_inputs_saturate_without_warnings(name, settings):
    if settings.get("activation") in ("relu", "linear"):
        pytest.skip("has no upper bound")
    arrays = make(name, settings, dtype="float32")
    arrays[0] = arrays[0] * np.float32(1e30)
    inputs = place(arrays)
    outputs = OPS[name](*inputs, **settings)
    slopes = gt.gradients(weighted(outputs[:1]), floats(inputs)[2:])
    for value in gt.function(inputs, [outputs[0], *slopes])(*arrays):
        assert value.dtype == np.float32 and np.isfinite(value).all()


@every
@both_ways
def test_an_empty_batch(name, settings, reverse):
    arrays = make(name, settings, lengths=())
    arrays[4] = arrays[4].astype("int64")
    inputs = place(arrays)
    outputs = OPS[name](*inputs, reverse=reverse, **settings)
    slopes = gt.gradients(weighted(outputs[:1]), floats(inputs))
    got = gt.function(inputs, [outputs[0], *slopes])(*arrays)
    assert got[0].shape == (0, T, U)
    assert not any(a.any() for a in got)


@kinds
def test_eager_gradients_of_both_orders(name, settings):
    arrays = make(name, settings, lengths=(2, 4))
    inputs = place(arrays)

    def second(*tensors):
        loss = weighted(OPS[name](*tensors, **settings)[:1])
        return gt.gradients(weighted(gt.gradients(loss, floats(tensors)), seed=2), floats(tensors))
    want = gt.function(inputs, second(*inputs))(*arrays)
    with gt.eager():
        got = [t.numpy() for t in second(*map(gt.constant, arrays))]
    compare(got, want, tolerance=1e-12)


ERRORS = [
    ("lstm", {0: (2, 5)}, {}, "sequences have the axes (samples, time, features)"),
    ("lstm", {0: (2, 0, 3)}, {}, "a sequence needs at least one time step"),
    ("lstm", {1: (4, 16)}, {}, "kernel must be [3, 16], (features, gates * units), not [4, 16]"),
    ("gru", {2: (4, 16)}, {}, "recurrent_kernel must be [4, 12], (units, gates * units), "
                              "not [4, 16]"),
    ("gru", {3: (12,)}, {}, "bias must be [2, 12], the kernel's columns, not [12]"),
    ("gru", {}, {"reset_after": False}, "bias must be [12], the kernel's columns, not [2, 12]"),
    ("simple_rnn", {4: (3,)}, {}, "lengths must be [2], one per sample, not [3]"),
    ("simple_rnn", {5: (2, 3)}, {}, "h0 must be [2, 4], (samples, units), not [2, 3]"),
    ("lstm", {6: (1, 4)}, {}, "c0 must be [2, 4], (samples, units), not [1, 4]"),
    ("simple_rnn", {}, {"activation": "tan"}, 'there is no recurrent activation "tan"'),
]


@pytest.mark.parametrize("name, changes, settings, text", ERRORS)
def test_error_texts(name, changes, settings, text):
    arrays = make(name, {"reset_after": True} if name == "gru" else {}, lengths=(1, 2))
    for position, shape in changes.items():
        arrays[position] = np.zeros(shape, arrays[position].dtype)
    with pytest.raises(Error) as caught:
        OPS[name](*place(arrays), **settings)
    first = str(caught.value).splitlines()[0]
    assert first == f"{name}: {text}"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("position, dtype, text", [
    (1, "float32", "the element types differ, float64 and float32"),
    (4, "float64", "lengths must be integers, not float64")])
def test_dtype_errors(position, dtype, text):
    arrays = make("lstm", {})
    arrays[position] = arrays[position].astype(dtype)
    with pytest.raises(TypeError, match=text):
        OPS["lstm"](*place(arrays))
