"""The learning-rate finder: a short fit with a rate that rises until the loss does, too."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from .callbacks import Callback
from .schedules import Schedule

WORSE = 4.0      # training ends where the loss is so many times the best


class Sweep(Schedule):
    """The rate rises by equal factors, ``span`` times in all over ``steps`` steps.

    Examples
    --------
    >>> from gradatim.training.rate_finder import Sweep
    >>> [round(f) for f in Sweep(100.0, 3).table(3)]
    [1, 10, 100]
    """

    def __init__(self, span: float, steps: int):
        self.span, self.steps = span, steps

    def factor(self, step, total):
        return OPS["power"](float(self.span), step / float(max(self.steps - 1, 1)))


class Recorder(Callback):
    """Notes rate and loss of each step, until there are enough or the loss has exploded."""
    every_steps = 1

    def __init__(self, steps: int):
        self.steps = steps
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_batch_end(self, run):
        names, arrays = run.results
        found = dict(zip(names, arrays))
        sums, weights = found["loss", "sum"], found["loss", "weight"]
        for rate, total, weight in zip(found["learning_rate", ""], sums, weights):
            loss = float(total) / float(weight) if weight else math.nan
            exploded = not math.isfinite(loss) or self.losses and loss > WORSE * min(self.losses)
            if exploded or len(self.rates) == self.steps:
                run.end_now()
                return
            self.rates.append(float(rate))
            self.losses.append(loss)


def suggestion(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the smoothed loss falls most steeply over the logarithm of the rate."""
    if len(rates) < 3:
        return float(rates[0]) if len(rates) else math.nan
    smooth = smoothed(losses)
    lowest = max(int(np.argmin(smooth)), 2)
    slopes = np.gradient(smooth[:lowest + 1], np.log(rates[:lowest + 1]))
    return float(rates[int(np.argmin(slopes))])


def smoothed(losses: np.ndarray, keep: float = 0.9) -> np.ndarray:
    """A running mean in both directions, so that nothing is shifted."""
    def one_way(values):
        total, weight, found = 0.0, 0.0, []
        for value in values:
            total, weight = total * keep + value, weight * keep + 1.0
            found.append(total / weight)
        return np.array(found)
    return 0.5 * (one_way(losses) + one_way(losses[::-1])[::-1])
