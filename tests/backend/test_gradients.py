"""Gradients: any order, zeros where there is none, errors, and where all_reduce goes."""
import inspect

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import GradientError, ShapeError


def scalar(name="x"):
    return gt.placeholder((), "float64", name)


def names(*tensors):
    return [n.op.name for n in gt.graph(*tensors).steps]


# ---- values ------------------------------------------------------------------------------------

def test_every_order_of_a_polynomial():
    x = scalar()
    y, found = x ** 5, []
    for _ in range(7):
        (y,) = gt.gradients(y, [x])
        found.append(y)
    values = [float(v) for v in gt.run(found, {x: 2.0})]
    assert values == [80, 160, 240, 240, 120, 0, 0]


def test_mixed_second_derivatives_commute():
    x, y = scalar(), scalar()
    f = gt.sin(x * y) * gt.exp(y)
    dx, dy = gt.gradients(f, [x, y])
    (dxy,), (dyx,) = gt.gradients(dx, [y]), gt.gradients(dy, [x])
    a, b = gt.run([dxy, dyx], {x: 0.7, y: -0.3})
    t = 0.7 * -0.3
    want = np.exp(-0.3) * (np.cos(t) - t * np.sin(t) + -0.3 * np.cos(t))
    assert a == pytest.approx(want, rel=1e-14) and b == pytest.approx(want, rel=1e-14)


def test_gradients_by_tensors_in_the_middle_by_repeated_and_by_unrelated_ones():
    x, z, w = scalar(), scalar(), gt.variable(np.ones((2, 3)))
    y = x * 3.0
    loss = y * y + z
    dy, dx, dx_again, dw, dloss = gt.gradients(loss, [y, x, x, w, loss])
    values = gt.run([dy, dx, dx_again, dw, dloss], {x: 2.0})
    assert [v.tolist() for v in values[:3]] == [12.0, 36.0, 36.0]
    assert values[3].shape == (2, 3) and not values[3].any() and values[4] == 1.0


def test_a_tensor_used_many_times_gets_the_sum():
    x = scalar()
    (dx,) = gt.gradients(x * x + x / x + (x + x) * x, [x])
    assert gt.run(dx, {x: 3.0}) == pytest.approx(18.0)


def test_through_some_outputs_of_an_op():
    x = gt.placeholder((2, 6), "float64")
    a, _, c = gt.split(x, sections=3)
    (dx,) = gt.gradients((a * 2.0 + c * 3.0).sum(), [x])
    np.testing.assert_array_equal(gt.run(dx, {x: np.zeros((2, 6))}), [[2, 2, 0, 0, 3, 3]] * 2)
    values, indices = gt.top_k(x, k=1)
    (dx,) = gt.gradients(values.sum(), [x])
    assert indices.dtype == "int64"
    np.testing.assert_array_equal(gt.run(dx, {x: [[0, 1, 2, 3, 9, 5]] * 2}),
                                  [[0, 0, 0, 0, 1, 0]] * 2)
    (dvalues,) = gt.gradients((values * values).sum(), [values])
    np.testing.assert_array_equal(gt.run(dvalues, {values: [[2.0], [3.0]]}), [[4], [6]])


def test_a_seed_weights_the_outputs():
    x, seed = gt.placeholder((3,), "float64"), gt.placeholder((3,), "float64")
    (dx,) = gt.gradients(x * x, [x], seed=seed)
    np.testing.assert_array_equal(gt.run(dx, {x: [1, 2, 3], seed: [1, 0, -1]}), [2, 0, -6])


@pytest.mark.parametrize("shapes", [((3,), ()), ((2, 3), (3,)), ((2, 3), (2, 1)), ((1,), (4, 1)),
                                    ((0, 3), (3,)), ((2, 3), (1, 1))], ids=str)
def test_broadcasting_is_undone(shapes):
    x, y = (gt.placeholder(s, "float64") for s in shapes)
    both = np.broadcast_shapes(*shapes)
    dx, dy = gt.gradients((x * y).sum(), [x, y])
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shapes[0]), rng.standard_normal(shapes[1])
    for got, array, other in zip(gt.run([dx, dy], {x: a, y: b}), (a, b), (b, a)):
        want = np.broadcast_to(other, both)
        lead = len(both) - array.ndim
        want = want.sum(axis=tuple(range(lead)))
        want = want.sum(axis=tuple(i for i, n in enumerate(array.shape) if n == 1), keepdims=True)
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_stopped_and_whole_number_paths_have_no_gradient():
    x = gt.placeholder((2,), "float64")
    stopped = gt.stop_gradient(x)
    (dx,) = gt.gradients((x * stopped + gt.cast(x > 0, dtype="float64")).sum(), [x])
    np.testing.assert_array_equal(gt.run(dx, {x: [3.0, -4.0]}), [3, -4])


# ---- errors ------------------------------------------------------------------------------------

def errors():
    x, i = gt.placeholder((2,)), gt.placeholder((), "int64")
    hard = gt.op("test_no_gradient", forward=lambda xp, x: xp.sin(x), spec=gt.backend.same)
    y = hard(x)
    del OPS["test_no_gradient"]
    return [
        (lambda: gt.gradients(i, [x]), GradientError,
         "the loss is int64, and only floating-point numbers have gradients"),
        (lambda: gt.gradients(x, [x]), ShapeError, "the loss must be one number, not float32[2]"),
        (lambda: gt.gradients(x.sum(), [i]), GradientError,
         "there is no gradient by whole numbers, int64[]"),
        (lambda: gt.gradients(x, [x], seed=gt.constant(1.0)), ShapeError,
         "the seed is float32[], and the loss float32[2]"),
        (lambda: gt.gradients(x.sum(), [3.0]), GradientError, "3.0 is not a tensor"),
        (lambda: gt.gradients(y.sum(), [x]), GradientError, "test_no_gradient has no gradient")]


@pytest.mark.parametrize("case", errors(), ids=lambda c: c[2])
def test_errors_say_what_and_where(case):
    misuse, kind, what = case
    with pytest.raises(kind) as caught:
        misuse()
    assert caught.value.what == what and caught.value.facts["fix"]
    if what != "3.0 is not a tensor":
        assert caught.value.facts["at"].startswith("test_gradients.py:")


def test_an_op_without_a_gradient_is_located():
    x = gt.placeholder((2,))
    mystery = gt.op("test_mystery", forward=lambda xp, x: xp.sin(x), spec=gt.backend.same)
    line = inspect.currentframe().f_lineno + 1
    y = mystery(x * 2.0)
    del OPS["test_mystery"]
    with pytest.raises(GradientError) as caught:
        gt.gradients(y.sum(), [x])
    assert str(caught.value) == (
        "test_mystery has no gradient\n"
        f"  at   test_gradients.py:{line}\n"
        "  fix  leave it out with gt.stop_gradient, or give its op a grad=")
    z = mystery(gt.stop_gradient(x)) + x      # nothing asked for stands before it: no gradient
    gt.gradients((mystery(gt.constant([1.0, 2.0])) * x).sum(), [x])
    assert z.shape == (2,)


# ---- where replicas meet -----------------------------------------------------------------------

def batch():
    return gt.placeholder((4, 3), name="x")


def reductions(loss, wrt):
    """Per gradient: the specs of the all_reduce nodes in it, and no others."""
    return [[str(n.specs[0]) for n in gt.graph(g).steps if n.op.name == "all_reduce"]
            for g in gt.gradients(loss, wrt)]


def test_a_parameter_that_meets_samples_is_reduced_once():
    x, w, b = batch(), gt.variable((3, 2)), gt.variable((2,))
    y = gt.tanh(x @ w + b)
    assert reductions(gt.batch_sum(y, axes=(0, 1)), [w, b, x]) == [["float32[3, 2]"],
                                                                  ["float32[2]"], []]


def test_a_parameter_used_twice_is_reduced_once():
    x, w = batch(), gt.variable((3, 3))
    y = (x @ w) @ w
    assert reductions(gt.batch_sum(y, axes=(0, 1)), [w]) == [["float32[3, 3]"]]


def test_what_happens_among_parameters_alone_is_not_reduced():
    x, w = batch(), gt.variable((3, 2))
    penalty = gt.square(w).sum()
    assert reductions(penalty, [w]) == [[]]
    # The sum over samples is completed where the two meet: at exp(w), whose gradient goes on whole.
    loss = gt.batch_sum(x @ gt.exp(w), axes=(0, 1)) + penalty
    (dw,) = gt.gradients(loss, [w])
    assert names(dw).count("all_reduce") == 1
    reduced = next(n for n in gt.graph(dw).steps if n.op.name == "all_reduce")
    assert reduced.inputs[0].node.op.name == "matmul"


def test_statistics_of_the_batch_are_reduced_on_the_way_back():
    x, w = batch(), gt.variable((3, 2))
    h = x @ w
    mean = gt.batch_sum(h) / 4.0
    loss = gt.batch_sum(gt.square(h - mean), axes=(0, 1))
    assert reductions(loss, [w, mean]) == [["float32[2]", "float32[3, 2]"], ["float32[2]"]]


def test_counting_features_does_not_make_a_parameter_meet_samples():
    x, w = batch(), gt.variable((3,))
    scale = w / gt.count(x, axis=1)
    loss = gt.batch_sum((x * scale).mean(axis=1))
    (dw,) = gt.gradients(loss, [w])
    reduced = [n for n in gt.graph(dw).steps if n.op.name == "all_reduce"]
    assert len(reduced) == 1 and dw.node.op.name == "divide"


def test_tables_that_are_no_batch_are_never_reduced():
    x, w = gt.placeholder((4, 3), batch=False), gt.variable((3, 2))
    assert reductions((x @ w).sum(), [w]) == [[]]


def test_second_order_by_parameters_is_reduced_again():
    x, w = batch(), gt.variable((3, 1))
    loss = gt.batch_sum((x @ w) ** 4.0, axes=(0, 1))
    (dw,) = gt.gradients(loss, [w])
    assert reductions(gt.square(dw).sum(), [w]) == [["float32[3, 1]", "float32[3, 1]"]]
