"""RNNTagger: a label per step, unequal lengths, weights, files, errors."""
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import gradatim as gt
from gradatim import layers

RANDOM = np.random.default_rng(0)
X = [RANDOM.normal(size=(4 + k % 5, 2)) for k in range(40)]
Y = [np.where(x[:, 0].cumsum() > 0, "up", "down") for x in X]
SMALL = {"units": 6, "epochs": 2, "random_state": 0}


@pytest.mark.parametrize("solver", ["full_batch", "mini_batch"])
def test_it_learns_a_running_sum(solver):
    many = [RANDOM.normal(size=(4 + k % 9, 1)) for k in range(300)]
    labels = [(x[:, 0].cumsum() > 0).astype(int) for x in many]
    model = gt.RNNTagger(units=12, epochs=60 if solver == "full_batch" else 20, solver=solver,
                         random_state=0).fit(many[:200], labels[:200])
    assert model.score(many[200:], labels[200:]) > 0.9
    report = model.report(many[200:], labels[200:])
    codes = np.concatenate(labels[200:])
    often = int(np.concatenate(labels[:200]).mean() > 0.5)
    assert report.baselines == {"most frequent class": pytest.approx((codes == often).mean())}


def test_predictions_have_the_form_of_the_labels():
    model = gt.RNNTagger(**SMALL).fit(X, Y)
    found, shares = model.predict(X), model.predict_proba(X)
    assert isinstance(found, list) and [f.shape for f in found] == [y.shape for y in Y]
    for labels, p in zip(found, shares):
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], labels)
    right = np.concatenate([f == y for f, y in zip(found, Y)])
    assert model.score(X, Y) == right.mean()
    assert model.predict([X[3]])[0].tolist() == found[3].tolist()       # alone as among others
    weights = np.arange(40) % 2
    odd = [x for x, w in zip(X, weights) if w], [y for y, w in zip(Y, weights) if w]
    assert model.score(X, Y, weights) == pytest.approx(model.score(*odd))


def test_equal_lengths_come_as_arrays_or_lists():
    same = RANDOM.normal(size=(30, 6, 2))
    labels = (same[..., 0] > 0).astype(int)
    one = gt.RNNTagger(**SMALL).fit(same, labels)
    other = gt.RNNTagger(**SMALL).fit(list(same), list(labels))
    np.testing.assert_array_equal(one.predict_proba(same), other.predict_proba(list(same)))
    rows = gt.RNNTagger(**SMALL).fit(same[..., 0], labels)              # one feature
    assert np.shape(rows.predict(same[..., 0])) == (30, 6)


def test_padding_changes_nothing():
    """A sequence twice as long as the others makes them padded, and their loss stays."""
    trained = gt.RNNTagger(**{**SMALL, "epochs": 1}, solver="full_batch").fit(X, Y)
    weights = np.r_[np.ones(40), 0.0]
    again = gt.RNNTagger(**{**SMALL, "epochs": 1}, solver="full_batch").fit(
        [*X, np.ones((60, 2))], [*Y, np.repeat("up", 60)], sample_weight=weights)
    assert again.history_ == trained.history_
    np.testing.assert_allclose(again.baseline_, trained.baseline_)


def test_early_stopping_and_validation_data():
    model = gt.RNNTagger(**{**SMALL, "epochs": 5}, early_stopping=True, patience=1).fit(X, Y)
    assert "val_accuracy" in model.history_[0]
    lengths = [len(x) == 4 for x in X]                                  # all of one length
    part = [x for x, k in zip(X, lengths) if k], [y for y, k in zip(Y, lengths) if k]
    model = gt.RNNTagger(**SMALL).fit(X, Y, X_val=part[0], y_val=part[1])
    assert "val_loss" in model.history_[0]
    left = gt.RNNTagger(**SMALL).fit(X, Y, sample_weight=np.array(lengths, float))
    assert left.n_epochs_ == 2


def test_class_weights_are_weights_of_steps(tmp_path):
    rare = [np.where(x[:, 0] > 1.5, "rare", "often") for x in X]
    steps = np.concatenate(rare)
    counts = {c: np.mean(steps == c) for c in ("often", "rare")}
    assert counts["rare"] < 0.1
    settings = {**SMALL, "solver": "full_batch", "epochs": 30}
    plain, even, same = (gt.RNNTagger(**settings, class_weight=w).fit(X, rare) for w in (
        None, "balanced", {c: 0.5 / share for c, share in counts.items()}))
    recall = [np.mean(np.concatenate(m.predict(X))[steps == "rare"] == "rare")
              for m in (plain, even)]
    assert recall[0] < 0.5 < recall[1]
    for one, two in zip(even.predict_proba(X), same.predict_proba(X)):
        np.testing.assert_allclose(one, two, rtol=1e-6)
    # The loss that is logged, in numbers, of weights that a step does not change.
    still = gt.RNNTagger(**{**settings, "epochs": 1}, class_weight={"rare": 3.0, "often": 0.25},
                         learning_rate=1e-30, alpha=0.0).fit(X, rare)
    losses = [np.mean(np.where(y == "rare", 3.0 * -np.log(p[:, 1]), 0.25 * -np.log(p[:, 0])))
              for y, p in zip(rare, still.predict_proba(X))]
    assert still.history_[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    still.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    for one, two in zip(still.predict_proba(X), loaded.predict_proba(X)):
        np.testing.assert_array_equal(one, two)
    loaded.partial_fit(X, rare)
    assert loaded.history_[1]["loss"] == pytest.approx(np.mean(losses), rel=1e-2)


def test_clone_pickle_file_and_going_on(tmp_path):
    def own(spec, n_outputs):
        return layers.Sequential([layers.SimpleRNN(4, return_sequences=True),
                                  layers.Dense(n_outputs)])

    for settings in (SMALL, {**SMALL, "architecture": own, "cell": "gru"}):
        model = clone(gt.RNNTagger(**settings)).fit(X, Y)
        model.save(tmp_path / "model.h5")
        loaded = gt.load(tmp_path / "model.h5")
        others = [loaded, clone(model).fit(X, Y)]
        for other in others + ([pickle.loads(pickle.dumps(model))] if settings is SMALL else []):
            for one, two in zip(model.predict_proba(X), other.predict_proba(X)):
                np.testing.assert_array_equal(one, two)
        assert loaded.partial_fit(X, Y).n_epochs_ == 3
        loaded.save(tmp_path / "again.h5")


ERRORS = [
    (lambda: gt.RNNTagger(**SMALL).fit(X, Y[:3]), "X and y differ in their number of sequences"),
    (lambda: gt.RNNTagger(**SMALL).fit(X, Y[::-1]), "sequence 0 needs one label per step"),
    (lambda: gt.RNNTagger(**SMALL).fit(X, "up"), "y must hold the labels of each sequence"),
    (lambda: gt.RNNTagger(**SMALL).fit(X, None), "RNNTagger requires y to be passed"),
    (lambda: gt.RNNTagger(**SMALL).fit(X, [x[:, 0] for x in X]), "Unknown label type"),
    (lambda: gt.RNNTagger(**SMALL, loss="mse").fit(X, Y), "a tagger has one loss"),
    (lambda: gt.RNNTagger(**SMALL, class_weight={"left": 2.0}).fit(X, Y),
     "class_weight names a class that is not there: 'left'"),
    (lambda: gt.RNNTagger(**SMALL, class_weight={"up": 0.0, "down": 0.0}).fit(X, Y),
     "class_weight leaves no sample any weight"),
    (lambda: gt.RNNTagger(**SMALL, class_weight="balanced").partial_fit(X, Y),
     'class_weight="balanced" cannot be used with partial_fit'),
    (lambda: gt.RNNTagger(**SMALL, class_weight="even").fit(X, Y), "The 'class_weight' parameter"),
    (lambda: gt.RNNTagger(**SMALL, cell="none").fit(X, Y), "The 'cell' parameter"),
    (lambda: gt.RNNTagger(**SMALL).partial_fit(X, Y, ["up"]), "the label 'down' was not seen"),
    (lambda: gt.RNNTagger(**SMALL).partial_fit(X, Y).partial_fit(X, Y, ["up"]),
     "`classes` is not the same as on the first call"),
    (lambda: gt.RNNTagger(**SMALL).fit(X, Y).predict([np.zeros((3, 1))]),
     "X has 1 features, but RNNTagger is expecting 2 features"),
]


@pytest.mark.parametrize("call, text", ERRORS, ids=[text[:40] for _, text in ERRORS])
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).split("\n")[0].startswith(text)


def test_nothing_before_fit():
    for call in (lambda m: m.predict(X), lambda m: m.score(X, Y), lambda m: m.report(X, Y)):
        with pytest.raises(NotFittedError):
            call(gt.RNNTagger())


@pytest.mark.parametrize("form", ["lists", "rows"])
def test_tokens_are_embedded(form, tmp_path):
    random = np.random.default_rng(0)
    lengths = random.integers(2, 8, 80) if form == "lists" else np.full(80, 6)
    sentences = [random.integers(1, 6, n) for n in lengths]
    tags = [np.where(np.r_[1, s[:-1]] > 3, "late", "early") for s in sentences]  # the last token's
    sentences = np.stack(sentences) if form == "rows" else sentences
    model = gt.RNNTagger(embedding=4, units=8, epochs=100, random_state=0).fit(sentences, tags)
    assert model.score(sentences, tags) > 0.95
    model.save(tmp_path / "tagger.h5")
    for one, other in zip(gt.load(tmp_path / "tagger.h5").predict(sentences),
                          model.predict(sentences), strict=True):
        np.testing.assert_array_equal(one, other)
    unseen = [np.array([1, 99, 2]), np.array([3])] if form == "lists" else np.full((2, 6), 99)
    found = [len(steps) for steps in model.predict(unseen)]
    assert found == ([3, 1] if form == "lists" else [6, 6])


SENTENCES = [["the", "old", "dog", "barks"], ["a", "cat", "sleeps"], ["the", "cat", "barks"],
             ["a", "dog", "sleeps"], ["old", "dog"]] * 6
PARTS = {"the": "DET", "a": "DET", "old": "ADJ", "dog": "NOUN", "cat": "NOUN", "barks": "VERB",
         "sleeps": "VERB"}
TAGS = [[PARTS[word] for word in words] for words in SENTENCES]
TOKENS = {"embedding": 4, "units": 8, "epochs": 60, "random_state": 0}


def test_words_are_numbered_as_tokens(tmp_path):
    model = gt.RNNTagger(**TOKENS).fit(SENTENCES, TAGS)
    assert model.score(SENTENCES, TAGS) == 1.0
    assert model.vocabulary_ == sorted(PARTS)
    numbers = [[2 + model.vocabulary_.index(word) for word in words] for words in SENTENCES]
    same = gt.RNNTagger(**TOKENS).fit(numbers, TAGS)
    model.save(tmp_path / "model.h5")
    unseen = [["the", "fox", "barks"], ["fox"]]
    for other in (gt.load(tmp_path / "model.h5"), pickle.loads(pickle.dumps(model)),
                  clone(model).fit([np.array(words) for words in SENTENCES], TAGS),
                  clone(model).fit(pd.Series(SENTENCES), TAGS)):
        for one, two in zip(model.predict_proba(SENTENCES + unseen),
                            other.predict_proba(SENTENCES + unseen)):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(model.predict_proba(unseen), same.predict_proba([[8, 1, 3], [1]])):
        np.testing.assert_array_equal(one, two)
    assert model.partial_fit(*[part[:7] for part in (SENTENCES, TAGS)]).n_epochs_ == 61


def test_words_of_equal_number_and_a_search():
    pairs = np.array([words[:2] for words in SENTENCES])
    asked = (pairs[:, 0] == "the") + 0
    model = gt.RNNClassifier(**TOKENS).fit(pairs, asked)
    assert model.score(pairs.tolist(), asked) == 1.0
    search = GridSearchCV(gt.RNNClassifier(**TOKENS), {"units": [2, 8]}, cv=2)
    assert search.fit(SENTENCES, asked).best_score_ > 0.9


@pytest.mark.parametrize("fitted, given, says", [
    (SENTENCES, [[1, 2]], "RNNTagger was fitted on words\n  got  numbers"),
    ([[2, 3]] * 30, SENTENCES, "RNNTagger was fitted on numbers\n  got  words"),
    (SENTENCES, [["a"], []], "sequence 1 must be (time, features) with at least one step")])
def test_other_forms_than_those_of_the_fit_are_refused(fitted, given, says):
    tags = [["DET"] * len(words) for words in fitted]
    model = gt.RNNTagger(**{**TOKENS, "epochs": 1}).fit(fitted, tags)
    with pytest.raises(ValueError) as caught:
        model.predict(given)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("settings, words, says", [
    (TOKENS, [["a", 3.0]], "sequence 0 does not hold words alone\n  got  3.0"),
    (SMALL, [["a"], ["a", "b"]], "sequence 0 does not hold numbers\n  fix  pass arrays of shape "
     "(time, features); for words, embedding=32, say")])
def test_what_are_no_words(settings, words, says):
    with pytest.raises(ValueError) as caught:
        gt.RNNTagger(**settings).fit(words, [[0] * len(w) for w in words])
    assert str(caught.value).startswith(says)
