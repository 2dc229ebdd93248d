"""Iterators: samples that come one after another are gathered before anything reads them twice."""
from __future__ import annotations

from collections.abc import Iterator

from sklearn.base import TransformerMixin


def gathered(values):
    """What an iterator gives, as a list; everything else as it came."""
    return list(values) if isinstance(values, Iterator) else values


class Transformer(TransformerMixin):
    """scikit-learn's, whose `fit_transform` reads its samples twice."""

    def fit_transform(self, X, y=None, **fit_params):
        """`fit`, then `transform` of the same samples."""
        return super().fit_transform(gathered(X), y, **fit_params)
