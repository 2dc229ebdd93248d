"""Losses: the cross-entropy of rows and its gradient as one launch, which reads the logits once."""
from __future__ import annotations

from .device import Launch, Pointer

LOSS, SLOPE, GRADIENT = 2, 3, 4         # arguments of the kernel, which may be missing
KERNEL = "softmax_cross_entropy"


def join_losses(program) -> None:
    """Write a loss where its gradient is computed, unless the gradient needs what the loss gives.

    Steps between the two that wait for the loss are put off as well.
    """
    from .program import touched_how
    at = 0
    while at < len(program.steps):
        step = program.steps[at]
        at += 1
        if not _has(step, LOSS):
            continue
        end = next((i for i in range(at, len(program.steps))
                    if _has(program.steps[i], GRADIENT) and _alike(step, program.steps[i])), None)
        if end is None:
            continue
        before, after = [], [step]
        for other in program.steps[at:end]:
            waits = any(_meet(touched_how(other), touched_how(s)) for s in after)
            (after if waits else before).append(other)
        gradient = program.steps[end]
        if any(_meet(touched_how(gradient), touched_how(s)) for s in after):
            continue
        arguments = list(gradient.arguments)
        arguments[LOSS] = step.arguments[LOSS]
        joined = gradient._replace(arguments=tuple(arguments))
        program.steps[at - 1:end + 1] = [*before, joined, *after[1:]]


def _has(step, argument: int) -> bool:
    """Whether a step is a launch of the kernel that is given an argument."""
    return isinstance(step, Launch) and step.name == KERNEL and \
        isinstance(step.arguments[argument], Pointer)


def _alike(loss: Launch, gradient: Launch) -> bool:
    """Whether logits, labels and numbers are the same."""
    return not _has(gradient, LOSS) and loss.function is gradient.function and all(
        loss.arguments[i] == gradient.arguments[i] for i in (0, 1, 5, 6, 7, 8))


def _meet(one, other) -> bool:
    """Whether the order of two steps matters, by what each reads and writes."""
    (reads, writes), (read, written) = one, other
    return bool(writes & (read | written) or reads & written)
