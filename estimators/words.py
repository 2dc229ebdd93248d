"""Words: sequences of strings as token numbers, by a vocabulary that a fit learns."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError
from .text_vectorizer import UNKNOWN


def has_words(sequences) -> bool:
    """Whether a list or array holds sequences of strings, by the first there is."""
    if not isinstance(sequences, (list, np.ndarray)):
        return False
    first = next((word for s in sequences if not isinstance(s, str) and np.iterable(s)
                  for word in s), None)
    return isinstance(first, str)


def vocabulary_of(sequences) -> list[str]:
    """The words that occur, sorted."""
    for i, words in enumerate(sequences):
        strange = next((word for word in words if not isinstance(word, str)), None)
        if strange is not None:
            raise DataError(f"sequence {i} does not hold words alone", got=repr(strange)[:60],
                            fix='pass str only, "" for a missing word, say')
    return sorted({str(word) for words in sequences for word in words})


def numbered(sequences, vocabulary: list[str]) -> list[np.ndarray]:
    """``(time, 1)`` token numbers of each sequence, as `TextVectorizer` gives them."""
    number = {word: i for i, word in enumerate(vocabulary, UNKNOWN + 1)}
    return [np.array([[number.get(word, UNKNOWN)] for word in words], np.int64).reshape(-1, 1)
            for words in sequences]
