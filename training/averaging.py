"""Averaging: the moving averages of a model's weights take their place."""
from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..backend import variable


def average_slots(parameters: dict) -> dict:
    """Variables for the averages, by path."""
    return {path: variable(p.shape, p.dtype, f"ema/{path}", trainable=False)
            for path, p in parameters.items()}


def averages(trainer) -> dict[str, np.ndarray]:
    """The moving averages of the weights by path; none without ``ema`` and before a step."""
    moved = trainer.keys.step.numpy() > trainer.keys.start.numpy()
    return {path: v.numpy() for path, v in trainer.slots.get("ema", {}).items() if moved}


@contextmanager
def averaged(trainer):
    """With the averages in the place of the weights inside."""
    weights, means = trainer.model.variables(), averages(trainer)
    before = {path: weights[path].numpy() for path in means}
    for path, value in means.items():
        weights[path].assign(value)
    try:
        yield
    finally:
        for path, value in before.items():
            weights[path].assign(value)
