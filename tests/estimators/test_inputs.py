"""Inputs people have: sparse rows, frames with categories, texts, lists of sequences, streams."""
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import gradatim as gt
from gradatim.backend.errors import Error
from gradatim.datasets import SparseRows, load_digits

RANDOM = np.random.default_rng(0)
DENSE = np.where(RANDOM.random((400, 12)) < 0.3, RANDOM.normal(size=(400, 12)), 0.0)
LABELS = (DENSE[:, :3].sum(axis=1) > 0).astype(int)
SPARSE = scipy.sparse.csr_array(DENSE)
FEW = {"epochs": 3, "random_state": 0}
NETS = {
    "dnn": gt.DNNClassifier(hidden_layer_sizes=(8,), **FEW),
    "linear": gt.LinearClassifier(**FEW),
    "regressor": gt.DNNRegressor(hidden_layer_sizes=(8,), **FEW),
    "stopped": gt.DNNClassifier(hidden_layer_sizes=(8,), early_stopping=True, **FEW),
    "full": gt.DNNClassifier(hidden_layer_sizes=(8,), solver="full_batch", **FEW),
}


# ---- sparse rows -------------------------------------------------------------------------------

@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix,
                                  scipy.sparse.coo_array])
def test_sparse_rows_give_the_bits_of_dense_ones(name, form):
    weights = np.arange(400) % 3.0
    dense = clone(NETS[name]).fit(DENSE, LABELS, sample_weight=weights)
    sparse = clone(NETS[name]).fit(form(DENSE), LABELS, sample_weight=weights)
    assert np.array_equal(sparse.predict(form(DENSE)), dense.predict(DENSE))
    assert np.array_equal(sparse.predict(DENSE), dense.predict(form(DENSE)))
    assert sparse.history_ == dense.history_


def test_sparse_rows_are_never_dense_all_at_once(monkeypatch):
    largest = []
    whole = SparseRows.__getitem__

    def watched(self, rows):
        found = whole(self, rows)
        largest.append(found.size)
        return found
    monkeypatch.setattr(SparseRows, "__getitem__", watched)

    def all_at_once(self, dtype=None, copy=None):      # of validation data, up to 512 rows
        return watched(self, slice(None))
    monkeypatch.setattr(SparseRows, "__array__", all_at_once)
    monkeypatch.setattr("gradatim.estimators.standardize.BLOCK_ROWS", 256)
    X = scipy.sparse.random_array((3000, 50), density=0.01, rng=np.random.default_rng(0))
    y = np.arange(3000) % 2
    model = gt.DNNClassifier(hidden_layer_sizes=(4,), epochs=1, early_stopping=True)
    model.fit(X, y, sample_weight=np.arange(3000) % 5).predict(X)
    assert largest and max(largest) <= 512 * 50


def test_sparse_rows_in_a_trainer_and_in_streams():
    net = gt.Sequential([gt.layers.Dense(1)])
    trainer = gt.Trainer(net, "mse", learning_rate=0.05)
    trainer.fit(SPARSE, DENSE.sum(axis=1, keepdims=True), epochs=30)
    assert trainer.evaluate(SPARSE, DENSE.sum(axis=1, keepdims=True))["loss"] < 0.05
    model = gt.DNNClassifier(hidden_layer_sizes=(16,), random_state=0)
    stream = ((SPARSE[rows], LABELS[rows]) for _ in range(40)
              for rows in np.array_split(np.arange(400), 4))
    for X, y in stream:
        model.partial_fit(X, y, classes=[0, 1])
    assert model.score(SPARSE, LABELS) > 0.9


def test_validation_data_may_be_sparse():
    model = clone(NETS["dnn"]).fit(SPARSE[:300], LABELS[:300], X_val=SPARSE[300:],
                                   y_val=LABELS[300:])
    assert "val_loss" in model.history_[0]


def test_nan_in_sparse_rows_is_refused():
    spoilt = SPARSE.copy()
    spoilt.data[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clone(NETS["dnn"]).fit(spoilt, LABELS)


# ---- frames with categories --------------------------------------------------------------------

def mixed(n=300):
    random = np.random.default_rng(1)
    kind = random.choice(["a", "b", "c", "d"], n)
    size = random.normal(size=n)
    shift = pd.Series(kind).map({"a": 2.0, "b": -2.0, "c": 2.0, "d": -2.0}).to_numpy()
    return pd.DataFrame({"size": size, "kind": kind, "noise": random.normal(size=n)}), shift + size


FRAME, NUMBERS = mixed()
SMALL = {"solver": "mini_batch", "batch_size": 32, "learning_rate": 0.01, "random_state": 0}
EMBEDDED = gt.DNNRegressor(hidden_layer_sizes=(16,), epochs=40, **SMALL)


@pytest.mark.parametrize("frame", [
    FRAME, FRAME.astype({"kind": "category"}), FRAME.astype({"kind": object}),
    FRAME.astype({"kind": "string"})])
def test_categories_of_a_frame_are_embedded(frame):
    model = clone(EMBEDDED).fit(frame, NUMBERS)
    assert model.score(frame, NUMBERS) > 0.9
    assert model.n_features_in_ == 3 and model.feature_names_in_.tolist() == list(frame)
    tables = [v for n, v in model.network_.variables().items() if "embed_columns" in n]
    assert [v.shape for v in tables] == [(5, 4)]
    new = frame.astype({"kind": object}).assign(kind="unseen")
    assert np.isfinite(model.predict(new)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["kind", "size", "noise"]])


def test_missing_categories_are_a_category():
    frame = FRAME.assign(kind=FRAME["kind"].where(FRAME["kind"] != "a", None))
    model = clone(EMBEDDED).fit(frame, NUMBERS)
    assert model.score(frame, NUMBERS) > 0.9


@pytest.mark.parametrize("chosen", [["kind"], [1], [False, True, False], np.array([1])])
def test_chosen_categories(chosen):
    codes = FRAME.assign(kind=FRAME["kind"].map({"a": 10, "b": 20, "c": 30, "d": 40}))
    model = clone(EMBEDDED).set_params(categorical_features=chosen, epochs=2).fit(codes, NUMBERS)
    assert "embed_columns" in "".join(model.network_.variables())
    if not isinstance(chosen[0], str):
        again = clone(model).fit(codes.to_numpy(), NUMBERS)
        assert np.array_equal(again.predict(codes.to_numpy()), model.predict(codes))


def test_what_is_no_category():
    text = "could not convert string to float|must hold numbers|something else"
    for frame, wish in ((FRAME.assign(kind=[*FRAME["kind"][:-1], 7.0]), "from_dtype"),
                        (FRAME, None)):
        with pytest.raises(ValueError, match=text):
            clone(EMBEDDED).set_params(categorical_features=wish).fit(frame, NUMBERS)
    days = FRAME.assign(noise=pd.date_range("2024-01-01", periods=len(FRAME)))
    with pytest.raises(Error, match="got  dates in column 'noise'"):
        clone(EMBEDDED).fit(days, NUMBERS)
    with pytest.raises(Error, match="categorical_features names no column of X: 'nobody'"):
        clone(EMBEDDED).set_params(categorical_features=["nobody"]).fit(FRAME, NUMBERS)
    with pytest.raises(ValueError, match="NaN"):
        clone(EMBEDDED).fit(FRAME.assign(noise=np.nan), NUMBERS)


def test_categories_in_files_copies_streams_and_searches(tmp_path):
    labels = np.where(NUMBERS > 0, "up", "down")
    model = gt.DNNClassifier(hidden_layer_sizes=(8,), epochs=30, **SMALL)
    model.fit(FRAME, labels).save(tmp_path / "net.h5")
    for copy in (gt.load(tmp_path / "net.h5"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(copy.predict_proba(FRAME), model.predict_proba(FRAME))
    copy.partial_fit(FRAME[:50], labels[:50])
    assert cross_val_score(model, FRAME, labels, cv=3).mean() > 0.85


# ---- texts -------------------------------------------------------------------------------------

WORDS = [["good", "great", "fine", "nice"], ["bad", "poor", "awful", "dull"]]
OPINION = np.arange(240) % 2
TEXTS = [" ".join(RANDOM.permutation([*RANDOM.choice(WORDS[k], 2),
                                      *RANDOM.choice(["the", "a", "film", "was"], 2 + i % 5)]))
         for i, k in enumerate(OPINION)]
READER = gt.RNNClassifier(embedding=8, units=8, epochs=8, random_state=0)


@pytest.mark.parametrize(["vectorizer", "net"], [
    (gt.TextVectorizer(), READER),
    (gt.TextVectorizer(analyzer="char"), clone(READER).set_params(epochs=20)),
    (gt.TextVectorizer(output="counts"), NETS["dnn"]),
    (gt.TextVectorizer(output="tfidf"), gt.LinearClassifier(epochs=30, random_state=0)),
], ids=["words", "characters", "counts", "tfidf"])
def test_texts_in_a_pipeline(vectorizer, net):
    net = clone(net).set_params(**{**SMALL, "epochs": max(net.epochs, 20)})
    model = make_pipeline(clone(vectorizer), net).fit(TEXTS[:180], OPINION[:180])
    assert model.score(TEXTS[180:], OPINION[180:]) > 0.9
    assert model.predict(["film zebra", None]).shape == (2,)


def test_texts_in_a_grid_search():
    model = make_pipeline(gt.TextVectorizer(), clone(READER))
    search = GridSearchCV(model, {"textvectorizer__max_features": [2, None]}, cv=2)
    search.fit(np.array(TEXTS, object), OPINION)
    assert search.best_params_ == {"textvectorizer__max_features": None}


def test_an_embedding_takes_padded_rows_and_lists_alike(tmp_path):
    lists = [[2 + (i + j) % 5 for j in range(1 + i % 4)] for i in range(60)]
    rows = np.zeros((60, 4), int)
    for row, tokens in zip(rows, lists):
        row[:len(tokens)] = tokens
    y = [tokens[0] % 2 for tokens in lists]
    net = clone(READER).set_params(epochs=40)
    model, padded = clone(net).fit(lists, y), clone(net).fit(rows, y)
    for net, X in ((model, lists), (padded, rows)):
        assert net.score(X, y) > 0.9
        net.save(tmp_path / "net.h5")
        assert np.array_equal(gt.load(tmp_path / "net.h5").predict_proba(X), net.predict_proba(X))
    np.testing.assert_allclose(padded.predict_proba(np.pad(rows, [(0, 0), (0, 0)])),
                               padded.predict_proba(rows), atol=1e-7)
    unknown = model.predict_proba([[2, 1], [2, 99]])
    np.testing.assert_allclose(unknown[0], unknown[1], atol=1e-12)
    for wrong in ([[0.5, 1.0], [1.0]], [[-1, 2], [3]]):
        with pytest.raises(Error, match="an embedding takes token numbers"):
            model.predict(wrong)
    with pytest.raises(Error, match="an embedding takes one token number per step"):
        clone(READER).fit(np.zeros((4, 3, 2)), [0, 1, 0, 1])


# ---- lists of sequences, images, streams -------------------------------------------------------

SEQUENCES = [RANDOM.normal(i % 2 * 2 - 1, 1.0, (3 + i % 6, 2)) for i in range(80)]
RISING = np.arange(80) % 2
OBJECTS = np.empty(80, object)
OBJECTS[:] = SEQUENCES


def halved(X):
    """Every other step of each sequence."""
    return [x[::2] for x in X]


FORMS = {"list": SEQUENCES, "tuple": tuple(SEQUENCES), "objects": OBJECTS,
         "Series": pd.Series(SEQUENCES)}


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_lists_of_sequences_in_pipelines_and_searches(X):
    net = gt.RNNClassifier(units=4, epochs=10, random_state=0)
    model = make_pipeline(FunctionTransformer(halved), net)
    assert cross_val_score(model, X, RISING, cv=2).mean() > 0.8
    search = GridSearchCV(net, {"units": [2, 4]}, cv=2).fit(X, RISING)
    assert search.best_score_ > 0.8
    assert cross_val_predict(net, X, RISING, cv=2).shape == (80,)


def test_sequences_in_a_stream():
    net = gt.RNNClassifier(units=4, random_state=0)
    for start in [*range(0, 80, 20)] * 5:
        rows = slice(start, start + 20)
        net.partial_fit(SEQUENCES[rows], RISING[rows], classes=[0, 1])
    assert net.score(SEQUENCES, RISING) > 0.9


@pytest.mark.parametrize("X", [
    pl.Series([x.tolist() for x in SEQUENCES]), pd.Series([x.tolist() for x in SEQUENCES]),
    [pl.DataFrame(x, schema=["a", "b"]) for x in SEQUENCES],
    [pd.DataFrame(x, columns=["a", "b"]) for x in SEQUENCES]],
    ids=["polars Series", "Series of lists", "polars frames", "frames"])
def test_sequences_in_frames_and_series(X):
    net = gt.RNNClassifier(units=2, **FEW).fit(SEQUENCES, RISING)
    assert np.array_equal(clone(net).fit(X, RISING).predict_proba(X), net.predict_proba(SEQUENCES))


@pytest.mark.parametrize("estimator, X, y", [
    (gt.LinearRegressor(), DENSE, LABELS), (NETS["dnn"], DENSE, LABELS),
    (NETS["regressor"], DENSE.tolist(), LABELS.tolist()),
    (gt.RNNClassifier(units=2, **FEW), SEQUENCES, RISING),
    (gt.Autoencoder(hidden_layer_sizes=(), **FEW), DENSE, None),
    (gt.FeatureEncoder(), FRAME.to_numpy().tolist(), None),
    (gt.TextVectorizer(), ["a word", "or two words"], None)],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "")
def test_iterators_are_read_once(estimator, X, y):
    whole, one_by_one = clone(estimator), clone(estimator)
    if hasattr(estimator, "transform"):
        found = one_by_one.fit_transform(iter(X))
        np.testing.assert_array_equal(found, whole.fit(X).transform(X))
        return
    weights = np.arange(len(X)) % 2
    one_by_one.fit(iter(X), iter(y), sample_weight=iter(weights))
    np.testing.assert_array_equal(one_by_one.predict(iter(X)),
                                  whole.fit(X, y, sample_weight=weights).predict(X))


def test_images_in_a_pipeline():
    data = load_digits()
    X, y = data.images[:400], data.target[:400]
    images = {"solver": "mini_batch", "batch_size": 32, "random_state": 0}
    model = make_pipeline(FunctionTransformer(np.sqrt), gt.CNNClassifier(epochs=4, **images))
    assert cross_val_score(model, X, y, cv=2).mean() > 0.8
    flat = make_pipeline(FunctionTransformer(np.sqrt),
                         gt.CNNClassifier(image_shape=(8, 8), epochs=4, **images))
    assert np.array_equal(flat.fit(X.reshape(400, 64), y).predict(X.reshape(400, 64)),
                          model.fit(X, y).predict(X))
