"""scikit-learn's checks on every estimator, in every combination of how it may be used.

The test suite runs one combination in full and samples the others; in full they are run by ``python
tests/estimators/contract.py``, or a part of them: ``--backend reference --dtype float32 --routing
on --only RNN``. The exit status is the number of checks that did not pass; skipped ones count.
"""
import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")     # without it scikit-learn skips a check

import argparse
import sys
import warnings
from contextlib import ExitStack, contextmanager
from inspect import signature
from itertools import product
from typing import Callable, NamedTuple
from unittest.mock import patch

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

import gradatim as gt

# Fewer epochs than by default and small nets, so that the whole list runs in seconds.
ESTIMATORS = [
    gt.Autoencoder(hidden_layer_sizes=(8,), epochs=15),
    gt.BaselineClassifier(),
    gt.BaselineRegressor(),
    gt.FeatureEncoder(),
    gt.LinearRegressor(),
    gt.LinearClassifier(epochs=60),
    gt.DNNClassifier(hidden_layer_sizes=(16,), epochs=100),
    gt.DNNRegressor(hidden_layer_sizes=(16,), epochs=60),
    gt.CNNClassifier(epochs=15),
    gt.CNNRegressor(epochs=20),
    gt.RNNClassifier(cell="rnn", units=8, bidirectional=False, epochs=60),
    gt.RNNRegressor(cell="rnn", units=16, bidirectional=False, epochs=80),
    gt.NetworkClassifier(epochs=60, n_ensemble=2),
    gt.NetworkRegressor(epochs=40, loss="huber", n_ensemble=2),
    gt.WideAndDeepClassifier(hidden_layer_sizes=(16,), epochs=200, label_smoothing=0.1),
    gt.WideAndDeepRegressor(hidden_layer_sizes=(16,), epochs=100),
    gt.BaselineForecaster(horizon=2),
    gt.ImageReader(image_shape=(4, 4)),
    gt.RNNForecaster(horizon=2, lookback=3, units=4, epochs=2),
    gt.RNNTagger(units=4, epochs=2),
    gt.TextGenerator(units=4, epochs=2),
    gt.TextVectorizer(),
]

# Checks that scikit-learn keeps outside its list; names come and go with its versions.
OUTSIDE = ["check_dataframe_column_names_consistency", "check_param_validation",
           "check_inplace_ensure_writeable"]
OUTSIDE_TRANSFORMERS = [
    "check_set_output_transform", "check_set_output_transform_pandas",
    "check_global_output_transform_pandas", "check_set_output_transform_polars",
    "check_global_set_output_transform_polars", "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas", "check_get_feature_names_out_error"]


# scikit-learn makes no check of estimators whose samples are not rows of numbers. They are made
# here all the same, as far as they do not speak of rows, on its samples in the form of theirs.
ANY_SAMPLES = [
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
    "check_estimator_repr", "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params", "check_mixin_order",
    "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
    "check_param_validation", "check_fit_score_takes_y", "check_estimators_overwrite_params",
    "check_estimators_fit_returns_self", "check_readonly_memmap_input",
    "check_fit_check_is_fitted", "check_estimators_pickle"]
FITTED = ["check_estimators_unfitted"]
COLUMNS = ["check_dont_overwrite_parameters", "check_positive_only_tag_during_fit",
           "check_dict_unchanged", "check_f_contiguous_array_estimator"]
ORDER = ["check_methods_sample_order_invariance", "check_fit_idempotent"]


class Form(NamedTuple):
    """What becomes of scikit-learn's rows and labels, and which checks more can be made then."""
    X: Callable
    y: Callable
    more: list[str]


def texts(X) -> list[str]:
    """Rows of numbers as sentences."""
    return [" ".join(f"word{int(v)}" for v in row) for row in np.atleast_2d(X)]


SERIES = Form(lambda X: X, lambda y: None, FITTED + COLUMNS + ORDER[1:])
FORMS = {
    "BaselineForecaster": SERIES, "RNNForecaster": SERIES,
    "ImageReader": Form(lambda X: np.tile(np.abs(X[:, :1, None, None]), (1, 5, 4, 3)),
                        lambda y: y, [*ORDER, "check_pipeline_consistency"]),
    "RNNTagger": Form(lambda X: X[:, np.arange(4) % X.shape[1]],        # four steps
                      lambda y: np.repeat(y, 4).reshape(-1, 4), FITTED + COLUMNS + ORDER + [
                          "check_methods_subset_invariance", "check_sample_weights_list",
                          "check_pipeline_consistency"]),
    "TextGenerator": Form(texts, lambda y: None, FITTED),
    "TextVectorizer": Form(texts, lambda y: y, [*FITTED, "check_pipeline_consistency"]),
}


class Combination(NamedTuple):
    """How an estimator is used while it is checked."""
    backend: str
    dtype: str
    routing: str

    def __str__(self):
        return f"{self.backend}-{self.dtype}-routing {self.routing}"


COMBINATIONS = [Combination(*parts) for parts in
                product(["native", "reference"], ["float64", "float32"], ["off", "on"])]


def checks_of(estimator) -> list[tuple[str, object]]:
    """Names and checks, those outside the list with them; call one with the estimator."""
    found, name = [], type(estimator).__name__
    if name in FORMS:
        outside = ANY_SAMPLES + FORMS[name].more
    else:
        for _, check in estimator_checks_generator(estimator):
            words = [check.func.__name__, *map(str, check.keywords.values())]
            found.append((" ".join(words), check))
        outside = OUTSIDE + OUTSIDE_TRANSFORMERS * hasattr(estimator, "transform")
    for check in (getattr(estimator_checks, o) for o in outside if hasattr(estimator_checks, o)):
        found.append((check.__name__, lambda estimator, check=check: check(name, estimator)))
    return found


@contextmanager
def used(estimator, combination: Combination):
    """A copy of the estimator, and inside everything as the combination says."""
    estimator = clone(estimator)
    if "backend" in estimator.get_params():
        estimator.set_params(backend=combination.backend)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if combination.routing == "on":
            stack.enter_context(config_context(enable_metadata_routing=True))
            if "sample_weight" in signature(estimator.fit).parameters:
                estimator.set_fit_request(sample_weight=True)
        if type(estimator).__name__ in FORMS:
            form = FORMS[type(estimator).__name__]
            stack.enter_context(patch.multiple(
                estimator_checks, _enforce_estimator_tags_X=lambda _, X, **__: form.X(X),
                _enforce_estimator_tags_y=lambda _, y: form.y(y)))
        if combination.dtype == "float32":
            original = estimator_checks._enforce_estimator_tags_X

            def single(*args, **kwargs):
                X = original(*args, **kwargs)
                return X.astype("float32") if getattr(X, "dtype", None) == np.float64 else X

            stack.enter_context(patch.object(estimator_checks, "_enforce_estimator_tags_X", single))
        yield estimator


def run(estimator, check, combination: Combination) -> None:
    """One check in one combination."""
    with used(estimator, combination) as copy:
        check(copy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for axis in Combination._fields:
        parser.add_argument(f"--{axis}", default="")
    parser.add_argument("--only", default="", help="estimators whose names contain this")
    options = parser.parse_args()
    failures = passed = 0
    for combination in COMBINATIONS:
        if not all(getattr(options, axis) in ("", part)
                   for axis, part in combination._asdict().items()):
            continue
        for estimator in ESTIMATORS:
            if options.only not in type(estimator).__name__:
                continue
            before = failures, passed
            for name, check in checks_of(estimator):
                try:
                    run(estimator, check, combination)
                    passed += 1
                except Exception as error:      # a skipped check is one that was not made
                    failures += 1
                    print(f"  {combination} {estimator}: {name}\n    {error!r}"[:600])
            print(f"{combination} {type(estimator).__name__}: {passed - before[1]} passed, "
                  f"{failures - before[0]} failed", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 100))
