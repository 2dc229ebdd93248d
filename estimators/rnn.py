"""RNNClassifier and RNNRegressor: recurrent nets on sequences, of equal length or not."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (_check_n_features, _check_y, check_array,
                                      check_consistent_length, validate_data)

from ..backend import Spec
from ..backend.errors import DataError, ShapeError
from ..layers import (
    GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, Layer, RandomNormal, Sequential, SimpleRNN)
from .checking import ABSENT, require_targets
from .classifier import Classifier
from .parameters import layer_sizes
from .regressor import Regressor
from .standardize import weighted_statistics
from .words import has_words, numbered, vocabulary_of

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}


def recurrent_layers(estimator, both_ways: bool, last_step: bool = False) -> list[Layer]:
    """The recurrent layers that parameters ask for, with dropout after each."""
    sizes, net = layer_sizes("units", estimator.units, least=1), []
    for i, size in enumerate(sizes):
        layer = CELLS[estimator.cell](
            size, return_sequences=not last_step or i < len(sizes) - 1)
        net.append(Bidirectional(layer) if both_ways else layer)
        if estimator.dropout:
            net.append(Dropout(estimator.dropout))
    return net


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceSamples:
    """The net of all, and how they read samples.

    Those are ``(n, time, features)``, rows ``(n, time)``, or lists of sequences.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        The recurrent layer.
    units : int or tuple of int
        Its size; several make a stack.
    bidirectional : bool
        Whether sequences are read in both directions.
    dropout : float
        Share of features left out after each recurrent layer.
    embedding : int, optional
        Takes samples for sequences of words, or of token numbers as `TextVectorizer` gives them,
        and learns so many numbers for each; 0 is padding after the end, and 1 whatever the fit did
        not see.
    architecture : "auto" or callable ``(spec, n_outputs) -> Layer``
        A net of your own; ``spec`` is that of one sequence.

    Attributes
    ----------
    vocabulary_ : list of str
        After a fit on words, these; the first is token 2.
    """
    alpha: float = 1e-3
    cell: str = "lstm"
    units: Any = 32
    bidirectional: bool = True
    dropout: float = 0.0
    embedding: Any = None
    architecture: Any = "auto"

    _parameter_constraints = {
        "cell": [StrOptions(set(CELLS))],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "bidirectional": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "embedding": [None, Interval(Integral, 1, None, closed="left")],
        "architecture": [StrOptions({"auto"}), callable],
    }
    _takes_sparse = False
    _last_step = True         # whether there is one answer for a sequence, or one for every step
    _fit_sets = ("_rows",)
    _fit_may_set = ("vocabulary_",)
    _auto_batch_size = 32
    _auto_learning_rate = 1e-2
    _auto_full_batch_rate = 3e-2
    _auto_full_batch_steps = 100

    def _network(self, spec: Spec, n_outputs: int):
        if callable(self.architecture):
            return self.architecture(spec, n_outputs)
        # Embeddings of unit variance: smaller ones learn slowly at first.
        net = [] if self.embedding is None else [Embedding(
            self._n_tokens, self.embedding, embeddings_initializer=RandomNormal(0.0, 1.0),
            mask_zero=True)]
        return Sequential([*net, *recurrent_layers(self, self.bidirectional, self._last_step),
                           Dense(n_outputs)])

    def _validated(self, X, reset, y=ABSENT, **options):
        X = self._without_words(listed(X), reset)
        sequences = has_sequences(X) if reset or self._rows else True
        if reset:
            self._rows = not sequences
        elif self._rows and sequences:
            raise ShapeError(f"{type(self).__name__} was fitted on rows of {self.n_features_in_} "
                             "time steps", got="sequences", fix="pass a 2-D array of such rows")
        if not sequences:
            given = {} if y is ABSENT else {"y": y}
            return validate_data(self, X, reset=reset, dtype="numeric", **given, **options)
        require_targets(self, y)
        X = checked_sequences(X)
        features = X[0].shape[-1]
        if reset:
            self.n_features_in_ = features
            vars(self).pop("feature_names_in_", None)
        elif features != self.n_features_in_:
            raise ShapeError(f"X has {features} features, but {type(self).__name__} is expecting "
                             f"{self.n_features_in_} features as input",
                             fix="pass sequences of shape (time, features)")
        if y is ABSENT:
            return X
        y = _check_y(y, multi_output=options.get("multi_output", False),
                     y_numeric=options.get("y_numeric", False), estimator=self)
        check_consistent_length(X, y)
        return X, y

    def _without_words(self, X, reset):
        """Sequences of words as those of their numbers, if there is an embedding; others as is."""
        words = self.embedding is not None and has_words(X)
        if reset:
            vars(self).pop("vocabulary_", None)
            if words:
                self.vocabulary_ = vocabulary_of(X)
        if words != hasattr(self, "vocabulary_"):
            forms = ("words", "numbers") if words else ("numbers", "words")
            raise DataError("{} was fitted on {}".format(type(self).__name__, forms[1]),
                            got=forms[0], fix="pass sequences of the form of those of the fit")
        return numbered(X, self.vocabulary_) if words else X

    def _count_features(self, X, reset):
        if reset:
            self._rows = X.ndim == 2
        if X.ndim != (2 if self._rows else 3):
            raise ShapeError("sequences in a file are (n, time, features), or rows (n, time)",
                             got=str(list(X.shape)), fix="pass the form the net was fitted on")
        _check_n_features(self, X if self._rows else X.subset([0])[0], reset=reset)

    def _shaped(self, X, reset):
        if self.embedding is not None:
            return self._token_numbers(X, reset)
        if isinstance(X, list):
            return X
        return X[:, :, None] if X.ndim == 2 else X              # (n, time, features)

    def _token_numbers(self, X, reset):
        """Whole numbers from 0 on, ``(n, time)`` or a list of ``(time,)``."""
        parts = X if isinstance(X, list) else [X]
        if parts[0].ndim == (2 if parts is X else 3):          # one feature per step
            if parts[0].shape[-1] != 1:
                raise ShapeError("an embedding takes one token number per step",
                                 got=f"{parts[0].shape[-1]} features", fix="leave embedding out")
            parts = [part[..., 0] for part in parts]
        found = [part.astype(np.int64) for part in parts]
        if any((a != b).any() or a.min() < 0 for a, b in zip(found, parts)):
            raise DataError("an embedding takes token numbers: whole, from 0 on",
                            fix="number the tokens, as TextVectorizer does, or leave embedding out")
        if reset:
            self._tokens = max(2, 1 + max(int(part.max()) for part in found))
        found = [np.where(part < self._n_tokens, part, 1) for part in found]     # 1: unknown
        if isinstance(X, list):
            return found
        found[0][~found[0].any(axis=1), :1] = 1                # a row needs one step at least
        return found[0]

    @property
    def _n_tokens(self) -> int:
        """Rows of the embedding: of the fit under way, or of the net that came from a file."""
        known = vars(self).get("_tokens")
        return self._net.layers[0].input_dim if known is None else known

    def _sample_tail(self):
        if self.embedding is not None:
            return (self.n_features_in_,) if self._rows else ()
        return (1 if self._rows else self.n_features_in_,)

    def _statistics(self, X, weights):
        if hasattr(X, "subset"):
            return weighted_statistics(X, weights)
        rows = np.concatenate(list(X))                          # (all steps, features)
        if weights is not None:
            weights = np.repeat(weights, [len(s) for s in X])
        return weighted_statistics(rows, weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True
        return tags


def listed(X):
    """A list of sequences that came as an array or Series of them, or as a tuple, as a list."""
    numbers = isinstance(getattr(X, "dtype", None), np.dtype) and X.dtype != object
    column = len(getattr(X, "shape", ())) == 1 and not numbers
    if not column and not isinstance(X, tuple):
        return X
    return X.to_list() if hasattr(X, "to_list") else list(X)       # polars nests its Series


def has_sequences(X) -> bool:
    """Whether these are meant as sequences, not as rows: by axes, or a list of unequal rows."""
    if not isinstance(X, list):
        return getattr(X, "ndim", 2) > 2
    ranks = {rank_of(s) for s in X}
    return min(ranks, default=2) > 1 or ranks == {1} and len({len(s) for s in X}) > 1


def rank_of(sequence) -> int:
    """Axes of an array or of nested lists, which may be ragged."""
    if hasattr(sequence, "shape"):
        return len(sequence.shape)
    if not isinstance(sequence, (list, tuple)):
        return 0
    return 1 + max((rank_of(s) for s in sequence[:1]), default=0)


def checked_sequences(X) -> np.ndarray | list[np.ndarray]:
    """An array ``(n, time, features)``, or a list where lengths differ."""
    if not isinstance(X, list):
        X = check_array(X, dtype="numeric", allow_nd=True, input_name="X")
        X = X[:, :, None] if X.ndim == 2 else X
        if X.ndim != 3 or not X[0].size:
            raise ShapeError("sequences are (n, time, features) with at least one step",
                             got=f"{X.dtype}{list(X.shape)}", fix="reshape X")
        return X
    X = [one_sequence(s, i) for i, s in enumerate(X)]
    if not X:
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.",
                        fix="pass at least one sequence")
    features = X[0].shape[1]
    strange = next((i for i, s in enumerate(X) if s.shape[1] != features), None)
    if strange is not None:
        raise ShapeError(f"sequence {strange} has {X[strange].shape[1]} features and "
                         f"sequence 0 has {features}", fix="give all the same features")
    return np.stack(X) if len({len(s) for s in X}) == 1 else X


def one_sequence(sequence, number: int) -> np.ndarray:
    """A ``(time, features)`` array of finite numbers."""
    try:
        array = np.asarray(sequence, np.float64 if np.asarray(sequence).dtype == object else None)
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise DataError(f"sequence {number} does not hold numbers",
                        fix="pass arrays of shape (time, features); for words, embedding=32, say")
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ShapeError(f"sequence {number} must be (time, features) with at least one step",
                         got=f"{array.dtype}{list(array.shape)}",
                         fix="leave empty sequences out")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        kind = "NaN" if np.isnan(array).any() else "infinity"
        raise DataError(f"Input X contains {kind}.", got=f"in sequence {number}",
                        fix="remove or impute such steps")
    return np.ascontiguousarray(array)             # frames store columns, and sums have an order


@dataclass(kw_only=True, eq=False, repr=False)
class RNNClassifier(SequenceSamples, Classifier):
    """A recurrent net for classes of sequences.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim import RNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(k % 2, 1.0, (5 + k % 7, 2)) for k in range(60)]
    >>> model = RNNClassifier(units=8, epochs=60, random_state=0).fit(X, [k % 2 for k in range(60)])
    >>> bool(model.score(X, [k % 2 for k in range(60)]) > 0.9)
    True
    """


@dataclass(kw_only=True, eq=False, repr=False)
class RNNRegressor(SequenceSamples, Regressor):
    """A recurrent net for numbers read off sequences.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim import RNNRegressor
    >>> X = np.random.default_rng(0).normal(size=(80, 6, 1))
    >>> y = X.mean(axis=(1, 2))
    >>> bool(RNNRegressor(units=8, epochs=100, random_state=0).fit(X, y).score(X, y) > 0.8)
    True
    """
