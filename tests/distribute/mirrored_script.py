"""A script without a main guard whose fits start workers; what it defines is known to them."""
import os
import signal
import sys

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.training import Callback

WHAT = sys.argv[1]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((600, 5)).astype(np.float32)
y = X @ RNG.standard_normal(5) + 1
SCALE = 0.5


class Scale(layers.Layer):
    """A layer of the script's own."""
    def call(self, x):
        return x * SCALE


def net(spec, n_outputs):
    return layers.Sequential([layers.Dense(8, activation="tanh"), Scale(),
                              layers.Dense(n_outputs)])


class Losses(Callback):
    def __init__(self):
        self.losses = []

    def on_epoch_end(self, run):
        self.losses.append(run.logs["loss"])
        if WHAT == "kill" and run.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if WHAT == "raise" and run.rank == 1:
            raise LookupError("this worker knows nothing")
        if WHAT in ("interrupt", "abandon") and len(self.losses) == 3 and run.rank == 0:
            print("training", flush=True)


def fitted(strategy):
    random_state, callback = np.random.RandomState(3), Losses()
    model = gt.NetworkRegressor(network=net, epochs=100_000 if WHAT in ("interrupt", "abandon")
                                else 4, batch_size=64, callbacks=[callback], strategy=strategy,
                                random_state=random_state, precision="float64")
    model.fit(X, y)
    assert model.strategy == strategy and model.callbacks == [callback]
    return model, callback.losses, random_state.randint(1000)


model, losses, drawn = fitted(gt.Mirrored(workers=2, deterministic=WHAT == "bits"))
if WHAT == "bits":
    alone, other_losses, _ = fitted(gt.DataParallel(deterministic=True))
    assert np.array_equal(model.predict(X), alone.predict(X)) and losses == other_losses
if WHAT == "equal":
    single, other_losses, other_drawn = fitted("single")
    np.testing.assert_allclose(model.predict(X), single.predict(X), rtol=0, atol=1e-10)
    np.testing.assert_allclose(losses, other_losses, rtol=0, atol=1e-10)
    assert len(losses) == model.n_epochs_ == 4 and drawn == other_drawn
    fit = model._fitted
    try:
        model.fit(X, y[:-1])
    except ValueError as error:
        assert "inconsistent numbers of samples" in str(error), error
        assert "in worker 0 of 2" in str(error.__cause__)
    assert model._fitted is fit
    model.partial_fit(X, y)
    assert model.n_epochs_ == 5
print("epochs", model.n_epochs_)
