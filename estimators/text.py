"""TextGenerator: a recurrent language model of characters or words."""
from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..backend import Spec, function, placeholder
from ..backend.errors import DataError, ParameterError
from ..layers import (
    Dense, Embedding, Flow, RandomNormal, Sequential, SparseCategoricalCrossentropy)
from ..layers.recurrent import Recurrent
from .base import Estimator
from .classifier import log_probabilities
from .fitted import Fitted
from .rnn import CELLS, recurrent_layers

UNKNOWN = "\0"     # what a token stands for that the training text does not have


@dataclass(kw_only=True, eq=False, repr=False)
class TextGenerator(Estimator):
    """A language model: the probability of the next character or word, and text drawn from it.

    The text is cut into windows; each window is read from a zero state, and every step predicts
    the token that follows.

    Parameters
    ----------
    level : {"char", "word"}
        What a token is: a character, or a word, a space run or a punctuation mark.
    cell : {"lstm", "gru", "rnn"}
        The recurrent layer.
    units : int or tuple of int
        Its size; several make a stack.
    embedding : int
        Numbers per token that the first layer learns.
    sequence_length : int
        Tokens per window.
    dropout : float
        Share of features left out after each recurrent layer.

    Attributes
    ----------
    vocabulary_ : list of str
        The tokens; the first stands for any unknown one.

    Examples
    --------
    >>> from gradatim import TextGenerator
    >>> model = TextGenerator(units=16, epochs=60, sequence_length=8, random_state=0)
    >>> model = model.fit("the cat sat on the mat. " * 40)
    >>> model.perplexity("the cat sat on the mat. ") < 3
    True
    >>> len(model.generate("the ", 10, random_state=0))
    14
    """
    level: str = "char"
    cell: str = "lstm"
    units: Any = 128
    embedding: int = 64
    sequence_length: int = 64
    dropout: float = 0.0
    solver: str = "mini_batch"

    _parameter_constraints = {
        "level": [StrOptions({"char", "word"})],
        "cell": [StrOptions(set(CELLS))],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "embedding": [Interval(Integral, 1, None, closed="left")],
        "sequence_length": [Interval(Integral, 2, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    _fit_sets = ("vocabulary_",)
    _rule, _metric = "frequencies of tokens", "log-likelihood per token"
    _auto_batch_size = 32
    _auto_learning_rate = 1e-2
    _auto_full_batch_steps = 600

    def _network(self, spec: Spec, n_outputs: int):
        # Embeddings of unit variance: smaller ones learn slowly at first.
        embedding = Embedding(n_outputs, self.embedding,
                              embeddings_initializer=RandomNormal(0.0, 1.0))
        return Sequential([embedding, *recurrent_layers(self, both_ways=False), Dense(n_outputs)])

    def fit(self, text, y=None, text_val=None):
        """Learn from a text.

        Parameters
        ----------
        text : str or sequence of str
            The text; several are joined by line breaks.
        y : None
            Not used.
        text_val : str or sequence of str, optional
            Text for early stopping and the ``val_`` numbers of ``history_``.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If it is no text, or has fewer than two tokens.
        ValueError
            If a parameter cannot be used.
        NonFiniteError
            If training diverged.
        """
        return self._guarded(text, None, None, (text_val, None, None), self._goes_on)

    def partial_fit(self, text, y=None):
        """Make one pass over a text at a constant rate; the first text fixes the vocabulary.

        Parameters
        ----------
        text : str or sequence of str
            The text.
        y : None
            Not used.

        Returns
        -------
        self
        """
        return self._one_pass(text, None)

    def _fit(self, text, y, sample_weight, validation, again, one_pass=False):
        tokens = self._tokens(joined(text))
        if not again:
            self.vocabulary_ = [UNKNOWN, *sorted(set(tokens) - {UNKNOWN})]
        X, targets = self._windows(self._ids(tokens))
        if validation[0] is not None:
            validation = (*self._windows(self._ids(self._tokens(joined(validation[0])))), None)
        return super()._fit(X, targets, None, validation, again, one_pass)

    # The windows are made here and need no scikit-learn checks.
    def _validated(self, X, reset, y=None, **_):
        return X if y is None else (X, y)

    def _check_outputs(self, shape):
        super()._check_outputs(shape[1:])                       # (time, n_outputs)

    def _sample_tail(self):
        return ()

    def _encoded(self, y, again, classes):
        return y

    def _encoded_again(self, y):
        return y

    def _y_options(self):
        return {}

    @property
    def _n_outputs(self) -> int:
        return len(self.vocabulary_)

    def _loss(self):
        if self.loss not in ("auto", "sparse_categorical_crossentropy"):
            raise ParameterError("a language model has one loss, the cross-entropy of tokens",
                                 got=repr(self.loss), fix='leave loss="auto"')
        return SparseCategoricalCrossentropy(from_logits=True)

    def _metrics(self):
        return ["accuracy"]

    # ---- text ----------------------------------------------------------------------------------

    def _tokens(self, text: str) -> list[str]:
        return list(text) if self.level == "char" else re.findall(r"\w+|\s+|[^\w\s]", text)

    def _ids(self, tokens: list[str]) -> np.ndarray:
        number = {token: i for i, token in enumerate(self.vocabulary_)}
        return np.array([number.get(token, 0) for token in tokens], np.int64)

    def _windows(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows side by side, and the same shifted by one: ``(n, sequence_length)`` each."""
        length = min(self.sequence_length, len(ids) - 1)
        if length < 1:
            raise DataError("the text is too short: there is no token to predict",
                            got=f"{len(ids)} tokens", fix="pass at least two tokens")
        count = (len(ids) - 1) // length
        cut = count * length
        return ids[:cut].reshape(count, length), ids[1:cut + 1].reshape(count, length)

    def score(self, text, y=None) -> float:
        """Mean log-likelihood per token in nats, over windows read from a zero state.

        Parameters
        ----------
        text : str or sequence of str
            The text.
        y : None
            Not used.

        Returns
        -------
        float
            Higher is better; 0 would be certainty.

        Raises
        ------
        NotFittedError
            Before `fit`.
        DataError
            If it is no text, or has fewer than two tokens.
        """
        check_is_fitted(self)
        ids = self._ids(self._tokens(joined(text)))
        parts = [self._windows(ids)]
        rest = ids[parts[0][0].size:]              # what is too short for a window counts as well
        if len(rest) > 1:
            parts.append((rest[None, :-1], rest[None, 1:]))
        trainer = self._fitted.live(self)
        with self._threads():
            total = sum(trainer.evaluate(X, y)["loss"] * y.size for X, y in parts)
        return -total / (len(ids) - 1)

    def _reported_targets(self, X, y):
        return self._ids(self._tokens(joined(X)))[1:]

    def _baseline_of(self, targets, weights):
        counts = 1.0 + np.bincount(targets.ravel(), minlength=len(self.vocabulary_))
        return counts / counts.sum()

    def _naive(self, targets, weights):
        return float(np.log(self.baseline_[targets]).mean())

    def _tell(self, logs, targets, weights, prefix):
        super()._tell({**logs, "accuracy": -logs["loss"],
                       "val_accuracy": -logs.get("val_loss", 0.0)}, targets, weights, prefix)

    def perplexity(self, text) -> float:
        """``exp(-score)``: between how many equally likely tokens the model hesitates.

        Parameters
        ----------
        text : str or sequence of str
            As in `score`, with the same errors.

        Returns
        -------
        float
            From 1 on; lower is better.
        """
        return float(np.exp(-self.score(text)))

    def generate(self, prompt: str = "", n: int = 100, temperature: float = 1.0,
                 random_state=None) -> str:
        """The prompt and ``n`` tokens drawn one after another.

        Parameters
        ----------
        prompt : str
            How the text begins.
        n : int
            Tokens to draw.
        temperature : float
            Below 1 keeps to likely tokens, above 1 ventures; 0 always takes the likeliest.
        random_state : int, RandomState or None
            Decides the draws.

        Returns
        -------
        str
            The prompt as it was given, and what was drawn.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ParameterError
            If an argument is of a wrong type or out of range.
        """
        check_is_fitted(self)
        if not isinstance(prompt, str):
            raise ParameterError(f"prompt must be a str, not {type(prompt).__name__}")
        if not isinstance(n, Integral) or n < 0:
            raise ParameterError(f"n must be a whole number from 0 on, not {n!r}")
        if not isinstance(temperature, Real) or not 0 <= temperature < np.inf:
            raise ParameterError(f"temperature must be a number from 0 on, not {temperature!r}")
        random = check_random_state(random_state)
        read, drawn = list(self._ids(self._tokens(prompt))), []
        if not read and n:                                     # any token may begin a text
            drawn = [int(random.randint(1, len(self.vocabulary_)))]
        scores = None
        with self._threads():
            trainer = self._fitted.live(self)
            stepper = Stepper(self._fitted, trainer.backend, trainer.precision)
            for token in read or drawn:
                scores = stepper(token)
            while len(drawn) < n:
                drawn.append(likely(scores[1:], temperature, random) + 1)
                if len(drawn) < n:
                    scores = stepper(drawn[-1])
        return prompt + "".join(self.vocabulary_[token] for token in drawn)


def likely(scores: np.ndarray, temperature: float, random) -> int:
    """A token drawn by log-probabilities; the unknown token, which says nothing, is not among them.
    """
    if not temperature:
        return int(scores.argmax())
    with np.errstate(over="ignore"):                           # of temperatures near 0
        p = np.exp((scores - scores.max()) / temperature)
    return int(random.choice(len(p), p=p / p.sum()))


class Stepper:
    """The net one token at a time: its recurrent states are carried from call to call."""

    def __init__(self, fitted: Fitted, backend="auto", precision: str | None = None):
        net = fitted.network.layers[-1]
        flow = Flow(placeholder((1, 1), "int64", "token"), dtype=fitted.network.dtype)
        feeds, self.states, ends = [flow.x], [], []
        for layer in net.layers:
            if not isinstance(layer, Recurrent):
                flow = layer.run(flow, training=False)
                continue
            start = [placeholder((1, layer.units), flow.dtype) for _ in range(layer.states)]
            out, end = layer.carry(flow.x, start)
            feeds += start
            ends += end
            self.states += [np.zeros((1, layer.units), flow.dtype) for _ in start]
            flow = flow.to(out)
        self._function = function(feeds, [log_probabilities(flow.x), *ends], backend=backend,
                                  precision=precision)

    def __call__(self, token: int) -> np.ndarray:
        """Log-probabilities of the next token, after one more token."""
        scores, *self.states = self._function(np.array([[token]], np.int64), *self.states)
        return scores[0, 0]


def joined(text) -> str:
    """One text from one or several."""
    if isinstance(text, str):
        return text
    if isinstance(text, (list, tuple, np.ndarray)) and all(isinstance(t, str) for t in text):
        return "\n".join(text)
    raise DataError("a text is a str or a sequence of str", got=type(text).__name__,
                    fix="pass str, decoded and without gaps")
