"""ImageReader: files or arrays of images of any size as one array for convolutional nets."""
from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Options

from ..backend.errors import DataError, ParameterError, ShapeError
from ..datasets.image_files import read_image
from .columns import is_frame
from .saving import Saveable

GREY = np.array([0.299, 0.587, 0.114])      # ITU-R BT.601, section 2.5.1


@dataclass(kw_only=True, eq=False, repr=False)
class ImageReader(TransformerMixin, Saveable, BaseEstimator):
    """Turns paths of image files, or arrays of unequal size, into images of one size.

    Parameters
    ----------
    image_shape : tuple (height, width)
        The size of the result, in pixels; images of another size are scaled, bilinearly.
    channels : {1, 3}
        Grey or red, green, blue; the opacity of an image is left out.

    Notes
    -----
    Pixels keep their range, 0 to 255 for files; nets bring it to theirs. Each output pixel is
    interpolated at its centre; where an image shrinks, whole blocks of pixels are averaged before.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim import ImageReader
    >>> images = [np.zeros((9, 7)), np.ones((4, 4, 3))]
    >>> ImageReader(image_shape=(8, 8)).fit_transform(images).shape
    (2, 8, 8, 3)
    """
    image_shape: Any = (32, 32)
    channels: int = 3

    _fit_sets = ()
    _parameter_constraints = {"image_shape": [tuple, list], "channels": [Options(Integral, {1, 3})]}

    def fit(self, X, y=None):
        """Check the parameters; nothing is learned.

        Parameters
        ----------
        X : sequence of path or array
            Not used.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter cannot be used.
        """
        self._validate_params()
        self._size()
        return self

    def transform(self, X):
        """Images as one array.

        Parameters
        ----------
        X : sequence (n,) of path or array
            Paths of files that `gradatim.datasets.read_image` reads, or arrays (height, width) or
            (height, width, channels).

        Returns
        -------
        array (n, height, width, channels) of float32

        Raises
        ------
        DataNotFoundError, CorruptFileError
            If a file is not there or holds no image.
        ValueError
            If a sample is neither a path nor an image.
        """
        if isinstance(X, (str, bytes, os.PathLike)) or not hasattr(X, "__iter__"):
            raise DataError("X must hold one image per sample", got=type(X).__name__,
                            fix="put a single one into a list; find_images lists a folder")
        rows = list(X.to_numpy().ravel() if is_frame(X) else X)
        if not rows:
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.",
                            fix="pass at least one image")
        found = np.empty((len(rows), *self._size(), self.channels), np.float32)
        for i, row in enumerate(rows):
            found[i] = self._image(row, i)
        return found

    def _image(self, image, number: int) -> np.ndarray:
        """One image in the wanted form."""
        if isinstance(image, np.ndarray) and image.dtype.kind in "US" and image.size == 1:
            image = image.item()
        image = read_image(image) if isinstance(image, (str, os.PathLike)) else np.asarray(image)
        image = image[:, :, None] if image.ndim == 2 else image
        if image.ndim != 3 or not image.size or image.dtype.kind not in "buif" \
                or not 1 <= image.shape[2] <= 4:
            raise ShapeError(f"sample {number} is neither a path nor an image",
                             got=f"{image.dtype}{list(image.shape)}",
                             fix="pass arrays (height, width) or (height, width, channels)")
        image = image.astype(np.float64)
        image = image[:, :, :1] if image.shape[2] < 3 else image[:, :, :3]
        if self.channels == 1 and image.shape[2] == 3:
            image = (image @ GREY)[:, :, None]
        height, width = self._size()
        image = resized(resized(image, height).swapaxes(0, 1), width).swapaxes(0, 1)
        return np.broadcast_to(image, (height, width, self.channels))

    def _size(self) -> tuple[int, int]:
        """The wanted size, checked."""
        size = tuple(self.image_shape)
        if len(size) != 2 or any(not isinstance(n, Integral) or n < 1 for n in size):
            raise ParameterError("image_shape must be (height, width)", got=repr(self.image_shape),
                                 fix="pass image_shape=(32, 32), say")
        return int(size[0]), int(size[1])

    def _check_fitted(self) -> None:
        """Refuse parameters from a file that cannot be used."""
        self._size()

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """The first axis brought to another size: blocks averaged, then interpolated linearly."""
    if len(image) == size:
        return image
    block = len(image) // size
    if block > 1:
        starts = np.arange(0, len(image), block)
        counts = np.diff(np.append(starts, len(image)))
        image = np.add.reduceat(image, starts, axis=0) / counts[:, None, None]
    at = np.clip((np.arange(size) + 0.5) * len(image) / size - 0.5, 0, len(image) - 1)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None, None]
    return image[low] * (1 - share) + image[np.minimum(low + 1, len(image) - 1)] * share
