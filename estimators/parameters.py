"""Parameters: those that all nets share, what they mean and what they may be."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from ..backend.base import Backend
from ..backend.distribute import Strategy
from ..backend.errors import ParameterError
from ..layers import Layer
from ..training import Checkpoint, Optimizer, Schedule
from ..training.callbacks import Callback

@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """Constructor parameters are dataclass fields, stored as they come.

    A class declares its own beside `_parameter_constraints` of them alone.

    Parameters
    ----------
    epochs : int or "auto"
        Passes over the samples; auto: enough for about 3,000 steps (forecasters 150), at least
        10; where every step sees all rows 400 (recurrent nets 100, linear ones 3,000).
    batch_size : int or "auto"
        Samples per step of the mini-batch solver.
    learning_rate : float or "auto"
        Step size before the schedule. auto: of mini-batches, the larger the fewer their steps.
    optimizer : {"adam", "adamw", "sgd", "rmsprop", ...} or Optimizer
        How steps are made from gradients.
    schedule : {"auto", "constant", "exponential", "cosine", "one_cycle"} or Schedule
        How the learning rate changes over the fit.
    solver : {"auto", "full_batch", "mini_batch", "lbfgs"}
        auto: every step sees all rows, in float64, up to 256 rows (of forecasters never);
        mini-batches above. lbfgs: all rows, by `gradatim.training.LBFGS`, which takes the place of
        optimizer, learning rate and schedule, makes one iteration an epoch (500 at most by
        default), and ends when no slope is above 1e-5; not for nets with dropout.
    loss : str, Loss or "auto"
        What is made small.
    alpha : float or "auto"
        L2 penalty: ``alpha / 2`` times the sum of squared kernels is added to the mean loss. auto,
        the default of dense nets on tables: 10 (of classifiers 1) over the total weight of the
        samples, 0.1 at most; none with ``standardize=False``, and none in `partial_fit`.
    standardize : bool
        Whether inputs (and regression targets) are brought to a common scale inside the graph,
        by statistics of the first fit.
    early_stopping : bool
        Whether training stops when the validation loss stops falling; the best weights are kept.
    validation_fraction : float
        Share of samples held out for early stopping when no ``X_val`` is passed to `fit`.
    patience : int
        Epochs without improvement that early stopping allows.
    warm_start : bool
        Whether another `fit` goes on from the weights of the last one.
    callbacks : Callback, list of Callback or None
        What happens at the ends of epochs.
    checkpoint : str, path-like, Checkpoint or None
        A file that `fit` keeps its state in, after every epoch if it is a path. A fit that was
        killed and is called again goes on from there and ends with the same bits; the file is
        removed when it is complete. Files of models do not keep it.
    max_time : float, str or None
        `fit` ends after so many seconds, or ``"10m"``, ``"1.5h"``. Files do not keep it.
    accumulate : int
        Each step sees so many times the batch size, in parts whose gradients are added up.
    ema : float or None
        Decay of a moving average of the weights, such as 0.999, that takes their place in the end.
    swa : float or None
        Share of the epochs, such as 0.75, after which the weights at the ends of epochs are
        averaged, batch statistics for these averages counted anew, and taken in the end;
        ``schedule="auto"`` is then constant.
    freeze : str, list of str or None
        Layers that do not learn, by name or path in ``network_``; ``"conv2d*"`` names several.
    warm_start_from : estimator, str, path-like or None
        A fitted model, or its file, whose weights `fit` starts from wherever name and shape are
        the same. `clone` and searches forget what was fitted: give them the file, or a
        `sklearn.frozen.FrozenEstimator`. Files do not keep it.
    health : bool
        Whether ``health_`` shows norms, dead units and NaN of each layer after each epoch.
    verbose : int
        1 shows a progress bar, and after it what was reached beside a naive baseline.
    backend : str or Backend
        Where it runs; ``"auto"`` takes the fastest there is. Files do not keep it.
    strategy : str or Strategy
        Over which devices.
    n_jobs : int or None
        Threads at most; None or -1: as many as ``OMP_NUM_THREADS``, ``threadpoolctl`` or a worker
        of ``joblib`` grants, -2: one less. Files do not keep it.
    precision : {"auto", "float32", "float64", "bfloat16", "tf32", "float16"}
        auto: float64 for full batches, float32 otherwise. bfloat16: as float32, but matrix
        products and convolutions read their factors rounded to eight significant bits, which
        processors with bfloat16 instructions do faster. ``"tf32"`` is of the backend cuda: products
        of float32 read factors of eleven significant bits. float16: factors rounded to float16, and
        a loss scale that finds its size by itself.
    random_state : int, RandomState or None
        Decides first weights, order of samples and dropout.

    Attributes
    ----------
    history_ : list of dict
        Loss, a metric and learning rate of every epoch, with ``val_`` numbers where there are
        validation data.
    n_epochs_ : int
        Epochs made in all.
    best_epoch_ : int
        Index in ``history_`` of the epoch whose weights are kept: the best one with early stopping,
        the last one otherwise.
    baseline_ : array
        What a naive rule knows of the targets of the first fit, for `report`: shares of the
        classes, or means.
    health_ : list of dict
        With ``health``, what `gradatim.training.Health` noted after each epoch of the last fit.
    network_ : Layer
        The fitted net, standardisation included.
    """
    epochs: Any = "auto"
    batch_size: Any = "auto"
    learning_rate: Any = "auto"
    optimizer: Any = "adam"
    schedule: Any = "auto"
    solver: str = "auto"
    loss: Any = "auto"
    alpha: Any = 0.0
    standardize: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 10
    warm_start: bool = False
    callbacks: Any = None
    checkpoint: Any = None
    max_time: Any = None
    accumulate: int = 1
    ema: Any = None
    swa: Any = None
    freeze: Any = None
    warm_start_from: Any = None
    health: bool = False
    verbose: int = 0
    backend: Any = "auto"
    strategy: Any = "auto"
    n_jobs: Any = None
    precision: str = "auto"
    random_state: Any = None

    _parameter_constraints = {
        "epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "optimizer": [str, Optimizer],
        "schedule": [StrOptions({"auto", "constant", "exponential", "cosine", "one_cycle"}),
                     Schedule],
        "solver": [StrOptions({"auto", "full_batch", "mini_batch", "lbfgs"})],
        "loss": [str, callable],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "standardize": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "callbacks": [None, list, tuple, Callback],
        "checkpoint": [None, str, PathLike, Checkpoint],
        "max_time": [None, str, Interval(Real, 0, None, closed="neither")],
        "accumulate": [Interval(Integral, 1, None, closed="left")],
        "ema": [None, Interval(Real, 0, 1, closed="left")],
        "swa": [None, Interval(Real, 0, 1, closed="left")],
        "freeze": [None, str, list, tuple],
        "warm_start_from": [None, str, PathLike, BaseEstimator, Layer],
        "health": ["boolean"],
        "verbose": ["verbose"],
        "backend": [str, Backend],
        "strategy": [str, Strategy],
        "n_jobs": [None, Interval(Integral, 1, None, closed="left"),
                   Interval(Integral, None, -1, closed="right")],
        "precision": [StrOptions({"auto", "float32", "float64", "tf32", "bfloat16", "float16"})],
        "random_state": ["random_state"],
    }


def layer_sizes(name: str, sizes, least: int) -> tuple[int, ...]:
    """The sizes of a stack of at least so many layers, from a number or several."""
    found = (sizes,) if isinstance(sizes, Integral) or not np.iterable(sizes) else tuple(sizes)
    if len(found) < least or any(not isinstance(n, Integral) or n < 1 for n in found):
        raise ParameterError(f"{name} must hold whole numbers from 1 on", got=repr(sizes),
                             fix=f"pass {name}=(128, 64), say")
    return tuple(int(n) for n in found)
