"""Metrics against scikit-learn: weights, uneven batches, single logits, dense labels, sequences."""
import numpy as np
import pytest
from sklearn import metrics as reference

import gradatim as gt
from gradatim import layers, training
from gradatim.backend.errors import ParameterError, ShapeError, UnknownNameError
from gradatim.training.metric import metric

RNG = np.random.default_rng(3)
N = 601                                # two batches of evaluation, the second one short
WEIGHTS = RNG.random(N) * (RNG.random(N) > 0.2)
CLASSES = RNG.integers(0, 4, N)
LOGITS = RNG.standard_normal((N, 4)) + 1.5 * np.eye(4)[CLASSES]
BINARY = RNG.integers(0, 2, N)
LOGIT = RNG.standard_normal((N, 1)) + 2.0 * BINARY[:, None] - 1.0
TARGETS = RNG.standard_normal((N, 2))
GUESSES = TARGETS + 0.5 * RNG.standard_normal((N, 2))


def measured(chosen, y, outputs, weights=None, loss=None, model=None, dtype="float64"):
    """The metric of a net that returns what it is given."""
    model = model or gt.Sequential([layers.Activation("linear")])
    loss = loss or (lambda y_true, y_pred: y_pred.reshape(y_pred.shape[0], -1).mean(axis=1))
    trainer = gt.Trainer(model, loss, metrics=[chosen], dtype=dtype)
    logs = trainer.evaluate(outputs, y, weights)
    return logs[metric(chosen).name]


LABELS = [("accuracy", reference.accuracy_score, {}),
          ("precision", reference.precision_score, {"average": "macro"}),
          ("recall", reference.recall_score, {"average": "macro"}),
          ("f1", reference.f1_score, {"average": "macro"})]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("name, function, settings", LABELS, ids=[row[0] for row in LABELS])
def test_labels(name, function, settings, weights):
    expected = function(CLASSES, LOGITS.argmax(1), sample_weight=weights, **settings)
    assert measured(name, CLASSES, LOGITS, weights) == pytest.approx(expected, abs=1e-12)
    dense = measured(name, np.eye(4)[CLASSES], LOGITS, weights)
    assert dense == pytest.approx(expected, abs=1e-12)
    guess = (LOGIT[:, 0] > 0).astype(int)
    expected = function(BINARY, guess, sample_weight=weights)
    for y in (BINARY, BINARY[:, None]):
        assert measured(name, y, LOGIT, weights) == pytest.approx(expected, abs=1e-12)
    two = np.hstack([-LOGIT, LOGIT])
    assert measured(name, BINARY, two, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name, function, settings", LABELS[1:], ids=[r[0] for r in LABELS[1:]])
def test_classes_that_do_not_occur_do_not_count(name, function, settings):
    y, logits = CLASSES % 3, LOGITS - [0, 0, 0, 50.0]
    expected = function(y, logits.argmax(1), **settings)
    assert measured(name, y, logits) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name, function, settings", LABELS, ids=[row[0] for row in LABELS])
def test_a_last_sigmoid_means_one_half(name, function, settings):
    guess = (LOGIT[:, 0] > 0).astype(int)
    for loss in ("binary_crossentropy", "mse"):
        model = gt.Sequential([layers.Activation("sigmoid")])
        found = measured(name, BINARY, LOGIT, loss=loss, model=model)
        assert found == pytest.approx(function(BINARY, guess), abs=1e-12)
    assert 0.1 < guess.mean() < 0.9


def test_probabilities_without_a_sigmoid_in_sight_mean_one_half():
    p = 1 / (1 + np.exp(-LOGIT))
    found = measured("accuracy", BINARY, p, loss="binary_crossentropy")
    assert found == pytest.approx(((p[:, 0] > 0.5) == BINARY).mean())


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_top_k(k):
    expected = reference.top_k_accuracy_score(CLASSES, LOGITS, k=min(k, 4), sample_weight=WEIGHTS) \
        if k < 4 else 1.0
    found = measured(training.TopKAccuracy(k), CLASSES, LOGITS, WEIGHTS)
    assert found == pytest.approx(expected, abs=1e-12)


def test_binary_accuracy_of_several_questions():
    y, scores = RNG.integers(0, 2, (N, 3)), RNG.standard_normal((N, 3))
    expected = np.average(((scores > 0) == y).mean(1), weights=WEIGHTS)
    assert measured("binary_accuracy", y, scores, WEIGHTS) == pytest.approx(expected, abs=1e-12)


NUMBERS = [("mean_squared_error", reference.mean_squared_error),
           ("mean_absolute_error", reference.mean_absolute_error),
           ("r2", reference.r2_score)]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("name, function", NUMBERS, ids=[row[0] for row in NUMBERS])
def test_numbers(name, function, weights):
    for y, p in [(TARGETS, GUESSES), (TARGETS[:, 0], GUESSES[:, :1])]:
        expected = function(y, p, sample_weight=weights)
        assert measured(name, y, p, weights) == pytest.approx(expected, abs=1e-12)
    if name == "mean_squared_error":
        root = measured("root_mean_squared_error", TARGETS, GUESSES, weights)
        expected = function(TARGETS, GUESSES, sample_weight=weights)
        assert root == pytest.approx(np.sqrt(expected), abs=1e-12)


def test_r2_where_targets_are_far_from_zero_or_equal():
    years = np.float32(2000 + 3 * TARGETS[:, :1])
    guesses = years + np.float32(GUESSES[:, :1] - TARGETS[:, :1])
    expected = reference.r2_score(years.astype(float), guesses.astype(float))
    assert measured("r2", years, guesses, dtype="float32") == pytest.approx(expected, abs=1e-6)
    same = np.full((N, 1), 0.5)
    assert measured("r2", same, same) == 1.0 == reference.r2_score(same, same)
    assert measured("r2", same, same + 1) == 0.0 == reference.r2_score(same, same + 1)


def test_a_label_per_step_counts_steps():
    """With lengths, padding counts nowhere and a step is a step."""
    lengths = RNG.integers(1, 8, 40)
    X = [RNG.standard_normal((n, 3)) for n in lengths]
    time = int(lengths.max())
    y = RNG.integers(0, 3, (40, time))
    weights = RNG.random(40)
    true = np.concatenate([row[:n] for row, n in zip(y, lengths)])
    guess = np.concatenate([x.argmax(1) for x in X])
    steps = np.repeat(weights, lengths)
    for name, function, settings in LABELS:
        found = gt.Trainer(Steps(time), summed, metrics=[name], dtype="float64").evaluate(
            X, y, weights)[name]
        expected = function(true, guess, sample_weight=steps, **settings)
        assert found == pytest.approx(expected, abs=1e-12), name
    targets = RNG.standard_normal((40, time, 3))
    true = np.concatenate([row[:n] for row, n in zip(targets, lengths)])
    for name, function in NUMBERS:
        found = gt.Trainer(Steps(time), summed, metrics=[name], dtype="float64").evaluate(
            X, targets, weights)[name]
        expected = function(true, np.concatenate(X), sample_weight=steps)
        assert found == pytest.approx(expected, abs=1e-12), name


class Steps(layers.Layer):
    """Returns its input and keeps time."""
    keeps_time = True

    def __init__(self, time):
        super().__init__()
        self.time = time

    def call(self, x):
        return x * 1.0


def summed(y_true, y_pred):
    return y_pred.sum(axis=2).sum(axis=1)


def test_uneven_batches_are_no_mean_of_means():
    """Training logs count samples: 33 rows in batches of 32, the last row alone wrong."""
    logits = np.zeros((33, 2))
    logits[:, 1] = 1.0
    y = np.ones(33, int)
    y[32] = 0
    model = gt.Sequential([layers.Activation("linear")])
    trainer = gt.Trainer(model, layers.SparseCategoricalCrossentropy(from_logits=True),
                         metrics=["accuracy"])
    run = trainer.fit(logits, y, epochs=1, batch_size=32, shuffle=False)
    assert run.history[0]["accuracy"] == pytest.approx(32 / 33)


def test_counts_beyond_float32():
    """Batches are added in float64: 2**24 + 1 does not get lost."""
    from gradatim.training.stepping import added
    totals = added([], [np.float32(2 ** 24)])
    assert float(added(totals, [np.float32(1)])[0]) == 2 ** 24 + 1


def test_zero_weight_everywhere_is_nan():
    for name in ("accuracy", "f1", "r2", "mean_squared_error"):
        y = BINARY if name in ("accuracy", "f1") else LOGIT
        assert np.isnan(measured(name, y, LOGIT, np.zeros(N)))


ERRORS = [
    (lambda: training.TopKAccuracy(0), ParameterError, "k must be a whole number from 1 on, not 0"),
    (lambda: metric(5), ParameterError, "a metric is a name or a Metric, not 5"),
    (lambda: metric("acuracy"), UnknownNameError,
     'there is no metric "acuracy"\n  fix  did you mean "accuracy"?'),
    (lambda: gt.Trainer(gt.Sequential([]), metrics=["r2", training.R2()]), ParameterError,
     'two numbers would be called "r2" in the logs\n'
     "  fix  pass each metric once, or give one another name"),
    (lambda: measured("mse", TARGETS, GUESSES[:, :1]), ShapeError,
     "the metric's targets and predictions differ in shape\n  got  [512, 2] and [512, 1]\n"
     "  fix  the last layer needs one unit per target"),
    (lambda: measured("top_5_accuracy", BINARY, LOGIT), ShapeError,
     "TopKAccuracy needs a logit per class, not a single one\n"
     '  fix  use metrics=["accuracy"]'),
]


@pytest.mark.parametrize("make, kind, text", ERRORS, ids=[text[:20] for *_, text in ERRORS])
def test_error_texts(make, kind, text):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text


def test_metrics_are_values():
    assert training.TopKAccuracy(3) == training.TopKAccuracy(3) != training.TopKAccuracy(4)
    assert training.TopKAccuracy(3).config() == {"k": 3} and training.TopKAccuracy().config() == {}
