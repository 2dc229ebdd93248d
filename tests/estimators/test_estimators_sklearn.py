"""scikit-learn's own checks on every estimator: none expected to fail, none skipped.

One combination of backend, input and routing in full; of each other one a few checks of every
estimator. ``python tests/estimators/contract.py`` runs all of them.
"""
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from sklearn.utils import estimator_checks

import gradatim as gt

SPEC = spec_from_file_location("contract", Path(__file__).with_name("contract.py"))
contract = sys.modules["contract"] = module_from_spec(SPEC)
SPEC.loader.exec_module(contract)
ESTIMATORS, (FULL, *OTHERS) = contract.ESTIMATORS, contract.COMBINATIONS
EVERY = 30      # of the other combinations one check in so many is run

NAMES = [type(estimator).__name__ for estimator in ESTIMATORS]
CHECKS = [contract.checks_of(estimator) for estimator in ESTIMATORS]


def cases(checks, first: int, every: int):
    """Some checks of every estimator, each starting at another one."""
    return [pytest.param(estimator, check, id=f"{name}-{label}")
            for i, (estimator, name, own) in enumerate(zip(ESTIMATORS, NAMES, checks))
            for label, check in own[(first + 7 * i) % every::every]]


def test_no_estimator_is_missing():
    public = {name for name in gt.estimators.__all__
              if hasattr(getattr(gt.estimators, name), "get_params")}
    assert public == set(NAMES) and len(NAMES) == len(public)


@pytest.mark.parametrize("estimator, check", cases(CHECKS, 0, 1))
def test_scikit_learn_check(estimator, check):
    contract.run(estimator, check, FULL)


@pytest.mark.parametrize("combination, estimator, check", [
    pytest.param(combination, *case.values, id=f"{combination}-{case.id}")
    for k, combination in enumerate(OTHERS) for case in cases(CHECKS, 4 * k + 1, EVERY)])
def test_scikit_learn_check_otherwise(combination, estimator, check):
    contract.run(estimator, check, combination)


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if hasattr(e, "class_weight")
                                       and type(e).__name__ not in contract.FORMS],
                         ids=lambda e: type(e).__name__)
def test_class_weights(estimator):
    name = type(estimator).__name__
    with contract.used(estimator, FULL) as copy:
        estimator_checks.check_class_weight_classifiers(name, copy)
