"""What a fit decides for itself where parameters say "auto": batches, types, epochs, rates."""
from __future__ import annotations

from numbers import Integral

from sklearn.utils import check_random_state

from ..backend import get_backend
from ..backend.context import surroundings
from ..backend.distribute import strategy
from ..training import LBFGS, Optimizer, Schedule
from ..training.checkpoint import checkpoint
from ..training.optimizers import optimizer
from ..training.ranks import once
from ..training.schedules import schedule

AUTO_EPOCHS = 10           # epochs="auto" makes at least so many
USUAL_STEPS = 3000         # of mini-batches, for which the usual rate is meant
LARGEST_RATE = 1e-2        # to which fewer steps raise it
LARGEST_PENALTY = 0.1      # of alpha="auto", however few samples there are
AUTO_ITERATIONS = 500      # of L-BFGS, which ends by itself when slopes are small


class Automatic:
    """The part of an estimator that reads its parameters for a fit."""

    def _rate(self, full: bool, steps: int | None) -> float:
        """The learning rate at the start of a fit; few of mini-batches are longer."""
        if self.learning_rate != "auto":
            return self.learning_rate
        if isinstance(self.optimizer, Optimizer):
            return self.optimizer.learning_rate
        if full:
            return self._auto_full_batch_rate
        rate = self._auto_learning_rate
        few = max(USUAL_STEPS / (steps or USUAL_STEPS), 1)
        return min(rate * few ** 0.5, max(rate, LARGEST_RATE))

    def _penalty(self, total: float | None) -> float:
        """The L2 penalty of a fit on samples of a total weight; None: of which nobody knows it.

        A normal distribution that weights have before anything is seen is worth as much as so many
        samples, whatever their number (MacKay 1992, "A practical Bayesian framework for
        backpropagation networks"). Its width goes by the scale that standardisation gives.
        """
        if self.alpha != "auto":
            return self.alpha
        if total is None or not self.standardize:
            return 0.0
        return min(self._auto_alpha / total, LARGEST_PENALTY)

    def _seed(self, again: bool) -> int:
        if again:
            return self._fitted.seed
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if isinstance(self.random_state, Integral):
            return seed
        return once(strategy(self.strategy).team(), lambda: seed if self.checkpoint is None else
                    checkpoint(self.checkpoint).seed(seed))

    def _full_batch(self, n: int) -> bool:
        small = n <= self._auto_full_batch_rows or self._optimizer.whole_batches
        return self.solver in ("full_batch", "lbfgs") or self.solver == "auto" and small

    @property
    def _optimizer(self) -> Optimizer:
        """What the parameters solver and optimizer name."""
        found = optimizer(self.optimizer)
        return LBFGS() if self.solver == "lbfgs" and not found.whole_batches else found

    def _dtype(self, full: bool) -> str:
        if self.precision == "auto":
            return "float64" if full else "float32"
        get_backend(self.backend).check_precision(self.precision)
        return "float64" if self.precision == "float64" else "float32"

    @property
    def _rounding(self) -> str | None:
        """What the factors of products are rounded to, if to anything."""
        return self.precision if self.precision in ("tf32", "bfloat16", "float16") else None

    def _epochs(self, steps: int, full: bool) -> int:
        """How many, if an epoch has so many steps."""
        if self.epochs != "auto":
            return self.epochs
        if self._optimizer.whole_batches:
            return AUTO_ITERATIONS
        return self._auto_full_batch_steps if full else max(AUTO_EPOCHS,
                                                            -(-self._auto_steps // steps))

    def _schedule(self, one_pass: bool) -> Schedule:
        if one_pass or self._optimizer.whole_batches:
            return schedule("constant")
        # What swa averages is worth it where the rate stays high.
        automatic = self._auto_schedule if self.swa is None else "constant"
        return schedule(automatic if self.schedule == "auto" else self.schedule)

    def _threads(self):
        """Surroundings in which programs take no more threads than ``n_jobs`` says."""
        return surroundings(n_jobs=None if self.n_jobs is None else int(self.n_jobs))
