"""ArraySamples: samples as arrays of any number of axes, all of the shape of the first fit."""
from __future__ import annotations

from sklearn.utils.validation import _check_n_features, check_array, check_X_y, validate_data

from ..backend.errors import ShapeError


class ArraySamples:
    """How nets read arrays ``(n, ...)``, and sparse rows where they take them."""

    _fit_sets = ("_sample_shape",)

    def _validated(self, X, reset, **with_y):
        options = {"dtype": "numeric", "allow_nd": True,
                   "accept_sparse": "csr" if self._takes_sparse else False}
        if reset or getattr(X, "ndim", 2) == 2:
            return validate_data(self, X, reset=reset, **options, **with_y)
        if with_y:
            return check_X_y(X, estimator=self, **options, **with_y)
        return check_array(X, estimator=self, input_name="X", **options)

    def _count_features(self, X, reset):
        if reset or X.ndim == 2:
            _check_n_features(self, X, reset=reset)

    def _shaped(self, X, reset):
        X = super()._shaped(X, reset)
        shape = list(X.shape[1:])
        if reset:
            self._sample_shape = shape
        elif self._sample_shape != shape:
            raise ShapeError(f"{type(self).__name__} was fitted on samples of another shape",
                             got=f"{shape}, not {self._sample_shape}",
                             fix="bring the samples to that shape, or fit anew")
        return X

    def _sample_tail(self):
        return tuple(self._sample_shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True
        return tags
