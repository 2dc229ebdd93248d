"""Autoencoder: a short code for samples, and samples back from their codes."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted

from ..backend import OPS, Spec, function, placeholder
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.activations import activation as find_activation
from ..layers import Conv2D, Dense, Flatten, Layer, Reshape, Sequential
from ..layers.flow import Flow
from ..layers.losses import Loss, loss as find_loss
from ..training.sources import chunks
from ..training.rounds import chunk_that_fits
from .base import Estimator
from .cnn import ImageSamples
from .dnn import first_weights
from .iterators import Transformer
from .parameters import layer_sizes
from .report import Report, naive_r2, tell
from .standardize import scale_of, weighted_statistics


def dense_parts(estimator, spec: Spec, code: int) -> tuple[Layer, Layer]:
    """Dense layers down to the code, and the same up again."""
    sizes = layer_sizes("hidden_layer_sizes", estimator.hidden_layer_sizes, least=0)
    find_activation(estimator.activation)

    def hidden(units):
        return Dense(units, estimator.activation,
                     kernel_initializer=first_weights(estimator.activation))

    encoder = [*([Flatten()] if len(spec.shape) > 1 else []), *map(hidden, sizes), Dense(code)]
    decoder = [*map(hidden, reversed(sizes)), Dense(int(np.prod(spec.shape)))]
    return Sequential(encoder), Sequential(decoder)


def convolutional_parts(estimator, spec: Spec, code: int) -> tuple[Layer, Layer]:
    """Convolutions that halve an image twice, and the code; convolutions at full size back."""
    if len(spec.shape) != 3:
        raise ParameterError('architecture "convolutional" needs images',
                             got=f"samples of shape {list(spec.shape)}",
                             fix="pass image_shape=(height, width)")
    height, width, channels = spec.shape

    def convolution(filters, strides=1):
        return Conv2D(filters, 3, strides=strides, padding="same", activation="relu",
                      kernel_initializer="he_normal")

    encoder = [convolution(16, 2), convolution(32, 2), Flatten(), Dense(code)]
    decoder = [Dense(height * width * 8, "relu", kernel_initializer="he_normal"),
               Reshape((height, width, 8)), convolution(16),
               Conv2D(channels, 3, padding="same"), Flatten()]
    return Sequential(encoder), Sequential(decoder)


PARTS = {"dense": dense_parts, "convolutional": convolutional_parts}


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(ClassNamePrefixFeaturesOutMixin, Transformer, ImageSamples, Estimator):
    """A net that brings samples through a few numbers, their code, and back.

    `transform` gives codes and `inverse_transform` samples, so that it stands where
    `sklearn.decomposition.PCA` would; with ``hidden_layer_sizes=()`` the best code is one that
    spans what PCA of the standardised columns spans.

    Parameters
    ----------
    n_components : int
        Numbers in a code.
    architecture : {"dense", "convolutional"} or callable ``(spec, n_components) -> (Layer, Layer)``
        The encoder and the decoder; ``spec`` is that of one sample, and the decoder's last layer
        has as many units as a sample has numbers.
    hidden_layer_sizes : tuple of int
        Units of the dense encoder's hidden layers; those of the decoder are the same, reversed.
    activation : str or callable
        Of the dense hidden layers.

    References
    ----------
    Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks,
    Science 313, 2006.

    Examples
    --------
    >>> from gradatim import Autoencoder
    >>> from gradatim.datasets import load_digits
    >>> X = load_digits().data
    >>> model = Autoencoder(n_components=8, epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.inverse_transform(model.transform(X[:2])).shape
    ((1797, 8), (2, 64))
    >>> print(model.get_feature_names_out()[:2])
    ['autoencoder0' 'autoencoder1']
    """
    n_components: int = 2
    architecture: Any = "dense"
    hidden_layer_sizes: Any = (128,)
    activation: Any = "relu"

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": [StrOptions(set(PARTS)), callable],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, callable],
    }
    _fit_sets = ("n_features_in_", "_flat_samples", "_one_channel")
    _metric = "negative squared error"

    def fit(self, X, y=None, sample_weight=None, X_val=None, sample_weight_val=None):
        """Fit encoder and decoder.

        Parameters
        ----------
        X : array-like (n, n_features), (n, h, w) or (n, h, w, c)
            Samples.
        y : None
            Not used.
        sample_weight : array-like (n,), optional
            Weights from 0 on.
        X_val, sample_weight_val : optional
            Validation data, for early stopping and the ``val_`` numbers of ``history_``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the samples or weights cannot be used; the text says what to do.
        NonFiniteError
            If training diverged.
        """
        return self._guarded(X, None, sample_weight, (X_val, X_val, sample_weight_val),
                             self._goes_on)

    def partial_fit(self, X, y=None, sample_weight=None):
        """Make one pass over some samples at a constant rate.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, with the same errors.

        Returns
        -------
        self
        """
        return self._one_pass(X, None, sample_weight)

    def transform(self, X) -> np.ndarray:
        """The codes of samples.

        Parameters
        ----------
        X : array-like
            Samples, in the form of those of `fit`.

        Returns
        -------
        array (n, n_components) of float64

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the samples cannot be used or are of another shape than those of `fit`.
        """
        X = self._usable(X)
        return self._through([*self.network_.layers[:-1], self._net.layers[0]], X)

    def inverse_transform(self, X) -> np.ndarray:
        """The samples that codes stand for.

        Parameters
        ----------
        X : array-like (n, n_components)
            Codes.

        Returns
        -------
        array of float64
            In the form of the samples of `fit`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If these are no codes of the model.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=np.float64, input_name="X")
        code, output = self._n_features_out, self._fitted.output
        if X.shape[1] != code:
            raise ShapeError(f"X has {X.shape[1]} columns, but the codes of this "
                             f"{type(self).__name__} have {code}",
                             fix="pass what transform returned")
        found = self._through([self._net.layers[1], *([] if output is None else [output])], X)
        shape = [-1] if self._flat_samples else self._sample_shape
        return found.reshape(len(X), *(shape[:-1] if self._one_channel else shape))

    def score(self, X, y=None, sample_weight=None) -> float:
        """Minus the mean squared error of samples that went through their codes.

        Parameters
        ----------
        X : array-like
            Samples, in the form of those of `fit`.
        y : None
            Not used.
        sample_weight : array-like (n,), optional
            Weights of the samples.

        Returns
        -------
        float
            At most 0, in squared units of the samples.
        """
        back = self.inverse_transform(self.transform(X)).reshape(len(X), -1)
        error = ((self._reported_targets(X, y) - back) ** 2).mean(axis=1)
        return -float(np.average(error, weights=sample_weight))

    # ---- the contract's parts ------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self._net.layers[1].built.shape[-1]

    def _through(self, layers: list[Layer], X) -> np.ndarray:
        """What layers of the net make of X, in float64."""
        dtype = self._fitted.dtype

        def in_chunks(largest: int) -> np.ndarray:
            found = []
            for x, _, rows in chunks(X, largest, dtype):
                given = placeholder(x.shape, dtype, "x")
                flow = Flow(given, dtype=dtype)
                for layer in layers:
                    flow = layer.run(flow, training=False)
                compute = function([given], OPS["cast"](flow.x, dtype="float64"),
                                   backend=trainer.backend, precision=trainer.precision)
                found.append(compute(x)[:len(rows)])
            return np.concatenate(found)

        with self._threads():
            trainer = self._fitted.live(self)
            return chunk_that_fits(in_chunks)

    def _validated(self, X, reset, **with_y):
        X = super()._validated(X, reset)
        if reset:
            self._flat_samples, self._one_channel = X.ndim == 2, X.ndim == 3
        return (X, X) if with_y else X

    def _shaped(self, X, reset):
        if X.ndim > 2 or self.image_shape is not None:
            return super()._shaped(X, reset)
        if reset:
            self._sample_shape = [X.shape[1]]
        return X

    def _statistics(self, X, weights):
        """Rows go by column, images by their range."""
        return weighted_statistics(X, weights) if X.ndim == 2 else super()._statistics(X, weights)

    def _encoded(self, y, again, classes):
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def _encoded_again(self, y):
        return self._encoded(check_array(y, allow_nd=True), True, None)

    def _y_options(self):
        return {}

    @property
    def _n_outputs(self) -> int:
        return int(np.prod(self._sample_shape))

    def _network(self, spec: Spec, n_outputs: int):
        if callable(self.architecture):
            made = self.architecture(spec, self.n_components)
        else:
            made = PARTS[self.architecture](self, spec, self.n_components)
        parts = made.layers if isinstance(made, Sequential) else made
        if not isinstance(parts, (tuple, list)) or len(parts) != 2 \
                or not all(isinstance(part, Layer) for part in parts):
            raise ParameterError("the architecture must return an encoder and a decoder",
                                 got=repr(made)[:80], fix="return two layers.Sequential")
        return made if isinstance(made, Sequential) else Sequential([*parts])

    def _output_layer(self, X, targets, weights):
        if not self.standardize:
            return None
        statistics = self._statistics(targets.reshape(-1, *self._sample_shape), weights)
        return scale_of("samples", *statistics, self._n_outputs)

    def _loss(self) -> Loss:
        found = find_loss("mean_squared_error" if self.loss == "auto" else self.loss)
        if found.integer_labels:
            raise ParameterError(f"{found} takes class numbers, not samples",
                                 fix='use loss="mean_squared_error"')
        return found

    def _metrics(self):
        return ["r2"]

    def _reported_targets(self, X, y):
        return self._encoded_again(X)

    def _naive(self, targets, weights):
        error = ((targets - self.baseline_) ** 2).mean(axis=1)
        return -float(np.average(error, weights=weights))

    def _tell(self, logs, targets, weights, prefix):
        naive = naive_r2(targets, self.baseline_, weights)
        tell(prefix, Report("R²", logs[prefix + "r2"], {self._rule: naive}))
