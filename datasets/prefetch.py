"""A thread that prepares the next items while the current one is used."""
from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Iterable, Iterator

_END = object()


def prefetched(items: Iterable, depth: int) -> Iterator:
    """The items in order, up to `depth` of them prepared ahead by a thread.

    The thread starts with the first item asked for. It has ended when the iterator is exhausted,
    closed, or let go of by a loop that is left in any way: `break`, an exception, Ctrl-C. What
    `items` raises is raised here, with the traceback of where it happened.

    Parameters
    ----------
    items : iterable
        What is prepared.
    depth : int
        How many items may be ready and not yet asked for; with 0 there is no thread.

    Yields
    ------
    object
        The items.

    Examples
    --------
    >>> from gradatim.datasets import prefetched
    >>> list(prefetched(range(3), depth=2))
    [0, 1, 2]
    """
    if depth < 1:
        yield from items
        return
    ready: SimpleQueue = SimpleQueue()
    free, stopped = threading.Semaphore(depth), threading.Event()

    def produce() -> None:
        error = None
        try:
            for item in _while_free(items, free, stopped):
                ready.put((item, None))
        except BaseException as caught:  # a thread has nobody to raise to
            error = caught
        ready.put((_END, error))

    # Daemon: a consumer that is never closed must not keep the interpreter from ending.
    thread = threading.Thread(target=produce, name="gradatim-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            free.release()
            yield item
    finally:
        stopped.set()
        free.release()  # wakes the thread if it waits for room
        thread.join()


def _while_free(items: Iterable, free: threading.Semaphore,
                stopped: threading.Event) -> Iterator:
    """The items, each made only when there is room for it and somebody still wants it."""
    iterator = iter(items)
    while True:
        free.acquire()
        if stopped.is_set():
            return
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item
