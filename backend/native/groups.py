"""Thread groups: the devices cpu:0, cpu:1, ... as threads with processors of their own."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, local
from typing import NamedTuple, Sequence


class ThreadGroup(NamedTuple):
    """One thread that does what is submitted in turn, with the threads of the core that it starts.

    All of them stay on the group's processors. Equal groups are one, whoever asks for it.
    """
    device: str
    processors: tuple[int, ...]
    threads: int

    def submit(self, core, work, *arguments):
        """Have it done after what was submitted before; returns a future.

        A thread of a group must not wait for it: it may be the one that has to do it.
        """
        with _lock:
            if self not in _pools:
                _pools[self] = ThreadPoolExecutor(1, f"gradatim {self.device}", self._settle,
                                                  (core,))
            return _pools[self].submit(work, *arguments)

    def _settle(self, core) -> None:
        _here.group = self
        core.set_threads(self.threads)
        with suppress(OSError):       # not ours any more: the threads run where they may
            os.sched_setaffinity(0, self.processors)


_here = local()
_pools: dict[ThreadGroup, ThreadPoolExecutor] = {}
_lock = Lock()


def inside() -> bool:
    """Whether a thread of a group is asking: an op in Python may run a graph of its own."""
    return hasattr(_here, "group")


def _forget() -> None:
    """In a forked child there is none of the threads."""
    global _lock
    _lock = Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget)


def thread_groups(core, devices: Sequence[str]) -> dict[str, ThreadGroup]:
    """The process's processors and threads divided among devices; too few are shared.

    Examples
    --------
    >>> from gradatim.backend.native import backend
    >>> from gradatim.backend.native.groups import thread_groups
    >>> list(thread_groups(backend.core, ["cpu:0", "cpu:1"]))
    ['cpu:0', 'cpu:1']
    """
    mine = sorted(os.sched_getaffinity(0))
    threads = max(1, core.max_threads() // len(devices))
    result = {}
    for i, device in enumerate(devices):
        begin, end = (len(mine) * k // len(devices) for k in (i, i + 1))
        processors = tuple(mine[begin:end]) or (mine[i % len(mine)],)
        result[device] = ThreadGroup(device, processors, min(threads, len(processors)))
    return result
