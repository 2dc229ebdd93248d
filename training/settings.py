"""What a Trainer and its fit are told, checked: each setting alone, and what goes together."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError, ParameterError
from ..layers.arguments import whole
from ..layers.base import Layer
from .metric import Metric, metric

PRECISIONS = {"float32": (None, "float32", "tf32", "bfloat16", "float16"),
              "float64": (None, "float64")}


def check_settings(trainer) -> None:
    """Refuse what a trainer cannot do.

    Raises
    ------
    ParameterError
        That says which setting it is.
    """
    model, seed, parts = trainer.model, trainer.seed, trainer.accumulate
    if not isinstance(model, Layer):
        raise ParameterError(f"a model is a Layer, not {type(model).__name__}",
                             fix="pass a Sequential or a Model")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2 ** 63:
        raise ParameterError(f"seed must be a whole number from 0 to 2**63 - 1, not {seed!r}")
    whole("accumulate", parts, 1)
    if trainer.precision not in PRECISIONS[trainer.dtype]:
        raise ParameterError(
            f'precision="{trainer.precision}" does not fit dtype="{trainer.dtype}"',
            fix='leave precision out, or use "bfloat16" with dtype="float32"')
    averages = [name for name in ("ema", "swa") if getattr(trainer, name) is not None]
    if len(averages) > 1:
        raise ParameterError("ema and swa are two averages, and a fit ends with one",
                             fix="leave out ema= or swa=")
    if trainer.optimizer.whole_batches and trainer.precision == "float16":
        raise ParameterError("L-BFGS has no loss scale, without which float16 loses small slopes",
                             fix='use precision="bfloat16", or another optimizer')
    if trainer.optimizer.whole_batches and (parts > 1 or averages):
        raise ParameterError("L-BFGS makes no steps that accumulate=, ema= or swa= could change",
                             fix="leave them out, or use another optimizer")


def check_fit(trainer, epochs, batch_size, X_val, y_val) -> None:
    """Refuse a fit that the trainer cannot make.

    Raises
    ------
    DataError, ParameterError
        That say what of the fit it is.
    """
    whole("epochs", epochs)
    if trainer.strategy.starts:
        raise ParameterError("only estimators start workers of their own",
                             fix='pass strategy="auto", and start the script with mpiexec')
    if X_val is not None and y_val is None:
        raise DataError("X_val needs y_val beside it")
    if trainer.optimizer.whole_batches and batch_size is not None:
        raise ParameterError("L-BFGS takes all samples in every step",
                             got=f"batch_size={batch_size}", fix="pass batch_size=None")


def metrics_of(metrics) -> list[Metric]:
    """A list of metrics from names and objects, each name once."""
    given = [metrics] if isinstance(metrics, (str, Metric)) else metrics
    return named_apart([metric(m) for m in given])


def named_apart(found: list[Metric]) -> list[Metric]:
    """The same, if no two have one name."""
    names = ["loss", "learning_rate", *(m.name for m in found)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ParameterError(f'two numbers would be called "{twice[0]}" in the logs',
                             fix="pass each metric once, or give one another name")
    return found
