"""Ranks: what the processes of one fit decide together, so that all of them do the same."""
from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Callable
from zlib import crc32

import numpy as np

from ..backend.errors import DistributedError

FLAGS = ("halt", "timed_out", "stop")      # of a run: any rank's counts for all


def once(team, work: Callable):
    """What ``work()`` returns, or the error it raises, on the first rank, for all ranks."""
    if team is None:
        return work()
    made = None
    if team.rank == 0:
        try:
            made = True, work()
        except Exception as error:
            made = False, error
    good, found = team.share(made)
    if not good:
        raise found
    return found


def agree(run) -> None:
    """Flags that one rank has set are set on all; the pace and the rate are the first rank's.

    Raises
    ------
    KeyboardInterrupt
        On every rank, if Ctrl-C was pressed on one.
    """
    team = run.team
    if team is None:
        return
    flags = [getattr(run, name) for name in FLAGS]
    pace = run.pace.steps if team.rank == 0 else 0
    *found, cancelled, pace = team.all_reduce(np.array([*flags, run.cancelled, pace]), "max")
    for name, flag in zip(FLAGS, found):
        setattr(run, name, bool(flag))
    run.pace.steps = int(pace)
    if cancelled:          # run.cancelled stays: pressed since then, it counts the next time
        raise KeyboardInterrupt
    team.step = run.steps_done


def agree_on_rate(run) -> None:
    """The learning rate, which a callback may have changed, is the first rank's."""
    if run.team is not None:
        rate = run.trainer.keys.rate
        rate.assign(run.team.broadcast_from(rate.numpy()))


@contextmanager
def cancellable(run):
    """Ctrl-C is remembered until the ranks agree; the second one interrupts at once."""
    if run.team is None or current_thread() is not main_thread():
        yield
        return

    def remember(number, frame):
        if run.cancelled:
            before(number, frame)
        run.cancelled = True

    before = signal.getsignal(signal.SIGINT)
    if not callable(before):                  # ignored, or not Python's: it stays so
        yield
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def require_the_same(team, facts: dict, variables: dict) -> None:
    """Refuse ranks that have been given different data, settings or weights.

    Raises
    ------
    DistributedError
        On every rank, naming the first one that differs from rank 0, and in what.
    """
    if team is None:
        return
    weights = 0
    for v in variables.values():
        weights = crc32(np.ascontiguousarray(v.numpy()), weights)
    found = team.gather(facts | {"first weights": f"{weights:08x}"})
    for rank, other in enumerate(found):
        for name, value in found[0].items():
            if other.get(name) != value:
                raise DistributedError(
                    f"rank {rank} has different {name} from rank 0",
                    got=f"{other.get(name)}, not {value}",
                    fix="every rank must call fit with the same data and parameters")
