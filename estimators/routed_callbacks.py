"""scikit-learn's callbacks (from 1.9 on) around a fit: one task per epoch; nothing without them.

The protocol is that of ``sklearn.callback``: `set_callbacks`, a context per fit, and in it a
subcontext per epoch, whose hooks end training by returning True.
"""
from __future__ import annotations

from copy import deepcopy

from ..training import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:                                    # scikit-learn before 1.9
    class CallbackSupportMixin:
        """No callbacks in this version of scikit-learn."""

    def with_callbacks(method):
        """The method as it is."""
        return method


class FitTasks(Callback):
    """Tells scikit-learn's callbacks of the fit and of every epoch.

    Parameters
    ----------
    estimator : Estimator
        What is fitted.
    given : tuple
        Samples, targets and weights as the user passed them.
    epochs : int
        How many there will be at most, of all nets of an ensemble.
    earlier : list of dict
        The logs of epochs before this fit.
    """
    last = True              # what other callbacks decided at the end of an epoch is known

    def __init__(self, estimator, given, epochs: int, earlier: list):
        X, y, weights = given
        self.estimator, self.earlier = estimator, earlier
        self.data = {} if y is None else {"X": X, "y": y}
        if weights is not None:
            self.data["metadata"] = {"sample_weight": weights}
        self.fit = estimator._init_callback_context(max_subtasks=epochs)
        self.epoch, self.nets = None, 0

    def on_fit_begin(self, run) -> None:
        self.nets += 1
        if self.nets == 1:
            self.fit.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        if run.next_epoch < run.epochs and not run.stop:
            self._begin()

    def on_epoch_end(self, run) -> None:
        if self.epoch.call_on_fit_task_end(estimator=self.estimator, **self.data,
                                           reconstruction_attributes=lambda: self._as_if(run)):
            run.stop = True
        if not run.stop and run.epoch + 1 < run.epochs:
            self._begin()

    def end(self) -> None:
        """The fit is over, and the estimator fitted."""
        self.fit.call_on_fit_task_end(estimator=self.estimator, **self.data,
                                      reconstruction_attributes={})

    def _begin(self) -> None:
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _as_if(self, run) -> dict:
        """What a fit that ended here would have set, in copies that training leaves alone."""
        history, fitted = [*self.earlier, *run.history], deepcopy(self.estimator._fitted)
        if not self.earlier:
            del fitted.others[self.nets - 1:]              # what was never trained has no say
        return {"_fitted": fitted, "history_": history,
                "n_epochs_": len(history), "best_epoch_": len(history) - 1}


def fit_tasks(estimator, given, epochs: int, earlier: list) -> list[FitTasks]:
    """The callback that tells scikit-learn's, if there are any."""
    if not hasattr(estimator, "_skl_callbacks"):
        return []
    return [FitTasks(estimator, given, epochs, earlier)]
