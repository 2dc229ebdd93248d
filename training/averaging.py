"""Averaging: averages of a model's weights over steps or epochs take their place."""
from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..backend import OPS, variable
from ..layers import BatchNormalization
from ..layers.flow import Flow
from .programs import kept, local_shapes
from .steps import inputs_for


def ema_slots(parameters: dict) -> dict:
    """Variables for the moving averages, by path."""
    return {path: variable(p.shape, p.dtype, f"ema/{path}", trainable=False)
            for path, p in parameters.items()}


def swa_slots(model) -> dict:
    """Variables for the averages over epochs, by path, and for the number of epochs."""
    moving = {*model.trainable_variables().values(), *statistics_of(model)}
    slots = {path: variable(v.shape, v.dtype, f"swa/{path}", trainable=False)
             for path, v in model.variables().items() if v in moving}
    return slots | {"": variable((), "int64", "swa/epochs", trainable=False)}


def statistics_of(model) -> dict:
    """The moving statistics of batch normalisation, each with its momentum."""
    return {v: layer.momentum for layer in model.layers_by_path().values()
            if isinstance(layer, BatchNormalization) and not layer.frozen
            for v in (layer.moving_mean, layer.moving_variance)}


def averages(trainer) -> dict[str, np.ndarray]:
    """The averages of weights by path; none without ``ema`` or ``swa``, and before there are any.
    """
    slots = trainer.slots
    if trainer.swa is not None:
        begun = slots["swa"][""].numpy() > 0
    else:
        begun = trainer.keys.step.numpy() > trainer.keys.start.numpy()
    found = slots.get("ema") or slots.get("swa") or {}
    return {path: v.numpy() for path, v in found.items() if path and begun}


@contextmanager
def averaged(trainer):
    """With the averages in the place of the weights inside."""
    weights, means = trainer.model.variables(), averages(trainer)
    before = {path: weights[path].numpy() for path in means}
    for path, value in means.items():
        weights[path].assign(value)
    try:
        yield
    finally:
        for path, value in before.items():
            weights[path].assign(value)


def average_epoch(run) -> None:
    """Take the weights at the end of an epoch into the averages over epochs, if it is time."""
    trainer = run.trainer
    if trainer.swa is None or run.epoch < int(trainer.swa * run.epochs):
        return
    slots, weights = trainer.slots["swa"], trainer.model.variables()
    count = slots[""].numpy() + 1
    slots[""].assign(count)
    for path, mean in slots.items():
        if path:
            now = mean.numpy()
            mean.assign(now + (weights[path].numpy() - now) / count.astype(now.dtype))
    moving = statistics_of(trainer.model)
    if moving:
        with averaged(trainer):
            found = batch_statistics(trainer, run.source, moving)
        paths = {v: path for path, v in weights.items()}
        for v, value in found.items():
            slots[paths[v]].assign(value.astype(v.dtype))


def batch_statistics(trainer, source, moving: dict) -> dict:
    """Means over an epoch of the statistics of its batches, with the weights as they are now."""
    totals, weight = dict.fromkeys(moving, 0.0), 0.0
    for batch in source.epoch(0):
        shapes = local_shapes(trainer, batch)
        compute = kept(trainer, ("statistics", shapes),
                       lambda: _statistics(trainer, shapes, moving))
        arrays = [a for a in (batch.x, batch.weights, batch.lengths) if a is not None]
        share, *news = compute(*arrays)
        weight += float(share)
        for (v, momentum), new in zip(moving.items(), news):
            new = new.astype(np.float64)
            now = (new - momentum * v.storage) / (1.0 - momentum)
            totals[v] = totals[v] + float(share) * now
    return {v: total / weight for v, total in totals.items()}


def _statistics(trainer, shapes, moving: dict):
    """A program of a batch's weight, and of the statistics as they would be after it."""
    feeds, x, _, weights, lengths = inputs_for(shapes, trainer.dtype)
    flow = Flow(x, lengths, weights, trainer.keys.seed, trainer.keys.step, dtype=trainer.dtype)
    out = trainer.ends.run(flow, training=True)
    news = [OPS["batch_sum"](weights), *(out.updates[v] for v in moving)]
    used = [t for t in feeds if t.node.settings["name"] != "y"]
    return trainer.strategy.function(used, news, {}, trainer.backend, precision=trainer.precision)
