"""Proof: small nets that a GPU must train as NumPy does before anything is left to it."""
from __future__ import annotations

import numpy as np

from ..errors import BackendError

STEPS = 4            # one by one, then as one recorded graph
TOLERANCE, ROUNDED = 1e-4, 1e-2            # of losses in float32, and in numbers of two bytes


def prove(backend) -> None:
    """Train four steps of a dense net on a backend and on the reference, and compare the losses.

    Raises
    ------
    BackendError
        If a step fails, or the losses differ; then ``backend="auto"`` takes another one.
    """
    _prove(backend, _dense, "the GPU", 'update the driver, or use backend="native"')


def prove_library(backend) -> None:
    """The same of a net with a convolution and a recurrent layer, which cuDNN computes.

    Again in numbers of two bytes, in which its convolutions are others.

    Raises
    ------
    BackendError
        If a step fails, or the losses differ; then kernels of our own take its place.
    """
    for precision, tolerance in ((None, TOLERANCE), (backend.device.halves[0], ROUNDED)):
        _prove(backend, _convolutional, "cuDNN", "update it", precision, tolerance)


def _prove(backend, net, who: str, fix: str, precision: str | None = None,
           tolerance: float = TOLERANCE) -> None:
    try:
        got = np.array(_losses(backend, net, precision))
    except Exception as error:          # whatever a driver, a library or a compiler raises
        raise BackendError(f"{who} failed at a small net",
                           why=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                           fix=fix) from error
    want = np.array(_losses("reference", net, precision))
    if not np.allclose(got, want, rtol=tolerance):
        raise BackendError(f"{who} trains a small net differently from NumPy" +
                           (f" in {precision}" if precision else ""),
                           got=f"losses {got.tolist()}, not {want.tolist()}", fix=fix)


def _losses(backend, net, precision: str | None) -> list[float]:
    """The losses of a net over some steps of gradient descent."""
    from ..function import function
    from ..gradients import gradients
    from ..leaves import variable
    from ..op import OPS
    from ..tensor import constant
    rng = np.random.default_rng(0)
    shape, shapes, classify = net(OPS)
    x = constant(rng.standard_normal(shape).astype("f"))
    labels = constant(rng.integers(0, shapes[-1][-1], shape[0]))
    weights = [variable(0.3 * rng.standard_normal(s).astype("f"), name=f"proof/{i}")
               for i, s in enumerate(shapes)]
    loss = OPS["softmax_cross_entropy"](classify(x, *weights), labels).mean()
    updates = {w: w - 0.5 * g for w, g in zip(weights, gradients(loss, weights))}
    step = function([], loss, updates, backend=backend, precision=precision)
    return [float(step()) for _ in range(STEPS)]


def _dense(ops):
    """The input's shape, those of the weights, and a net with one hidden layer."""
    return (64, 20), [(20, 32), (32,), (32, 5)], lambda x, w, b, v: \
        ops["relu"](x @ w + b) @ v


def _convolutional(ops):
    """The same of a net that reads the rows of a convolution as sequences, in both directions."""
    def classify(x, kernel, bias, *rest):
        made = ops["relu"](ops["convolution"](x, kernel, padding="same") + bias)
        lstm, gru, last = rest[:3], rest[3:6], rest[6]
        rows = made.reshape(16, 6, 40)
        return ops["lstm"](rows, *lstm, reverse=False)[1] @ last + \
            ops["gru"](rows, *gru, reset_after=True, reverse=True)[1] @ last
    return (16, 6, 5, 8), [(3, 3, 8, 8), (8,), (40, 28), (7, 28), (28,), (40, 21), (7, 21),
                           (2, 21), (7, 5)], classify
