"""TextVectorizer: token numbers, counts and tf-idf, and nets on texts."""
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.utils import estimator_checks

import gradatim as gt
from gradatim.backend.errors import Error

TEXTS = ["The cat sat.", "The dog sat on the cat!", "a bird", None]
FULL = ["" if text is None else text for text in TEXTS]
FORMS = {
    "list": TEXTS, "tuple": tuple(TEXTS), "objects": np.array(TEXTS, object),
    "str array": np.array(FULL), "Series": pd.Series(TEXTS), "frame": pd.DataFrame({"t": TEXTS}),
    "column": np.array(TEXTS, object)[:, None],
}
PARAMETERS = [{}, {"analyzer": "char", "ngram_range": (1, 3)}, {"lowercase": False},
              {"analyzer": "char_wb", "ngram_range": (2, 2)}, {"max_features": 3}, {"min_df": 2},
              {"ngram_range": (1, 2)}, {"token_pattern": r"\b\w\w\w+\b"}]


def with_pattern(parameters):
    """What scikit-learn needs to cut words as we do."""
    return {**({} if "analyzer" in parameters else {"token_pattern": r"\b\w+\b"}), **parameters}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_texts_gives_the_same(form):
    model = gt.TextVectorizer().fit(FORMS[form])
    assert model.vocabulary_ == ["a", "bird", "cat", "dog", "on", "sat", "the"]
    assert model.transform(FORMS[form]).tolist() == [
        [8, 4, 7, 0, 0, 0], [8, 5, 7, 6, 8, 4], [2, 3, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_counts_are_those_of_scikit_learn(parameters):
    given = with_pattern(parameters)
    for output, other in (("counts", CountVectorizer(**given)),
                          ("binary", CountVectorizer(binary=True, **given)),
                          ("tfidf", TfidfVectorizer(**given))):
        model = gt.TextVectorizer(output=output, **parameters)
        wanted = other.fit_transform(FULL).toarray()
        found = model.fit_transform(TEXTS)
        assert isinstance(found, scipy.sparse.csr_array) and found.dtype == np.float64
        np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-14)
        assert model.get_feature_names_out().tolist() == other.get_feature_names_out().tolist()
        new = ["the unseen cat", "zebra"]
        np.testing.assert_allclose(model.transform(new).toarray(), other.transform(new).toarray())


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_sequences_spell_the_text(parameters):
    model = gt.TextVectorizer(**parameters).fit(TEXTS)
    words = ["", "?", *model.vocabulary_]
    split = CountVectorizer(**with_pattern(parameters)).build_analyzer()
    for text, row in zip(FULL, model.transform(TEXTS)):
        wanted = [t if t in model.vocabulary_ else "?" for t in split(text)] or ["?"]
        assert [words[i] for i in row[:len(wanted)]] == wanted and not row[len(wanted):].any()


def test_sequence_length_cuts_and_pads():
    model = gt.TextVectorizer(sequence_length=2).fit(TEXTS)
    assert model.transform(TEXTS).shape == (4, 2) and model.sequence_length_ == 2
    longer = gt.TextVectorizer().fit(TEXTS).transform(["cat " * 50])
    assert longer.shape == (1, 6) and longer.all()


@pytest.mark.parametrize("output", ["sequences", "counts", "binary", "tfidf"])
def test_files_and_copies(output, tmp_path):
    model = gt.TextVectorizer(output=output, analyzer="char", ngram_range=(1, 2)).fit(TEXTS)
    model.save(tmp_path / "texts.h5")
    dense = lambda a: a.toarray() if scipy.sparse.issparse(a) else a
    for copy in (gt.load(tmp_path / "texts.h5"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(dense(copy.transform(TEXTS)), dense(model.transform(TEXTS)))
        assert copy.get_params() == model.get_params()


@pytest.mark.parametrize(["texts", "parameters", "says"], [
    ("one text", {}, "X must hold one text per sample"), (7, {}, "X must hold one text per sample"),
    ([], {}, "0 sample"), (["a", 7], {}, "sample 1 is no text"),
    ([b"a"], {}, "sample 0 is no text"), (["", " "], {}, "no token is left"),
    (["a b"], {"min_df": 2}, "no token is left"),
    (np.array([["a", "b"]]), {}, "X must hold one text per sample"),
    (["a"], {"ngram_range": (2, 1)}, "ngram_range holds"),
    (["a"], {"ngram_range": (1,)}, "ngram_range holds"),
    (["a"], {"output": "words"}, "The 'output' parameter of TextVectorizer must be"),
])
def test_what_is_refused(texts, parameters, says):
    with pytest.raises(ValueError, match=says):
        gt.TextVectorizer(**parameters).fit(texts)
    if not parameters and "no token" not in says:
        with pytest.raises(Error, match=says):
            gt.TextVectorizer().fit(TEXTS).transform(texts)


@pytest.mark.parametrize("check", [
    "check_param_validation", "check_parameters_default_constructible",
    "check_no_attributes_set_in_init", "check_get_params_invariance", "check_set_params"])
def test_scikit_learn_check(check):
    getattr(estimator_checks, check)("TextVectorizer", gt.TextVectorizer())


def test_set_output():
    frame = gt.TextVectorizer().set_output(transform="pandas").fit_transform(TEXTS)
    assert list(frame.columns) == [f"token{i}" for i in range(6)]
    assert clone(gt.TextVectorizer(output="tfidf")).output == "tfidf"
