"""Odd inputs where samples are no rows of numbers: series, steps, texts, images and tables."""
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone

import gradatim as gt
from gradatim.backend.errors import Error

DRAWS = np.random.default_rng(0)
STEPS = DRAWS.normal(size=(12, 5, 3))
TAGS = (STEPS[..., 0] > 0).astype(int)
SERIES = DRAWS.normal(size=(40, 2))
TEXTS = ["a word here", "another word", "and so on"] * 2
IMAGES = DRAWS.random((4, 6, 6, 3))
TAGGER = gt.RNNTagger(units=3, epochs=2, random_state=0)
FORECASTERS = [gt.RNNForecaster(horizon=2, lookback=3, units=3, epochs=2, random_state=0),
               gt.BaselineForecaster(horizon=2, lookback=3)]
WORDS, ENCODER = gt.TextVectorizer(), gt.FeatureEncoder()
READER = gt.ImageReader(image_shape=(4, 4))
WRITER = gt.TextGenerator(units=3, epochs=2, random_state=0)
WORKS = "works"
FILL = "fix  remove such values or fill them in"
KIND = "fix  make all labels of one kind"
DATES = "fix  turn dates into numbers"


def changed(values, value):
    found = values.copy()
    found.flat[7] = value
    return found


def table(**columns):
    return pd.DataFrame({"size": SERIES[:, 0], **columns})


# (estimators, argument, {case: (value, what the text must say)}, the other arguments)
MATRIX = [
    ([TAGGER], "X", {
        "float16": (STEPS.astype("f2"), WORKS), "booleans": (STEPS > 0, WORKS),
        "objects": (STEPS.astype(object), WORKS), "nested lists": (STEPS.tolist(), WORKS),
        "list of arrays": (list(STEPS), WORKS),
        "NaN": (changed(STEPS, np.nan), FILL),
        "infinity": (changed(STEPS, np.inf), "fix  replace such values"),
        "empty": (STEPS[:0], "fix  pass at least one sample"),
        "no steps": (STEPS[:, :0], "sequences are (n, time, features) with at least one step"),
        "no features": (STEPS[..., :0], "sequences are (n, time, features) with at least one step"),
        "a number": (3.0, "Reshape your data"), "None": (None, "Reshape your data"),
        "a text": ("abc", "Reshape your data"), "one axis": (STEPS[:, 0, 0], "Reshape your data"),
        "four axes": (STEPS[..., None], "sequences are (n, time, features) with at least one step\n"
                      "  got  float64[12, 5, 3, 1]\n  fix  reshape X"),
        "a list of several": ([STEPS, STEPS], "sequence 0 must be (time, features)"),
        "complex": (STEPS + 1j, "fix  pass two columns, the real and the imaginary parts"),
        "dates": (STEPS.astype("M8[s]"), DATES),
        "array of texts": (STEPS.astype(str), "fix  encode texts and categories"),
        "sparse": (scipy.sparse.csr_array(STEPS[:, 0]), "Use '.toarray()'"),
        "other features": ([s[:, :1 + i % 2] for i, s in enumerate(STEPS)],
                           "fix  give all the same features"),
        "an empty sequence": ([s[:i] for i, s in enumerate(STEPS)], "fix  leave empty sequences"),
        "one step more": (DRAWS.normal(size=(12, 6, 3)), "needs one label per step"),
    }, {"y": TAGS}),
    ([TAGGER], "y", {
        "one class": (0 * TAGS, WORKS), "texts": (np.array(["n", "v"])[TAGS], WORKS),
        "NaN": (np.where(TAGS, np.nan, 1.0), "fix  leave such samples out"),
        "fractions": (STEPS[..., 0], "Unknown label type: continuous. Maybe"),
        "fewer": (TAGS[:7], "fix  pass labels for every sequence"),
        "one per sequence": (TAGS[:, 0], "fix  pass a list of arrays of labels"),
        "one axis more": (TAGS[..., None], "fix  pass a list of arrays of labels"),
        "None": (None, "requires y to be passed"),
        "two kinds": (np.array([[1, "a", 1, "a", 1]] * 12, object), KIND),
        "unhashable": ([[{1}] * 5] * 12, KIND),
    }, {"X": STEPS}),
    ([TAGGER], "sample_weight", {
        "a number": (2, WORKS),
        "negative": (np.linspace(-1, 1, 12), "fix  pass weights from 0 on"),
        "all zero": (np.zeros(12), "fix  give at least one sample a weight above 0"),
        "NaN": (np.full(12, np.nan), "fix  give a sample that is not to count the weight 0"),
        "a column": (np.ones((12, 1)), "fix  pass one weight per sample, in a 1d array"),
        "fewer": (np.ones(3), "fix  pass one weight per sample, in a 1d array"),
        "of classes": ("balanced", "fix  pass class_weight='balanced'"),
    }, {"X": STEPS, "y": TAGS}),
    ([TAGGER], "X_val", {
        "other features": (STEPS[..., :2], "the validation data cannot be used: X has 2 features"),
        "NaN": (changed(STEPS, np.nan), "the validation data cannot be used: Input X contains NaN"),
        "fewer": (STEPS[:5], "fix  pass one target per sample"),
    }, {"X": STEPS, "y": TAGS, "y_val": TAGS}),
    ([TAGGER], "y_val", {
        "new labels": (TAGS + 5, "the validation data cannot be used: the label"),
        "None": (None, "fix  pass y_val="),
    }, {"X": STEPS, "y": TAGS, "X_val": STEPS}),
    (FORECASTERS, "X", {
        "float16": (SERIES.astype("f2"), WORKS), "integers": ((9 * SERIES).astype(int), WORKS),
        "booleans": (SERIES > 0, WORKS), "objects": (SERIES.astype(object), WORKS),
        "nested lists": (SERIES.tolist(), WORKS), "one axis": (SERIES[:, 0], WORKS),
        "several": ([SERIES, SERIES[:20]], WORKS), "constant": (np.ones((40, 2)), WORKS),
        "names twice": (pd.DataFrame(SERIES, columns=["a", "a"]), "fix  rename or drop them"),
        "NaN": (changed(SERIES, np.nan), FILL),
        "infinity": (changed(SERIES, np.inf), "fix  replace such values"),
        "empty": (SERIES[:0], "fix  pass at least one sample"),
        "short": (SERIES[:2], "the series is too short"),
        "no columns": (SERIES[:, :0], "fix  pass at least one column"),
        "a number": (3.0, "fix  pass one row per step of time"),
        "None": (None, "fix  pass one row per step of time"),
        "a text": ("abc", "fix  pass one row per step of time"),
        "three axes": (SERIES[..., None], "fix  pass one row per step of time"),
        "complex": (SERIES + 1j, "fix  pass two columns, the real and the imaginary parts"),
        "dates": (SERIES.astype("M8[s]"), DATES),
        "a column of dates": (table(day=pd.date_range("2020-01-01", periods=40)),
                              "turn dates into numbers"),
        "array of texts": (SERIES.astype(str), "fix  encode texts and categories"),
        "sparse": (scipy.sparse.csr_array(SERIES), "Use '.toarray()'"),
        "masked": (np.ma.masked_array(SERIES, SERIES > 1), "fix  fill them in"),
        "unequal columns": ([SERIES, SERIES[:, :1]], "fix  give every series the same columns"),
    }, {}),
    (FORECASTERS, "y", {
        "fewer": (SERIES[:30, 0], "fix  pass one row per step"),
        "NaN": (changed(SERIES, np.nan), "Input y contains NaN.\n  fix  leave such samples out"),
        "sparse": (scipy.sparse.csr_array(SERIES), "fix  pass y.toarray()"),
    }, {"X": SERIES}),
    ([WORDS], "X", {
        "array": (np.array(TEXTS), WORKS), "Series": (pd.Series(TEXTS), WORKS),
        "a column": (np.array(TEXTS)[:, None], WORKS), "with gaps": ([None, "b c", "c"], WORKS),
        "empty": ([], "fix  pass at least one text"),
        "numbers": (np.ones((3, 2)), "fix  pass one column"), "numbers in a list": ([1, 2], "fix"),
        "a text": ("one text", "fix  pass a list or a column of texts, a single text in a list"),
        "None": (None, "fix  pass a list or a column of texts"),
        "an array of no axis": (np.array("one text"), "fix  pass a list or a column of texts"),
        "a dict": ({"a": "one text"}, "fix  pass a list or a column of texts"),
        "a set": (set(TEXTS), "fix  pass a list or a column of texts"),
        "lazy": (pl.DataFrame({"a": TEXTS}).lazy(), "fix  pass a list or a column of texts"),
        "bytes": ([b"ab", b"cd"], "decode bytes"), "tokens": ([["a", "b"], ["c"]], "join lists"),
        "nothing in them": (["", ""], "no token is left of the texts"),
    }, {}),
    ([READER], "X", {
        "grey": (IMAGES[..., 0], WORKS), "a list": (list(IMAGES), WORKS),
        "unequal": ([IMAGES[0], IMAGES[1, :5]], WORKS),
        "bytes": ((255 * IMAGES).astype("u1"), WORKS),
        "empty": (IMAGES[:0], "fix  pass at least one image"),
        "no such file": (["there-is-none.png"], "fix  check the path"),
        "a number": (2.0, "fix  put a single one into a list"),
        "None": (None, "fix  put a single one into a list"),
        "rows": (IMAGES.reshape(4, -1), "fix  pass arrays (height, width)"),
        "complex": (IMAGES + 1j, "fix  pass arrays (height, width)"),
        "dates": (IMAGES.astype("M8[s]"), "fix  pass arrays (height, width)"),
        "no pixels": (IMAGES[:, :0], "fix  pass arrays (height, width)"),
    }, {}),
    ([ENCODER], "X", {
        "NaN": (changed(SERIES, np.nan), WORKS), "texts": (SERIES[:9].astype(str), WORKS),
        "dates": (SERIES.astype("M8[s]"), WORKS), "booleans": (SERIES > 0, WORKS),
        "infinity": (changed(SERIES, np.inf), "fix  replace it, or leave it out as missing"),
        "complex": (SERIES + 1j, "fix  pass two columns, the real and the imaginary parts"),
        "masked": (np.ma.masked_array(SERIES, SERIES > 1), "fix  fill them in"),
        "names twice": (pd.DataFrame(SERIES, columns=["a", "a"]), "fix  rename or drop them"),
        "lazy": (pl.DataFrame(SERIES).lazy(), "fix  pass X.collect()"),
        "empty": (SERIES[:0], "fix  pass at least one sample"),
        "no columns": (SERIES[:, :0], "fix  pass at least one column"),
        "three axes": (STEPS, "fix  reshape X to (n_samples, n_features)"),
        "one axis": (SERIES[:, 0], "Reshape your data"), "a number": (3.0, "Reshape your data"),
        "ragged": ([[1.0, 2.0], [3.0]], "fix  give all rows the same length"),
        "ragged texts": ([["a", "b"], ["c"]], "fix  give every row the same columns"),
    }, {}),
    ([WRITER], "text", {
        "several": (TEXTS, WORKS), "a number": (3.0, "fix"), "None": (None, "fix"),
        "bytes": (b"some text", "fix"), "empty": ("", "fix"), "one token": ("a", "fix"),
        "numbers": ([1, 2], "fix"), "an empty list": ([], "fix"),
    }, {}),
]


@pytest.mark.parametrize("estimator, arguments, says", [
    pytest.param(estimator, {**others, argument: value}, says,
                 id=f"{type(estimator).__name__}-{argument}-{case}")
    for estimators, argument, cases, others in MATRIX for estimator in estimators
    for case, (value, says) in cases.items()])
def test_odd_input(estimator, arguments, says):
    model = clone(estimator)
    if says == WORKS:
        model.fit(**arguments)
        answer = getattr(model, "transform", None) or getattr(model, "predict", None)
        if answer is not None:
            assert len(answer(arguments["X"])) > 0
        return
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError, Error)) as caught:
        model.fit(**arguments)
        model.transform(arguments["X"])             # an ImageReader has nothing to learn at a fit
    assert says in str(caught.value)
    assert vars(model) == before
