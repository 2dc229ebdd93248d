"""Constraints: Keras's formulas, kept after every step of training, in files, and on replicas."""
import inspect

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import ParameterError, UnknownNameError
from gradatim.training import LBFGS, SGD

W = np.random.default_rng(0).standard_normal((4, 3))
X = np.random.default_rng(1).standard_normal((30, 4))
Y = X @ np.array([[3.0], [-2.0], [1.0], [0.5]])


def norm(w, axis):
    return np.sqrt((w ** 2).sum(axis=axis, keepdims=True))


FORMULAS = [
    (layers.NonNeg(), lambda w: w * (w >= 0)),
    (layers.MaxNorm(0.9), lambda w: w * np.clip(norm(w, 0), 0, 0.9) / (1e-7 + norm(w, 0))),
    (layers.MaxNorm(0.9, axis=1), lambda w: w * np.clip(norm(w, 1), 0, 0.9) / (1e-7 + norm(w, 1))),
    (layers.UnitNorm(axis=(0, 1)), lambda w: w / (1e-7 + norm(w, (0, 1)))),
    (layers.MinMaxNorm(0.5, 1.0, rate=0.4), lambda w: w * (
        0.4 * np.clip(norm(w, 0), 0.5, 1.0) + 0.6 * norm(w, 0)) / (1e-7 + norm(w, 0)))]


@pytest.mark.parametrize("chosen, formula", FORMULAS, ids=[repr(c) for c, _ in FORMULAS])
def test_formulas_are_kerass(chosen, formula):
    np.testing.assert_allclose(gt.run(chosen(gt.constant(W))), formula(W), rtol=1e-12)
    assert layers.from_config(layers.to_config(chosen)) == chosen


def fitted(layer, strategy="single", **settings):
    settings = {"optimizer": SGD(0.1), **settings}
    trainer = gt.Trainer(gt.Sequential([layer]), "mse", dtype="float64", strategy=strategy,
                         **settings)
    trainer.fit(X, Y, epochs=5, batch_size=10)
    return trainer.model.get_weights()


def test_weights_keep_to_their_constraints_and_go_where_they_may():
    free, _ = fitted(layers.Dense(1))
    assert free.min() < -1
    kernel, bias = fitted(layers.Dense(1, kernel_constraint="non_neg", bias_constraint="non_neg"))
    assert kernel.min() == 0.0 and kernel.max() > 1 and bias >= 0
    kernel, _ = fitted(layers.Dense(1, kernel_constraint=layers.UnitNorm()), accumulate=2)
    np.testing.assert_allclose(norm(kernel, 0), 1.0, rtol=1e-6)
    two, one = (fitted(layers.Dense(1, kernel_constraint=layers.MaxNorm(1.5)), strategy)
                for strategy in (DataParallel(2), "single"))
    np.testing.assert_allclose(two[0], one[0], atol=1e-12)
    assert norm(one[0], 0) <= 1.5


@pytest.mark.parametrize("layer, spec, dtype", [
    (layers.Conv1D(2, 2, kernel_constraint="non_neg"), (4, 3), "float64"),
    (layers.Conv2D(2, 2, bias_constraint="non_neg"), (4, 4, 3), "float64"),
    (layers.Conv2DTranspose(2, 2, kernel_constraint="non_neg"), (2, 2, 3), "float64"),
    (layers.DepthwiseConv2D(2, depthwise_constraint="non_neg"), (4, 4, 3), "float64"),
    (layers.SeparableConv1D(2, 2, depthwise_constraint="non_neg"), (4, 3), "float64"),
    (layers.SeparableConv2D(2, 2, pointwise_constraint="non_neg"), (4, 4, 3), "float64"),
    (layers.SimpleRNN(2, kernel_constraint="non_neg"), (4, 3), "float64"),
    (layers.LSTM(2, recurrent_constraint="non_neg"), (4, 3), "float64"),
    (layers.GRU(2, bias_constraint="non_neg"), (4, 3), "float64"),
    (layers.LayerNormalization(gamma_constraint="non_neg"), (3,), "float64"),
    (layers.GroupNormalization(1, beta_constraint="non_neg"), (3,), "float64"),
    (layers.BatchNormalization(gamma_constraint="non_neg"), (3,), "float64"),
    (layers.PReLU(alpha_constraint="non_neg"), (3,), "float64"),
    (layers.Embedding(5, 2, embeddings_constraint="non_neg"), (4,), "int64")], ids=repr)
def test_layers_hand_constraints_on(layer, spec, dtype):
    layer = layers.from_config(layers.to_config(layer))
    layer(gt.placeholder((2, *spec), dtype))
    (v, chosen), = layer.all_constraints().items()
    assert chosen == layers.NonNeg() and v in layer.variables().values()
    layer.trainable = False
    assert not layer.all_constraints()


def test_the_layer_of_the_other_direction_keeps_to_the_constraints_too():
    layer = layers.Bidirectional(layers.LSTM(2, recurrent_constraint="non_neg"))
    layer(gt.placeholder((2, 4, 3)))
    assert len(layer.all_constraints()) == 2


@pytest.mark.parametrize("name", [name for name, thing in layers.registry.classes().items()
                                  if issubclass(thing, layers.Layer)])
def test_what_can_be_regularized_can_be_constrained(name):
    taken = inspect.signature(layers.registry.classes()[name]).parameters
    weights = {p.removesuffix("_regularizer") for p in taken if p.endswith("_regularizer")}
    assert weights == {p.removesuffix("_constraint") for p in taken if p.endswith("_constraint")}


@pytest.mark.parametrize("make, error, text", [
    (lambda: layers.Dense(2, kernel_constraint="max"), UnknownNameError,
     'there is no constraint "max"'),
    (lambda: layers.Conv2D(2, 2, kernel_constraint=3), ParameterError,
     "a constraint is a name or an object, not 3"),
    (lambda: layers.MaxNorm(-1), ParameterError,
     "max_value must be a finite number from 0 on, not -1"),
    (lambda: layers.UnitNorm(axis=0.5), ParameterError,
     "axis must be a whole number or several, not 0.5"),
    (lambda: layers.MinMaxNorm(rate=2), ParameterError, "rate must be in [0, 1], not 2"),
    (lambda: gt.Trainer(gt.Sequential([layers.Dense(1, kernel_constraint="non_neg")]), "mse",
                        LBFGS()).fit(X, Y, batch_size=None), ParameterError,
     "L-BFGS cannot keep weights to their constraints")])
def test_error_texts(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).splitlines()[0] == text
