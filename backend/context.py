"""Where and how nodes are being made just now: device, layer, eager runner, and the user's line."""
from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, NamedTuple

from .errors import ParameterError


class Context(NamedTuple):
    """What new nodes inherit from their surroundings."""
    device: str | None = None        # None: where the inputs are; "": the default device
    layer: str = ""                  # printed in errors: Dense "hidden"
    fix: str = ""                    # the cure that layer proposes
    runner: Callable | None = None   # (node, arrays) -> arrays: set while eager
    watch: Callable | None = None    # (layer, flow): told what each layer made
    own_statistics: bool = False     # whether replicas normalise by their own rows alone
    n_jobs: int | None = None        # threads of a run: at most so many, or all but so many
    shares: int = 1                  # runs that divide the threads among them


_current: ContextVar[Context] = ContextVar("gradatim_context", default=Context())


def current() -> Context:
    """The surroundings of the node being made."""
    return _current.get()


@contextmanager
def surroundings(**changes):
    """Make nodes in changed surroundings."""
    token = _current.set(_current.get()._replace(**changes))
    try:
        yield
    finally:
        _current.reset(token)


def threads_of(granted: int) -> int:
    """How many of the granted threads a run takes in these surroundings; at least one.

    Negative ``n_jobs`` count from the end, as in scikit-learn: -1 is all, -2 all but one.
    """
    n_jobs, shares = _current.get()[-2:]
    if n_jobs is not None:
        granted = min(granted, n_jobs) if n_jobs > 0 else granted + 1 + n_jobs
    return max(granted // shares, 1)


def device(name: str):
    """Place the ops made inside on a device; copies are inserted where devices meet.

    Outside, an op is placed where its first input is that is not a constant. The gradient of an op
    is placed where the op is, variables stay where they are made, and layers where they are called,
    also when a model builds them again. What is placed nowhere is on the first device of its kind.

    On the native backend the devices ``"cpu:0"``, ``"cpu:1"``, ... that a graph names are groups of
    threads. The processors are divided among them, and what does not depend on each other runs at
    the same time. The reference takes any of them for the same device.

    Parameters
    ----------
    name : str
        ``"cpu:0"``, ``"cuda:1"``: a kind and a number.

    Raises
    ------
    ParameterError
        If it is not a kind and a number. Whether there is such a device is known when a backend
        compiles the graph: then a `BackendError` lists those there are.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((2,))
    >>> with gt.device("cpu:1"):
    ...     y = x * 2.0
    >>> y.device
    'cpu:1'
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z]+:\d+", name):
        raise ParameterError(f"{name!r} is not a device", fix='use a kind and a number: "cpu:0"')
    return surroundings(device=name)


_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_USER_FOLDERS = tuple(_ROOT + folder + os.sep for folder in ("tests", "tutorials", "benchmarks"))
_SKLEARN = os.sep.join(["", "site-packages", "sklearn", ""])   # whose wrappers call `fit`
_is_ours: dict[str, bool] = {}


def user_line() -> tuple[str, int]:
    """File and line of the innermost frame outside the library's own folders and scikit-learn's."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        ours = _is_ours.get(file)
        if ours is None:
            ours = _is_ours[file] = (
                file.startswith(_ROOT) and not file.startswith(_USER_FOLDERS)
                or _SKLEARN in file or file.startswith("<frozen"))
        if not ours:
            return file, frame.f_lineno
        frame = frame.f_back
    return "", 0


def describe_line(where: tuple[str, int], layer: str = "") -> str:
    """``my_model.py:10, in Dense "hidden"``."""
    file, line = where
    place = f"{os.path.basename(file)}:{line}" if file else ""
    return ", in ".join(part for part in (place, layer) if part)
