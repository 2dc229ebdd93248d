"""TextVectorizer: texts as sequences of token numbers, or as counts and tf-idf of terms."""
from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Mapping, Set

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..backend.errors import DataError, ParameterError, ShapeError
from .columns import is_frame, is_missing
from .iterators import Transformer
from .saving import Saveable

PADDING, UNKNOWN = 0, 1       # numbers before those of the vocabulary
SEQUENCES, COUNTS, BINARY, TFIDF = "sequences", "counts", "binary", "tfidf"


@dataclass(kw_only=True, eq=False, repr=False)
class TextVectorizer(Transformer, Saveable, BaseEstimator):
    """Turns texts into numbers: sequences for recurrent nets, counts or tf-idf for dense ones.

    Parameters
    ----------
    output : {"sequences", "counts", "binary", "tfidf"}
        Rows of token numbers, padded with 0 at the end, where 1 is any unknown token; or a sparse
        array with a column per term: how often it occurs, whether it does, or that weighted by how
        few texts have it, in rows of length one.
    analyzer : {"word", "char", "char_wb"}
        What tokens are made of; ``"char_wb"`` does not reach across words.
    ngram_range : tuple (shortest, longest)
        How many words or characters a token has.
    lowercase : bool
        Whether capitals are made small first.
    token_pattern : str
        Regular expression of a word.
    max_features : int, optional
        The most frequent tokens that are kept.
    min_df : int
        Texts a token must occur in.
    sequence_length : int, optional
        Tokens per row; longer texts are cut. By default, as many as the longest text of the fit
        has.

    Attributes
    ----------
    vocabulary_ : list of str
        The tokens. In sequences, the first has the number 2; in counts, column 0.
    idf_ : array (n_tokens,)
        ``log((1 + n) / (1 + texts that have it)) + 1``, the weights of tf-idf.
    sequence_length_ : int
        Columns of sequences.

    Notes
    -----
    Counts and tf-idf are those of `sklearn.feature_extraction.text` (Manning, Raghavan and
    Schuetze, Introduction to Information Retrieval, 2008, chapter 6). A missing text is an empty
    one, and an empty one is a single unknown token.

    Examples
    --------
    >>> from gradatim import TextVectorizer
    >>> TextVectorizer().fit_transform(["the cat", "the dog sat", ""]).tolist()
    [[5, 2, 0], [5, 3, 4], [1, 0, 0]]
    >>> counts = TextVectorizer(output="counts").fit(["a b a", "c"])
    >>> counts.vocabulary_, counts.transform(["a a c d"]).toarray().tolist()
    (['a', 'b', 'c'], [[2.0, 0.0, 1.0]])
    """
    output: str = SEQUENCES
    analyzer: str = "word"
    ngram_range: Any = (1, 1)
    lowercase: bool = True
    token_pattern: str = r"\b\w+\b"
    max_features: Any = None
    min_df: int = 1
    sequence_length: Any = None

    _fit_sets = ("vocabulary_", "idf_", "sequence_length_")
    _parameter_constraints = {
        "output": [StrOptions({SEQUENCES, COUNTS, BINARY, TFIDF})],
        "analyzer": [StrOptions({"word", "char", "char_wb"})],
        "ngram_range": [tuple, list],
        "lowercase": ["boolean"],
        "token_pattern": [str],
        "max_features": [None, Interval(Integral, 1, None, closed="left")],
        "min_df": [Interval(Integral, 1, None, closed="left")],
        "sequence_length": [None, Interval(Integral, 1, None, closed="left")],
    }

    def fit(self, X, y=None):
        """Learn the vocabulary.

        Parameters
        ----------
        X : sequence of str, (n,) or (n, 1)
            Texts: a list, an array, a Series, or a frame or array of one column.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If they are no texts, or no token is left.
        """
        self._validate_params()
        texts, count = texts_of(X), self._counter()
        try:
            counts = count.fit_transform(texts)
        except ValueError as error:
            raise DataError("no token is left of the texts", why=str(error),
                            fix="lower min_df, or use another token_pattern or analyzer") from None
        frequent = np.bincount(counts.indices, minlength=counts.shape[1])     # texts per token
        self.vocabulary_ = count.get_feature_names_out().tolist()
        self.idf_ = np.log((1 + len(texts)) / (1 + frequent)) + 1.0
        split = count.build_analyzer()
        self.sequence_length_ = int(
            self.sequence_length or max(1, max(len(split(text)) for text in texts)))
        return self

    def transform(self, X):
        """Texts as numbers.

        Parameters
        ----------
        X : sequence of str
            As in `fit`.

        Returns
        -------
        array (n, steps) of int64, or sparse array (n, n_tokens) of float64

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If they are no texts.
        """
        check_is_fitted(self)
        texts = texts_of(X)
        if self.output == SEQUENCES:
            return self._sequences(texts)
        from scipy import sparse
        counts = sparse.csr_array(self._counter(self.vocabulary_).transform(texts), dtype=float)
        if self.output == BINARY:
            counts.data[:] = 1.0
        if self.output == TFIDF:
            from sklearn.preprocessing import normalize
            counts.data *= self.idf_[counts.indices]
            counts = normalize(counts, copy=False)
        return counts

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the columns that `transform` gives.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        array of str
            Tokens, or ``token0`` and so on for sequences.
        """
        check_is_fitted(self)
        if self.output == SEQUENCES:
            return np.array([f"token{i}" for i in range(self.sequence_length_)], object)
        return np.array(self.vocabulary_, object)

    # ---- inside --------------------------------------------------------------------------------

    def _counter(self, vocabulary=None):
        """scikit-learn's counter of terms with the parameters here."""
        from sklearn.feature_extraction.text import CountVectorizer
        shortest, longest = (tuple(self.ngram_range) + (0, 0))[:2]
        whole = all(isinstance(n, Integral) for n in self.ngram_range)
        if not whole or len(self.ngram_range) != 2 or not 1 <= shortest <= longest:
            raise ParameterError("ngram_range holds the shortest and the longest n-gram",
                                 got=repr(self.ngram_range), fix="pass ngram_range=(1, 2), say")
        limits = {"vocabulary": vocabulary} if vocabulary else {
            "max_features": self.max_features, "min_df": self.min_df}
        if self.analyzer == "word":
            self._check_pattern()
            limits["token_pattern"] = self.token_pattern
        return CountVectorizer(analyzer=self.analyzer, ngram_range=(int(shortest), int(longest)),
                               lowercase=self.lowercase, **limits)

    def _check_pattern(self) -> None:
        """Refuse what is no regular expression of a token."""
        try:
            groups, why = re.compile(self.token_pattern).groups, None
        except re.error as error:
            groups, why = 0, str(error)
        if why or groups > 1:
            raise ParameterError("token_pattern is a regular expression with at most one group",
                                 got=repr(self.token_pattern), why=why,
                                 fix=r'pass token_pattern=r"\b\w+\b", say, and (?:...) for groups')

    def _sequences(self, texts) -> np.ndarray:
        """Token numbers, cut and padded to one length."""
        numbers = {token: i for i, token in enumerate(self.vocabulary_, UNKNOWN + 1)}
        split, length = self._counter().build_analyzer(), self.sequence_length_
        found = np.full((len(texts), length), PADDING, np.int64)
        for row, text in zip(found, texts):
            tokens = [numbers.get(token, UNKNOWN) for token in split(text)[:length]] or [UNKNOWN]
            row[:len(tokens)] = tokens
        return found

    def _check_fitted(self) -> None:
        """Refuse what came from a file and does not fit together."""
        if self.idf_.shape != (len(self.vocabulary_),) or self.sequence_length_ < 1:
            raise ShapeError("the vocabulary has other weights than tokens")
        self._counter()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vocabulary_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def texts_of(X) -> list[str]:
    """Texts as a list; a missing one is empty."""
    if isinstance(X, (str, bytes, Mapping, Set)) or not hasattr(X, "__iter__") or \
            getattr(X, "ndim", 1) == 0:
        raise DataError("X must hold one text per sample", got=type(X).__name__,
                        fix="pass a list or a column of texts, a single text in a list, too")
    if is_frame(X) or getattr(X, "ndim", 1) == 2:
        if X.shape[1] != 1:
            raise ShapeError("X must hold one text per sample", got=f"{X.shape[1]} columns",
                             fix="pass one column; a ColumnTransformer takes each by its name")
        X = X.to_numpy()[:, 0] if is_frame(X) else X[:, 0]
    texts = ["" if is_missing(text) else text for text in X]
    if not texts:
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.",
                        fix="pass at least one text")
    strange = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if strange is not None:
        raise DataError(f"sample {strange} is no text", got=repr(texts[strange])[:60],
                        fix="pass str; decode bytes, and join lists of tokens with spaces")
    return [str(text) for text in texts]
