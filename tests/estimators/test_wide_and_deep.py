"""Wide and deep nets: crosses, columns by name and number, files."""
import numpy as np
import pandas as pd
import pytest

import gradatim as gt
from gradatim.backend.errors import ParameterError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 3))
Y = 500.0 + 100.0 * X[:, 1] + 25.0 * RANDOM.normal(size=240)
FEW = {"epochs": 5, "hidden_layer_sizes": (4,), "random_state": 0}


def test_crosses_find_what_a_linear_part_cannot():
    binary = (RANDOM.uniform(size=(240, 4)) > 0.5).astype(float)
    labels = ((binary[:, 0] != binary[:, 1])).astype(int)
    options = {"deep_features": [3], "hidden_layer_sizes": (2,), "learning_rate": 0.05,
               "epochs": 300, "random_state": 0}
    frame = pd.DataFrame(binary, columns=list("abcd"))
    without = gt.WideAndDeepClassifier(**options).fit(frame, labels)
    named = gt.WideAndDeepClassifier(crosses=[("a", "b")], **options).fit(frame, labels)
    numbered = gt.WideAndDeepClassifier(crosses=[(0, -3)], **options).fit(binary, labels)
    assert without.score(frame, labels) < 0.8 and named.score(frame, labels) == 1.0
    np.testing.assert_allclose(named.predict_proba(frame), numbered.predict_proba(binary))


@pytest.mark.parametrize("parameters, text", [
    ({"wide_features": [7]}, "wide_features names a column that is not there: 7"),
    ({"deep_features": ["a"]}, "deep_features names a column that is not there: 'a'"),
    ({"deep_features": []}, "deep_features is empty"),
    ({"crosses": [1]}, "crosses holds tuples of at least two columns"),
    ({"crosses": [(0,)]}, "crosses holds tuples of at least two columns"),
    ({"crosses": [(0, 3)]}, "crosses names a column that is not there: 3")])
def test_columns_that_are_not_there(parameters, text):
    with pytest.raises(ParameterError, match=text):
        gt.WideAndDeepRegressor(**parameters, **FEW).fit(X, Y)


def test_wide_and_deep_in_files(tmp_path):
    net = gt.WideAndDeepRegressor(crosses=[(0, 1), (1, 2, 0)], wide_features=[0], n_ensemble=2,
                                  loss="gaussian", **FEW).fit(X, Y)
    net.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    assert loaded.crosses == [(0, 1), (1, 2, 0)]


CITIES = pd.DataFrame({"city": RANDOM.choice(["Bonn", "Kiel", "Ulm"], 240),
                       "job": RANDOM.choice(["baker", "clerk"], 240), "age": X[:, 0]})


@pytest.mark.parametrize("crosses, learns", [(None, False), ([("city", "job")], True)])
def test_the_linear_part_remembers_pairs_of_categories(crosses, learns, tmp_path):
    labels = (CITIES.city == "Kiel") ^ (CITIES.job == "baker")
    net = gt.WideAndDeepClassifier(crosses=crosses, deep_features=["age"], epochs=300,
                                   hidden_layer_sizes=(2,), learning_rate=0.05, random_state=0)
    found = net.fit(CITIES, labels).predict_proba(CITIES)
    assert (net.score(CITIES, labels) == 1.0) == learns
    net.save(tmp_path / "model.h5")
    np.testing.assert_array_equal(gt.load(tmp_path / "model.h5").predict_proba(CITIES), found)
    strange = CITIES.assign(city="Ghent")
    assert np.isfinite(net.predict_proba(strange)).all()


def test_numbers_count_by_category():
    y = np.where(CITIES.job == "baker", 3.0, -2.0) * CITIES.age
    net, without = (gt.WideAndDeepRegressor(crosses=crosses, deep_features=["city"], epochs=400,
                                            hidden_layer_sizes=(2,), learning_rate=0.05,
                                            random_state=0).fit(CITIES, y)
                    for crosses in ([("job", "age")], None))
    assert net.score(CITIES, y) > 0.99 > 0.6 > without.score(CITIES, y)


def test_both_parts_take_categories():
    labels = CITIES.city.to_numpy()
    net = gt.WideAndDeepClassifier(epochs=60, random_state=0).fit(CITIES, labels)
    assert net.score(CITIES, labels) == 1.0
    many = pd.DataFrame({name: [f"{name}{i % 2100}" for i in range(4200)] for name in "ab"})
    with pytest.raises(ParameterError, match="a cross has too many categories"):
        gt.WideAndDeepRegressor(crosses=[("a", "b")], epochs=1).fit(many, np.arange(4200.0))
