"""Joins: where a program's launches wait for collectives that run beside them."""
from __future__ import annotations

from .steps import ArrayStep, Join, touched_how


def join_collectives(program) -> None:
    """Put in a `Join` before what reads results of collectives, or writes what they read."""
    steps: list = []
    inputs: set[int] = set()
    outputs: set[int] = set()

    def join() -> None:
        steps.append(Join(tuple(sorted(inputs)), tuple(sorted(outputs))))
        inputs.clear()
        outputs.clear()

    for step in program.steps:
        reads, writes = touched_how(step)
        if outputs & (reads | writes) or inputs & writes:
            join()
        if isinstance(step, ArrayStep) and step.aside:
            inputs |= reads
            outputs |= writes
        steps.append(step)
    if outputs:
        join()
    program.steps = steps
