"""Models of several inputs or outputs: a sample's arrays side by side in one row, and back."""
from __future__ import annotations

from math import prod
from typing import Mapping, Sequence

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import DataError, ParameterError, ShapeError
from ..layers.arguments import number
from ..layers.flow import Flow
from ..layers.losses import Loss
from ..layers.losses import loss as find_loss
from ..layers.model import Model, apart
from .metric import Metric
from .settings import metrics_of, named_apart
from .steps import logits_of
from .targets import targets_for

batch_sum, cast = OPS["batch_sum"], OPS["cast"]


def by_name(given, names: Sequence[str], what: str) -> list:
    """One entry per name, from a dict or a sequence.

    Raises
    ------
    DataError
        If names or their number differ.
    """
    fix = "pass " + ", ".join(f'"{name}"' for name in names)
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise DataError(f"{what} has other names than the model",
                            got=", ".join(map(str, given)), fix=fix)
        return [given[name] for name in names]
    if not isinstance(given, (list, tuple)) or len(given) != len(names):
        got = f"{len(given)}" if isinstance(given, (list, tuple)) else type(given).__name__
        raise DataError(f"{what} must be a list of {len(names)}, or a dict", got=got, fix=fix)
    return list(given)


def in_rows(arrays: list[np.ndarray], names: Sequence[str], dtype: str) -> np.ndarray:
    """The arrays side by side, (samples, numbers); whole numbers stay what they are."""
    counts = {len(a) if a.ndim else 0 for a in arrays}
    if len(counts) > 1:
        raise ShapeError("the arrays differ in their number of samples", got=", ".join(
            f"{name} {len(a) if a.ndim else 0}" for name, a in zip(names, arrays)))
    count = counts.pop()
    sizes = [prod(a.shape[1:]) for a in arrays]
    row, end = np.empty((count, sum(sizes)), dtype), 0
    for name, a, size in zip(names, arrays, sizes):
        part, flat = row[:, end:end + size], a.reshape(count, size)
        part[...] = flat
        end += size
        if a.dtype.kind in "iu" and not np.array_equal(part, flat):
            raise DataError(f'"{name}" holds whole numbers that {dtype} does not',
                            got=f"{np.abs(a).max()}", fix='use dtype="float64"')
    return row


class Inputs:
    """The inputs of a model that has several."""

    def __init__(self, model: Model):
        self.model, self.names = model, model.input_names
        self.shapes = [t.shape[1:] for t in model.entries]

    def samples(self, X, dtype: str) -> np.ndarray:
        """All inputs of a sample in a row; what is in rows already stays."""
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == sum(map(prod, self.shapes)):
            return X
        arrays = []
        for name, given, shape in zip(self.names, by_name(X, self.names, "X"), self.shapes):
            a = np.asarray(given)
            if a.dtype.kind not in "biuf" or a.shape[1:] != shape:
                raise ShapeError(f'the input "{name}" does not fit the model',
                                 got=f"{a.dtype}{list(a.shape)}",
                                 fix=f"pass numbers (samples{''.join(f', {n}' for n in shape)})")
            arrays.append(a)
        return in_rows(arrays, self.names, dtype)

    def run(self, flow: Flow, training: bool) -> Flow:
        """The model on what stands in the rows."""
        flows = [flow.to(part if t.spec.is_float else cast(part, dtype=t.dtype.name))
                 for part, t in zip(apart(flow.x, self.shapes), self.model.entries)]
        return self.model.run(flows, training)


class Outputs:
    """The outputs of a model that has several: their losses, targets, metrics and predictions."""

    def __init__(self, model: Model, loss, loss_weights, metrics):
        self.names, self.shapes = model.output_names, [t.shape[1:] for t in model.exits]
        each = by_name(loss, self.names, "loss") if isinstance(loss, (list, tuple, Mapping)) \
            else [loss] * len(self.names)
        weights = [1.0] * len(self.names) if loss_weights is None else [
            number("loss_weights", w, at_least=0.0)
            for w in by_name(loss_weights, self.names, "loss_weights")]
        self.loss = JointLoss(tuple(map(find_loss, each)), tuple(weights), tuple(self.shapes))
        self.metrics = [PartLoss(name, i, self.loss) for i, name in enumerate(self.names)]
        for i, (name, wanted) in enumerate(zip(self.names, self.wanted(metrics))):
            self.metrics += [PartMetric(m, name, i, self.loss) for m in metrics_of(wanted or ())]
        named_apart(self.metrics)

    def wanted(self, metrics) -> list:
        """What is counted for each output; metrics that are not told apart, for every one."""
        apart_ = isinstance(metrics, Mapping) or isinstance(metrics, (list, tuple)) and any(
            m is None or isinstance(m, (list, tuple)) for m in metrics)
        if not apart_:
            return [metrics] * len(self.names)
        if isinstance(metrics, Mapping):
            metrics = {**dict.fromkeys(self.names), **metrics}
        return by_name(metrics, self.names, "metrics")

    def targets(self, y, dtype: str) -> np.ndarray:
        """All targets of a sample in a row; what is in rows already stays."""
        wanted = self.loss.targets
        if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == sum(map(prod, wanted)):
            return y
        arrays = []
        for name, given, shape, loss, outputs in zip(
                self.names, by_name(y, self.names, "y"), wanted, self.loss.losses, self.shapes):
            a = targets_for(loss, given, dtype, outputs[-1])
            fits = {shape, (*shape, 1), shape[:-1] if shape[-1:] == (1,) else shape}
            if a.dtype == object or a.shape[1:] not in fits:
                raise ShapeError(f'the targets of "{name}" do not fit the model',
                                 got=f"{a.dtype}{list(a.shape)}",
                                 fix=f"(samples{''.join(f', {n}' for n in shape)})")
            arrays.append(a.reshape(len(a), *shape))
        return in_rows(arrays, self.names, dtype)

    def predictions(self, rows: np.ndarray) -> list[np.ndarray]:
        """An array per output."""
        ends = np.cumsum([0, *map(prod, self.shapes)])
        return [np.ascontiguousarray(rows[:, a:b]).reshape(len(rows), *shape)
                for a, b, shape in zip(ends, ends[1:], self.shapes)]


class JointLoss(Loss):
    """The weighted sum of the losses of several outputs that stand side by side."""

    def __init__(self, losses: tuple, weights: tuple, shapes: tuple):
        self.losses, self.weights, self.shapes = losses, weights, shapes
        self.targets = [shape[:-1] if getattr(loss, "integer_labels", False) else shape
                        for loss, shape in zip(losses, shapes)]

    def __call__(self, y_true: Tensor, y_pred: Tensor, lengths: Tensor | None = None) -> Tensor:
        total = None
        for i, weight in enumerate(self.weights):
            value = self.part(i, y_true, y_pred) * weight
            total = value if total is None else total + value
        return total

    def part(self, i: int, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of one output, (batch,)."""
        return self.losses[i](*self.pair(i, y_true, y_pred))

    def pair(self, i: int, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """One output's targets and predictions."""
        y = apart(y_true, self.targets)[i]
        if getattr(self.losses[i], "integer_labels", False):
            y = cast(y, dtype="int64")
        return y, whole_part(y_pred, i, self.shapes)


def whole_part(row: Tensor, i: int, shapes) -> Tensor:
    """One of the tensors side by side: itself where the row was made of it, or cut out."""
    if row.node.op is OPS["concatenate"] and len(row.node.inputs) == len(shapes):
        t = row.node.inputs[i]
        for candidate in (t, *t.node.inputs[:1]):
            if candidate.shape[1:] == shapes[i] and (
                    candidate is t or t.node.op is OPS["reshape"]):
                return candidate
    return apart(row, shapes)[i]


class PartLoss(Metric):
    """The mean loss of one output."""

    def __init__(self, output: str, index: int, joint: JointLoss):
        self.output, self.index, self.joint = output, index, joint
        self.name = f"{output}_loss"

    def sums(self, y_true, y_pred, weights):
        return {"sum": batch_sum(self.joint.part(self.index, y_true, y_pred), weights),
                "weight": batch_sum(weights)}

    def result(self, sums):
        return float(sums["sum"] / sums["weight"]) if sums["weight"] else float("nan")


class PartMetric(Metric):
    """A metric of one output."""

    def __init__(self, metric: Metric, output: str, index: int, joint: JointLoss):
        self.metric, self.output, self.index, self.joint = metric, output, index, joint
        self.name = f"{output}_{metric.name}"
        self.greater_is_better = metric.greater_is_better

    def sums(self, y_true, y_pred, weights):
        y, p = self.joint.pair(self.index, y_true, y_pred)
        loss = self.joint.losses[self.index]
        return self.metric.sums(
            y, logits_of(loss, p) if self.metric.takes_logits else loss.prediction(p), weights)

    def result(self, sums):
        return self.metric.result(sums)


class Ends:
    """What stands between the arrays a Trainer is given and its model's inputs and outputs.

    One input and one output are fed as they are.
    """

    def __init__(self, model, loss, loss_weights, metrics):
        self.model, self.inputs, self.outputs = model, None, None
        if getattr(model, "takes_several", False):
            if not isinstance(model, Model):
                raise ParameterError("a layer that merges cannot be trained by itself",
                                     got=type(model).__name__, fix="wire it in a Model")
            self.inputs = Inputs(model)
        if getattr(model, "gives_several", False):
            self.outputs = Outputs(model, loss, loss_weights, metrics)
        elif loss_weights is not None:
            raise ParameterError("loss_weights are for a model of several outputs",
                                 fix="leave them out")
        self.loss = self.outputs.loss if self.outputs else find_loss(loss)
        self.metrics = self.outputs.metrics if self.outputs else metrics_of(metrics)

    def samples(self, X, dtype: str):
        """Samples in one array, or as they are given."""
        return self.inputs.samples(X, dtype) if self.inputs else X

    def targets(self, y, dtype: str) -> np.ndarray:
        """Targets in one array."""
        return self.outputs.targets(y, dtype) if self.outputs else np.asarray(y)

    def run(self, flow: Flow, training: bool) -> Flow:
        """The model on samples in one tensor."""
        return self.inputs.run(flow, training) if self.inputs else self.model.run(flow, training)

    def predictions(self, found):
        """An array per output, or what there is."""
        return self.outputs.predictions(found) if self.outputs else found
