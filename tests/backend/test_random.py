"""Random ops: Philox against published vectors and plain integers, replicas, distributions."""
import numpy as np
import pytest
from scipy import stats

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.array_module import numpy_module
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError, UnknownNameError
from gradatim.backend.ops import philox as philox_file
from gradatim.backend.ops import random
from gradatim.backend.ops.philox import blocks, philox
from gradatim.backend.ops.random import draw

# Random123's known answers for Philox4x32-10: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1")]


def plain_philox(counter, key):
    """The cipher on Python's own integers, one counter at a time."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [second >> 32 ^ c[1] ^ k[0], second & 0xFFFFFFFF,
             first >> 32 ^ c[3] ^ k[1], first & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) % 2 ** 32, (k[1] + 0xBB67AE85) % 2 ** 32]
    return c


def forward(name, *arrays, seed=7, step=3, offset=0, **settings):
    """An op's value."""
    counters = [np.array(n, np.int64) for n in (seed, step, offset)]
    if name == "permutation":
        counters.pop()
    op = OPS[name]
    return op.forward(numpy_module, *arrays, *counters, **op.settle(settings))


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_known_answers(counter, key, words):
    counter, key, words = ([int(w, 16) for w in text.split()] for text in (counter, key, words))
    column = lambda *numbers: np.array(numbers, np.uint64).reshape(2, 1)
    got = philox(numpy_module, column(*counter[0::2]), column(*counter[1::2]), column(*key))
    assert got.tolist() == [words] == [plain_philox(counter, key)]


@pytest.mark.parametrize("seed", [0, 1, -1, 2 ** 40 + 5])
@pytest.mark.parametrize("step", [0, 2 ** 33 + 9])
@pytest.mark.parametrize("first", [0, 2 ** 32 - 1, 2 ** 40])
def test_blocks_are_keyed_by_seed_step_stream_and_number(seed, step, first):
    stream, count = 0xDEADBEEF, 3
    got = blocks(numpy_module, *(np.array(n, np.int64) for n in (seed, step)), stream,
                 np.array(first, np.int64), count)
    key = (seed % 2 ** 32, seed % 2 ** 64 >> 32)
    assert got.tolist() == [
        plain_philox((n % 2 ** 32, n >> 32, step % 2 ** 32, stream), key)
        for n in range(first, first + count)]


def test_blocks_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    whole = forward("random_bits", shape=(5, 13), stream=4)
    monkeypatch.setattr(philox_file, "BLOCKS_AT_ONCE", 3)
    np.testing.assert_array_equal(forward("random_bits", shape=(5, 13), stream=4), whole)


@pytest.mark.parametrize("row", [(4,), (3,), (2, 5), ()])
@pytest.mark.parametrize("offset", [0, 1, 6])
def test_a_word_follows_from_its_number_alone(row, offset):
    words = forward("random_bits", shape=(3, *row), stream=9, offset=offset)
    per_row = int(np.prod(row, dtype=int))
    for index, word in enumerate(words.reshape(-1)):
        number = offset * per_row + index
        assert word == plain_philox((number // 4, 0, 3, 9), (7, 0))[number % 4]


DRAWN = [("random_bits", {}), ("random_uniform", {"low": -1.0, "high": 2.0}),
         ("random_normal", {"mean": 1.0}), ("truncated_normal", {}),
         ("normal_like", {"stddev": 0.5}), ("dropout_mask", {"rate": 0.3}),
         ("dropout_mask", {"rate": 0.3, "shared_axes": (1,)})]


def drawn(name, shape, stream=5, **settings):
    """A value from a shape, given as a setting or as a tensor of it."""
    if name in ("normal_like", "dropout_mask"):
        return forward(name, np.zeros(shape, np.float32), stream=stream, **settings)
    return forward(name, shape=shape, stream=stream, **settings)


@pytest.mark.parametrize("name, settings", DRAWN)
@pytest.mark.parametrize("row", [(4, 2), (3, 3), (1, 5)])
def test_replicas_draw_what_one_draws(name, settings, row):
    whole = drawn(name, (6, *row), **settings)
    parts = [drawn(name, (2, *row), offset=offset, **settings) for offset in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name, settings", DRAWN)
def test_seed_step_and_stream_each_change_the_draw(name, settings):
    changes = ({}, {"seed": 8}, {"step": 4}, {"stream": 6})
    draws = [drawn(name, (64, 16), **change, **settings) for change in changes]
    assert len({d.tobytes() for d in draws}) == 4
    np.testing.assert_array_equal(drawn(name, (64, 16), **settings), draws[0])


CUT = stats.truncnorm(-2.0, 2.0)
DISTRIBUTIONS = [("uniform", {}, stats.uniform()),
                 ("uniform", {"low": -3.0, "high": -1.0}, stats.uniform(-3.0, 2.0)),
                 ("normal", {}, stats.norm()), ("normal", {"mean": 5.0, "stddev": 2.0},
                                                stats.norm(5.0, 2.0)),
                 ("truncated_normal", {}, CUT),
                 ("truncated_normal", {"stddev": 0.1}, stats.truncnorm(-2.0, 2.0, 0.0, 0.1))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, settings, law", DISTRIBUTIONS)
def test_distribution(kind, settings, law, dtype):
    x = draw(kind, (300, 101), dtype, seed=11, stream=2, **settings).reshape(-1)
    assert x.dtype == dtype
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    assert abs(x.mean() - law.mean()) < 5 * law.std() / x.size ** 0.5
    assert abs(x.std() / law.std() - 1.0) < 0.02
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("kind, tolerance", [("uniform", 2.0 ** -23), ("normal", 1e-4),
                                             ("truncated_normal", 1e-5)])
def test_a_draw_is_the_same_number_in_every_precision(kind, tolerance):
    single, double, half = (draw(kind, (1000,), dtype, seed=1, stream=1)
                            for dtype in ("float32", "float64", "float16"))
    np.testing.assert_allclose(single, double, rtol=0, atol=tolerance)
    np.testing.assert_allclose(half.astype(float), double, rtol=2e-3, atol=2e-3)


def test_seeds_beyond_64_bits_wrap_around():
    draws = [draw("normal", (8,), "float32", seed, 1) for seed in (-1, 2 ** 64 - 1, 2 ** 65 - 1)]
    assert len({d.tobytes() for d in draws}) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bounds_are_kept(dtype):
    uniform = draw("uniform", (100_000,), dtype, seed=3, stream=1)
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    narrow = draw("uniform", (100_000,), dtype, seed=3, stream=1, low=1.0, high=1.25)
    assert narrow.min() >= 1.0 and narrow.max() < 1.25
    cut = draw("truncated_normal", (100_000,), dtype, seed=3, stream=1)
    assert np.abs(cut).max() <= 2.0


def test_extreme_words_give_finite_numbers():
    words = np.array([[0, 0, 2 ** 32 - 1, 2 ** 32 - 1]], np.uint32)
    for dtype in ("float32", "float64"):
        for convert in (random.uniform_from, random.normal_from, random.truncated_from):
            assert np.isfinite(convert(numpy_module, words, np.dtype(dtype))).all()
        assert random.uniform_from(numpy_module, words, np.dtype(dtype)).max() < 1.0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate):
    mask = drawn("dropout_mask", (200, 301), rate=rate)
    kept = np.float32(1.0 / (1.0 - rate))
    assert set(np.unique(mask)) <= {np.float32(0.0), kept}
    assert abs((mask == 0).mean() - rate) < 0.01


def test_shared_axes_share_one_draw():
    mask = drawn("dropout_mask", (4, 5, 7), rate=0.5, shared_axes=(1,))
    np.testing.assert_array_equal(mask, np.repeat(mask[:, :1], 5, axis=1))
    assert len({mask[i].tobytes() for i in range(4)}) == 4


def test_permutation_orders_every_position_once():
    orders = [forward("permutation", n=1000, stream=1, step=step) for step in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert len({order.tobytes() for order in orders}) == 3
    words = forward("random_bits", shape=1000, stream=1, step=0)
    np.testing.assert_array_equal(orders[0], np.argsort(words, kind="stable"))


def test_no_gradient_flows_through_a_mask():
    x = gt.placeholder((2, 4))
    counters = [gt.constant(n) for n in (1, 2, 0)]
    mask = gt.dropout_mask(x, *counters, rate=0.5, stream=1)
    (dx,) = gt.gradients((x * mask).sum(), [x])
    value, slope = gt.run([mask, dx], {x: np.ones((2, 4), np.float32)})
    np.testing.assert_array_equal(value, slope)


def one(n=1):
    """A counter."""
    return gt.constant(n)


ERRORS = [
    (lambda x: gt.dropout_mask(x, one(), one(), one(), rate=1.0, stream=1), ParameterError,
     "dropout_mask: the rate must be at least 0 and below 1, not 1.0"),
    (lambda x: gt.dropout_mask(x, one(), one(), one(), rate=0.5, stream=1, shared_axes=(0,)),
     ShapeError,
     "dropout_mask: axis 0 cannot be shared: each sample has a draw of its own"),
    (lambda x: gt.dropout_mask(x, 1.0, one(), one(), rate=0.5, stream=1), DTypeError,
     "dropout_mask: seed, step and offset are int64, not float32"),
    (lambda x: gt.normal_like(x, one(), one(), one([1, 2]), stream=1), ShapeError,
     "normal_like: seed, step and offset are single numbers"),
    (lambda x: gt.random_normal(one(), one(), one(), shape=2, stream=1, stddev=-1.0),
     ParameterError, "random_normal: the standard deviation must not be negative, -1.0"),
    (lambda x: gt.random_uniform(one(), one(), one(), shape=2, stream=1, low=2.0, high=1.0),
     ParameterError, "random_uniform: low must not be above high, 2.0 and 1.0"),
    (lambda x: gt.random_uniform(one(), one(), one(), shape=2, stream=1, dtype="int64"),
     DTypeError, "random_uniform: needs floating-point numbers, not int64"),
    (lambda x: draw("gamma", 3, "float32", 0, 0), UnknownNameError,
     'there is no distribution "gamma"'),
    (lambda x: draw("normal", 3, "float32", 0, 0, low=1.0), ParameterError,
     'random_normal: there is no setting "low"')]


@pytest.mark.parametrize("make, error, text", ERRORS)
def test_error(make, error, text):
    with pytest.raises(error) as caught:
        make(gt.placeholder((2, 3)))
    assert str(caught.value).splitlines()[0] == text
