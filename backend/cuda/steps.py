"""Steps of a program beside launches and calls, and what each step reads and writes."""
from __future__ import annotations

from typing import NamedTuple

from ..tensor import Node
from .device import pointers


class ArrayStep(NamedTuple):
    """A node that is left to functions of the array module, or joint: to a communicator.

    What a communicator queues runs ``aside``, until a `Join`.
    """
    name: str
    node: Node
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    joint: bool = False
    aside: bool = False


class Join(NamedTuple):
    """Where the steps wait for collectives, which run beside those before."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = "join"


def touched(step) -> list[int]:
    """Values that a step reads or writes."""
    reads, writes = touched_how(step)
    return sorted(reads | writes)


def touched_how(step) -> tuple[set[int], set[int]]:
    """Values that a step reads, and those that it writes."""
    if isinstance(step, (ArrayStep, Join)):
        return {*step.inputs}, {*step.outputs}
    found = pointers(step)
    return {p.value for p in found if not p.written}, {p.value for p in found if p.written}
