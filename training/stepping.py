"""Stepping: the steps of an epoch, several in one call, and the sums of what they count."""
from __future__ import annotations

from time import perf_counter
from typing import Iterator

import numpy as np

CALL_SECONDS = 0.05     # of steps in one call
CALL_BYTES = 2 ** 24    # of their results


class Pace:
    """How many steps one call makes: about as many as take ``CALL_SECONDS``.

    A call ends often enough for Ctrl-C and the progress bar, and seldom enough to cost nothing.
    """

    def __init__(self):
        self.steps = 1

    def measured(self, steps: int, seconds: float, size: int) -> None:
        """The last call made so many steps in that time, and its results have ``size`` bytes."""
        share = min(CALL_SECONDS / max(seconds, 1e-9), CALL_BYTES / max(size, 1))
        self.steps = max(1, int(steps * share))


def stepped(source, number: int, compiled, pace: Pace, start: int = 0, room=None
            ) -> Iterator[tuple[list, list]]:
    """The steps of an epoch from ``start`` on, several in one call where samples lie in memory.

    That may be a device's, of samples in a file; what it has no room for is read batch by batch.

    Yields the names of results and, for each, those of all steps of a call in one array;
    ``room(done)`` is how many steps the next call may make.
    """
    tables, done = source.tables, start
    if tables is not None:
        compute, names = compiled(source.first())
        if hasattr(compute, "steps") and (tables.in_memory or compute.holds(tables)):
            rows = source.full_batches(number)
            while done < len(rows):
                most = pace.steps if room is None else min(pace.steps, room(done))
                part = rows[done:done + most]
                begin = perf_counter()
                found = compute.steps(tables, part)
                pace.measured(len(part), perf_counter() - begin, sum(a.nbytes for a in found))
                done += len(part)
                yield names, found
        if done == source.steps_per_epoch:          # no batch is left that is not full
            return
    for batch in source.epoch(number, done):
        compute, names = compiled(batch)
        yield names, [np.asarray(a)[None] for a in compute(*feeds_of(batch))]


def added(totals: list[np.ndarray], sums: list) -> list[np.ndarray]:
    """Sums of sums in float64, which counts to 2**53 without an error."""
    return added_up(totals, [np.asarray(s)[None] for s in sums])


def added_up(totals: list[np.ndarray], sums: list[np.ndarray]) -> list[np.ndarray]:
    """The same for sums of several steps, in their order: the grouping of steps leaves no trace."""
    found = []
    for i, parts in enumerate(sums):
        parts = parts.astype(np.float64)
        if totals:
            parts[0] += totals[i]
        found.append(np.add.accumulate(parts, axis=0)[-1] if len(parts) > 1 else parts[0])
    return found


def feeds_of(batch) -> list[np.ndarray]:
    """The arrays of a batch in the order of the step's inputs."""
    return [a for a in (batch.x, batch.y, batch.weights, batch.lengths) if a is not None]
