"""Recurrent nets on embedded tokens: one product per word gives what one per step does."""
import numpy as np
import pytest

import gradatim as gt

CELLS = [("lstm", 4, {}), ("gru", 3, {}), ("gru", 3, {"reset_after": False}), ("simple_rnn", 1, {})]
BATCH, STEPS, WORDS, FEATURES, UNITS = 23, 9, 11, 5, 37


def arrays(name, gates, settings, dtype, rng):
    after = settings.get("reset_after", name == "gru")
    shapes = [(WORDS, FEATURES), (FEATURES, gates * UNITS), (UNITS, gates * UNITS),
              (2, gates * UNITS) if after else (gates * UNITS,)]
    return [0.3 * rng.standard_normal(shape).astype(dtype) for shape in shapes]


def agree(inputs, wanted, values, tolerance=1e-5):
    """The native program beside the reference; returns the native one."""
    f = gt.function(inputs, wanted, backend="native")
    assert f.plan().fall_backs == ()
    expected = gt.function(inputs, wanted, backend="reference")(*values)
    for got, right in zip(f(*values), expected, strict=True):
        assert np.linalg.norm(got - right) <= tolerance * np.linalg.norm(right)
    return f


def names(f) -> list[str]:
    return [name for name, *_ in f.program.core.steps]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name, gates, settings", CELLS)
def test_words_are_projected_once(name, gates, settings, reverse, padded, dtype):
    rng = np.random.default_rng(1)
    values = arrays(name, gates, settings, dtype, rng)
    floats = [gt.placeholder(a.shape, dtype) for a in values]
    tokens = gt.placeholder((BATCH, STEPS), "int64")
    values.append(rng.integers(-WORDS, WORDS, (BATCH, STEPS)))
    inputs = [*floats, tokens]
    if padded:
        inputs.append(gt.placeholder((BATCH,), "int64"))
        values.append(rng.integers(0, STEPS + 1, BATCH))
    table, *weights = floats
    outputs, h, *_ = gt.backend.OPS[name](gt.gather(table, tokens), *weights, *inputs[5:],
                                          reverse=reverse, **settings)
    loss = (outputs * rng.standard_normal(outputs.shape).astype(dtype)).sum() + gt.square(h).sum()
    f = agree(inputs, [outputs, h, *gt.gradients(loss, floats)], values,
              tolerance=1e-5 if dtype == "float32" else 1e-12)
    assert "scatter_add" not in names(f) and "mask_steps" not in names(f)
    assert ("gather" in names(f)) == (name != "lstm")


@pytest.mark.parametrize("padded", [False, True])
def test_two_directions_share_a_table(padded):
    rng = np.random.default_rng(2)
    values = [*arrays("lstm", 4, {}, "float32", rng), *arrays("lstm", 4, {}, "float32", rng)[1:]]
    floats = [gt.placeholder(a.shape) for a in values]
    tokens = gt.placeholder((BATCH, STEPS), "int64")
    values.append(rng.integers(0, WORDS, (BATCH, STEPS)))
    inputs = [*floats, tokens]
    if padded:
        inputs.append(gt.placeholder((BATCH,), "int64"))
        values.append(rng.integers(0, STEPS + 1, BATCH))
    x, rest = gt.gather(floats[0], tokens), inputs[8:]
    there, *_ = gt.lstm(x, *floats[1:4], *rest)
    back, *_ = gt.lstm(x, *floats[4:7], *rest, reverse=True)
    loss = gt.square(there).sum() + gt.tanh(back).sum()
    f = agree(inputs, [loss, *gt.gradients(loss, floats)], values)
    assert "scatter_add" in names(f) and "gather" not in names(f)


def test_embedded_tokens_may_have_other_readers():
    rng = np.random.default_rng(3)
    values = arrays("lstm", 4, {}, "float32", rng)
    floats = [gt.placeholder(a.shape) for a in values]
    tokens = gt.placeholder((BATCH, STEPS), "int64")
    x = gt.gather(floats[0], tokens)
    outputs, *_ = gt.lstm(x, *floats[1:])
    loss = gt.square(outputs).sum() + gt.sin(x).sum()
    f = agree([*floats, tokens], [loss, x, *gt.gradients(loss, floats)],
              [*values, rng.integers(0, WORDS, (BATCH, STEPS))])
    assert "gather" in names(f)


def test_a_table_is_read_before_its_update_overwrites_it():
    rng = np.random.default_rng(4)
    table, *weights = (gt.variable(a) for a in arrays("lstm", 4, {}, "float32", rng))
    tokens = gt.placeholder((BATCH, STEPS), "int64")
    outputs, *_ = gt.lstm(gt.gather(table, tokens), *weights)
    slopes = gt.gradients(gt.square(outputs).sum(), weights)
    values = [rng.integers(0, WORDS, (BATCH, STEPS))]
    right = [np.array(a) for a in gt.function([tokens], slopes, backend="reference")(*values)]
    f = gt.function([tokens], slopes, updates={table: table * 0.5}, backend="native")
    for got, expected in zip(f(*values), right, strict=True):
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_forward_keeps_every_bit():
    """The same rows in a batch too small for a table, where every step is projected."""
    rng = np.random.default_rng(5)
    values = arrays("lstm", 4, {}, "float32", rng)
    table, *weights = (gt.variable(a) for a in values)
    rows = rng.integers(0, WORDS, (BATCH, STEPS))

    def outputs(rows):
        tokens = gt.placeholder(rows.shape, "int64")
        return gt.function([tokens], gt.lstm(gt.gather(table, tokens), *weights)[0],
                           backend="native")(rows)

    many = outputs(rows)
    for i in range(BATCH):
        np.testing.assert_array_equal(outputs(rows[i:i + 1])[0], many[i])


@pytest.mark.parametrize("token", [WORDS, -WORDS - 1])
def test_a_token_beyond_the_table(token):
    rng = np.random.default_rng(6)
    values = arrays("lstm", 4, {}, "float32", rng)
    floats = [gt.placeholder(a.shape) for a in values]
    tokens = gt.placeholder((BATCH, STEPS), "int64")
    f = gt.function([*floats, tokens], gt.lstm(gt.gather(floats[0], tokens), *floats[1:])[0],
                    backend="native")
    rows = rng.integers(0, WORDS, (BATCH, STEPS))
    rows[3, 4] = token
    with pytest.raises(IndexError, match=f"index {token} is out of range for {WORDS} rows"):
        f(*values, rows)


def test_no_live_step_at_all():
    rng = np.random.default_rng(7)
    values = arrays("lstm", 4, {}, "float32", rng)
    floats = [gt.placeholder(a.shape) for a in values]
    tokens, lengths = gt.placeholder((BATCH, STEPS), "int64"), gt.placeholder((BATCH,), "int64")
    outputs, h, *_ = gt.lstm(gt.gather(floats[0], tokens), *floats[1:], lengths)
    slopes = gt.gradients(outputs.sum() + h.sum(), floats)
    f = gt.function([*floats, tokens, lengths], slopes, backend="native")
    for slope in f(*values, np.zeros((BATCH, STEPS), "int64"), np.zeros(BATCH, "int64")):
        assert not slope.any()
