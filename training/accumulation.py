"""Gradient accumulation: one step over a batch that is computed in several parts."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Graph, constant, variable
from ..backend.function import function
from ..layers.flow import Flow
from .steps import Shapes, inputs_for, losses_and_metrics, optimizer_step, penalties_of

cast, maximum = OPS["cast"], OPS["maximum"]
# Replicas meet in the order of their graphs, so these must be equal but for numbers: a row of
# number 0 would be added nowhere on the first replica alone, and this keeps every sum a sum.
SHIFT = 2 ** 40


class Accumulated:
    """A training step like a compiled one, in equal parts of its batch.

    The slopes of the sum of losses are added up, divided by the sum of weights, and make one step
    of the optimizer: in exact arithmetic that of the whole batch. Random layers know each row's
    place in the whole batch; batch statistics are those of a part.
    """

    def __init__(self, trainer, shapes: Shapes):
        self.parts, self.strategy = trainer.rounds, trainer.strategy
        parameters = trainer.model.trainable_variables()
        sums = {path: variable(p.shape, p.dtype, f"accumulated/{path}", trainable=False)
                for path, p in parameters.items()}
        weight = variable((), trainer.dtype, "accumulated/weight", trainable=False)
        before = variable(np.int64(SHIFT), name="accumulated/rows", trainable=False)
        self._part = self._add(trainer, shapes, parameters, sums, weight, before)
        self._step = self._apply(trainer, parameters, sums, weight, before)

    @property
    def functions(self) -> list:
        """What a call computes."""
        return self._part.functions * self.parts + self._step.functions

    def _add(self, trainer, shapes, parameters, sums, weight, before):
        """The program that adds up the slopes of a part."""
        feeds, x, y, weights, lengths = inputs_for(shapes, trainer.dtype)
        flow = Flow(x, lengths, weights, trainer.keys.seed, trainer.keys.step, dtype=trainer.dtype)
        with trainer.strategy.surroundings():
            out = trainer.ends.run(flow, training=True)
        _, counted = losses_and_metrics(trainer.loss, trainer.metrics, y, out, weights)
        slopes = trainer.loss_scale.slopes(counted["loss", "sum"], parameters)
        fine, _ = trainer.loss_scale.checked(slopes)
        updates = {**trainer.loss_scale.kept(fine, out.updates),
                   weight: weight + counted["loss", "weight"],
                   before: before + shapes.x[0] * trainer.strategy.parts}
        updates.update((sums[path], sums[path] + g) for path, g in slopes.items())

        def moved(node, inputs):
            """Rows stand behind those of the parts before."""
            if node.op.name != "row_offset":
                return None
            here = node.with_inputs(inputs).outputs[0]
            return (here - SHIFT + cast(before, dtype=here.dtype.name),)

        graph = Graph(counted.values(), updates, feeds).rewrite(moved)
        self.names = [*counted, ("learning_rate", "")]
        return trainer.strategy.function(graph.inputs, graph.outputs, graph.updates,
                                         trainer.backend, precision=trainer.precision)

    @staticmethod
    def _apply(trainer, parameters, sums, weight, before):
        """The program that makes a step of what was added up."""
        tiny = float(np.finfo(weight.dtype).tiny)
        slopes = {path: s / maximum(weight, tiny) for path, s in sums.items()}
        for path, g in penalties_of(trainer, parameters).items():
            slopes[path] = slopes[path] + g
        rate, updates = optimizer_step(trainer, parameters, slopes)
        for v in (*sums.values(), weight):
            updates[v] = OPS["zeros_like"](v)
        updates[before] = constant(np.int64(SHIFT))
        return function([], rate, updates, backend=trainer.backend, precision=trainer.precision)

    def __call__(self, *arrays) -> list:
        return [found[0] for found in self.steps(arrays, np.arange(len(arrays[0]))[None])]

    def steps(self, tables, rows: np.ndarray) -> list[np.ndarray]:
        """As `Function.steps`: the parts of a step are one call, and the optimizer's another."""
        found = []
        for which in rows:
            parts = self._part.steps(tables, which.reshape(self.parts, -1))
            sums = [np.add.accumulate(p, axis=0, dtype=np.float64)[-1] for p in parts]
            found.append([*sums, self._step()])
        return [np.stack(column) for column in zip(*found)]

    def holds(self, tables) -> bool:
        """As `Function.holds`."""
        return self._part.holds(tables)
