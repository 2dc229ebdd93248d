"""Predicting: what a trained model makes of samples, chunk by chunk."""
from __future__ import annotations

from typing import Callable

import numpy as np

from ..backend import Tensor
from ..datasets import OnDisk, prefetched
from .programs import prediction_program
from .rounds import chunk_that_fits
from .sources import chunks
from .steps import prediction_step


def predicted(trainer, X, head: Callable[[Tensor], Tensor]):
    """An array of the outputs for samples, or a list of arrays with a row for each step."""
    if not len(X):
        _, out, _ = prediction_step(trainer, (1, *trainer._sample), False, head)
        return np.empty((0, *out.shape[1:]), out.dtype)
    return chunk_that_fits(lambda rows: _in_chunks(trainer, X, rows, head))


def _in_chunks(trainer, X, largest: int, head):
    """The outputs, so many rows at once."""
    result = None
    ahead = int(isinstance(X, OnDisk))                              # files are read by a thread
    for x, lengths, rows in prefetched(chunks(X, largest, trainer.x_dtype), ahead):
        compute, steps = prediction_program(trainer, x.shape, lengths is not None, head)
        out = compute(*(a for a in (x, lengths) if a is not None))
        if result is None:
            result = [None] * len(X) if steps else np.empty((len(X), *out.shape[1:]), out.dtype)
        if steps:
            for row, part, length in zip(rows, out, lengths):
                result[row] = part[:length]
        else:
            result[rows] = out[:len(rows)]
    return result
