"""Pooling and its gradients against explicit loops: values, ties, NaN, padding, error texts."""
import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError
from gradatim.backend.ops.sliding import sliding

TABLE = [  # x shape, settings
    ((2, 4, 6, 3), {"pool_size": 2}),
    ((2, 5, 7, 2), {"pool_size": 2}),
    ((2, 5, 7, 2), {"pool_size": 2, "padding": "same"}),
    ((2, 6, 6, 2), {"pool_size": 3, "strides": 1}),
    ((2, 6, 5, 2), {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}),
    ((2, 7, 7, 1), {"pool_size": 2, "strides": 3}),
    ((2, 3, 3, 2), {"pool_size": 5, "padding": "same", "strides": 1}),
    ((1, 1, 1, 1), {"pool_size": 1}),
    ((0, 4, 4, 2), {"pool_size": 2}),
    ((1, 18, 17, 1), {"pool_size": 17, "strides": 1}),
    ((2, 7, 3), {"pool_size": 2}),
    ((2, 7, 3), {"pool_size": 3, "strides": 2, "padding": "same"})]


def run(name, *arrays, **settings):
    inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    return gt.function(inputs, OPS[name](*inputs, **settings), backend="reference")(*arrays)


def windows(shape, *, pool_size, strides=None, padding="valid"):
    """For each window: where its result goes, and its elements on the input with their numbers."""
    size = shape[1:-1]
    window = (pool_size,) * len(size) if isinstance(pool_size, int) else pool_size
    axes = sliding(size, window, strides=window if strides is None else strides, padding=padding)
    for spot in np.ndindex(*(a.out for a in axes)):
        elements = []
        for number, offset in enumerate(np.ndindex(*window)):
            at = tuple(s * a.stride + o - a.low for s, o, a in zip(spot, offset, axes))
            if all(0 <= i < n for i, n in zip(at, size)):
                elements.append((number, (slice(None), *at)))
        yield (slice(None), *spot), elements


def loops(x, g, **settings):
    """Maximum, its position, average and both gradients, one window at a time."""
    y, average = np.zeros(g.shape), np.zeros(g.shape)
    indices = np.zeros(g.shape, int)
    by_max, by_average = np.zeros(x.shape), np.zeros(x.shape)
    for spot, elements in windows(x.shape, **settings):
        values = np.stack([x[at] for _, at in elements])
        best = values.argmax(0)                    # the first maximum, or the first NaN
        y[spot], average[spot] = values.max(0), values.mean(0)
        indices[spot] = np.array([number for number, _ in elements])[best]
        for i, (_, at) in enumerate(elements):
            by_max[at] += np.where(best == i, g[spot], 0.0)
            by_average[at] += g[spot] / len(elements)
    return y, indices, average, by_max, by_average


@pytest.mark.parametrize("x_shape, settings", TABLE)
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
def test_pooling_and_its_gradients(x_shape, settings, kind):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_shape)
    if kind == "ties":
        x = np.round(x)
    if kind == "special":
        x = rng.choice([np.nan, -np.inf, -np.inf, -np.inf, 1.0, np.inf], x_shape)
    with np.errstate(invalid="ignore"):
        y, indices = run("max_pool", x, **settings)
        average = run("average_pool", x, **settings)
        g = rng.standard_normal(y.shape)
        want = loops(x, g, **settings)
    size = x_shape[1:-1]
    np.testing.assert_array_equal(y, want[0])
    np.testing.assert_array_equal(indices, want[1])
    assert indices.dtype == ("int32" if settings["pool_size"] == 17 else "uint8")
    np.testing.assert_allclose(average, want[2], atol=1e-13)
    np.testing.assert_allclose(
        run("max_pool_gradient", g, indices, size=size, **settings), want[3], atol=1e-13)
    np.testing.assert_allclose(
        run("average_pool_gradient", g, size=size, **settings), want[4], atol=1e-13)
    np.testing.assert_array_equal(run("max_pool_select", x, indices, **settings), y)


def test_an_infinite_gradient_stays_where_it_belongs():
    x = np.float32([[[1], [2], [4], [3]]])
    _, indices = run("max_pool", x, pool_size=2)
    g = np.float32([[[np.inf], [np.nan]]])
    np.testing.assert_array_equal(
        run("max_pool_gradient", g, indices, size=(4,), pool_size=2).ravel(),
        np.float32([0, np.inf, np.nan, 0]))


def test_blocks_give_the_same_as_samples_alone(monkeypatch):
    from gradatim.backend.ops import pooling
    x = np.random.default_rng(1).standard_normal((7, 6, 6, 3))
    whole = run("max_pool", x, pool_size=2)
    monkeypatch.setattr(pooling, "BLOCK", 2 * x[0].nbytes)
    for a, b in zip(whole, run("max_pool", x, pool_size=2)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
@pytest.mark.parametrize("shape, settings, error, text", [
    ((2, 4, 4, 3), {"pool_size": 5}, ShapeError, "a window of 5 does not fit into 4"),
    ((2, 3), {"pool_size": 2}, ShapeError,
     "the input must be (batch, length, channels) or (batch, height, width, channels), not 2-d"),
    ((2, 4, 4, 3), {"pool_size": (2, 2, 2)}, ParameterError,
     "pool_size must be a positive whole number or 2 of them"),
    ((2, 4, 4, 3), {"pool_size": 2, "strides": 0}, ParameterError,
     "strides must be a positive whole number or 2 of them"),
    ((2, 4, 4), {"pool_size": 2, "padding": "causal"}, ParameterError,
     'there is no padding "causal"')])
def test_error_texts(name, shape, settings, error, text):
    with pytest.raises(error) as caught:
        OPS[name](gt.placeholder(shape), **settings)
    assert caught.value.what == f"{name}: {text}"


def test_gradient_error_texts():
    g, indices = gt.placeholder((2, 3, 3, 1)), gt.placeholder((2, 3, 2, 1), "uint8")
    with pytest.raises(ShapeError, match=r"must be \(batch, 4, 4, channels\)"):
        gt.average_pool_gradient(g, size=(8, 8), pool_size=2)
    with pytest.raises(ShapeError, match=r"the indices must be \[2, 3, 3, 1\]"):
        gt.max_pool_gradient(g, indices, size=(6, 6), pool_size=2)
    with pytest.raises(DTypeError, match="the indices must be integers, not float32"):
        gt.max_pool_gradient(g, g, size=(6, 6), pool_size=2)
