"""TextGenerator: levels, drawing, scores against probabilities of the net itself, going on."""
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import gradatim as gt
from gradatim.backend import function, placeholder
from gradatim.estimators.classifier import log_probabilities
from gradatim.estimators.text import Stepper
from gradatim.layers import Flow

TEXT = "the cat sat on the mat. " * 12
SMALL = {"units": 8, "embedding": 6, "epochs": 3, "sequence_length": 8, "random_state": 0}


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def model(request):
    return gt.TextGenerator(cell=request.param, units=(8, 5), dropout=0.2,
                            **{k: v for k, v in SMALL.items() if k != "units"}).fit(TEXT)


def log_probabilities_of(model, ids):
    """What the net says of every next token after a whole window, ``(time, tokens)``."""
    x = placeholder((1, len(ids)), "int64")
    out = model.network_.run(Flow(x, dtype=model.network_.dtype), training=False).x
    return function([x], log_probabilities(out))(np.array([ids]))[0]


def ids_of(model, text):
    return [model.vocabulary_.index(t) if t in model.vocabulary_ else 0 for t in text]


def test_the_vocabulary_is_that_of_the_text(model):
    assert model.vocabulary_ == ["\0", *sorted(set(TEXT))]


def test_the_stepper_equals_the_whole_window(model):
    ids = ids_of(model, "the cat, sat")
    stepper = Stepper(model._fitted)
    steps = np.array([stepper(token) for token in ids])
    np.testing.assert_allclose(steps, log_probabilities_of(model, ids), atol=1e-5)
    np.testing.assert_allclose(np.exp(steps).sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("text", ["the cat s", "the mat sat on the cat?", "th", TEXT])
def test_score_and_perplexity(model, text):
    ids = ids_of(model, text)
    total, length = 0.0, min(8, len(ids) - 1)
    for start in range(0, len(ids) - 1, length):
        window = ids[start:start + length + 1]
        found = log_probabilities_of(model, window[:-1])
        total += found[np.arange(len(window) - 1), window[1:]].sum()
    assert model.score(text) == pytest.approx(total / (len(ids) - 1), abs=1e-5)
    assert model.perplexity(text) == pytest.approx(np.exp(-model.score(text)))


def test_generated_text_follows_the_random_state(model):
    one = model.generate("the ", 30, random_state=3)
    assert one == model.generate("the ", 30, random_state=3)
    assert one != model.generate("the ", 30, random_state=4)
    assert one.startswith("the ") and len(one) == 34 and "\0" not in one


def test_temperature_zero_takes_the_likeliest(model):
    text = model.generate("the cat", 6, temperature=0)
    ids = ids_of(model, text)
    for i in range(7, 13):
        assert ids[i] == 1 + log_probabilities_of(model, ids[:i])[-1, 1:].argmax()
    assert text == model.generate("the cat", 6, temperature=0, random_state=5)
    assert text == model.generate("the cat", 6, temperature=1e-300, random_state=5)


@pytest.mark.parametrize("prompt, n, length", [("", 5, 5), ("", 0, 0), ("a", 0, 1), ("Üß", 4, 6),
                                               ("\0", 3, 4)])
def test_any_prompt(model, prompt, n, length):
    text = model.generate(prompt, n, random_state=0)
    assert len(text) == length and text.startswith(prompt)


def test_draws_follow_the_probabilities():
    model = gt.TextGenerator(**{**SMALL, "epochs": 1}).fit("ab" * 50)
    first = [model.generate("a", 1, random_state=k)[1] for k in range(400)]
    p = np.exp(log_probabilities_of(model, [1])[0, 1:])
    assert abs(first.count("b") / 400 - p[1] / p.sum()) < 0.1


def test_words():
    model = gt.TextGenerator(level="word", **SMALL).fit(TEXT)
    assert model.vocabulary_ == ["\0", " ", ".", "cat", "mat", "on", "sat", "the"]
    text = model.generate("the dog", 9, random_state=0)
    drawn = re.findall("the|cat|sat|on|mat| |[.]", text.removeprefix("the dog"))
    assert len(drawn) == 9 and text == "the dog" + "".join(drawn)
    assert np.isfinite(model.score("the dog sat"))


def test_it_learns():
    model = gt.TextGenerator(**{**SMALL, "units": 16, "epochs": 60, "learning_rate": 0.02})
    model.fit(TEXT)
    assert model.perplexity(TEXT) < 2
    assert model.generate("the c", 3, temperature=0) == "the cat "      # as windows begin
    assert model.history_[-1]["accuracy"] > 0.8


def test_several_texts_are_joined_by_line_breaks():
    one = gt.TextGenerator(**SMALL).fit(["the cat", "the mat and more"])
    other = gt.TextGenerator(**SMALL).fit("the cat\nthe mat and more")
    assert one.history_ == other.history_


def test_partial_fit_keeps_the_vocabulary_and_goes_on():
    model = gt.TextGenerator(**SMALL).partial_fit(TEXT)
    vocabulary = model.vocabulary_
    again = pickle.loads(pickle.dumps(model))
    for m in (model, again):
        m.partial_fit("the dog sat on the log. " * 10)
    assert model.vocabulary_ == vocabulary and model.n_epochs_ == 2
    assert model.score(TEXT) == again.score(TEXT)


def test_validation_text_and_early_stopping():
    model = gt.TextGenerator(**{**SMALL, "epochs": 30, "learning_rate": 0.3, "patience": 2},
                             early_stopping=True).fit(TEXT, text_val="on the cat sat the mat. " * 3)
    losses = [logs["val_loss"] for logs in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses))
    held = gt.TextGenerator(**SMALL, early_stopping=True).fit(TEXT)
    assert "val_loss" in held.history_[0]


def test_short_texts_learn_in_one_window():
    assert gt.TextGenerator(**SMALL).fit("abc").generate("a", 2, random_state=0)[0] == "a"


@pytest.mark.parametrize("text, says", [
    ("", "at least two tokens"), ("a", "at least two tokens"), ([], "at least two tokens"),
    (5, "a str or a sequence of str"), (None, "a str or a sequence of str"),
    (["a", 1], "a str or a sequence of str"), (b"bytes", "a str or a sequence of str")])
def test_texts_that_cannot_be_used(text, says):
    model = gt.TextGenerator(**SMALL)
    for act in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=says):
            act(text)
    assert not hasattr(model, "vocabulary_")
    model.fit(TEXT)
    before, score = dict(vars(model)), model.score(TEXT)
    for act in (model.fit, model.partial_fit, model.score, model.perplexity):
        with pytest.raises(ValueError, match=says):
            act(text)
    assert vars(model) == before and model.score(TEXT) == score


@pytest.mark.parametrize("arguments, says", [
    ({"n": -1}, "n must be"), ({"n": 2.5}, "n must be"), ({"prompt": 3}, "prompt must be a str"),
    ({"prompt": None}, "prompt must be a str"), ({"temperature": -1}, "temperature must be"),
    ({"temperature": np.nan}, "temperature must be"), ({"temperature": np.inf}, "temperature"),
    ({"temperature": "hot"}, "temperature must be"), ({"random_state": "x"}, "seed")])
def test_arguments_that_cannot_be_used(model, arguments, says):
    with pytest.raises(ValueError, match=says):
        model.generate(**{"prompt": "a", "n": 2, **arguments})


@pytest.mark.parametrize("parameters", [
    {"level": "line"}, {"cell": "elman"}, {"units": 0}, {"units": (3, 0)}, {"units": ()},
    {"units": "many"}, {"embedding": 0}, {"sequence_length": 1}, {"dropout": 1.0},
    {"loss": "mean_squared_error"}])
def test_parameters_that_cannot_be_used(parameters):
    with pytest.raises(ValueError):
        gt.TextGenerator(**{**SMALL, **parameters}).fit(TEXT)


def test_nothing_before_a_fit():
    model = clone(gt.TextGenerator(**SMALL))
    for act in (model.score, model.generate, model.perplexity):
        with pytest.raises(NotFittedError):
            act("the cat")


def test_unknown_tokens_are_never_drawn():
    model = gt.TextGenerator(**{**SMALL, "epochs": 1}).fit("a\0b" * 20)
    assert model.vocabulary_ == ["\0", "a", "b"]
    assert "\0" not in model.generate("a", 50, temperature=5, random_state=0)[1:]
