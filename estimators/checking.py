"""What scikit-learn's checks let through, and what to do about what they refuse."""
from __future__ import annotations

import re
from contextlib import contextmanager

import numpy as np

from ..backend.errors import DataError, DTypeError

ABSENT = "no_validation"      # scikit-learn's word for a y that is not passed at all

ENCODE = "encode texts and categories as numbers first, with OrdinalEncoder or OneHotEncoder, say"

# What scikit-learn and NumPy say, and how to mend it; texts that say so themselves are not here.
CURES = {
    "could not convert string|arrays of bytes/strings": ENCODE,
    "could not be promoted": "pass numbers only; turn dates into numbers, or make them an index",
    r"float\(\) argument must be|int\(\) argument must be": "pass numbers only, and no None",
    "array element with a sequence": "give all rows the same length, and pass numbers only",
    "Complex data not supported": "pass two columns, the real and the imaginary parts",
    "Input y contains": "leave such samples out",
    "Input sample_weight contains": "give a sample that is not to count the weight 0",
    # Where scikit-learn knows no estimator it does not say more; $ is the end of the whole text.
    r"Input \w+ contains NaN\.$": "remove such values or fill them in, with SimpleImputer, say",
    r"Input (X|known) contains infinity": "replace such values, or leave the samples out",
    "Unknown label type: unknown": "make all labels of one kind: [str(label) for label in y]",
    "inconsistent numbers of samples": "pass one row of X, one target and one weight per sample",
    "Found array with 0 sample": "pass at least one sample",
    "Found array with 0 feature": "pass at least one column",
    "Found array with dim": "reshape X to (n_samples, n_features)",
    "should be a 1d array": "pass one label per sample, in a 1d array",
    r"len\(x.shape\) > 0": "pass one target per sample, in an array",
    "Negative values in data passed to `sample_weight`": "pass weights from 0 on",
    "at least one non-zero number": "give at least one sample a weight above 0",
    r"Sample weights must be 1D|sample_weight\.shape": "pass one weight per sample, in a 1d array",
}


@contextmanager
def unchanged_on_error(estimator):
    """Put every attribute back if the block fails: a failing refit keeps the old fit."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


@contextmanager
def explained():
    """Errors of scikit-learn's checks inside say what to do; those that do already are left."""
    try:
        yield
    except (ValueError, TypeError) as error:
        says = "" if isinstance(error, (DataError, DTypeError)) else str(error)
        cure = next((fix for text, fix in CURES.items() if re.search(text, says)), None)
        if cure is None:
            raise
        kind = DTypeError if isinstance(error, TypeError) else DataError
        raise kind(says, fix=cure) from error


def refuse_unusable(**data) -> None:
    """Refuse what would be misread or fail obscurely: lazy frames, names twice, masks and so on."""
    for name, values in data.items():
        if callable(getattr(values, "collect", None)):
            raise DTypeError(f"{name} is lazy: it holds a plan and no values yet",
                             got=type(values).__name__, fix=f"pass {name}.collect()")
        names = list(map(str, getattr(values, "columns", ())))
        twice = next((column for column in names if names.count(column) > 1), None)
        if twice is not None:
            raise DataError(f"{name} has several columns of the same name", got=repr(twice),
                            fix="rename or drop them, or pass the table without names: .to_numpy()")
        if np.ma.is_masked(values):
            raise DataError(f"{name} has masked values, and a mask would be ignored",
                            fix=f"fill them in, or leave the samples out: {name}.filled(0.0), say")
        if name.startswith("y") and hasattr(values, "toarray"):
            raise DataError(f"{name} is sparse, but targets must be dense",
                            got=type(values).__name__, fix=f"pass {name}.toarray()")
        if name.startswith("sample_weight") and isinstance(values, (str, dict)):
            raise DTypeError(f"{name} holds one weight per sample", got=repr(values),
                             fix=f"pass class_weight={values!r} to a classifier instead")


def require_numbers(values, name: str = "X") -> None:
    """Refuse dates, which NumPy would count in a unit nobody chose, and other objects."""
    kind = getattr(values, "dtype", np.dtype(float)).kind
    if kind not in "biuf":
        raise DataError(f"{name} must hold numbers", got=f"dtype {values.dtype}",
                        fix="turn dates into numbers, such as days since the first one"
                        if kind in "mM" else ENCODE)


def require_targets(estimator, y) -> None:
    """Refuse a fit without targets, in scikit-learn's words."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y "
                         "is None")
