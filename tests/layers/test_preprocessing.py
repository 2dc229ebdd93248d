"""Layers that prepare numbers, and losses of overlap: Keras's numbers and NumPy's."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError
from gradatim.layers import Flow


def value(layer, x):
    return gt.run(layer(gt.constant(x)))


X = np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
IDS = np.array([[0, 2, 2], [1, 1, 3]])


def test_values_fall_into_intervals():
    bounds = [0.0, 1.0, 2.0]
    want = np.digitize(X, bounds)
    np.testing.assert_array_equal(value(layers.Discretization(bounds), X), want)
    rows = np.eye(4)[want]
    for mode, expected in (("one_hot", rows), ("multi_hot", rows.max(axis=1)),
                           ("count", rows.sum(axis=1))):
        y = value(layers.Discretization(bounds, mode), X)
        assert y.dtype == X.dtype
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(value(layers.Discretization(bounds, "one_hot"), X[:, :1]),
                                  rows[:, 0])


def test_categories_become_rows():
    rows = np.eye(4, dtype="float32")[IDS]
    for mode, expected in (("one_hot", rows), ("multi_hot", rows.max(axis=1)),
                           ("count", rows.sum(axis=1))):
        y = value(layers.CategoryEncoding(4, mode), IDS)
        assert y.dtype == "float32"
        np.testing.assert_array_equal(y, expected)
    assert value(layers.CategoryEncoding(3, "count"), IDS)[1].tolist() == [0.0, 2.0, 0.0]


def test_lengths_pass_where_steps_have_rows():
    steps = gt.constant(np.array([2, 4]))
    for layer, kept in ((layers.Discretization([0.0]), True),
                        (layers.Discretization([0.0], "one_hot"), True),
                        (layers.Discretization([0.0], "count"), False)):
        assert (layer(Flow(gt.constant(X), lengths=steps)).lengths is steps) == kept
    ids = Flow(gt.constant(IDS), lengths=steps)
    assert layers.CategoryEncoding(4, "one_hot")(ids).lengths is steps
    assert layers.CategoryEncoding(4)(ids).lengths is None


def test_rescaling_by_entry_and_of_whole_numbers():
    np.testing.assert_allclose(value(layers.Rescaling([1, 2, 3, 4], 0.5), X),
                               X * [1, 2, 3, 4] + 0.5)
    y = value(layers.Rescaling(1 / 255), np.array([[255, 0]], "uint8"))
    assert y.dtype == "float32" and y.tolist() == [[1.0, 0.0]]


def test_numbers_are_looked_up():
    codes = np.array([[404, -7, 503], [200, 200, 404]])
    np.testing.assert_array_equal(value(layers.IntegerLookup([200, 404, -7]), codes),
                                  [[2, 3, 0], [1, 1, 2]])
    np.testing.assert_array_equal(value(layers.IntegerLookup((200, 404), "count"), codes),
                                  [[2, 0, 1], [0, 2, 1]])
    one = value(layers.IntegerLookup((200, 404), "one_hot"), codes)
    np.testing.assert_array_equal(one, np.eye(3)[[[2, 0, 0], [1, 1, 2]]])


def test_masked_steps_are_as_if_they_were_not_there():
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype("float32")
    x[0, 3:] = x[1, 1] = x[1, 4] = -1.0
    x[2] = -1.0
    net = gt.Sequential([layers.Masking(-1.0), layers.LSTM(4)])
    y = value(net, x)
    for row, n in ((0, 3), (1, 4)):
        np.testing.assert_allclose(y[row], value(net, x[row:row + 1, :n])[0], atol=1e-6)
    assert gt.run(layers.Masking(-1.0)(Flow(gt.constant(x))).lengths).tolist() == [3, 4, 0]
    given = gt.constant(np.array([1, 2, 3]))
    assert layers.Masking()(Flow(gt.constant(x), lengths=given)).lengths is given


def test_vectors_of_length_one_and_gaussian_dropout():
    np.testing.assert_allclose(np.linalg.norm(value(layers.UnitNormalization(), X), axis=1), 1.0)
    np.testing.assert_array_equal(value(layers.UnitNormalization(), np.zeros((1, 3))), 0.0)
    ones = np.ones((200, 200))
    y, _ = layers.GaussianDropout(0.2)(gt.constant(ones), training=True)
    assert abs(gt.run(y).mean() - 1.0) < 0.01 and abs(gt.run(y).std() - 0.5) < 0.01
    np.testing.assert_array_equal(value(layers.GaussianDropout(0.2), ones), ones)


# ---- overlap: Keras's example of keras.losses.dice --------------------------------------------

Y = np.array([[[[1.0], [1.0]], [[0.0], [0.0]]], [[[1.0], [1.0]], [[0.0], [0.0]]]])
P = np.array([[[[0.0], [1.0]], [[0.0], [1.0]]], [[[0.4], [0.0]], [[0.0], [0.9]]]])


def test_dice_is_kerass_for_each_sample():
    y = gt.run(layers.Dice()(gt.constant(Y), gt.constant(P)))
    np.testing.assert_allclose(y, [0.5, 0.75757575], rtol=1e-7)
    same = gt.run(layers.Tversky()(gt.constant(Y), gt.constant(P)))
    np.testing.assert_allclose(same, y, rtol=1e-6)


def test_tversky_weighs_false_positives_and_negatives():
    y, p = Y.reshape(2, -1), P.reshape(2, -1)
    both, wrong, missed = (y * p).sum(1), ((1 - y) * p).sum(1), (y * (1 - p)).sum(1)
    got = gt.run(layers.Tversky(0.3, 0.7)(gt.constant(y), gt.constant(p)))
    np.testing.assert_allclose(got, 1 - both / (both + 0.3 * wrong + 0.7 * missed + 1e-7))


def test_overlap_sees_valid_steps_only():
    y, p = np.array([[1.0, 0.0, np.nan]]), np.array([[0.5, 0.25, np.nan]])
    lengths = gt.constant(np.array([2]))
    for loss in (layers.Dice(), layers.Tversky(0.2, 0.8)):
        got = gt.run(loss(gt.constant(y[..., None]), gt.constant(p[..., None]), lengths=lengths))
        want = gt.run(loss(gt.constant(y[:, :2, None]), gt.constant(p[:, :2, None])))
        np.testing.assert_allclose(got, want)


# ---- errors --------------------------------------------------------------------------------------

@pytest.mark.parametrize("make, error, text", [
    (lambda: layers.Discretization([1.0, 0.0]), ParameterError,
     "bin_boundaries must rise, not [1.0, 0.0]"),
    (lambda: layers.Discretization([0.0], "hot"), ParameterError,
     "output_mode must be one of 'int', 'one_hot', 'multi_hot', 'count', not 'hot'"),
    (lambda: layers.CategoryEncoding(3, "int"), ParameterError,
     "output_mode must be one of 'one_hot', 'multi_hot', 'count', not 'int'"),
    *((lambda known=known: layers.IntegerLookup(known), ParameterError,
       f"vocabulary must hold whole numbers, each once, not {known!r}")
      for known in ([], [1, 1], [0.5], [True, 2])),
    (lambda: value(layers.IntegerLookup([1]), X), DTypeError,
     'IntegerLookup "integer_lookup": the input must be integers, not float64'),
    (lambda: layers.Rescaling("1"), ParameterError, "scale must be a finite number, not '1'"),
    (lambda: value(layers.Rescaling([1.0, 2.0]), X), ShapeError,
     'Rescaling "rescaling": scale holds 2 numbers'),
    (lambda: value(layers.CategoryEncoding(3), X), DTypeError,
     'CategoryEncoding "category_encoding": the input must be integers, not float64'),
    (lambda: value(layers.Masking(), X), ShapeError,
     'Masking "masking": needs (batch, time, features)'),
    (lambda: layers.Tversky(beta=-1), ParameterError,
     "beta must be a finite number from 0 on, not -1")])
def test_error_texts(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).splitlines()[0] == text
