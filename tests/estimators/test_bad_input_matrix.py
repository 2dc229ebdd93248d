"""Thirty odd inputs for every estimator: each works as expected, or the text says what to do."""
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone, is_classifier

import gradatim as gt
from gradatim import layers

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 4))
LABELS = np.arange(20) % 2
NUMBERS = X[:, 0] * 2.0 + 1.0
FEW = {"epochs": 2, "random_state": 0}
LINE = gt.LinearRegressor()
NETS = [gt.LinearClassifier(**FEW), gt.DNNClassifier(hidden_layer_sizes=(4,), **FEW),
        gt.DNNRegressor(hidden_layer_sizes=(4,), **FEW), gt.CNNClassifier(**FEW),
        gt.CNNRegressor(**FEW), gt.RNNClassifier(units=3, **FEW), gt.RNNRegressor(units=3, **FEW),
        gt.NetworkClassifier(**FEW), gt.NetworkRegressor(**FEW),
        gt.WideAndDeepClassifier(hidden_layer_sizes=(4,), **FEW),
        gt.WideAndDeepRegressor(hidden_layer_sizes=(4,), **FEW)]
CLASSIFIERS = [e for e in NETS if is_classifier(e)]
REGRESSORS = [LINE, *(e for e in NETS if not is_classifier(e))]
RECURRENT = [e for e in NETS if type(e).__name__.startswith("RNN")]
EVERY = [LINE, *NETS]
CODES = gt.Autoencoder(hidden_layer_sizes=(4,), **FEW)
SAMPLES = [*EVERY, CODES]
BASELINES = [gt.BaselineClassifier(), gt.BaselineRegressor()]       # they look at targets alone
TARGETS = [*EVERY, *BASELINES]
WORKS = "works"

ENCODE = "encode texts and categories as numbers first, with OrdinalEncoder or OneHotEncoder, say"
DATES = "turn dates into numbers, such as days since the first one"
TWICE = "has several columns of the same name\n  got  'a'\n  fix  rename or drop them"


def targets(estimator):
    return LABELS if is_classifier(estimator) else NUMBERS


def changed(value, dtype=float):
    found = X.astype(dtype)
    found[3, 1] = value
    return found


def frame(columns="abcd", values=X):
    return pd.DataFrame(values, columns=list(columns))


RAGGED = [list(row[:3 + i % 2]) for i, row in enumerate(X)]
OBJECTS = np.empty(20, object)
OBJECTS[:] = list(X)

# (case, estimators, arguments of fit, what the text must contain)
MATRIX = [
    # samples
    ("float16", SAMPLES, {"X": X.astype(np.float16)}, WORKS),
    ("int8", SAMPLES, {"X": (X * 9).astype(np.int8)}, WORKS),
    ("booleans", SAMPLES, {"X": X > 0}, WORKS),
    ("objects", SAMPLES, {"X": X.astype(object)}, WORKS),
    ("nested lists", SAMPLES, {"X": X.tolist()}, WORKS),
    ("one row", SAMPLES, {"X": X[:1], "rows": 1}, WORKS),
    ("one feature", SAMPLES, {"X": X[:, :1]}, WORKS),
    ("columns that are equal", SAMPLES, {"X": X[:, [0, 0, 1]]}, WORKS),
    ("texts", SAMPLES, {"X": changed("seven", object)},
     f"could not convert string to float: 'seven'\n  fix  {ENCODE}"),
    ("array of texts", SAMPLES, {"X": X.astype(str)}, f"fix  {ENCODE}"),
    ("dates", SAMPLES, {"X": X.astype("datetime64[s]")},
     f"X must hold numbers\n  got  dtype datetime64[s]\n  fix  {DATES}"),
    ("complex", SAMPLES, {"X": X + 1j}, "fix  pass two columns, the real and the imaginary parts"),
    ("NaN", SAMPLES, {"X": changed(np.nan)}, "Input X contains NaN."),
    ("infinity", SAMPLES, {"X": changed(np.inf)},
     "dtype('float64').\n  fix  replace such values, or leave the samples out"),
    ("pandas' NA", SAMPLES, {"X": frame().astype("Float64").mask(X > 1)}, "Input X contains NaN."),
    ("masked", SAMPLES, {"X": np.ma.masked_array(X, X > 1)},
     "X has masked values, and a mask would be ignored\n  fix  fill them in, or"),
    ("empty", SAMPLES, {"X": X[:0]}, "is required by"),
    ("no samples to count", BASELINES, {"X": X[:0], "y": lambda y: y[:0]},
     "fix  pass at least one sample"),
    ("no columns", SAMPLES, {"X": X[:, :0]}, "fix  pass at least one column"),
    ("one axis", SAMPLES, {"X": X[:, 0]}, "Reshape your data"),
    ("three axes", [LINE, *NETS[:3]], {"X": np.zeros((20, 2, 2))},
     "fix  reshape X to (n_samples, n_features)"),
    ("a number", SAMPLES, {"X": 3.0}, "Reshape your data"),
    ("ragged lists", [e for e in SAMPLES if e not in RECURRENT], {"X": RAGGED},
     "fix  give all rows the same length, and pass numbers only"),
    ("sequences of unequal length", RECURRENT, {"X": RAGGED}, WORKS),
    ("objects that are rows", RECURRENT, {"X": OBJECTS}, WORKS),
    ("names twice", SAMPLES, {"X": frame("aacd")}, f"X {TWICE}"),
    ("a lazy frame", SAMPLES, {"X": pl.DataFrame(X).lazy()},
     "X is lazy: it holds a plan and no values yet\n  got  LazyFrame\n  fix  pass X.collect()"),
    ("names of two kinds", SAMPLES, {"X": pd.DataFrame(X, columns=["a", "b", 3, 4])},
     "X.columns = X.columns.astype(str)"),
    # targets
    ("a column", TARGETS, {"y": lambda y: y[:, None]}, WORKS),
    ("a Series of another index", TARGETS, {"y": lambda y: pd.Series(y, range(50, 70))}, WORKS),
    ("one class", TARGETS, {"y": np.ones(20, int)}, WORKS),
    ("labels as texts", [*CLASSIFIERS, BASELINES[0]],
     {"y": np.array(["no", "yes"])[LABELS]}, WORKS),
    ("labels as dates", [*CLASSIFIERS, BASELINES[0]], {"y": LABELS.astype("datetime64[D]")}, WORKS),
    ("labels of two kinds", [*CLASSIFIERS, BASELINES[0]], {"y": np.array([1, "a"] * 10, object)},
     "fix  make all labels of one kind: [str(label) for label in y]"),
    ("unhashable labels", [*CLASSIFIERS, BASELINES[0]], {"y": np.array([{1}, {2}] * 10, object)},
     "fix  make all labels of one kind: [str(label) for label in y]"),
    ("fractions as labels", [*CLASSIFIERS, BASELINES[0]], {"y": NUMBERS},
     "Unknown label type: continuous. Maybe"),
    ("text targets", [*REGRESSORS, BASELINES[1]], {"y": np.array(["a", "b"] * 10)},
     f"fix  {ENCODE}"),
    ("dates as targets", [*REGRESSORS, BASELINES[1]], {"y": NUMBERS.astype("datetime64[s]")},
     f"y must hold numbers\n  got  dtype datetime64[s]\n  fix  {DATES}"),
    ("None among targets", [*REGRESSORS, BASELINES[1]], {"y": np.array([None, 1.0] * 10, object)},
     "Input y contains NaN.\n  fix  leave such samples out"),
    ("NaN among targets", TARGETS, {"y": np.where(LABELS, 1.0, np.nan)},
     "Input y contains NaN.\n  fix  leave such samples out"),
    ("sparse targets", TARGETS, {"y": scipy.sparse.csr_array(LABELS[:, None])},
     "y is sparse, but targets must be dense\n  got  csr_array\n  fix  pass y.toarray()"),
    ("masked targets", TARGETS, {"y": np.ma.masked_array(LABELS, LABELS > 0)},
     "y has masked values"),
    ("ragged targets", TARGETS, {"y": [[1]] * 10 + [[1, 2]] * 10},
     "fix  give all rows the same length, and pass numbers only"),
    ("targets that are named twice", TARGETS, {"y": frame("aa", np.stack([LABELS] * 2, 1))},
     f"y {TWICE}"),
    ("fewer targets", TARGETS, {"y": LABELS[:7]},
     "[20, 7]\n  fix  pass one row of X, one target and one weight per sample"),
    ("no targets", TARGETS, {"y": None}, "requires y to be passed, but the target y is None"),
    # weights
    ("a number as weight", [*TARGETS, CODES], {"sample_weight": 2}, WORKS),
    ("negative weights", [*TARGETS, CODES], {"sample_weight": np.linspace(-1, 1, 20)},
     "fix  pass weights from 0 on"),
    ("weights all zero", [*TARGETS, CODES], {"sample_weight": np.zeros(20)},
     "fix  give at least one sample a weight above 0"),
    ("NaN among weights", [*TARGETS, CODES], {"sample_weight": np.full(20, np.nan)},
     "fix  give a sample that is not to count the weight 0"),
    ("weights in a column", [*TARGETS, CODES], {"sample_weight": np.ones((20, 1))},
     "fix  pass one weight per sample, in a 1d array"),
    ("fewer weights", [*TARGETS, CODES], {"sample_weight": np.ones(3)},
     "(3,), expected (20,)!\n  fix  pass one weight per sample, in a 1d array"),
    ("class weights as sample weights", [*TARGETS, CODES], {"sample_weight": "balanced"},
     "sample_weight holds one weight per sample\n  got  'balanced'\n"
     "  fix  pass class_weight='balanced' to a classifier instead"),
    # validation data
    ("validation targets in a column", NETS,
     {"X_val": X, "y_val": lambda y: y[:, None]}, WORKS),
    ("validation data of other columns", NETS, {"X_val": X[:, :2], "y_val": LABELS},
     "the validation data cannot be used: X has 2 features, but"),
    ("validation labels that are new", CLASSIFIERS, {"X_val": X, "y_val": LABELS + 5},
     "the validation data cannot be used: the label 5 was not seen"),
    ("validation data with NaN", NETS, {"X_val": changed(np.nan), "y_val": LABELS},
     "the validation data cannot be used: Input X contains NaN."),
    ("names twice in validation data", NETS, {"X_val": frame("aacd"), "y_val": LABELS},
     f"X_val {TWICE}"),
    ("None among validation targets", REGRESSORS[1:],
     {"X_val": X, "y_val": [None, 1.0] * 10}, "cannot be used: Input y contains NaN."),
    # parameters
    ("no epochs", NETS, {"epochs": 0}, "The 'epochs' parameter of"),
    ("a class as sizes", NETS[1:3], {"hidden_layer_sizes": dict}, "hidden_layer_sizes"),
    ("an array as a switch", NETS, {"warm_start": np.array([1, 2])}, "warm_start"),
]


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("estimator, given, says", [
    pytest.param(estimator, given, says, id=f"{case}-{type(estimator).__name__}")
    for case, estimators, given, says in MATRIX for estimator in estimators])
def test_odd_input(estimator, given, says):
    y, given = targets(estimator), dict(given)
    rows = given.pop("rows", 20)
    parameters = {name: given.pop(name) for name in list(given) if name in estimator.get_params()}
    arguments = {name: value(y) if callable(value) else value for name, value in given.items()}
    arguments = {"X": X, "y": y[:rows], **arguments}
    model = clone(estimator).set_params(**parameters)
    if says == WORKS:
        model.fit(**arguments)
        if hasattr(model, "transform"):
            assert model.transform(arguments["X"]).shape[0] == rows
            return
        found = model.predict(arguments["X"])
        flat = is_classifier(model) or np.ndim(arguments["y"]) == 1
        assert found.shape == ((rows,) if flat else (rows, 1))
        return
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError)) as caught:
        model.fit(**arguments)
    assert says in str(caught.value)
    assert vars(model) == before


OTHER_ORDER = "(?s)feature names should match.*must be in the same"


@pytest.mark.parametrize("estimator", [
    gt.RNNForecaster(horizon=2, lookback=3, units=3, **FEW),
    gt.BaselineForecaster(horizon=2, lookback=3)], ids=lambda e: type(e).__name__)
def test_columns_of_series_in_another_order(estimator, tmp_path):
    whole = clone(estimator).fit(frame())
    several = clone(estimator).fit([frame(), frame()])
    whole.save(tmp_path / "model.h5")
    for model in (whole, several, gt.load(tmp_path / "model.h5")):
        assert model.feature_names_in_.tolist() == list("abcd")
        for act in (model.predict, model.score, lambda X: model.predict([frame(), X])):
            with pytest.raises(ValueError, match=OTHER_ORDER):
                act(frame("badc"))
    before = dict(vars(whole))
    with pytest.raises(ValueError, match=OTHER_ORDER):
        whole.fit([frame(), frame("badc")])
    assert vars(whole).keys() == before.keys()
    assert all(vars(whole)[name] is before[name] for name in before)


@pytest.mark.parametrize("estimator", SAMPLES, ids=lambda e: type(e).__name__)
def test_columns_in_another_order(estimator):
    model = clone(estimator).fit(frame(), targets(estimator))
    answer = getattr(model, "predict", None) or model.transform
    with pytest.raises(ValueError, match=OTHER_ORDER):
        answer(frame("badc"))


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda e: type(e).__name__)
def test_one_column_of_targets_is_as_good_as_none(estimator):
    """``(n,)`` against ``(n, 1)`` would silently make ``(n, n)``."""
    flat, column = (clone(estimator).fit(X, y) for y in (NUMBERS, NUMBERS[:, None]))
    np.testing.assert_allclose(flat.predict(X), column.predict(X)[:, 0], rtol=1e-12)
    for model in (flat, column):
        scores = [model.score(X, y) for y in (NUMBERS, NUMBERS[:, None])]
        assert scores[0] == pytest.approx(scores[1])
    for model, other in ((flat, NUMBERS[:, None]), (column, NUMBERS)):
        shape = model.predict(X).shape
        same = clone(estimator).fit(X, NUMBERS).partial_fit(X, NUMBERS).predict(X)
        found = model.partial_fit(X, other).predict(X)
        assert found.shape == shape
        np.testing.assert_allclose(found.ravel(), same, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("estimator", NETS, ids=lambda e: type(e).__name__)
def test_one_column_of_validation_targets_is_as_good_as_none(estimator):
    flat = targets(estimator)
    wanted = clone(estimator).fit(X, flat, X_val=X, y_val=-flat + 1).history_
    for y, y_val in ((flat, -flat[:, None] + 1), (flat[:, None], -flat + 1)):
        assert clone(estimator).fit(X, y, X_val=X, y_val=y_val).history_ == wanted


@pytest.mark.parametrize("estimator", NETS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("how", ["partial_fit", "sample_weight_val"])
def test_a_column_of_weights_is_refused_wherever_it_is_passed(estimator, how):
    model, y, column = clone(estimator), targets(estimator), np.ones((20, 1))
    with pytest.raises(ValueError, match="fix  pass one weight per sample, in a 1d array"):
        if how == "partial_fit":
            model.partial_fit(X, y, sample_weight=column)
        else:
            model.fit(X, y, X_val=X, y_val=y, sample_weight_val=column)


def test_a_loss_that_pairs_all_with_all():
    net = gt.Trainer(gt.Sequential([layers.Dense(1)]), loss=lambda y, p: gt.square(y - p))
    with pytest.raises(ValueError) as caught:
        net.fit(X, NUMBERS, epochs=1, batch_size=10)
    assert str(caught.value) == (
        "the loss pairs every target with every prediction\n"
        "  got  [10] and [10, 1] make [10, 10]\n"
        "  fix  pass y of the predictions' shape, or take y_pred[:, 0]")
    net.fit(X, NUMBERS[:, None], epochs=1)


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 1: 0.5}], ids=str)
def test_weights_are_repeated_rows_under_class_weights(estimator, class_weight):
    given = np.array([0, 1, 2, 3])[np.arange(20) % 4]
    given[::5] = 1
    model = clone(estimator).set_params(class_weight=class_weight, epochs=5)
    weighted = clone(model).fit(X, LABELS, sample_weight=given)
    repeated = clone(model).fit(np.repeat(X, given, axis=0), np.repeat(LABELS, given))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda e: type(e).__name__)
def test_weights_are_repeated_rows(estimator):
    given = np.arange(20) % 4
    weighted = clone(estimator).fit(X, NUMBERS, sample_weight=given)
    repeated = clone(estimator).fit(np.repeat(X, given, axis=0), np.repeat(NUMBERS, given))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), atol=1e-9)
