"""Transfer: weights from another model, layers that do not learn, and a rate to begin with."""
from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch

from ..backend.errors import NonFiniteError, ParameterError, unknown_name
from ..layers import Layer
from ..training.rate_finder import Recorder, Sweep, suggestion
from .saving import load


def freeze(fitted, names) -> None:
    """Let the named layers learn nothing, and those that were named before learn again.

    Raises
    ------
    UnknownNameError
        If a name is that of no layer.
    """
    layers = fitted.network.layers_by_path()
    for layer in fitted.frozen:
        layer.trainable = True
    fitted.frozen = []
    for name in [] if names is None else [names] if isinstance(names, str) else names:
        found = [layer for path, layer in layers.items()
                 if fnmatchcase(path, str(name)) or fnmatchcase(path.split("/")[-1], str(name))]
        if not found:
            raise unknown_name("layer", name, filter(None, layers))
        for layer in found:
            layer.trainable = False
        fitted.frozen += found


def start_from(network: Layer, given) -> None:
    """Take over another model's weights wherever name and shape are the same.

    Raises
    ------
    ParameterError
        If the other model has no weights, or none that fits.
    """
    if given is None:
        return
    own, theirs = network.variables(), _network_of(given).variables()
    fitting = [path for path, v in own.items() if path in theirs and theirs[path].shape == v.shape]
    if not any(own[path].trainable for path in fitting):
        raise ParameterError("no weight of warm_start_from fits the new net",
                             got=f"{', '.join(list(theirs)[:3])}, ... "
                                 f"for {', '.join(list(own)[:3])}, ...",
                             fix="use the same architecture, or give its layers equal names")
    for path in fitting:
        own[path].assign(theirs[path].numpy().astype(own[path].dtype))


def _network_of(given) -> Layer:
    """The net of an estimator, of what is in a file, or of a frozen estimator."""
    if not isinstance(given, Layer) and not hasattr(given, "get_params"):
        given = load(given)
    given = getattr(given, "estimator", given)                   # FrozenEstimator
    if isinstance(given, Layer):
        given._require_built()
        return given
    if not hasattr(given, "_fitted"):
        raise ParameterError(
            "the model of warm_start_from is not fitted, or not a net",
            got=type(given).__name__,
            fix="fit it first; for clone and searches pass its file or FrozenEstimator(model)")
    return given.network_


class RateFinder:
    """An estimator that can look for a learning rate."""

    def find_learning_rate(self, X, y=None, sample_weight=None, *, low: float = 1e-6,
                           high: float = 10.0, steps: int = 100) -> Bunch:
        """Try rates from low to high in one short fit of a copy; nothing of this net changes.

        The rate grows by equal factors from step to step until the loss is four times its
        lowest (Smith, *Cyclical Learning Rates for Training Neural Networks*, 2017, section 3.3).

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        low, high : float
            The first rate and the last.
        steps : int
            How many steps are made at most.

        Returns
        -------
        Bunch
            ``rates`` and ``losses``, arrays with an entry per step, and ``suggestion``: the rate
            at which the smoothed loss falls most steeply.

        Raises
        ------
        ParameterError
            If the rates or the number of steps are out of range, or with L-BFGS.

        Examples
        --------
        >>> from gradatim import DNNClassifier
        >>> from gradatim.datasets import load_digits
        >>> data = load_digits()
        >>> found = DNNClassifier(random_state=0).find_learning_rate(data.data, data.target)
        >>> bool(1e-4 < found.suggestion < 1)
        True
        """
        if not 0 < low < high < np.inf:
            raise ParameterError("the rates must be 0 < low < high",
                                 got=f"low={low!r}, high={high!r}")
        if not isinstance(steps, (int, np.integer)) or steps < 3:
            raise ParameterError(f"steps must be a whole number from 3 on, not {steps!r}")
        if self._optimizer.whole_batches:
            raise ParameterError("L-BFGS has no learning rate to look for",
                                 fix='use solver="auto", or just fit')
        recorder = Recorder(int(steps))
        probe = clone(self).set_params(
            learning_rate=float(low), schedule=Sweep(float(high / low), int(steps)),
            callbacks=recorder, epochs=int(steps), early_stopping=False, checkpoint=None,
            max_time=None, health=False, warm_start=False, verbose=0,
            warm_start_from=self.warm_start_from)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        try:
            probe.fit(X, y, **weights)
        except NonFiniteError:
            pass                                                 # that the last rate is too high
        rates, losses = np.array(recorder.rates), np.array(recorder.losses)
        return Bunch(rates=rates, losses=losses, suggestion=suggestion(rates, losses))
