"""Joins: where a program's launches wait for collectives that run beside them."""
from __future__ import annotations

from typing import NamedTuple


class Join(NamedTuple):
    """Where the steps wait for collectives, which run beside those before."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = "join"


def join_collectives(program) -> None:
    """Put in a `Join` before what reads results of collectives, or writes what they read."""
    from .program import ArrayStep, touched_how
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
