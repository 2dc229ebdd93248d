"""The graphs of training, evaluation and prediction for one batch shape."""
from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from ..backend import OPS, Tensor, Variable, gradients, placeholder, variable
from ..layers.classification_losses import CrossEntropy
from ..layers.flow import Flow

batch_sum, cast, maximum = OPS["batch_sum"], OPS["cast"], OPS["maximum"]


class Shapes(NamedTuple):
    """What a program is compiled for."""
    x: tuple[int, ...]
    x_dtype: str
    y: tuple[int, ...]
    y_dtype: str
    lengths: bool


def shapes_of(trainer, batch, part: Callable = lambda shape: shape) -> Shapes:
    """Those of a batch, or of a part of it."""
    return Shapes(part(batch.x.shape), trainer.x_dtype, part(batch.y.shape), batch.y.dtype.name,
                  batch.lengths is not None)


class Keys:
    """The 0-d variables that change from step to step, so that nothing of them is compiled in."""

    def __init__(self, seed: int, rate: float):
        self.seed = variable(np.int64(seed), name="training/seed", trainable=False)
        self.step = variable(np.int64(0), name="training/step", trainable=False)
        self.start = variable(np.int64(0), name="training/start", trainable=False)
        self.total = variable(np.float64(1), name="training/total", trainable=False)
        self.rate = variable(np.float64(rate), name="training/rate", trainable=False)

    def variables(self) -> dict[str, Variable]:
        """By name, for checkpoints."""
        return {v.name: v for v in vars(self).values()}


def inputs_for(shapes: Shapes, dtype: str) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Placeholders: the list to feed, then x, y, weights, lengths (or None)."""
    batch = shapes.x[0]
    x = placeholder(shapes.x, shapes.x_dtype, "x")
    y = placeholder(shapes.y, shapes.y_dtype, "y")
    weights = placeholder((batch,), dtype, "weights")
    lengths = placeholder((batch,), "int64", "lengths") if shapes.lengths else None
    return [t for t in (x, y, weights, lengths) if t is not None], x, y, weights, lengths


def losses_and_metrics(loss, metrics, y, out: Flow, weights) -> tuple[Tensor, dict[tuple, Tensor]]:
    """The mean loss over the batch, and every sum that is counted by (metric, part)."""
    masked = {"lengths": out.lengths} if out.lengths is not None else {}
    values = loss(y, out.x, **masked)                                  # (batch,)
    if out.own_share is not None:
        other = loss(OPS["flip"](y, axis=0), out.x, **masked)
        values = out.own_share * values + (1.0 - out.own_share) * other
    total, weight = batch_sum(values, weights), batch_sum(weights)
    sums = {("loss", "sum"): total, ("loss", "weight"): weight}
    for metric in metrics:
        given = logits_of(loss, out.x) if metric.takes_logits else loss.prediction(out.x)
        for part, tensor in metric.sums(y, given, weights, **masked).items():
            sums[metric.name, part] = tensor
    tiny = float(np.finfo(total.dtype).tiny)
    return total / maximum(weight, tiny), sums


def logits_of(loss, y_pred: Tensor) -> Tensor:
    """What labels are read off: the output before its last sigmoid or softmax."""
    if isinstance(loss, CrossEntropy):
        return loss.logits(y_pred)
    return y_pred.node.inputs[0] if y_pred.node.op.name == "sigmoid" else y_pred


def training_step(trainer, shapes: Shapes) -> tuple[list, dict[tuple, Tensor], dict]:
    """Inputs, counted sums (with the rate), and updates of one optimizer step."""
    feeds, _, sums, slopes, moving = objective_and_slopes(trainer, shapes)
    rate, updates = optimizer_step(trainer, trainer.model.trainable_variables(), slopes, moving)
    return feeds, {**sums, ("learning_rate", ""): rate}, updates


def objective_and_slopes(trainer, shapes: Shapes) -> tuple:
    """Inputs, loss with penalties, counted sums, slopes by path, updates of moving statistics."""
    keys: Keys = trainer.keys
    feeds, x, y, weights, lengths = inputs_for(shapes, trainer.dtype)
    flow = Flow(x, lengths, weights, keys.seed, keys.step, dtype=trainer.dtype)
    out = trainer.ends.run(flow, training=True)
    objective, sums = losses_and_metrics(trainer.loss, trainer.metrics, y, out, weights)
    parameters = trainer.model.trainable_variables()
    for penalty in penalties(trainer, parameters):
        objective = objective + penalty
    return feeds, objective, sums, trainer.loss_scale.slopes(objective, parameters), out.updates


def penalties(trainer, parameters: dict[str, Variable]) -> list[Tensor]:
    """What is added to the loss for the sake of the weights."""
    found = [penalty(weight) for penalty, weight in trainer.model.all_penalties()]
    if trainer.alpha:
        found += [OPS["square"](p).sum() * (0.5 * trainer.alpha) for p in parameters.values()
                  if p.ndim >= 2]                                      # kernels, not biases
    return found


def penalties_of(trainer, parameters: dict[str, Variable]) -> dict[str, Tensor]:
    """The slopes of the penalties alone, of those parameters that have any."""
    weighed = {v for _, v in trainer.model.all_penalties()}
    touched = {path: p for path, p in parameters.items()
               if p in weighed or trainer.alpha and p.ndim >= 2}
    if not touched:
        return {}
    first, *rest = penalties(trainer, parameters)
    return dict(zip(touched, gradients(sum(rest, first), list(touched.values()))))


def optimizer_step(trainer, parameters: dict, slopes: dict, moving: dict = {}
                   ) -> tuple[Tensor, dict]:
    """The rate now, and the updates that a step makes of slopes, those of statistics among them."""
    keys: Keys = trainer.keys
    since = cast(keys.step - keys.start, dtype="float64")
    rate = keys.rate * trainer.schedule.factor(since, keys.total)
    fine, slopes = trainer.loss_scale.checked(slopes)
    updates = dict(moving)
    updates.update(trainer.optimizer.updates(parameters, slopes, trainer.slots, rate, keys.step))
    for v, constraint in trainer.model.all_constraints().items():
        updates[v] = constraint(updates[v])
    if trainer.ema is not None:
        # A short memory at first, so that the first weights are soon forgotten.
        new = 1.0 - OPS["minimum"](trainer.ema, since / (since + 10.0))
        for path, mean in trainer.slots["ema"].items():
            p = parameters[path]
            updates[mean] = mean + (updates[p] - mean) * cast(new, dtype=p.dtype.name)
    # Samples and schedules go on, whatever is kept.
    return rate, {**trainer.loss_scale.kept(fine, updates), **trainer.loss_scale.updates(fine),
                  keys.step: keys.step + 1}


def evaluation_step(trainer, shapes: Shapes) -> tuple[list, dict[tuple, Tensor], dict]:
    """Inputs and counted sums, with nothing changed."""
    feeds, x, y, weights, lengths = inputs_for(shapes, trainer.dtype)
    out = trainer.ends.run(Flow(x, lengths, weights, dtype=trainer.dtype), training=False)
    _, sums = losses_and_metrics(trainer.loss, trainer.metrics, y, out, weights)
    return feeds, sums, {}


def prediction_step(trainer, shape, lengths: bool, head: Callable[[Tensor], Tensor]
                    ) -> tuple[list[Tensor], Tensor, bool]:
    """Inputs, the net's output with ``head`` on top of it, and whether it has a row per step."""
    x = placeholder(shape, trainer.x_dtype, "x")
    feeds = [x, placeholder((shape[0],), "int64", "lengths")] if lengths else [x]
    out = trainer.ends.run(Flow(*feeds, dtype=trainer.dtype), training=False)
    return feeds, head(out.x), lengths and out.lengths is not None
