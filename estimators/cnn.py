"""CNNClassifier and CNNRegressor: convolutional nets on images, flat rows of pixels, or signals."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions

from ..backend import Spec
from ..backend.errors import ParameterError, ShapeError
from ..layers import Layer, Sequential
from .architectures import ARCHITECTURES
from .augmentations import augmentations
from .classifier import Classifier
from .regressor import Regressor
from .samples import ArraySamples
from .standardize import weighted_statistics


@dataclass(kw_only=True, eq=False, repr=False)
class ImageSamples(ArraySamples):
    """How nets read images: ``(n, h, w)``, ``(n, h, w, c)``, or rows ``(n, pixels)``.

    Parameters
    ----------
    image_shape : tuple (h, w) or (h, w, c), optional
        The images that flat rows hold, in pixels; rows without it are signals of one channel.
    """
    image_shape: Any = None

    _parameter_constraints = {"image_shape": [None, tuple, list]}
    _takes_sparse = False

    def _validated(self, X, reset, **with_y):
        checked = super()._validated(X, reset, **with_y)
        shape = (checked[0] if isinstance(checked, tuple) else checked).shape
        if not np.prod(shape):
            raise ShapeError("images must have at least one pixel", got=f"{list(shape)}",
                             fix="pass X of shape (n, h, w) or (n, h, w, channels)")
        return checked

    def _shaped(self, X, reset):
        if X.ndim > 4:
            raise ShapeError("images are (n, h, w) or (n, h, w, channels)",
                             got=f"{X.dtype}{list(X.shape)}", fix="reshape X")
        size = None if self.image_shape is None else self._image_size()
        if X.ndim == 2 and size is not None:
            X = self._images(X, size)
        elif X.ndim < 4:
            X = X[..., None]                    # (n, h, w, 1), and for signals (n, width, 1)
        if size is not None and X.shape[1:] != size:
            raise ShapeError("X does not hold images of image_shape",
                             got=f"{list(X.shape[1:])} and image_shape={self.image_shape}",
                             fix="leave image_shape out: it is needed for flat rows only")
        return super()._shaped(X, reset)

    def _image_size(self) -> tuple[int, int, int]:
        """``image_shape`` as (height, width, channels)."""
        shape = tuple(self.image_shape)
        if len(shape) not in (2, 3) or any(not isinstance(n, (int, np.integer)) or n < 1
                                           for n in shape):
            raise ParameterError("image_shape must be (h, w) or (h, w, channels)",
                                 got=repr(self.image_shape), fix="pass image_shape=(28, 28), say")
        return shape if len(shape) == 3 else (*shape, 1)

    def _images(self, X, size):
        """Flat rows as images."""
        if np.prod(size) != X.shape[1]:
            raise ShapeError("rows do not hold images of image_shape",
                             got=f"{X.shape[1]} columns and image_shape={self.image_shape}",
                             fix=f"image_shape must multiply to {X.shape[1]}")
        return X.reshape(-1, *size)

    def _statistics(self, X, weights):
        """Images go by their range, to [0, 1]; signals by one mean and variance."""
        if X.ndim == 4:
            low, high = float(X.min()), float(X.max())
            return np.float64(low), np.float64((high - low) ** 2 or 1.0)
        mean, variance = weighted_statistics(X, weights, columns=1)
        return mean[0], variance[0]


@dataclass(kw_only=True, eq=False, repr=False)
class ConvolutionalNet(ImageSamples):
    """The net of both.

    Parameters
    ----------
    architecture : {"auto", "lenet", "resnet20"} or callable ``(spec, n_outputs) -> Layer``
        The net; ``spec`` is that of one image, and what is returned are logits.
    augmentation : str, Layer, list of them, or None
        What happens to images while training: ``"flip"`` (left to right), ``"shift"``, ``"crop"``,
        ``"rotate"``, ``"zoom"``, ``"brightness"``, ``"contrast"``, ``"cutout"``, ``"mixup"``,
        ``"cutmix"``, or layers, in their order.
    """
    architecture: Any = "auto"
    augmentation: Any = None

    _parameter_constraints = {
        "architecture": [StrOptions(set(ARCHITECTURES)), callable],
        "augmentation": [None, str, Layer, list, tuple]}

    def _network(self, spec: Spec, n_outputs: int):
        before = augmentations(self.augmentation)
        if before and len(spec.shape) != 3:
            raise ParameterError("augmentation needs images",
                                 got=f"samples of shape {list(spec.shape)}",
                                 fix="pass image_shape=(height, width), or leave it out")
        net = self._plain_network(spec, n_outputs)
        return Sequential([*before, net]) if before and isinstance(net, Layer) else net

    def _plain_network(self, spec: Spec, n_outputs: int):
        if callable(self.architecture):
            return self.architecture(spec, n_outputs)
        if len(spec.shape) == 2 and self.architecture != "auto":
            raise ParameterError(f'architecture "{self.architecture}" needs images',
                                 got=f"samples of shape {list(spec.shape)}",
                                 fix="pass image_shape=(height, width)")
        return ARCHITECTURES[self.architecture](spec, n_outputs)


@dataclass(kw_only=True, eq=False, repr=False)
class CNNClassifier(ConvolutionalNet, Classifier):
    """A convolutional net for classes of images.

    Examples
    --------
    >>> from gradatim import CNNClassifier
    >>> from gradatim.datasets import load_digits
    >>> data = load_digits()
    >>> model = CNNClassifier(epochs=2, random_state=0).fit(data.images, data.target)
    >>> bool(model.score(data.images, data.target) > 0.9)
    True
    """


@dataclass(kw_only=True, eq=False, repr=False)
class CNNRegressor(ConvolutionalNet, Regressor):
    """A convolutional net for numbers read off images.

    Examples
    --------
    >>> from gradatim import CNNRegressor
    >>> from gradatim.datasets import load_digits
    >>> data = load_digits()
    >>> brightness = data.images.mean(axis=(1, 2))
    >>> model = CNNRegressor(epochs=5, random_state=0).fit(data.images, brightness)
    >>> bool(model.score(data.images, brightness) > 0.8)
    True
    """
