"""The programs of a trainer: a step is compiled once for each shape of batch, and kept."""
from __future__ import annotations

from typing import Callable

from ..backend import function
from .accumulation import Accumulated
from .sources import Batch
from .steps import Shapes, evaluation_step, prediction_step, shapes_of, training_step


def kept(trainer, key: tuple, make: Callable):
    """What was made for the key before, or is made now."""
    if key not in trainer._functions:
        trainer._functions[key] = make()
    return trainer._functions[key]


def training_program(trainer, batch: Batch) -> tuple[Callable, list]:
    """The step for a batch, and the names of what it returns."""
    if trainer.rounds == 1 and not trainer.optimizer.whole_batches:
        return _compiled(trainer, "train", training_step, batch, trainer.strategy)
    stepper = trainer.optimizer.stepper if trainer.rounds == 1 else Accumulated

    def make():                                     # a step that is more than a compiled graph
        step = stepper(trainer, local_shapes(trainer, batch, rounds=trainer.rounds))
        return step, step.names
    return kept(trainer, (*_key(trainer, "train", batch), trainer.rounds), make)


def evaluation_program(trainer, batch: Batch, strategy) -> tuple[Callable, list]:
    """The sums over a batch, and their names."""
    return _compiled(trainer, "evaluate", evaluation_step, batch, strategy)


def prediction_program(trainer, shape: tuple, lengths: bool, head: Callable
                       ) -> tuple[Callable, bool]:
    """The outputs of a batch, and whether there is a row for every step."""
    def make():
        feeds, out, steps = prediction_step(trainer, shape, lengths, head)
        return function(feeds, out, backend=trainer.backend, precision=trainer.precision), steps
    return kept(trainer, ("predict", shape, lengths, head), make)


def _compiled(trainer, kind: str, build: Callable, batch: Batch, strategy):
    """A step that is one graph, spread by the strategy."""
    def make():
        with strategy.surroundings():
            feeds, outputs, updates = build(trainer, local_shapes(trainer, batch, strategy))
        return strategy.function(feeds, list(outputs.values()), updates, trainer.backend,
                                 precision=trainer.precision), list(outputs)
    return kept(trainer, (*_key(trainer, kind, batch), type(strategy)), make)


def _key(trainer, kind: str, batch: Batch) -> tuple:
    """All that a step depends on and that may change."""
    return (kind, batch.x.shape, batch.y.shape, batch.y.dtype, batch.lengths is not None,
            trainer._schedule_text, trainer.alpha)


def local_shapes(trainer, batch: Batch, strategy=None, rounds: int = 1) -> Shapes:
    """The shapes of what one worker sees of a batch at a time."""
    local = (strategy or trainer.strategy).local
    return shapes_of(trainer, batch, lambda shape: local((shape[0] // rounds, *shape[1:])))
