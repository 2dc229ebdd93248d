"""Graph passes on shipped networks: with each on and off the same training and predictions."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import Spec
from gradatim.backend.errors import BackendError
from gradatim.backend.passes import PASSES
from gradatim.estimators.architectures import lenet, resnet20, signal, tiny

BACKENDS = ["reference"]
try:
    BACKENDS.append(gt.get_backend("native").name)
except BackendError:
    pass


def dense(spec, n_outputs):
    return layers.Sequential([layers.Dense(9), layers.BatchNormalization(),
                              layers.Activation("relu"), layers.Dropout(0.3),
                              layers.Dense(n_outputs)])


def stem(spec, n_outputs):
    """Windows that overlap, ReLU before them, filters in groups, a bias before the statistics."""
    return layers.Sequential([
        layers.DepthwiseConv2D(3), layers.BatchNormalization(),
        layers.Activation("relu"), layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.Conv2D(6, 3, groups=2), layers.BatchNormalization(scale=False),
        layers.Activation("relu"), layers.GlobalMaxPooling2D(), layers.Dense(n_outputs)])


def recurrent(spec, n_outputs):
    return layers.Sequential([layers.LSTM(5), layers.Dense(n_outputs)])


# Its architecture, a sample's shape, and the passes that must make its training and its
# prediction another graph.
NETS = {"dense": (dense, (5,), "batch_statistics", "fold_batch_norm"),
        "stem": (stem, (11, 11, 4), "batch_statistics relu_in_pool",
                 "relu_in_pool fold_batch_norm"),
        "lenet": (lenet, (12, 12, 1), "relu_in_pool", "relu_in_pool"),
        "tiny": (tiny, (8, 8, 1), "batch_statistics relu_in_pool",
                 "relu_in_pool fold_batch_norm"),
        "signal": (signal, (9, 2), "relu_in_pool", "relu_in_pool"),
        "resnet20": (resnet20, (8, 8, 3), "batch_statistics", "fold_batch_norm"),
        "recurrent": (recurrent, (4, 3), "", "")}
NEW = ("algebra", "fuse", "batch_statistics", "relu_in_pool", "fold_batch_norm", "fold_scale")


def weights(model):
    return {name: v.numpy() for name, v in model.model.variables().items()}


def trained(net, shape, backend):
    """A trainer after two steps, with moving statistics that mean something."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, *shape)).astype("float32")
    y = rng.integers(0, 4, 6)
    model = gt.Trainer(net(Spec(shape, np.dtype("float32")), 4),
                       layers.SparseCategoricalCrossentropy(from_logits=True), "sgd",
                       learning_rate=0.1, backend=backend, seed=3)
    loss = model.fit(X, y, epochs=2, batch_size=None).logs["loss"]
    return loss, weights(model), model.predict(X), model


def text(model, count=2):
    """The optimised graphs of the training step and of the prediction."""
    return [str(f.graph) for f, _ in model._functions.values()][:count]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETS)
def test_on_and_off_are_equal(name, backend, monkeypatch):
    net, shape, *changes = NETS[name]
    loss, state, predicted, model = trained(net, shape, backend)
    graphs = text(model)
    for off in [[p] for p in NEW] if name != "resnet20" else [NEW]:
        with monkeypatch.context() as patched:
            for p in off:
                patched.setitem(PASSES, p, lambda graph: graph)
            other_loss, other_state, other_predicted, other = trained(net, shape, backend)
        assert loss == pytest.approx(other_loss, rel=1e-5)
        for path, value in other_state.items():
            np.testing.assert_allclose(state[path], value, rtol=2e-5, atol=1e-6, err_msg=path)
        np.testing.assert_allclose(predicted, other_predicted, rtol=5e-5, atol=5e-5)
        for graph, without, passes in zip(graphs, text(other), changes, strict=True):
            if set(off) & set(passes.split()):
                assert graph != without
