"""CNNClassifier and CNNRegressor: convolutional nets on images, flat rows of pixels, or signals."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from ..backend import Spec
from ..backend.errors import ShapeError, ParameterError
from .architectures import ARCHITECTURES
from .classifier import Classifier
from .regressor import Regressor

CONSTRAINTS = {"image_shape": [None, tuple, list],
               "architecture": [StrOptions(set(ARCHITECTURES)), callable]}

PARAMETERS = """image_shape : tuple (h, w) or (h, w, c), optional
        The images that flat rows hold; rows without it are signals of one channel.
    architecture : {"auto", "lenet", "resnet20"} or callable ``(spec, n_outputs) -> Layer``
        The net; ``spec`` is that of one image, and what is returned are logits."""


class ImageSamples:
    """How both read samples: ``(n, h, w)``, ``(n, h, w, c)``, or rows ``(n, pixels)``."""

    def _network(self, spec: Spec, n_outputs: int):
        if callable(self.architecture):
            return self.architecture(spec, n_outputs)
        if len(spec.shape) == 2 and self.architecture != "auto":
            raise ParameterError(f'architecture "{self.architecture}" needs images',
                                 got=f"samples of shape {list(spec.shape)}",
                                 fix="pass image_shape=(height, width)")
        return ARCHITECTURES[self.architecture](spec, n_outputs)

    def _validated(self, X, reset, **with_y):
        return validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True, **with_y)

    def _shaped(self, X):
        X = np.asarray(X)
        if X.ndim == 2 and self.image_shape is not None:
            X = self._images(X)
        elif X.ndim == 2:
            X = X[:, :, None]                                   # (n, width, 1)
        elif X.ndim == 3:
            X = X[..., None]                                    # (n, h, w, 1)
        elif X.ndim != 4:
            raise ShapeError("images are (n, h, w) or (n, h, w, channels)",
                             got=f"{X.dtype}{list(X.shape)}")
        fitted = getattr(self, "_fitted", None)
        if fitted is not None and fitted.sample_shape != X.shape[1:]:
            raise ShapeError(f"{type(self).__name__} was fitted on samples of another shape",
                             got=f"{list(X.shape[1:])}, not {list(fitted.sample_shape)}")
        return X

    def _sample_shape(self, X):
        return X.shape[1:]

    def _images(self, X):
        shape = tuple(self.image_shape)
        if len(shape) not in (2, 3) or any(not isinstance(n, (int, np.integer)) or n < 1
                                           for n in shape):
            raise ParameterError("image_shape must be (h, w) or (h, w, channels)",
                                 got=repr(self.image_shape))
        if np.prod(shape) != X.shape[1]:
            raise ShapeError("rows do not hold images of image_shape",
                             got=f"{X.shape[1]} columns and image_shape={shape}",
                             fix=f"image_shape must multiply to {X.shape[1]}")
        return X.reshape(-1, *(shape if len(shape) == 3 else (*shape, 1)))

    def _statistics(self, X, weights):
        """Images go by their range, to [0, 1]; signals by one mean and variance."""
        rows = X if weights is None else X[np.asarray(weights) > 0]
        if X.ndim == 3:
            means = rows.mean(axis=(1, 2), dtype=np.float64)
            weights = None if weights is None else np.asarray(weights)[np.asarray(weights) > 0]
            mean = np.average(means, weights=weights)
            squares = np.square(rows - mean, dtype=np.float64).mean(axis=(1, 2))
            variance = np.average(squares, weights=weights)
            return np.float64(mean), np.float64(variance if variance > 0 else 1.0)
        low, high = float(rows.min()), float(rows.max())
        return np.float64(low), np.float64((high - low) ** 2 or 1.0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class CNNClassifier(ImageSamples, Classifier):
    """A convolutional net for classes of images.

    Parameters
    ----------
    {own}
    class_weight : dict, "balanced" or None
        Weights of classes.
    {shared}

    Attributes
    ----------
    classes_ : array
        The labels.
    history_ : list of dict
        Loss, accuracy and learning rate of every epoch.
    network_ : Layer
        The fitted net.

    Examples
    --------
    >>> from gradatim import CNNClassifier
    >>> from gradatim.datasets import load_digits
    >>> data = load_digits()
    >>> model = CNNClassifier(epochs=2, random_state=0).fit(data.images, data.target)
    >>> bool(model.score(data.images, data.target) > 0.9)
    True
    """
    image_shape: Any = None
    architecture: Any = "auto"

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Classifier._parameter_constraints, **CONSTRAINTS}


@dataclass(kw_only=True, eq=False, repr=False)
class CNNRegressor(ImageSamples, Regressor):
    """A convolutional net for numbers read off images.

    Parameters
    ----------
    {own}
    {shared}

    Attributes
    ----------
    history_ : list of dict
        Loss, R² and learning rate of every epoch.
    network_ : Layer
        The fitted net.

    Examples
    --------
    >>> from gradatim import CNNRegressor
    >>> from gradatim.datasets import load_digits
    >>> data = load_digits()
    >>> brightness = data.images.mean(axis=(1, 2))
    >>> model = CNNRegressor(epochs=3, random_state=0).fit(data.images, brightness)
    >>> bool(model.score(data.images, brightness) > 0.8)
    True
    """
    image_shape: Any = None
    architecture: Any = "auto"

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Regressor._parameter_constraints, **CONSTRAINTS}
