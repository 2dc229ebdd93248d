"""scikit-learn's own checks on every estimator of arrays, with no expected failure."""
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import gradatim as gt

# Fewer epochs than by default, so that the whole list runs in minutes; the rates are the defaults.
NETS = [
    gt.LinearClassifier(epochs=100),
    gt.DNNClassifier(hidden_layer_sizes=(16,), epochs=100),
    gt.DNNRegressor(hidden_layer_sizes=(16,), epochs=100),
    gt.CNNClassifier(epochs=40),
    gt.CNNRegressor(epochs=40),
    gt.RNNClassifier(units=8, epochs=100),
    gt.RNNRegressor(units=16, epochs=150),
]


@parametrize_with_checks(NETS)
def test_scikit_learn_check(estimator, check):
    check(estimator)
