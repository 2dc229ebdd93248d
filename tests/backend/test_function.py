"""Running: updates, feeds in the middle, only what is needed, feed errors, threads, the cache."""
import gc
import importlib
import inspect
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import DTypeError, GraphError, NonFiniteError, ShapeError

functions = importlib.import_module("gradatim.backend.function")
calls: list[str] = []


@pytest.fixture
def noted():
    """An op that returns its input and notes that it ran."""
    def forward(xp, x, *, tag):
        calls.append(tag)
        return x + 0
    made = gt.op("test_noted", forward=forward, spec=lambda x, *, tag: x,
                 grad=lambda g, out, x, *, tag: (g,))
    calls.clear()
    yield made
    del OPS["test_noted"]


# ---- updates -----------------------------------------------------------------------------------

def test_updates_are_simultaneous_and_outputs_show_what_was_before():
    a, b = gt.variable(1.0, name="a"), gt.variable(2.0, name="b")
    swap = gt.function([], [a, b, a + b], updates={a: b, b: a})
    assert [float(v) for v in swap()] == [1, 2, 3]
    assert [float(v) for v in swap()] == [2, 1, 3]
    assert (a.numpy(), b.numpy()) == (1, 2)


def test_a_variable_that_is_only_updated():
    w, x = gt.variable((2,)), gt.placeholder((2,))
    gt.function([x], [], updates={w: x * 2.0})([1.0, 2.0])
    assert w.numpy().tolist() == [2, 4]


def test_compute_leaves_variables_until_commit():
    w = gt.variable(1.0)
    f = gt.function([], w, updates={w: w + 1.0})
    (value,), state = f.compute()
    assert (value, w.numpy()) == (1, 1)
    f.commit(state)
    assert w.numpy() == 2


LENT = {
    "variable": lambda x, w: w, "feed": lambda x, w: x, "view of a feed": lambda x, w: x[:, None],
    "view of a weight": lambda x, w: w[1:], "stopped": lambda x, w: gt.stop_gradient(w),
    "constant": lambda x, w: gt.constant([1.0, 2.0]), "sum": lambda x, w: x + w,
    "broadcast": lambda x, w: gt.broadcast_to(x, shape=(2, 3)),
    "part": lambda x, w: gt.split(x + w, sections=3)[0]}


@pytest.mark.parametrize("make", LENT.values(), ids=LENT)
def test_results_are_the_callers_to_change(make):
    x, w = gt.placeholder((3,), name="x"), gt.variable(np.float32([1, 2, 3]))
    y = make(x, w)
    feed = np.float32([4, 5, 6])
    f = gt.function([x], [y, y, x + w])
    first, second, _ = f(feed)
    want = first.copy()
    first[...] = -1
    np.testing.assert_array_equal(second, want)
    np.testing.assert_array_equal(f(feed)[0], want)
    assert feed.tolist() == [4, 5, 6] and w.numpy().tolist() == [1, 2, 3]


@pytest.mark.parametrize("make", [lambda x: x, lambda x: gt.reshape(x, shape=(3,)),
                                  lambda x: x * 1.0])
def test_weights_do_not_follow_feeds_or_results(make):
    x, w, u = gt.placeholder((3,)), gt.variable((3,)), gt.variable((3,))
    y = make(x)
    feed = np.float32([1, 2, 3])
    (result,) = gt.function([x], [y], updates={w: y, u: y})(feed)
    feed[:] = result[:] = 9
    assert w.numpy().tolist() == u.numpy().tolist() == [1, 2, 3]


# ---- feeds in the middle, and what is needed ---------------------------------------------------

def test_any_node_can_be_fed_and_only_what_is_needed_runs(noted):
    x = gt.placeholder((2,), name="x")
    a = noted(x, tag="a")
    b, c = noted(a * 2.0, tag="b"), noted(a * 3.0, tag="c")
    total = noted(b + c, tag="total")
    cases = [((total, {x: [1, 1]}), "a b c total", [5, 5]), ((b, {x: [1, 1]}), "a b", [2, 2]),
             ((total, {a: [1, 2]}), "b c total", [5, 10]),
             ((total, {b: [1, 1], c: [2, 2]}), "total", [3, 3]),
             ((total, {total: [7, 8]}), "", [7, 8]), ((c, {x: [0, 0], a: [1, 1]}), "c", [3, 3])]
    for (fetch, feeds), ran, want in cases:
        calls.clear()
        assert gt.run(fetch, feeds).tolist() == want
        assert sorted(calls) == ran.split()


def test_one_output_of_an_op_can_be_fed():
    x = gt.placeholder((4,))
    a, b = gt.split(x, sections=2)
    total = a * 10.0 + b
    assert gt.run(total, {x: [1, 2, 3, 4]}).tolist() == [13, 24]
    assert gt.run(total, {x: [1, 2, 3, 4], a: [5, 6]}).tolist() == [53, 64]
    assert gt.run(total, {a: [5, 6], b: [1, 1]}).tolist() == [51, 61]
    assert gt.run([total, a], {x: [1, 2, 3, 4], b: [0, 0]})[0].tolist() == [10, 20]
    # Graphs that differ only in what is fed do not share a program.
    fed, computed = gt.function([a, x], total), gt.function([x], total)
    assert fed.graph.fingerprint != computed.graph.fingerprint


def test_variables_can_be_fed():
    w = gt.variable(np.float32([1, 2]), name="w")
    y = w * 2.0
    assert gt.run(y, {w: [5, 6]}).tolist() == [10, 12] and gt.run(y).tolist() == [2, 4]
    f = gt.function([w], y, updates={w: w + 1.0})
    assert f([5, 6]).tolist() == [10, 12] and w.numpy().tolist() == [6, 7]


def test_inputs_that_are_not_needed_are_taken():
    x, y = gt.placeholder((2,)), gt.placeholder((3,))
    assert gt.function([y, x], x + 1.0)([0, 0, 0], [1, 2]).tolist() == [2, 3]


# ---- errors ------------------------------------------------------------------------------------

FEEDS = [
    ("float32", [[1.0, 2.0]], ShapeError, '"x" is fed another shape',
     "float64[1, 2], not float32[2]"),
    ("float32", np.ones(3, "f4"), ShapeError, '"x" is fed another shape',
     "float32[3], not float32[2]"),
    ("float32", [[1], [2, 3]], ShapeError, '"x" is fed rows of unequal length', None),
    ("int64", np.ones(2), DTypeError, '"x" is fed another element type', "float64, not int64"),
    ("int64", [1.5, 2.0], DTypeError, '"x" is fed another element type', "float64, not int64"),
    ("uint8", np.ones(2, "int64"), DTypeError, '"x" is fed another element type',
     "int64, not uint8"),
    ("uint8", [1, 256], DTypeError, '"x": 256 is not a number of the type uint8', None),
    ("float32", ["a", "b"], DTypeError, '"x" is fed another element type', "<U1, not float32"),
    ("float32", [None, 1.0], DTypeError, '"x" is fed another element type',
     "object, not float32")]


@pytest.mark.parametrize("dtype, value, kind, what, got", FEEDS, ids=lambda v: None)
def test_a_wrong_feed_is_named(dtype, value, kind, what, got):
    line = inspect.currentframe().f_lineno + 1
    x = gt.placeholder((2,), dtype, name="x")
    with pytest.raises(kind) as caught:
        gt.run(x, {x: value})
    assert caught.value.what == what and caught.value.facts.get("got") == got
    assert caught.value.facts["at"] == f"test_function.py:{line}"


@pytest.mark.parametrize("dtype, value", [
    ("float32", [1, 2]), ("float32", np.float64([1, 2])), ("float32", np.int64([1, 2])),
    ("int64", np.int32([1, 2])), ("int64", [True, False]), ("float64", np.float32([1, 2])),
    ("uint8", [0, 255]), ("float32", np.array([1, 2], ">f4")), ("bool", [0, 1])])
def test_feeds_that_lose_nothing_are_converted(dtype, value):
    x = gt.placeholder((2,), dtype)
    got = gt.run(x, {x: value})
    assert got.dtype == dtype and got.tolist() == np.asarray(value).tolist()


def misuses():
    x, w = gt.placeholder((2,), name="x"), gt.variable((2,), name="w")
    return [
        (lambda: gt.function([x], x)(), "the function takes 1 array, not 0"),
        (lambda: gt.function([x, x], x), "a tensor is fed twice"),
        (lambda: gt.function([x], [3.0]), "an output is not a tensor"),
        (lambda: gt.run(x, {"x": [1, 2]}), "an input is not a tensor"),
        (lambda: gt.function([x], x, {x: w}), "only variables can be updated"),
        (lambda: gt.function([x], x, {w: 1.0}), 'the update of "w" is not a tensor'),
        (lambda: gt.function([x], x, {w: x.sum()}), 'the update of "w" has another shape or dtype'),
        (lambda: gt.function([x], x, {w: x.astype("float64")}),
         'the update of "w" has another shape or dtype'),
        (lambda: gt.function([x], x, passes=("fodl",)), 'there is no graph pass "fodl"')]


@pytest.mark.parametrize("misuse, what", misuses(), ids=lambda v: None)
def test_misuse_is_explained(misuse, what):
    with pytest.raises(gt.backend.errors.Error) as caught:
        misuse()
    assert caught.value.what == what


def test_numbers_beyond_range_are_quiet_while_running():
    x = gt.placeholder((2,))
    with np.errstate(all="raise"):
        assert np.isnan(gt.run(gt.log(x - 1.0), {x: [0.0, 1.0]})[0])


# ---- eager -------------------------------------------------------------------------------------

def test_eager_runs_at_once_and_differentiates():
    w = gt.variable(3.0)
    with gt.eager():
        x = gt.constant(2.0)
        y = x * x * w
        assert y.numpy() == 12 and bool(y > 0) and (gt.gradients(y, [x, w])[0]).numpy() == 12
    assert gt.gradients(y, [w])[0].value is None


def test_eager_names_the_first_op_that_is_not_finite():
    with gt.eager():
        hidden = gt.constant([-1.0, float("inf"), float("nan")])     # leaves may hold anything
        assert (hidden * 2.0).numpy()[1] == float("inf")             # and infinity makes infinity
        x = gt.constant([1.0, -1.0])
        line = inspect.currentframe().f_lineno + 2
        with pytest.raises(NonFiniteError) as caught:
            gt.log(x)
        assert str(caught.value) == ("log: NaN or infinity from finite numbers\n"
                                     "  got  float32[2]\n"
                                     f"  at   test_function.py:{line}")
    with gt.eager(check_finite=False):
        assert np.isnan(gt.log(gt.constant(-1.0)).numpy())
    x = gt.placeholder((2,))
    with gt.eager(), pytest.raises(GraphError, match="an eager op was given a tensor without"):
        x * 2.0


# ---- threads and the cache ---------------------------------------------------------------------

def test_eight_threads_share_a_function():
    w = gt.variable(np.random.default_rng(0).standard_normal((8, 8)), name="w")
    x = gt.placeholder((16, 8), "float64")
    y = x
    for _ in range(6):
        y = gt.tanh(gt.exp(-(y @ w) * 0.5) + 1.0)
    f = gt.function([x], y)
    feeds = [np.random.default_rng(i).standard_normal((16, 8)) for i in range(64)]
    want = [f(a) for a in feeds]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(f, feeds * 4), want * 4):
            np.testing.assert_array_equal(got, expected)


def test_equal_graphs_share_a_program_and_weights_stay_apart():
    def build(start):
        w, x = gt.variable(np.float32(start), name="w"), gt.placeholder((3,), name="x")
        return w, gt.function([x], x * w, updates={w: w + 1.0})
    (w, f), (v, g) = build(2.0), build(5.0)
    assert f.program is g.program
    assert f([1, 1, 1])[0] == 2 and g([1, 1, 1])[0] == 5
    assert (w.numpy(), v.numpy()) == (3, 6)


def test_an_op_defined_anew_does_not_meet_an_old_program():
    def build(factor):
        times = gt.op("test_times", forward=lambda xp, x: x * factor, spec=gt.backend.same)
        x = gt.placeholder((), name="x")
        return gt.run(times(x), {x: 1.0})
    assert (build(2), build(3)) == (2, 3)
    del OPS["test_times"]


def test_the_cache_is_bounded_and_frees_the_weights(monkeypatch):
    monkeypatch.setattr(functions, "KEPT_PROGRAMS", 5)
    for n in range(1, 12):
        x = gt.placeholder((n,))
        gt.function([x], x * 12345.0)
    assert len(functions._programs) == 5
    w = gt.variable(np.ones(1000), name="big")
    f = gt.function([], w * 2.0)
    seen = weakref.ref(w)
    f()
    del w, f
    gc.collect()
    assert seen() is None, "a cached program keeps a model's weights alive"
