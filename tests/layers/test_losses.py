"""Losses against NumPy and SciPy: values, gradients, steps of unequal number, shapes, errors."""
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax, xlogy

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ParameterError, ShapeError, UnknownNameError
from gradatim.layers.classification_losses import CrossEntropy
from gradatim.layers.losses import LOSSES, FunctionLoss, loss

RNG = np.random.default_rng(3)
Y, P = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 3))
POSITIVE, COUNTS = RNG.uniform(0.1, 3.0, (5, 3)), RNG.integers(0, 5, (5, 3)).astype("float64")
BITS, LOGITS = RNG.integers(0, 2, (5, 3)).astype("float64"), 2.0 * RNG.standard_normal((5, 3))
DENSE, CLASSES = RNG.dirichlet(np.ones(3), 5), np.array([0, 2, 1, 1, 0])
PROBABILITIES, CHANCES = softmax(LOGITS, axis=-1), expit(LOGITS)
HOT, SHARES = np.eye(3)[CLASSES], RNG.dirichlet(np.ones(3), 5)


def smooth(targets, share, classes):
    return targets * (1.0 - share) + share / classes


def binary(y, p):
    return (-xlogy(y, p) - xlogy(1 - y, 1 - p)).mean(-1)


def categorical(y, p):
    return -xlogy(y, p).sum(-1)


def huber(y, p, delta):
    e = np.abs(y - p)
    return np.where(e <= delta, e ** 2 / 2, delta * (e - delta / 2)).mean(-1)


def pinball(y, p, q):
    return np.where(y >= p, q * (y - p), (1 - q) * (p - y)).mean(-1)


def hinge(signs, p):
    return np.maximum(1.0 - signs * p, 0.0)


def focal(y, p, gamma=2.0):
    q = y * p + (1 - y) * (1 - p)
    return -(1 - q) ** gamma * (y * np.log(p) + (1 - y) * np.log(1 - p))


# Loss, targets, predictions, and what it must give for each sample.
LEAST_AT_TARGETS = [
    (layers.MeanSquaredError(), Y, P, ((Y - P) ** 2).mean(-1)),
    (layers.MeanAbsoluteError(), Y, P, np.abs(Y - P).mean(-1)),
    (layers.Huber(), Y, P, huber(Y, P, 1.0)),
    (layers.Huber(0.3), Y, P, huber(Y, P, 0.3)),
    (layers.LogCosh(), Y, P, np.log(np.cosh(Y - P)).mean(-1)),
    (layers.Poisson(), COUNTS, POSITIVE, (POSITIVE - COUNTS * np.log(POSITIVE + 1e-7)).mean(-1)),
    (layers.Quantile(), Y, P, 0.5 * np.abs(Y - P).mean(-1)),
    (layers.Quantile(0.9), Y, P, pinball(Y, P, 0.9)),
    (layers.BinaryCrossentropy(), BITS, CHANCES, binary(BITS, CHANCES)),
    (layers.BinaryCrossentropy(from_logits=True), BITS, LOGITS, binary(BITS, CHANCES)),
    (layers.BinaryCrossentropy(True, label_smoothing=0.2), BITS, LOGITS,
     binary(smooth(BITS, 0.2, 2), CHANCES)),
    (layers.CategoricalCrossentropy(), DENSE, PROBABILITIES, categorical(DENSE, PROBABILITIES)),
    (layers.CategoricalCrossentropy(), DENSE, 7.0 * PROBABILITIES.clip(0, 0.14),
     categorical(DENSE, PROBABILITIES.clip(0, 0.14) /
                 PROBABILITIES.clip(0, 0.14).sum(-1, keepdims=True))),
    (layers.CategoricalCrossentropy(from_logits=True), DENSE, LOGITS,
     categorical(DENSE, PROBABILITIES)),
    (layers.CategoricalCrossentropy(True, label_smoothing=0.2), DENSE, LOGITS,
     categorical(smooth(DENSE, 0.2, 3), PROBABILITIES)),
    (layers.SparseCategoricalCrossentropy(), CLASSES, PROBABILITIES,
     categorical(HOT, PROBABILITIES)),
    (layers.SparseCategoricalCrossentropy(from_logits=True), CLASSES, LOGITS,
     categorical(HOT, PROBABILITIES)),
    (layers.SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.2), CLASSES, LOGITS,
     categorical(smooth(HOT, 0.2, 3), PROBABILITIES))]
LEAST_ELSEWHERE = [
    (layers.Hinge(), BITS, P, hinge(2 * BITS - 1, P).mean(-1)),
    (layers.Hinge(), 2 * BITS - 1, P, hinge(2 * BITS - 1, P).mean(-1)),
    (layers.SquaredHinge(), BITS, P, (hinge(2 * BITS - 1, P) ** 2).mean(-1)),
    (layers.CategoricalHinge(), HOT, P, np.maximum(
        ((1 - HOT) * P).max(-1) - (HOT * P).sum(-1) + 1, 0)),
    (layers.KLDivergence(), DENSE, SHARES, (DENSE * np.log(DENSE / SHARES)).sum(-1)),
    (layers.CosineSimilarity(), Y, P, -(Y * P).sum(-1) / np.linalg.norm(Y, axis=-1)
     / np.linalg.norm(P, axis=-1)),
    (layers.MeanAbsolutePercentageError(), Y, P, 100 * np.abs((Y - P) / Y).mean(-1)),
    (layers.MeanSquaredLogarithmicError(), POSITIVE, CHANCES,
     (np.log((1 + POSITIVE) / (1 + CHANCES)) ** 2).mean(-1)),
    (layers.BinaryFocalCrossentropy(), BITS, CHANCES, focal(BITS, CHANCES).mean(-1)),
    (layers.BinaryFocalCrossentropy(True, 0.7, 1.5), BITS, CHANCES,
     (focal(BITS, CHANCES, 1.5) * np.where(BITS == 1, 0.7, 0.3)).mean(-1)),
    (layers.BinaryFocalCrossentropy(True, 1.0), BITS, CHANCES,
     (focal(BITS, CHANCES) * BITS).mean(-1)),
    (layers.BinaryFocalCrossentropy(from_logits=True, label_smoothing=0.2), BITS,
     np.log(CHANCES / (1 - CHANCES)), focal(0.8 * BITS + 0.1, CHANCES).mean(-1)),
    (layers.BinaryFocalCrossentropy(gamma=0.0), BITS, CHANCES, focal(BITS, CHANCES, 0).mean(-1)),
    (layers.CategoricalFocalCrossentropy(), DENSE, SHARES,
     -(0.25 * (1 - SHARES) ** 2 * DENSE * np.log(SHARES)).sum(-1)),
    (layers.CategoricalFocalCrossentropy(0.5, 3.0, True, 0.3), HOT, np.log(SHARES),
     -(0.5 * (1 - SHARES) ** 3 * (0.7 * HOT + 0.1) * np.log(SHARES)).sum(-1))]


def each_of(table):
    """A test for every row."""
    return pytest.mark.parametrize("which, y, p, want", table, ids=[
        f"{i}-{row[0]}" for i, row in enumerate(table)])


every = each_of(LEAST_AT_TARGETS + LEAST_ELSEWHERE)


def value(which, y, p, lengths=None):
    """One number per sample."""
    tensors = [gt.placeholder(a.shape, a.dtype) for a in (y, p)]
    steps = [] if lengths is None else [gt.placeholder((len(p),), "int64")]
    return gt.function([*tensors, *steps], which(*tensors, *steps))(
        y, p, *([] if lengths is None else [np.array(lengths)]))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 5e-6), ("float64", 2e-7)])
@every
def test_values(which, y, p, want, dtype, tolerance):
    y, p = y.astype(dtype) if y.dtype.kind == "f" else y, p.astype(dtype)
    got = value(which, y, p)
    assert got.dtype == dtype and got.shape == (5,)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@every
def test_gradients(which, y, p, want):
    prediction = gt.placeholder(p.shape, "float64")
    each = which(gt.constant(y), prediction)
    (found,) = gt.function([prediction], gt.gradients(each.sum(), [prediction]))(p)
    run = gt.function([prediction], each.sum())
    direction, step = np.random.default_rng(1).standard_normal(p.shape), 1e-6
    numeric = (run(p + step * direction) - run(p - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(found * direction), numeric, rtol=1e-6, atol=1e-7)


@each_of(LEAST_AT_TARGETS)
def test_a_perfect_prediction_is_no_worse_than_another(which, y, p, want):
    if isinstance(which, CrossEntropy):
        best = smooth(np.eye(3)[y] if y.ndim == 1 else y, which.label_smoothing,
                      2 if isinstance(which, layers.BinaryCrossentropy) else 3)
        logit = {"softmax": lambda b: np.log(b + 1e-9),
                 "sigmoid": lambda b: np.log(b + 1e-9) - np.log(1 - b + 1e-9)}
        best = logit[which.activation](best) if which.from_logits else best
    else:
        best = y
    assert (value(which, y, best) <= value(which, y, p) + 1e-12).all()


# ---- shapes ------------------------------------------------------------------------------------

def test_one_column_fits_a_vector_of_targets():
    y, p = Y[:, 0], P[:, :1]
    np.testing.assert_allclose(value(layers.MeanSquaredError(), y, p), (y - p[:, 0]) ** 2)
    np.testing.assert_allclose(value(layers.MeanSquaredError(), y, p[:, 0]), (y - p[:, 0]) ** 2)


def test_class_numbers_may_have_a_column_and_be_floats():
    which = layers.SparseCategoricalCrossentropy(from_logits=True)
    want = value(which, CLASSES, LOGITS)
    for labels in (CLASSES[:, None], CLASSES.astype("float32"), CLASSES.astype("int32")):
        np.testing.assert_array_equal(value(which, labels, LOGITS), want)


def test_integer_targets_take_the_type_of_the_prediction():
    y, p = COUNTS.astype("int64"), POSITIVE.astype("float32")
    got = value(layers.MeanSquaredError(), y, p)
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, ((COUNTS - POSITIVE) ** 2).mean(-1), rtol=1e-5)


def test_all_axes_but_the_first_are_averaged():
    y, p = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(value(layers.MeanSquaredError(), y, p),
                               ((y - p) ** 2).mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("lengths", [[4, 2, 0], [1, 1, 4]])
def test_only_valid_steps_count(lengths):
    y, p = RNG.standard_normal((3, 4, 2)), RNG.standard_normal((3, 4, 2))
    want = [((a - b) ** 2)[:n].mean() if n else 0.0 for a, b, n in zip(y, p, lengths)]
    np.testing.assert_allclose(value(layers.MeanSquaredError(), y, p, lengths), want)
    labels = RNG.integers(0, 2, (3, 4))
    each = -np.take_along_axis(log_softmax(p, axis=-1), labels[..., None], axis=-1)[..., 0]
    want = [row[:n].mean() if n else 0.0 for row, n in zip(each, lengths)]
    which = layers.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(value(which, labels, p, lengths), want)


def test_lengths_mean_nothing_without_steps():
    np.testing.assert_allclose(value(layers.MeanSquaredError(), Y[:, 0], P[:, 0], [0, 1, 2, 3, 4]),
                               (Y[:, 0] - P[:, 0]) ** 2)


@pytest.mark.parametrize("make, y, p", [
    (layers.MeanSquaredError, (3, 4, 2), (3, 4, 2)), (layers.Huber, (3, 4), (3, 4)),
    (layers.LogCosh, (3, 4, 1), (3, 4, 1)), (layers.BinaryCrossentropy, (3, 4), (3, 4)),
    (lambda: layers.CategoricalCrossentropy(from_logits=True), (3, 4, 2), (3, 4, 2)),
    (lambda: loss(lambda y, p: gt.square(y - p).mean(axis=2)), (3, 4, 2), (3, 4, 2))])
def test_what_stands_beyond_the_length_reaches_neither_loss_nor_slope(make, y, p):
    y, p, lengths = RNG.uniform(0.1, 0.9, y), RNG.uniform(0.1, 0.9, p), [4, 2, 0]
    spoiled = y.copy()
    for row, n in zip(spoiled, lengths):
        row[n:] = np.nan
    results = []
    for targets in (y, spoiled):
        prediction = gt.placeholder(p.shape, p.dtype)
        values = make()(gt.constant(targets), prediction, gt.constant(np.array(lengths)))
        (slopes,) = gt.gradients(values.sum(), [prediction])
        results.append(gt.run([values, slopes], {prediction: p}))
    for clean, dirty in zip(*results):
        assert np.isfinite(clean).all()
        np.testing.assert_array_equal(clean, dirty)


def test_class_numbers_beyond_the_length_may_be_none_of_the_classes():
    labels, p = np.array([[0, 1, 99], [-1, 99, 99]]), RNG.standard_normal((2, 3, 2))
    got = value(layers.SparseCategoricalCrossentropy(from_logits=True), labels, p, [2, 1])
    want = value(layers.SparseCategoricalCrossentropy(from_logits=True),
                 np.where(labels == 99, 0, labels), p, [2, 1])
    np.testing.assert_array_equal(got, want)


# ---- numbers at their limits -------------------------------------------------------------------

def slope(which, y, p):
    prediction = gt.placeholder(p.shape, p.dtype)
    total = which(gt.constant(y), prediction).sum()
    return gt.function([prediction], gt.gradients(total, [prediction]))(p)[0]


@pytest.mark.parametrize("which, y, p", [
    (layers.BinaryCrossentropy(), [[1.0, 0.0]], [[0.0, 1.0]]),
    (layers.CategoricalCrossentropy(), [[1.0, 0.0]], [[0.0, 1.0]]),
    (layers.SparseCategoricalCrossentropy(), [0], [[0.0, 1.0]]),
    (layers.BinaryCrossentropy(True), [[1.0, 0.0]], [[-1e4, 1e4]]),
    (layers.CategoricalCrossentropy(True), [[1.0, 0.0]], [[-1e4, 1e4]]),
    (layers.BinaryFocalCrossentropy(gamma=0.5, from_logits=True), [[1.0, 0.0]], [[-500.0, 500.0]]),
    (layers.CategoricalFocalCrossentropy(gamma=0.5, from_logits=True), [[1.0, 0.0]],
     [[-500.0, 500.0]]),
    (layers.LogCosh(), [[0.0, 0.0]], [[-1e5, 1e5]]),
    (layers.Poisson(), [[1.0, 0.0]], [[0.0, 0.0]])])
def test_the_worst_predictions_have_finite_losses_and_slopes(which, y, p):
    y, p = np.array(y), np.array(p, "float32")
    y = y.astype("float32") if y.dtype.kind == "f" else y
    assert np.isfinite(value(which, y, p)).all() and value(which, y, p)[0] > 5
    assert np.isfinite(slope(which, y, p)).all()


@pytest.mark.parametrize("which, activation, y", [
    (layers.BinaryCrossentropy, gt.sigmoid, BITS),
    (layers.CategoricalCrossentropy, gt.softmax, DENSE),
    (layers.SparseCategoricalCrossentropy, gt.softmax, CLASSES)])
def test_a_last_activation_is_looked_through(which, activation, y):
    logits = gt.placeholder(LOGITS.shape, "float64")
    after = which()(gt.constant(y), activation(logits))
    before = which(from_logits=True)(gt.constant(y), logits)
    for scale in (1.0, 1e3):                          # where probabilities are 0 and 1 already
        got, want = gt.run([after, before], {logits: scale * LOGITS})
        np.testing.assert_array_equal(got, want)


def test_a_softmax_over_another_axis_is_not_looked_through():
    logits = gt.placeholder((3, 3), "float64")
    each = layers.CategoricalCrossentropy()(gt.constant(DENSE[:3]), gt.softmax(logits, axis=0))
    p = softmax(LOGITS[:3], axis=0)
    np.testing.assert_allclose(gt.run(each, {logits: LOGITS[:3]}),
                               categorical(DENSE[:3], p / p.sum(-1, keepdims=True)), rtol=1e-12)


# ---- names and errors --------------------------------------------------------------------------

def test_losses_are_found_by_name():
    for name, kind in LOSSES.items():
        assert type(loss(name)) is kind and loss(name) == kind()
    given = layers.Huber(2.0)
    assert loss(given) is given
    assert loss("mse") == loss("mean_squared_error") != loss("mae")
    assert layers.Huber(2.0) == given != layers.Huber()
    assert repr(given) == "Huber(delta=2.0)"


def test_a_function_is_a_loss():
    which = loss(lambda y, p: gt.square(y - p).sum(axis=1))
    assert isinstance(which, FunctionLoss)
    np.testing.assert_allclose(value(which, Y, P), ((Y - P) ** 2).sum(1))


def shape_error(which, y, p):
    with pytest.raises(ShapeError) as caught:
        which(gt.placeholder(y), gt.placeholder(p))
    return str(caught.value)


def test_shapes_that_do_not_fit():
    assert shape_error(layers.MeanSquaredError(), (5,), (5, 3)) == (
        "MeanSquaredError: targets and predictions differ in shape\n"
        "  got  [5] and [5, 3]\n"
        "  fix  the last layer needs one unit per target")
    assert shape_error(layers.MeanSquaredError(), (5, 1), (5,)).startswith(
        "MeanSquaredError: targets and predictions differ in shape")
    assert shape_error(layers.SparseCategoricalCrossentropy(), (5, 3), (5, 3)) == (
        "SparseCategoricalCrossentropy: class numbers and logits do not fit\n"
        "  got  [5, 3] and [5, 3]\n"
        "  fix  pass one class number per row of logits")
    assert shape_error(loss(lambda y, p: gt.square(y - p).mean()), (5, 3), (5, 3)) == (
        "a loss must return one number per sample\n"
        "  got  [] for 5 samples\n"
        "  fix  take means over the other axes only")


def test_several_quantiles():
    found = value(layers.Quantile((0.1, 0.6)), Y, np.concatenate([P, P + 1], axis=-1))
    np.testing.assert_allclose(found, (pinball(Y, P, 0.1) + pinball(Y, P + 1, 0.6)) / 2)
    assert shape_error(layers.Quantile((0.1, 0.6)), (5, 1), (5, 3)) == (
        "Quantile needs 2 numbers for every target\n"
        "  got  3 outputs\n"
        "  fix  give the last layer 2 units per target")


@pytest.mark.parametrize("make, error, text", [
    (lambda: layers.Huber(0.0), ParameterError, "delta must be above 0, not 0.0"),
    (lambda: layers.Huber(np.nan), ParameterError, "delta must be a finite number, not nan"),
    *((lambda q=q: layers.Quantile(q), ParameterError,
       f"quantile must be in (0, 1), and several must rise, not {q!r}")
      for q in (1.0, (), (0.5, 0.1), (0.1, 0.1), [0.0, 0.5])),
    (lambda: layers.Quantile("a"), ParameterError, "quantile must be a finite number, not 'a'"),
    (lambda: layers.BinaryCrossentropy(label_smoothing=1.0), ParameterError,
     "label_smoothing must be in [0, 1), not 1.0"),
    (lambda: layers.BinaryFocalCrossentropy(alpha=1.5), ParameterError,
     "alpha must be a number in [0, 1], not 1.5"),
    (lambda: layers.CategoricalFocalCrossentropy(gamma=-1), ParameterError,
     "gamma must be a finite number from 0 on, not -1"),
    (lambda: layers.BinaryFocalCrossentropy(1), ParameterError,
     "apply_class_balancing must be True or False, not 1"),
    (lambda: loss("mean_sqared_error"), UnknownNameError,
     'there is no loss "mean_sqared_error"\n  fix  did you mean "mean_squared_error"?'),
    (lambda: loss(3), ParameterError, "a loss is a name, a Loss or a callable, not 3")])
def test_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
