"""Nets of one's own under scikit-learn's contract: layers, models, functions, sparse rows."""
import copy
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import ShapeError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 3))
Y = 500.0 + 100.0 * X[:, 1]
LABELS = (X[:, 0] + 0.5 * RANDOM.normal(size=240) > 0.8).astype(int)


class Twice(layers.Layer):
    """A layer gradatim does not know."""

    def call(self, x):
        return x * 2.0


def functional():
    """A model of wires."""
    x = gt.Input((3,))
    return gt.Model(x, layers.Dense(2)(layers.Concatenate()([x, layers.Dense(4, "relu")(x)])))


OWN = {"sequential": lambda: gt.Sequential([layers.Dense(4, "relu"), layers.Dense(2)]),
       "built": lambda: gt.Sequential([gt.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)]),
       "model": functional,
       "own layer": lambda: gt.Sequential([Twice(), layers.Dense(2)]),
       "function": lambda: lambda spec, n: gt.Sequential([layers.Dense(4), layers.Dense(n)])}


@pytest.mark.parametrize("kind", OWN)
def test_nets_of_ones_own(kind, tmp_path):
    network = OWN[kind]()
    net = gt.NetworkClassifier(network=network, n_ensemble=2, epochs=5, random_state=0)
    expected = net.fit(X, LABELS).predict_proba(X)
    assert net.network is network
    np.testing.assert_array_equal(net.fit(X, LABELS).predict_proba(X), expected)
    np.testing.assert_array_equal(clone(net).fit(X, LABELS).predict_proba(X), expected)
    if kind != "function":                                     # a lambda has no name for pickle
        copied = pickle.loads(pickle.dumps(net))
        np.testing.assert_array_equal(copied.predict_proba(X), expected)
        np.testing.assert_array_equal(copied.fit(X, LABELS).predict_proba(X), expected)
    net.save(tmp_path / "net.h5")
    loaded = gt.load(tmp_path / "net.h5", {"Twice": Twice})
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    np.testing.assert_array_equal(loaded.fit(X, LABELS).predict_proba(X), expected)


def test_sparse_rows():
    sparse = csr_array(np.where(X > 0.5, X, 0.0))
    net = gt.NetworkClassifier(network=OWN["sequential"](), epochs=5, random_state=0)
    weights = RANDOM.uniform(0.5, 1.0, 240)
    found = net.fit(sparse, LABELS, weights).predict_proba(sparse)
    dense = net.fit(sparse.toarray(), LABELS, weights).predict_proba(sparse.toarray())
    np.testing.assert_allclose(found, dense)


def test_copies_of_built_layers_have_their_weights():
    model = functional()
    gt.Trainer(model).fit(X, X[:, :2], epochs=1)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for one, other in zip(model.get_weights(), copied.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    fresh = copy.deepcopy(OWN["built"]())
    assert not any(v.drawn for v in fresh.variables().values())


def test_nets_that_do_not_fit():
    with pytest.raises(ShapeError, match="other outputs than are needed"):
        gt.NetworkClassifier(network=gt.Sequential([layers.Dense(3)]), epochs=1).fit(X, LABELS)
    flat = gt.Sequential([layers.Flatten(), layers.Dense(1)])
    net = gt.NetworkRegressor(network=flat, epochs=1).fit(X.reshape(80, 3, 3), Y[:80])
    with pytest.raises(ShapeError, match="NetworkRegressor was fitted on samples of another shape"):
        net.predict(X.reshape(40, 6, 3))
