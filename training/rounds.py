"""Rounds: into how many parts what is computed at once is cut, so that it fits in memory."""
from __future__ import annotations

from typing import Callable

from ..backend import Graph
from ..backend.errors import MemoryLimitError
from ..backend.memory import check_programs
from ..backend.plan import PlanReport, together
from ..layers.base import Flow
from .programs import evaluation_program, local_shapes, training_program
from .sources import Source
from .steps import inputs_for

LARGEST_CHUNK = 512     # rows per program of an evaluation or prediction


def first_that_fits(attempt: Callable, most: int, team=None, refuse=lambda error: None):
    """What ``attempt(1)``, ``attempt(2)``, ``attempt(4)``, ... gives that first fits in memory.

    ``most`` is where it ends; ``refuse`` may raise once the whole has not fitted. The processes of
    a team cut alike.
    """
    times, whole = 1, None
    while True:
        try:
            found, error = attempt(times), None
        except MemoryLimitError as missing:
            found, error = None, missing
        if team is not None:
            error = next(filter(None, [error, *team.gather(error)]), None)
        if error is None:
            return found
        if whole is None:
            whole = error
            refuse(error)
        if times >= most:
            raise whole
        times *= 2


def training_source(trainer, make: Callable[[int], Source]) -> Source:
    """Samples in batches that the trainer can make steps of, in so many rounds as that takes.

    Gradients of the parts of a batch are added up, which is the gradient of the batch: unless
    rows meet in the net.
    """
    def attempt(times: int) -> Source:
        trainer.rounds = trainer.accumulate * times
        source = make(trainer.rounds)
        check_programs([f.program for f in step_of(trainer, source).functions], "a step")
        return source

    def refuse(error: MemoryLimitError) -> None:
        if rows_meet(trainer, make(trainer.rounds)):
            fix = error.facts.pop("fix", None)
            raise MemoryLimitError(
                error.what, **error.facts, why="parts of a batch have other batch statistics or "
                "partners to be mixed with, so it is not cut", fix=fix) from error

    most = 1 if trainer.optimizer.whole_batches else make(trainer.accumulate).part_rows
    return first_that_fits(attempt, most, trainer.strategy.team(), refuse)


def chunk_that_fits(attempt: Callable[[int], object], team=None):
    """What ``attempt(rows)`` gives for the first number of rows at once that fits in memory."""
    return first_that_fits(lambda times: attempt(LARGEST_CHUNK // times), LARGEST_CHUNK, team)


def evaluation_source(trainer, n: int, make: Callable[[int | None], Source], strategy) -> Source:
    """``n`` samples in their order, in chunks that can be evaluated."""
    def attempt(rows: int) -> Source:
        source = make(rows if n > rows else None)
        compute, _ = evaluation_program(trainer, source.largest(), strategy)
        check_programs([f.program for f in compute.functions], "an evaluation")
        return source

    return chunk_that_fits(attempt, strategy.team())


def step_of(trainer, source: Source):
    """The compiled step for the largest of a source's batches."""
    return training_program(trainer, source.largest())[0]


def rows_meet(trainer, source: Source) -> bool:
    """Whether what the net makes of a row while training depends on the others in its batch."""
    _, x, _, weights, lengths = inputs_for(
        local_shapes(trainer, source.largest(), rounds=trainer.rounds), trainer.dtype)
    out = trainer.ends.run(Flow(x, lengths, weights, trainer.keys.seed, trainer.keys.step,
                                dtype=trainer.dtype), training=True)
    return bool(out.updates) or out.own_share is not None or any(
        node.op.name == "batch_sum" for node in Graph([out.x]).nodes)


def planned(trainer, source: Source) -> PlanReport:
    """What a step takes."""
    report = together(step_of(trainer, source).functions)
    if trainer.rounds > trainer.accumulate:
        report = report._replace(notes=(
            *report.notes, f"each step in {trainer.rounds} parts, so that it fits in memory"))
    return report
