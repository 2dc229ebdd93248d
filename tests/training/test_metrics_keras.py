"""Rankings, counts and correlations: Keras's numbers, scikit-learn's, and what they refuse."""
import numpy as np
import pytest
from sklearn import metrics as reference

import gradatim as gt
from gradatim import layers, training
from gradatim.backend.errors import ParameterError, ShapeError
from gradatim.training.metric import METRICS, metric

N = 300
P = 0.5 + 0.5 * np.sin(np.arange(N) * 1.7)
Y = (np.cos(np.arange(N) * 0.9) + 2.4 * (P - 0.5) > 0.3).astype(int)
W = 0.5 + 0.5 * np.cos(np.arange(N) * 2.3)
LOGIT = np.log(np.clip(P, 1e-12, 1) / np.clip(1 - P, 1e-12, 1))[:, None]
SCORES = np.stack([np.sin(np.arange(N) * k) for k in (1.1, 1.9, 2.7)], axis=1)
CLASSES = np.arange(N) * 7 % 3
REAL = np.stack([np.sin(np.arange(N)), np.cos(np.arange(N) * 0.7)], axis=1)
GUESS = REAL + 0.3 * np.stack([np.cos(np.arange(N) * 3), np.sin(np.arange(N) * 5)], axis=1)


def measured(chosen, y, outputs, weights=None, dtype="float64", backend="auto", loss="mse"):
    """The metric of a net that returns what it is given."""
    trainer = gt.Trainer(gt.Sequential([layers.Activation("linear")]), loss, metrics=[chosen],
                         dtype=dtype, backend=backend)
    shape = np.reshape(y, (len(outputs), -1)) if np.ndim(y) == 1 and outputs.ndim > 1 else y
    return trainer.evaluate(outputs, shape, weights)[metric(chosen).name]


KERAS = [  # metric, without weights, with weights: Keras 3.15
    (training.AUC(), 0.88065834068434, 0.9002932257466659),
    (training.AUC(curve="PR"), 0.7974586217044062, 0.8363882270739621),
    (training.AUC(20, "PR"), 0.7944686211164684, 0.8291724870593618),
    (training.RecallAtPrecision(0.6), 0.9663865546218487, 0.9848959218000732),
    (training.PrecisionAtRecall(0.7), 0.7391304347826086, 0.7992900402300079),
    (training.SensitivityAtSpecificity(0.6), 0.9663865546218487, 0.9712874022623894),
    (training.TruePositives(), 100.0, 52.564911152648435),
    (training.TrueNegatives(), 133.0, 68.49853981215122),
    (training.FalsePositives(), 48.0, 21.372428099774712),
    (training.FalseNegatives(), 19.0, 7.609947267275286)]


@pytest.mark.parametrize("chosen, plain, weighted", KERAS, ids=[repr(m) for m, *_ in KERAS])
def test_keras_counts_the_same(chosen, plain, weighted):
    # Keras counts AUC among float32 thresholds.
    assert measured(chosen, Y, LOGIT) == pytest.approx(plain, rel=1e-6)
    assert measured(chosen, Y, LOGIT, W) == pytest.approx(weighted, rel=1e-6)
    for backend in ("reference", "auto"):
        near = measured(chosen, Y, LOGIT.astype("float32"), W, "float32", backend)
        assert near == pytest.approx(weighted, rel=2e-3)


def test_pearson_and_overlap_are_keras_too():
    found = measured("pearson_correlation", Y.astype(float)[:, None], P[:, None])
    assert found == pytest.approx(0.6494017794115301, rel=1e-6)
    assert measured("mean_iou", np.eye(3)[CLASSES], SCORES) == pytest.approx(0.1835494488477707)


@pytest.mark.parametrize("weights", [None, W], ids=["plain", "weighted"])
def test_scikit_learn_counts_the_same(weights):
    from_scores = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
    guess, dense = SCORES.argmax(axis=1), np.eye(3)[CLASSES]
    want = {
        "log_loss": reference.log_loss(CLASSES, from_scores, sample_weight=weights),
        "matthews_correlation": reference.matthews_corrcoef(CLASSES, guess, sample_weight=weights),
        "mean_iou": reference.jaccard_score(CLASSES, guess, average="macro",
                                            sample_weight=weights)}
    for name, value in want.items():
        assert measured(name, dense, SCORES, weights) == pytest.approx(value, abs=1e-9), name
    found = measured(training.FBeta(2.0), dense, SCORES, weights)
    assert found == pytest.approx(reference.fbeta_score(
        CLASSES, guess, beta=2.0, average="macro", sample_weight=weights), abs=1e-9)
    found = measured("log_loss", Y, LOGIT, weights)
    assert found == pytest.approx(reference.log_loss(Y, P, sample_weight=weights), rel=1e-6)
    found = measured("mape", REAL + 3, GUESS + 3, weights)
    assert found == pytest.approx(100 * reference.mean_absolute_percentage_error(
        REAL + 3, GUESS + 3, sample_weight=weights), rel=1e-9)
    found = measured("msle", REAL + 3, GUESS + 3, weights)
    assert found == pytest.approx(reference.mean_squared_log_error(
        REAL + 3, GUESS + 3, sample_weight=weights), rel=1e-9)


def test_cosine_and_pearson_against_numpy():
    cosine = (REAL * GUESS).sum(1) / np.linalg.norm(REAL, axis=1) / np.linalg.norm(GUESS, axis=1)
    assert measured("cosine_similarity", REAL, GUESS) == pytest.approx(cosine.mean(), rel=1e-9)
    want = np.mean([np.corrcoef(REAL[:, i], GUESS[:, i])[0, 1] for i in range(2)])
    assert measured("pearson_correlation", REAL, GUESS) == pytest.approx(want, rel=1e-9)
    assert measured("pearson_correlation", np.ones_like(REAL), GUESS) == 0.0


@pytest.mark.parametrize("name", ["true_positives", "auc", "log_loss"])
def test_a_pair_of_outputs_is_one_question(name):
    pair = np.hstack([np.zeros_like(LOGIT), LOGIT])
    trainer = gt.Trainer(gt.Sequential([layers.Activation("linear")]),
                         layers.SparseCategoricalCrossentropy(True), metrics=[name],
                         dtype="float64")
    assert trainer.evaluate(pair, Y, W)[name] == pytest.approx(
        measured(name, Y, LOGIT, W), rel=1e-9)


def test_padded_steps_do_not_count():
    rows = [LOGIT[:5].copy(), LOGIT[5:7].copy()]
    for name in ("true_positives", "log_loss", "pearson_correlation", "pr_auc", "mean_iou"):
        chosen = training.AUC(curve="PR") if name == "pr_auc" else metric(name)
        trainer = gt.Trainer(gt.Sequential([layers.Activation("linear")]), "mse",
                             metrics=[chosen], dtype="float64")
        y = np.empty(2, object)
        y[:] = [Y[:5, None].astype(float), Y[5:7, None].astype(float)]
        found = trainer.evaluate(rows, y)[name]
        assert found == pytest.approx(measured(chosen, Y[:7], LOGIT[:7]), rel=1e-9), name


def test_every_metric_by_name_is_public_and_knows_its_direction():
    for name, kind in METRICS.items():
        assert getattr(training, kind.__name__) is kind
        assert isinstance(metric(name).greater_is_better, bool)
        assert metric(name) == kind() and metric(name).name == kind().name


@pytest.mark.parametrize("make, text", [
    (lambda: training.AUC(2), "num_thresholds must be a whole number from 3 on, not 2"),
    (lambda: training.AUC(curve="roc"), "curve must be one of 'ROC', 'PR', not 'roc'"),
    (lambda: training.RecallAtPrecision(1.5), "least must be in [0, 1], not 1.5"),
    (lambda: training.FBeta(0), "beta must be a finite number from 1e-09 on, not 0")])
def test_arguments_are_checked(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


def test_three_outputs_are_no_ranking():
    with pytest.raises(ShapeError, match="recall_at_precision needs one output, or two"):
        measured(training.RecallAtPrecision(0.5), np.eye(3)[CLASSES], SCORES)
