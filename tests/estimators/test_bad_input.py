"""Bad input: every estimator either works or says what to do, and nothing on it changes."""
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone

import gradatim as gt
from gradatim.backend.errors import Error

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 4))
LABELS = np.arange(20) % 2
NUMBERS = X[:, 0] * 2.0 + 1.0
FEW = {"epochs": 2, "random_state": 0}
ESTIMATORS = {
    "line": gt.LinearRegressor(), "linear": gt.LinearClassifier(**FEW),
    "dnn": gt.DNNClassifier(hidden_layer_sizes=(4,), **FEW),
    "dnn_regressor": gt.DNNRegressor(hidden_layer_sizes=(4,), **FEW),
    "cnn": gt.CNNClassifier(**FEW), "cnn_regressor": gt.CNNRegressor(**FEW),
    "rnn": gt.RNNClassifier(units=3, **FEW), "rnn_regressor": gt.RNNRegressor(units=3, **FEW),
    "network": gt.NetworkClassifier(**FEW), "network_regressor": gt.NetworkRegressor(**FEW),
    "wide": gt.WideAndDeepClassifier(hidden_layer_sizes=(4,), **FEW),
    "wide_regressor": gt.WideAndDeepRegressor(hidden_layer_sizes=(4,), **FEW),
}
NETS = [name for name in ESTIMATORS if name != "line"]
CLASSIFIERS = [name for name in NETS if hasattr(ESTIMATORS[name], "predict_proba")]


def targets_of(name):
    return LABELS if name in CLASSIFIERS else NUMBERS


@pytest.fixture(scope="module", params=ESTIMATORS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    """A fitted estimator, shared: errors must not change it."""
    return clone(ESTIMATORS[name]).fit(X, targets_of(name))


def with_value(value, dtype=float):
    changed = X.astype(dtype)
    changed[3, 1] = value
    return changed


def frame(columns="abcd"):
    return pd.DataFrame(X, columns=list(columns))


# What is refused at fit, with what the text must say.
BAD_SAMPLES = {
    "NaN": (with_value(np.nan), "NaN"), "infinity": (with_value(-np.inf), "infinity"),
    "None inside": (with_value(None, object), "NaN|NoneType|None"),
    "text inside": (with_value("seven", object), "could not convert|numbers"),
    "text": (X.astype(str).astype(object) + "x", "could not convert|numbers"),
    "complex": (X + 1j, "Complex data not supported"),
    "sparse": (scipy.sparse.csr_array(X), "parse"),
    "dates": (X.astype("datetime64[s]"), "dtype|numbers|DType"),
    "no rows": (X[:0], "0 sample"), "no columns": (X[:, :0], "0 feature|one step|one pixel"),
    "one axis": (X[:, 0], "Reshape your data|dim|2D|Expected"), "number": (3.0, "array|got scalar"),
    "None": (None, "array|None"), "text alone": ("abc", "array|scalar"),
    "dict": ({"a": 1}, "array|float|dict|scalar"),
    "ragged": ([[1.0, 2.0], [3.0, [4.0]]], "inhomogen|sequence|numbers|rows"),
    "five axes": (np.zeros((20, 2, 2, 2, 2)),
                  "dim 5|<= 2|reshape|Found array|2-D array|time, fea|after Flatten|another shape"),
    "names mixed": (pd.DataFrame(X, columns=["a", "b", 3, 4]), "string|str"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_samples_that_cannot_be_used(name, model, case):
    samples, says = BAD_SAMPLES[case]
    if case == "sparse" and not name.startswith(("cnn", "rnn")):
        pytest.skip("least squares and dense nets take sparse rows")
    refused(lambda m: m.fit(samples, targets_of(name)), model, says)
    if case != "names mixed":
        refused(lambda m: m.predict(samples), model, says)
    fresh = clone(model)
    with pytest.raises((ValueError, TypeError)):
        fresh.fit(samples, targets_of(name))
    assert vars(fresh).keys() == vars(clone(model)).keys()


def refused(act, model, says):
    """The act fails with such a text and leaves the model as it was."""
    before, predicted = dict(vars(model)), model.predict(X)
    with pytest.raises((ValueError, TypeError, Error), match=says) as caught:
        act(model)
    assert str(caught.value)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[key] is before[key] for key in before)
    np.testing.assert_array_equal(model.predict(X), predicted)


# ---- targets -----------------------------------------------------------------------------------

BAD_LABELS = {
    "NaN": (np.where(LABELS, 1.0, np.nan), "NaN"), "None": (None, "y"),
    "fractions": (NUMBERS, "Unknown label type"), "short": (LABELS[:7], "inconsistent numbers"),
    "two columns": (np.stack([LABELS, 2 * LABELS], 1), "1d array"),
    "empty": (LABELS[:0], "0|inconsist"),
    "unhashable": ([[1]] * 10 + [[1, 2]] * 10, "inhomogeneous|1d array|label"),
    "mixed": (np.array([1, "a"] * 10, object), "label|str|mix|not supported"),
    "sets": (np.array([{1}, {2}] * 10, object), "label|type|Unknown"),
    "number": (5, "1d array|array"), "infinite": (np.where(LABELS, 1.0, np.inf), "infinity"),
}
BAD_NUMBERS = {
    "NaN": (np.where(LABELS, 1.0, np.nan), "NaN"), "None": (None, "y"),
    "short": (NUMBERS[:7], "inconsistent numbers"),
    "text": (np.array(["a", "b"] * 10), "numeric|numbers|convert|dtype"),
    "infinite": (np.where(LABELS, 1.0, np.inf), "infinity"), "number": (5, "array"),
    "three axes": (np.zeros((20, 2, 2)), "dim 3"), "complex": (NUMBERS + 1j, "omplex"),
    "ragged": ([[1.0]] * 10 + [[1.0, 2.0]] * 10, "inhomogeneous"),
}


@pytest.mark.parametrize("case", sorted({*BAD_LABELS, *BAD_NUMBERS}))
def test_targets_that_cannot_be_used(name, model, case):
    table = BAD_LABELS if name in CLASSIFIERS else BAD_NUMBERS
    if case in table:
        y, says = table[case]
        refused(lambda m: m.fit(X, y), model, says)
        refused(lambda m: m.partial_fit(X, y), model, says)


def test_labels_that_were_not_there(name, model):
    if name in CLASSIFIERS:
        refused(lambda m: m.partial_fit(X, LABELS + 1), model, "the label 2 was not seen")
        refused(lambda m: m.fit(X, LABELS, X_val=X, y_val=LABELS + 5), model,
                "label 5 was not seen")
        refused(lambda m: m.partial_fit(X, LABELS, classes=[0, 1, 2]), model, "leave it out")


# ---- weights and validation data ---------------------------------------------------------------

BAD_WEIGHTS = {
    "negative": (np.linspace(-1, 1, 20), "[Nn]egative"), "zero": (np.zeros(20), "zero"),
    "NaN": (np.full(20, np.nan), "NaN"), "short": (np.ones(3), "sample_weight"),
    "two axes": (np.ones((20, 2)), "1D array|sample_weight"), "text": (["a"] * 20, "convert|float"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_weights_that_cannot_be_used(name, model, case):
    weights, says = BAD_WEIGHTS[case]
    refused(lambda m: m.fit(X, targets_of(name), sample_weight=weights), model, says)
    refused(lambda m: m.partial_fit(X, targets_of(name), sample_weight=weights), model, says)


BAD_VALIDATION = {
    "no y": ({"X_val": X}, "needs y_val"), "no X": ({"y_val": LABELS}, "need X_val"),
    "weights alone": ({"sample_weight_val": np.ones(20)}, "need X_val"),
    "short": ({"X_val": X, "y_val": LABELS[:3]}, "differ in their number"),
    "columns": ({"X_val": X[:, :2], "y_val": LABELS}, "features|another shape"),
    "NaN": ({"X_val": with_value(np.nan), "y_val": LABELS}, "NaN"),
    "empty": ({"X_val": X[:0], "y_val": LABELS[:0]}, "0 sample"),
    "weights": ({"X_val": X, "y_val": LABELS, "sample_weight_val": -np.ones(20)}, "[Nn]egative"),
    "two targets": ({"X_val": X, "y_val": np.stack([LABELS] * 2, 1)}, "1d array|2 targets"),
}


@pytest.mark.parametrize("case", BAD_VALIDATION)
def test_validation_data_that_cannot_be_used(name, model, case):
    if name in NETS:
        validation, says = BAD_VALIDATION[case]
        refused(lambda m: m.fit(X, targets_of(name), **validation), model, says)


# ---- columns -----------------------------------------------------------------------------------

def test_columns_that_are_others(name, model):
    refused(lambda m: m.predict(X[:, :3]), model, "3 features.*expecting 4")
    refused(lambda m: m.partial_fit(X[:, :3], targets_of(name)), model, "3 features.*expecting 4")
    named = clone(model).fit(frame(), targets_of(name))
    for other in (frame("badc"), frame("abce")):
        with pytest.raises(ValueError, match="feature names should match"):
            named.predict(other)
        with pytest.raises(ValueError, match="feature names should match"):
            named.partial_fit(other, targets_of(name))
    with pytest.warns(UserWarning, match="feature names"):
        named.predict(X)


def test_names_that_stand_twice(name, model):
    says = "several columns of the same name"
    refused(lambda m: m.fit(frame("aacd"), targets_of(name)), model, says)
    refused(lambda m: m.predict(frame("aacd")), model, says)


def test_what_works_all_the_same(name):
    y = targets_of(name)
    works = [(X.astype(object), y), (np.asfortranarray(X), y),
             (X[:1], y[:1]), (X[:, :1], y), (X[:, [0, 0, 0]], y), (np.ones((20, 4)), y),
             (X.tolist(), y.tolist()), (X, pd.Series(y)), (X > 0, y), (X[::-1], y),
             (X.astype(np.float16), y), ((X * 9).astype(np.int8), y), (X, y[0] * np.ones(20, int)),
             (X * 1e30, y), (X * 1e-30, y), (pd.DataFrame(X).astype("float32"), y)]
    for samples, targets in works:
        found = clone(ESTIMATORS[name]).fit(samples, targets).predict(samples)
        assert found.shape == (len(targets),)
        if name not in CLASSIFIERS:
            assert np.isfinite(found).all()


# ---- parameters --------------------------------------------------------------------------------

BAD_PARAMETERS = {
    "epochs": [0, -1, 2.5, "many", None, [3]], "batch_size": [0, -1, 2.5, "all", None],
    "learning_rate": [0, -0.1, np.nan, np.inf, "fast", None],
    "optimizer": ["newton", None, 3, dict],
    "schedule": ["linear", None, 3], "solver": ["exact", None, 3], "loss": ["no such", 3, None],
    "alpha": [-1, np.nan, np.inf, "x", None], "standardize": ["yes", None, 2.5],
    "early_stopping": ["yes", None], "validation_fraction": [0, 1, 1.5, "x", None],
    "patience": [-1, 1.5, "x", None], "warm_start": ["yes", None], "verbose": ["loud", -1, None],
    "callbacks": ["x", 3, [3], lambda run: None], "backend": ["abacus", None, 3],
    "strategy": ["telepathy", None, 3], "precision": ["float8", None, 32, "tf32"],
    "random_state": ["x", -1, 2.5], "class_weight": ["even", 3, {5: 1.0}, {0: -1.0}, {0: "x"},
                                                     {0: 0.0, 1: 0.0}],
    "hidden_layer_sizes": [0, (3, 0), (2.5,), "x", None], "activation": ["reloo", None, 3],
    "dropout": [-0.1, 1.0, 1.5, "x", None], "batch_norm": ["x", None],
    "architecture": ["vgg", None, 3], "image_shape": [(0, 4), (4,), "2x2", 4, (1.5, 2), (3, 3)],
    "cell": ["x", None], "units": [0, -1, (3, 0), (), "x", None, 2.5], "bidirectional": ["x", None],
    "fit_intercept": ["x", None],
}


@pytest.mark.parametrize("parameter", BAD_PARAMETERS)
def test_parameters_that_cannot_be_used(name, model, parameter):
    if parameter not in model.get_params():
        return
    good = getattr(model, parameter)
    for value in BAD_PARAMETERS[parameter]:
        before = dict(vars(model))
        try:
            with pytest.raises((ValueError, Error)) as caught:
                model.set_params(**{parameter: value}).fit(X, targets_of(name))
        finally:
            model.set_params(**{parameter: good})
        said = str(caught.value)
        assert parameter.rstrip("s") in said or repr(value) in said or str(value) in said, said
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[key] is before[key] for key in before)


OTHER_NETS = [
    (gt.DNNRegressor(hidden_layer_sizes=(4,), **FEW), {"loss": "gaussian"}),
    (gt.DNNRegressor(hidden_layer_sizes=(4,), loss="gaussian", **FEW), {"loss": "auto"}),
    (gt.RNNRegressor(units=3, loss="quantile", quantile=(0.1, 0.9), **FEW), {"quantile": 0.5}),
    (gt.RNNForecaster(horizon=2, lookback=3, units=3, **FEW), {"horizon": 3}),
    (gt.RNNForecaster(horizon=2, lookback=3, units=3, **FEW), {"lookback": 2})]


@pytest.mark.parametrize("estimator, others", OTHER_NETS, ids=lambda v: type(v).__name__ if
                         hasattr(v, "fit") else "-".join(v))
def test_parameters_that_ask_for_another_net_than_the_fitted_one(estimator, others):
    model = clone(estimator).fit(X, NUMBERS)
    forecasts = isinstance(model, gt.RNNForecaster)

    def answer():
        return model.backtest(X, NUMBERS)[1] if forecasts else model.predict(X)

    before, given = answer(), {name: getattr(model, name) for name in others}
    model.set_params(**others)
    for _ in range(2):
        with pytest.raises(ValueError, match="after a change of parameters, fit anew"):
            answer()
    model.set_params(**given)
    np.testing.assert_array_equal(answer(), before)
    model.set_params(**others).fit(X, NUMBERS)
    assert len(answer()) > 0
