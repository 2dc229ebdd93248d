"""scikit-learn's own checks on every estimator of arrays, with no expected failure."""
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import gradatim as gt

# Fewer epochs than by default, so that the whole list runs in a minute; the rates are the defaults.
NETS = [
    gt.LinearClassifier(epochs=100),
    gt.DNNClassifier(hidden_layer_sizes=(16,), epochs=100),
    gt.DNNRegressor(hidden_layer_sizes=(16,), epochs=100),
    gt.CNNClassifier(epochs=25),
    gt.CNNRegressor(epochs=30),
    gt.RNNClassifier(units=8, epochs=80),
    gt.RNNRegressor(units=16, epochs=250),
]
# Checks that scikit-learn keeps outside its list; names come and go with its versions.
OUTSIDE = ["check_dataframe_column_names_consistency", "check_param_validation",
           "check_set_output_transform", "check_inplace_ensure_writeable"]


@parametrize_with_checks(NETS)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", [name for name in OUTSIDE if hasattr(estimator_checks, name)])
@pytest.mark.parametrize("net", [*NETS, gt.LinearRegressor()], ids=lambda net: type(net).__name__)
def test_scikit_learn_check_outside_the_list(net, check):
    net = clone(net)
    if "epochs" in net.get_params():
        net.set_params(epochs=2)
    getattr(estimator_checks, check)(type(net).__name__, net)


@pytest.mark.parametrize("net", [n for n in NETS if hasattr(n, "predict_proba")],
                         ids=lambda net: type(net).__name__)
def test_class_weights(net):
    estimator_checks.check_class_weight_classifiers(type(net).__name__, net)
