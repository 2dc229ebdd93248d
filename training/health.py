"""Health: what gradients and activations of each layer look like, at the end of each epoch."""
from __future__ import annotations

import numpy as np

from ..backend import Graph
from ..backend.context import surroundings
from ..backend.function import Function
from ..layers.flow import Flow
from .callbacks import Callback
from .programs import kept
from .stepping import feeds_of
from .steps import inputs_for, losses_and_metrics, shapes_of


class Health(Callback):
    """Look at every layer with one batch after each epoch, without dropout.

    ``run.memory(callback).epochs`` is a list with a dict per epoch, from the paths of layers to
    dicts of numbers:

    * ``weight_norm`` and ``gradient_norm``: Euclidean norms over the layer's trained weights,
    * ``mean`` and ``std`` of its output,
    * ``dead``: the share of units (entries of the last axis) that are zero for the whole batch,
    * ``non_finite``: how many numbers of output, weights and gradient are NaN or infinite.

    Estimators show it as ``health_`` if ``health=True``.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> from gradatim.training import Health
    >>> X, health = np.ones((8, 2)), Health()
    >>> net = gt.Sequential([layers.Dense(4, "relu", bias_initializer=layers.Constant(-9.0))])
    >>> run = gt.Trainer(net).fit(X, np.zeros((8, 4)), epochs=1, callbacks=health)
    >>> run.memory(health).epochs[0]["dense"]["dead"]
    1.0
    """

    def on_fit_begin(self, run):
        run.memory(self).epochs = []

    def on_epoch_end(self, run):
        batch = next(iter(run.source.epoch(0)))
        run.memory(self).epochs.append(health(run.trainer, batch))


def health(trainer, batch) -> dict[str, dict[str, float]]:
    """Numbers of every layer that has no layers inside, by path."""
    compute, outputs, slopes = kept(trainer, ("health", batch.x.shape),
                                    lambda: _watching(trainer, batch))
    found = compute(*feeds_of(batch))
    norms = dict(zip(slopes, found[len(outputs):]))
    result = {}
    for path, values in zip(outputs, found):
        layer = outputs[path]
        weights = [v.numpy() for v in layer.weights.values()]
        own = [norms[v] for v in layer.weights.values() if v in norms]
        everything = [values, *weights, *own]
        result[path] = {
            "weight_norm": _norm([v.numpy() for v in layer.weights.values() if v in norms]),
            "gradient_norm": _norm(own),
            "mean": float(values.mean(dtype=np.float64)),
            "std": float(values.std(dtype=np.float64)),
            "dead": float((values.reshape(-1, values.shape[-1]) == 0).all(axis=0).mean()),
            "non_finite": int(sum((~np.isfinite(a)).sum() for a in everything))}
    return result


def _watching(trainer, batch):
    """A program of all outputs and gradients, the layers by path, and the trained variables."""
    seen: dict = {}
    shapes = shapes_of(trainer, batch)
    feeds, x, y, weights, lengths = inputs_for(shapes, trainer.dtype)
    with surroundings(watch=lambda layer, flow: seen.update({layer: flow.x})):
        out = trainer.ends.run(Flow(x, lengths, weights, dtype=trainer.dtype), training=False)
    objective, _ = losses_and_metrics(trainer.loss, trainer.metrics, y, out, weights)
    outputs = {path: layer for path, layer in trainer.model.layers_by_path().items()
               if layer in seen and not layer.children}
    variables = trainer.model.trainable_variables()
    slopes = trainer.loss_scale.slopes(objective, variables).values()
    graph = Graph([*(seen[layer] for layer in outputs.values()), *slopes], {}, feeds)
    compute = Function(graph, trainer.backend, precision=trainer.precision)
    return compute, outputs, list(variables.values())


def _norm(arrays) -> float:
    """The Euclidean norm of all arrays together."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in arrays)))
