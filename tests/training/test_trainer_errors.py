"""What a Trainer refuses, and with which words."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import DataError, ParameterError, ShapeError
from gradatim.training import EarlyStopping, Metric, Schedule

RNG = np.random.default_rng(7)
X = RNG.standard_normal((70, 5))
Y = X @ RNG.standard_normal(5) + 0.3
CLASSES = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)


def net(outputs=1):
    return gt.Sequential([layers.Dense(12, activation="relu"), layers.Dense(outputs)])


def fitted():
    trainer = gt.Trainer(net())
    trainer.fit(X, Y, epochs=1)
    return trainer


SPARSE = layers.SparseCategoricalCrossentropy(from_logits=True)
ERRORS = [
    (lambda: fitted().predict(X[:, :3]), ShapeError,
     'Dense "dense": the input has another shape than it was built for\n'
     "  got  [3], not [5] (without batch)\n"
     "  fix  Dense was built for 5 inputs; pass X with 5 columns or build a new model"),
    (lambda: gt.Trainer(net()).fit(X, Y[:9]), ShapeError,
     "X and y differ in their number of samples\n  got  70 and 9\n"
     "  fix  pass one row of y per sample"),
    (lambda: gt.Trainer(net()).fit(X, Y, X[:9, 0]), ShapeError,
     "sample_weight must hold one number per sample\n  got  shape [9] for 70 samples\n"
     "  fix  pass a 1-d array as long as X"),
    (lambda: gt.Trainer(net()).fit(X[:2], Y[:2], [1, -1]), DataError,
     "sample_weight must hold finite numbers from 0 on\n  got  -1.0 to 1.0"),
    (lambda: gt.Trainer(net()).fit(X[:0], Y[:0]), DataError,
     "there are no samples\n  fix  pass at least one row"),
    (lambda: gt.Trainer(net(2), SPARSE).fit(X, CLASSES), DataError,
     "y holds a class number the model has no output for\n  got  class 2, 2 outputs\n"
     "  fix  give the last layer 3 units"),
    (lambda: gt.Trainer(net(3), SPARSE).fit(X, Y), DataError,
     "y must hold class numbers, and there are fractions among them\n"
     '  fix  use loss="categorical_crossentropy" for probabilities'),
    (lambda: gt.Trainer(net(2), SPARSE).fit(X[:2], ["a", "b"]), DataError,
     "y must hold numbers\n  got  dtype <U1\n"
     "  fix  number the labels: np.unique(y, return_inverse=True)"),
    (lambda: gt.Trainer(net()).fit([["a", "b"]], [1.0]), DataError,
     "X must hold numbers\n  got  dtype <U1\n  fix  encode texts and categories first"),
    (lambda: gt.Trainer(net()).fit(X, Y, X_val=X), DataError, "X_val needs y_val beside it"),
    (lambda: gt.Trainer(net()).fit(X, Y, validation_fraction=1.5), ParameterError,
     "validation_fraction must be in (0, 1), not 1.5\n"
     "  fix  pass X_val and y_val for validation data of your own"),
    (lambda: gt.Trainer(net()).fit(X, Y, batch_size=0), ParameterError,
     "batch_size must be a whole number from 1 on, not 0\n"
     "  fix  pass None for all samples in every step"),
    (lambda: gt.Trainer(net()).fit(X, Y, batch_size="8"), ParameterError,
     "batch_size must be a whole number from 1 on, not '8'\n"
     "  fix  pass None for all samples in every step"),
    (lambda: gt.Trainer(net()).fit(X, None), DataError,
     "y must hold numbers\n  got  dtype object\n"
     "  fix  number the labels: np.unique(y, return_inverse=True)"),
    (lambda: gt.Trainer(net()).fit(3, 3), ShapeError,
     "X must hold samples\n  got  one number\n  fix  pass an array with a row for each sample"),
    (lambda: gt.Trainer(net()).fit(X, Y, "balanced"), DataError,
     "sample_weight must hold numbers\n  got  dtype <U8\n  fix  pass a 1-d array as long as X"),
    (lambda: gt.Trainer(net()).fit(X, Y, callbacks=EarlyStopping), ParameterError,
     "<class 'gradatim.training.callbacks.EarlyStopping'> is not a callback\n"
     "  fix  pass instances of gradatim.training.Callback"),
    (lambda: gt.Sequential(layers.Dense(3)), ParameterError,
     "a Sequential takes a list, not Dense\n  fix  put brackets around the layers"),
    (lambda: gt.Trainer(net()).fit(X, Y, epochs=-1), ParameterError,
     "epochs must be a whole number from 0 on, not -1"),
    (lambda: gt.Trainer(print), ParameterError,
     "a model is a Layer, not builtin_function_or_method\n  fix  pass a Sequential or a Model"),
    (lambda: gt.Trainer(layers.Add()), ParameterError,
     "a layer that merges cannot be trained by itself\n  got  Add\n"
     "  fix  wire it in a Model"),
    (lambda: gt.Trainer(net(), loss_weights=[1.0]), ParameterError,
     "loss_weights are for a model of several outputs\n  fix  leave them out"),
    (lambda: gt.Trainer(net(), seed=-1), ParameterError,
     "seed must be a whole number from 0 to 2**63 - 1, not -1"),
    (lambda: gt.Trainer(net(), dtype="float16"), ParameterError,
     "dtype must be one of 'float32', 'float64', not 'float16'"),
]


@pytest.mark.parametrize("make, kind, text", ERRORS, ids=[text[:28] for *_, text in ERRORS])
def test_error_texts(make, kind, text):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text


def test_the_wrong_number_of_outputs():
    with pytest.raises(ShapeError) as caught:
        gt.Trainer(net(3)).fit(X, Y)
    assert "[32] and [32, 3]" in str(caught.value) and "  fix  " in str(caught.value)


@pytest.mark.parametrize("base, method", [
    (layers.Constraint, "__call__"), (layers.Initializer, "__call__"),
    (layers.Regularizer, "__call__"), (Metric, "result"), (Metric, "sums"), (Schedule, "factor")])
def test_a_class_of_ones_own_that_lacks_a_method_is_refused_where_it_is_made(base, method):
    others = base.__abstractmethods__ - {method}
    unfinished = type("Unfinished", (base,), dict.fromkeys(others, lambda self: None))
    with pytest.raises(TypeError, match=f"abstract class Unfinished .*{method}"):
        unfinished()
