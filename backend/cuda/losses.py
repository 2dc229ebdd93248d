"""Losses: the cross-entropy of rows and its gradient as one launch, which reads the logits once."""
from __future__ import annotations

from .device import Launch, Pointer
from .steps import touched_how

LOSS, SLOPE, GRADIENT = 2, 3, 4         # arguments of the kernel, which may be missing
KERNEL = "softmax_cross_entropy"


def join_losses(program) -> None:
    """Write a loss where its gradient is computed, unless the gradient needs what the loss gives.

    Steps between the two that wait for the loss are put off as well.
    """
    steps, at = program.steps, 0
    while at < len(steps):
        half = _half(steps[at])
        end = half and next((i for i in range(at, len(steps)) if _alike(steps[at], steps[i])), None)
        if end:
            (_behind if half == LOSS else _before)(steps, at, end)
        at += 1


def _behind(steps: list, at: int, end: int) -> None:
    """Join a loss with the gradient that comes after it."""
    before, after = [], [steps[at]]
    for other in steps[at + 1:end]:
        waits = any(_meet(other, s) for s in after)
        (after if waits else before).append(other)
    if not any(_meet(steps[end], s) for s in after):
        steps[at:end + 1] = [*before, _joined(steps[at], steps[end]), *after[1:]]


def _before(steps: list, at: int, end: int) -> None:
    """Join a loss with the gradient that comes before it."""
    if not any(_meet(steps[end], s) for s in steps[at:end]):
        steps[at] = _joined(steps[end], steps[at])
        del steps[end]


def _joined(loss: Launch, gradient: Launch) -> Launch:
    arguments = list(gradient.arguments)
    arguments[LOSS] = loss.arguments[LOSS]
    return gradient._replace(arguments=tuple(arguments))


def _half(step) -> int | None:
    """Which of the two a launch of the kernel writes, if it writes one: loss or gradient."""
    if not isinstance(step, Launch) or step.name != KERNEL:
        return None
    written = [i for i in (LOSS, GRADIENT) if isinstance(step.arguments[i], Pointer)]
    return written[0] if len(written) == 1 else None


def _alike(one: Launch, other) -> bool:
    """Whether one is the loss and one the gradient of the same logits, labels and numbers."""
    return {_half(one), _half(other)} == {LOSS, GRADIENT} and one.function is other.function and \
        all(one.arguments[i] == other.arguments[i] for i in (0, 1, 5, 6, 7, 8))


def _meet(one, other) -> bool:
    """Whether the order of two steps matters, by what each reads and writes."""
    (reads, writes), (read, written) = touched_how(one), touched_how(other)
    return bool(writes & (read | written) or reads & written)
