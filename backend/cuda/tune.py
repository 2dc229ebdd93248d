"""Tune: which of several ways of a library is the fastest here; measured once, then read from disk.

One small JSON file stands for a question, in the folder of compiled kernels: it is found by the
GPU, the driver, the library's version and what was asked, and holds the seconds of every way.
"""
from __future__ import annotations

import json
from math import inf
from time import perf_counter
from typing import Callable, Mapping, Sequence

from ..errors import BackendError, MemoryLimitError
from .cache import cached, write

ROUNDS, RUNS = 3, 5              # the best round counts: others are disturbed, none is helped


class Tuner:
    """Measures on one device.

    Parameters
    ----------
    device : Device
        Where memory for trials comes from, and where runs are waited for.
    here : sequence of str
        What a choice depends on besides the question: GPU, driver, version of the library.
    clock : callable
        Seconds from any start.
    """

    def __init__(self, device, here: Sequence[str], clock: Callable[[], float] = perf_counter):
        self._device, self._here, self._clock = device, list(here), clock

    def fastest(self, what: str, ways: Mapping[str, Callable], nbytes: Sequence[int]) -> str | None:
        """The name of the fastest way; None if none works. The only way is not timed.

        Parameters
        ----------
        what : str
            The question: what is computed, of which sizes.
        ways : mapping
            By name a function that is given addresses and returns one to be timed. Either may
            raise a BackendError, which rules the way out.
        nbytes : sequence of int
            Bytes of the memory at each address. Where there is no room for them, the first way is
            taken and nothing is kept.
        """
        if len(ways) < 2:
            return next(iter(ways), None)

        def build() -> bytes:
            seconds = self._seconds(ways, nbytes)
            return json.dumps({"here": self._here, "what": what, "seconds": seconds,
                               "fastest": min(seconds, key=seconds.get, default=None)},
                              indent=1).encode()
        try:
            path = cached(".json", [*self._here, what, *ways], build)
            try:
                chosen = json.loads(path.read_text())["fastest"]
                known = chosen is None or chosen in ways
            except (ValueError, KeyError, TypeError):
                known = False
            if not known:                          # a disk was full, or somebody wrote to it
                chosen = json.loads(write(path, build()).read_text())["fastest"]
            return chosen
        except MemoryLimitError:
            return next(iter(ways))

    def _seconds(self, ways: Mapping[str, Callable], nbytes: Sequence[int]) -> dict[str, float]:
        with self._device.here():
            memory = [self._device.allocate(max(n, 1)) for n in nbytes]
            found = {}
            for name, way in ways.items():
                try:
                    found[name] = self._time(way(*(m.address for m in memory)))
                except BackendError:
                    continue
            return found

    def _time(self, run: Callable[[], None]) -> float:
        """Seconds of a run when it is repeated; the first of all loads kernels and does not count.
        """
        run()
        best = inf
        for _ in range(ROUNDS):
            self._device.synchronize()
            start = self._clock()
            for _ in range(RUNS):
                run()
            self._device.synchronize()
            best = min(best, (self._clock() - start) / RUNS)
        return best
