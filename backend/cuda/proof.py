"""Proof: a small net that a GPU must train as NumPy does before anything is left to it."""
from __future__ import annotations

import numpy as np

from ..errors import BackendError

STEPS = 4            # one by one, then as one recorded graph
TOLERANCE = 1e-4


def prove(backend) -> None:
    """Train four steps on a backend and on the reference, and compare the losses.

    Raises
    ------
    BackendError
        If a step fails, or the losses differ; then ``backend="auto"`` takes another one.
    """
    try:
        got = np.array(_losses(backend))
    except Exception as error:          # whatever a driver, a library or a compiler raises
        raise BackendError("the GPU failed at a small net",
                           why=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                           fix='update the driver, or use backend="native"') from error
    want = np.array(_losses("reference"))
    if not np.allclose(got, want, rtol=TOLERANCE):
        raise BackendError("the GPU trains a small net differently from NumPy",
                           got=f"losses {got.tolist()}, not {want.tolist()}",
                           fix='update the driver, or use backend="native"')


def _losses(backend) -> list[float]:
    """The losses of a net with a hidden layer over some steps of gradient descent."""
    from ..function import function
    from ..gradients import gradients
    from ..op import OPS
    from ..leaves import variable
    from ..tensor import constant
    rng = np.random.default_rng(0)
    x = constant(rng.standard_normal((64, 20)).astype("f"))
    labels = constant(rng.integers(0, 5, 64))
    weights = [variable(0.3 * rng.standard_normal(shape).astype("f"), name=f"proof/{i}")
               for i, shape in enumerate([(20, 32), (32,), (32, 5)])]
    hidden = OPS["relu"](x @ weights[0] + weights[1])
    loss = OPS["softmax_cross_entropy"](hidden @ weights[2], labels).mean()
    updates = {w: w - 0.5 * g for w, g in zip(weights, gradients(loss, weights))}
    step = function([], loss, updates, backend=backend)
    return [float(step()) for _ in range(STEPS)]
