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
