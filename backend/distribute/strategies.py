"""Strategies by name: what the parameter ``strategy=`` of estimators and trainers may be."""
from __future__ import annotations

from threading import current_thread, main_thread

from ..named import named
from .data_parallel import DataParallel
from .launched import launched
from .mirrored import Mirrored
from .strategy import SingleDevice, Strategy


def automatic() -> Strategy:
    """Data parallel over the processes that a launcher started, or else one device."""
    # Threads of several fits would meet in another order on each rank.
    ranks = launched() if current_thread() is main_thread() else 0
    return DataParallel() if ranks > 1 else SingleDevice()


STRATEGIES = {"auto": automatic, "single": SingleDevice, "mirrored": Mirrored}


def strategy(name) -> Strategy:
    """The strategy of that name, or the object itself."""
    return named("strategy", name, STRATEGIES, "a name or a Strategy",
                 lambda s: isinstance(s, Strategy))
