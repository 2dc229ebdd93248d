"""Planning: what a step of a fit takes, told by a fit that ends before its first step."""
from __future__ import annotations

from sklearn.base import clone

from ..backend.distribute import strategy
from ..backend.plan import PlanReport
from ..training import Callback
from ..training.rounds import planned


class Planning:
    """An estimator that tells what fitting it takes."""

    def plan(self, X, y=None, **options) -> PlanReport:
        """What one step of `fit` takes, before any is made; nothing is fitted.

        Parameters
        ----------
        X, y, **options
            What `fit` is given. Workers that it would start are left out: the plan is that of one
            who computes whole batches.

        Returns
        -------
        PlanReport
            FLOPs, bytes, and what the backend does otherwise than asked. ``device_bytes`` are those
            of a GPU. ``notes`` say into how many parts a batch is cut that does not fit in memory:
            their gradients are added up, so that the step is the same.

        Raises
        ------
        MemoryLimitError
            If a step fits in no way.
        ValueError, TypeError
            As `fit` does.

        Examples
        --------
        >>> import numpy as np, gradatim as gt
        >>> gt.DNNClassifier(hidden_layer_sizes=(8,)).plan(np.eye(30), [0, 1] * 15).steps > 20
        True
        """
        probe = clone(self).set_params(callbacks=Teller(), checkpoint=None, warm_start=False,
                                       verbose=0, warm_start_from=self.warm_start_from)
        if strategy(self.strategy).starts:
            probe.set_params(strategy="single")
        try:
            probe.fit(X, *([] if y is None else [y]), **options)
        except Told as found:
            return found.args[0]


class Told(Exception):
    """Ends a fit that was begun to be planned; holds the report."""


class Teller(Callback):
    """Tells what a step takes, instead of making any."""

    def on_fit_begin(self, run) -> None:
        raise Told(planned(run.trainer, run.source))
