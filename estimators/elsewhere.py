"""A fit in processes that are started for it: the estimator goes there, and comes back fitted."""
from __future__ import annotations

import numpy as np

from ..backend import get_backend
from ..backend.distribute.crew import call_on_workers
from ..backend.distribute.gpus import visible_gpus


def fit_elsewhere(estimator, strategy, *arguments, **options):
    """Fit as the strategy says; what is fitted then is set in the estimator.

    Parameters
    ----------
    estimator : Estimator
        With that strategy.
    strategy : Mirrored
        Which starts processes.
    *arguments, **options
        What `Estimator._guarded` is given.

    Returns
    -------
    Estimator
        The same.
    """
    workers = strategy.workers
    if workers is None and get_backend(estimator.backend).name == "cuda":
        workers = len(visible_gpus())
    fitted = vars(call_on_workers(workers or strategy.starts, estimator, "_guarded", *arguments,
                                  **options))
    own = estimator.get_params(deep=False)
    for name in set(vars(estimator)) - set(fitted):
        delattr(estimator, name)
    for name, value in fitted.items():
        if name not in own:
            setattr(estimator, name, value)
    remember(own.get("random_state"), fitted.get("random_state"))
    for mine, other in zip(as_list(own.get("callbacks")), as_list(fitted.get("callbacks"))):
        remember(mine, other)
    return estimator


def as_list(callbacks) -> list:
    """One or several, or none."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def remember(mine, other) -> None:
    """What the copy of a parameter has become in the fit, the parameter becomes."""
    if isinstance(mine, np.random.RandomState):
        mine.set_state(other.get_state())
    elif hasattr(mine, "__dict__") and type(mine).__name__ == type(other).__name__:
        vars(mine).update(vars(other))
