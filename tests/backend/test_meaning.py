"""The rules of meaning that hold at the level of tensors, one test each (design, section 2.4)."""
import inspect
import pickle

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS, Graph
from gradatim.backend.distribute import DataParallel, replicate, strategy
from gradatim.backend.errors import DTypeError
from gradatim.backend.ops import random
from gradatim.backend.tensor import LEAVES, stream_of


def test_tensors_equal_is_identity_and_every_op_has_its_name():
    x, y = gt.placeholder((2,)), gt.placeholder((2,))
    assert x == x and x != y and {x: 1}[x] == 1
    for name, op in OPS.items():
        if op not in LEAVES and not name.startswith("test_"):
            assert getattr(gt, name) is op
    assert gt.run(gt.equal(x, y), {x: [1, 2], y: [1, 3]}).tolist() == [True, False]


def test_numbers_adapt_and_arrays_do_not():
    x = gt.placeholder((2,), "float64")
    assert (x + 1).dtype == (2.5 * x).dtype == "float64"
    with pytest.raises(DTypeError, match="add: the element types differ, float64 and float32"):
        x + np.ones(2, np.float32)


def test_a_tuple_is_a_shape_and_an_array_keeps_its_dtype():
    assert gt.variable((2, 3)).numpy().tolist() == [[0.0] * 3] * 2
    assert gt.variable(np.ones(2, np.float16)).dtype == "float16"
    ones = gt.variable((2,), initializer=lambda spec, seed, stream: np.ones(spec.shape))
    assert ones.numpy().tolist() == [1, 1] and ones.dtype == "float32"


def test_updates_are_simultaneous_and_outputs_show_the_values_before():
    a, b = gt.variable(1.0), gt.variable(10.0)
    step = gt.function([], [a, b], updates={a: a + b, b: a})
    assert [float(v) for v in step()] == [1, 10] and [float(v) for v in step()] == [11, 1]


def test_what_changes_from_step_to_step_is_a_variable_and_needs_no_new_program():
    rate, w = gt.variable(0.5, name="rate"), gt.variable(1.0, name="w")
    step = gt.function([], [], updates={w: w - rate})
    step()
    rate.assign(0.25)
    step()
    assert w.numpy() == 0.25


def test_the_users_line_is_the_innermost_outside_the_library():
    x = gt.placeholder((2, 3))
    line = inspect.currentframe().f_lineno + 1
    y = (x @ x.T).mean()                          # made by methods, operators and properties
    assert y.node.line == f"test_meaning.py:{line}"
    (dx,) = gt.gradients(y, [x])                  # made by the library: this line asked for it
    assert dx.node.line == f"test_meaning.py:{line + 2}"


def test_batch_reductions_are_marked_and_the_only_place_for_collectives():
    x, weights = gt.placeholder((4, 3), "float64"), gt.placeholder((4,), "float64")
    total = gt.batch_sum(x, weights)
    assert [n.op.name for n in replicate(Graph([total, x.sum()]), 0).steps] == [
        "batch_sum", "all_reduce", "sum"]
    rows = np.arange(12.0).reshape(4, 3)
    padded = np.concatenate([rows[:3], np.zeros((1, 3))])
    np.testing.assert_array_equal(gt.run(total, {x: padded, weights: [1, 1, 2, 0]}),
                                  rows[0] + rows[1] + 2 * rows[2])


def test_random_numbers_are_a_function_of_seed_stream_step_and_row():
    def noise(rows, first, seed_value, step_value, stream):
        x = gt.placeholder((rows, 4))
        seed, step, offset = (gt.placeholder((), "int64") for _ in range(3))
        y = gt.normal_like(x, seed, step, offset, stream=stream)
        return gt.run(y, {x: np.zeros((rows, 4)), seed: seed_value, step: step_value,
                          offset: first})
    whole = noise(6, 0, 1, 2, 3)
    np.testing.assert_array_equal(whole, noise(6, 0, 1, 2, 3))
    np.testing.assert_array_equal(whole[2:5], noise(3, 2, 1, 2, 3))
    for other in (noise(6, 0, 9, 2, 3), noise(6, 0, 1, 9, 3), noise(6, 0, 1, 2, 9)):
        assert not np.isin(other, whole).any()


def test_no_pass_changes_a_random_number():
    x = gt.placeholder((6, 4), name="x")
    key = gt.constant(1)
    first = gt.dropout_mask(x, key, gt.constant(2), gt.row_offset(x), rate=0.5, stream=3)
    noise = gt.dropout_mask(gt.exp(x) * 2.0, key, gt.constant(2), gt.row_offset(x), rate=0.5,
                            stream=3)
    with_passes = gt.function([x], [first, noise])
    without = gt.function([x], [first, noise], passes=())
    feed = np.zeros((6, 4), np.float32)
    for values in (with_passes(feed), without(feed)):
        np.testing.assert_array_equal(values[0], values[1])
        np.testing.assert_array_equal(values[0], without(feed)[0])


def test_a_variable_is_drawn_by_its_name_not_by_the_order_of_creation():
    def draw(spec, seed, stream):
        return random.draw("normal", spec.shape, spec.dtype, seed, stream)
    a, b = (gt.variable((3,), name=n, initializer=draw) for n in ("a", "b"))
    c, d = (gt.variable((3,), name=n, initializer=draw) for n in ("b", "a"))
    np.testing.assert_array_equal(a.numpy(), d.numpy())
    np.testing.assert_array_equal(b.numpy(), c.numpy())
    assert (a.numpy() != b.numpy()).all() and stream_of("a") != stream_of("b")


def test_strategies_are_plain_parameters():
    for name in ("auto", DataParallel(3)):
        made = strategy(name)
        again = pickle.loads(pickle.dumps(made))
        assert again == made and vars(again) == vars(made)


def test_recurrent_ops_take_lengths_and_have_several_outputs():
    x, n = gt.placeholder((2, 5, 3)), gt.placeholder((2,), "int64")
    k, r, b = gt.variable((3, 8)), gt.variable((2, 8)), gt.variable((8,))
    outputs, h, c, *_ = gt.lstm(x, k, r, b, n)
    assert (outputs.shape, h.shape, c.shape) == ((2, 5, 2), (2, 2), (2, 2))
    values = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    other = values.copy()
    other[0, 2:] = 99                             # padding is never read
    f = gt.function([x, n], [outputs, h])
    for p, q in zip(f(values, [2, 5]), f(other, [2, 5])):
        np.testing.assert_array_equal(p, q)


def test_predictions_do_not_depend_on_neighbours():
    w = gt.variable(np.random.default_rng(0).standard_normal((5, 3)).astype("float32"))
    rows = np.random.default_rng(1).standard_normal((7, 5)).astype("float32")

    def predict(x):
        stand_in = gt.placeholder(x.shape)
        return gt.run(gt.softmax(stand_in @ w), {stand_in: x})
    for i, row in enumerate(predict(rows)):
        np.testing.assert_allclose(predict(rows[i:i + 1])[0], row, rtol=1e-6, atol=1e-7)
