"""Autoencoder: codes and the way back, beside PCA, images, pandas, files, errors."""
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gradatim as gt
from gradatim import datasets, layers

RANDOM = np.random.default_rng(0)
PLANE = RANDOM.normal(size=(200, 2)) @ RANDOM.normal(size=(2, 6)) + 5.0 \
    + 0.1 * RANDOM.normal(size=(200, 6))
IMAGES = datasets.load_digits().images[:100]
FEW = {"epochs": 3, "random_state": 0}


def test_a_linear_code_is_as_good_as_that_of_pca():
    scaled = StandardScaler().fit_transform(PLANE)
    model = gt.Autoencoder(hidden_layer_sizes=(), epochs=1500, learning_rate=0.05,
                           random_state=0).fit(scaled)
    pca = PCA(2).fit(scaled)
    error = ((pca.inverse_transform(pca.transform(scaled)) - scaled) ** 2).mean()
    assert error <= -model.score(scaled) < 1.1 * error


def test_score_and_report():
    model = gt.Autoencoder(hidden_layer_sizes=(16,), epochs=300, random_state=0).fit(PLANE)
    back = model.inverse_transform(model.transform(PLANE))
    assert back.shape == PLANE.shape
    assert model.score(PLANE) == pytest.approx(-((PLANE - back) ** 2).mean())
    report = model.report(PLANE)
    assert report.baselines["mean"] == pytest.approx(-PLANE.var(axis=0).mean())
    assert report.score > 0.2 * report.baselines["mean"]
    weights = np.arange(200) % 2
    assert model.score(PLANE, sample_weight=weights) == pytest.approx(model.score(PLANE[1::2]))


@pytest.mark.parametrize("form, image_shape", [
    (IMAGES, None), (IMAGES[..., None], None), (IMAGES.reshape(100, 64), (8, 8)),
    (IMAGES[:, :5, :7], None)], ids=["images", "channels", "flat", "odd"])
@pytest.mark.parametrize("architecture", ["convolutional", "dense"])
def test_images_come_back_in_their_form(form, image_shape, architecture):
    model = gt.Autoencoder(n_components=3, architecture=architecture, image_shape=image_shape,
                           **FEW).fit(form)
    codes = model.transform(form)
    assert codes.shape == (100, 3) and codes.dtype == np.float64
    assert model.inverse_transform(codes[:7]).shape == (7, *form.shape[1:])


def test_convolutions_learn_digits():
    model = gt.Autoencoder(n_components=16, architecture="convolutional", epochs=60,
                           random_state=0).fit(IMAGES)
    report = model.report(IMAGES)
    assert report.score > 0.6 * report.baselines["mean"]


def test_pandas_pipeline_and_names():
    model = gt.Autoencoder(**FEW).set_output(transform="pandas").fit(PLANE)
    frame = model.transform(PLANE)
    assert list(frame.columns) == ["autoencoder0", "autoencoder1"]
    assert list(model.get_feature_names_out()) == list(frame.columns)
    line = make_pipeline(gt.Autoencoder(n_components=3, **FEW), gt.LinearRegressor())
    assert line.fit(PLANE, PLANE[:, 0]).predict(PLANE).shape == (200,)


def own_parts(spec, code):
    """An encoder and a decoder."""
    return (layers.Sequential([layers.Dense(4, "tanh"), layers.Dense(code)]),
            layers.Sequential([layers.Dense(spec.shape[0])]))


@pytest.mark.parametrize("settings", [
    {}, {"standardize": False}, {"architecture": own_parts}, {"hidden_layer_sizes": (8, 4)}],
    ids=["defaults", "not standardised", "own parts", "two layers"])
def test_clone_pickle_file_and_going_on(settings, tmp_path):
    model = clone(gt.Autoencoder(**FEW, **settings)).fit(PLANE)
    codes = model.transform(PLANE)
    model.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    for other in (loaded, pickle.loads(pickle.dumps(model)), clone(model).fit(PLANE)):
        np.testing.assert_array_equal(other.transform(PLANE), codes)
        np.testing.assert_array_equal(other.inverse_transform(codes),
                                      model.inverse_transform(codes))
    loaded.save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "model.h5").read_bytes()
    assert loaded.partial_fit(PLANE).n_epochs_ == 4
    loaded.fit(PLANE)
    np.testing.assert_array_equal(loaded.transform(PLANE), codes)


def test_early_stopping_validation_data_and_what_a_fit_tells(capsys):
    model = gt.Autoencoder(**FEW, early_stopping=True, verbose=1).fit(PLANE)
    assert "val_loss" in model.history_[0]
    assert capsys.readouterr().err.splitlines()[-1].startswith("validation R² ")
    model = gt.Autoencoder(**FEW).fit(PLANE[:150], X_val=PLANE[150:])
    assert "val_r2" in model.history_[0]


ERRORS = [
    (lambda: gt.Autoencoder(architecture="convolutional").fit(PLANE),
     'architecture "convolutional" needs images'),
    (lambda: gt.Autoencoder(architecture=lambda spec, code: layers.Dense(2)).fit(PLANE),
     "the architecture must return an encoder and a decoder"),
    (lambda: gt.Autoencoder(architecture=lambda spec, code: (layers.Dense(2),) * 1).fit(PLANE),
     "the architecture must return an encoder and a decoder"),
    (lambda: gt.Autoencoder(architecture=lambda spec, code: (
        layers.Dense(2), layers.Dense(5))).fit(PLANE),
     "the net has other outputs than are needed"),
    (lambda: gt.Autoencoder(loss="sparse_categorical_crossentropy").fit(PLANE),
     "SparseCategoricalCrossentropy"),
    (lambda: gt.Autoencoder(n_components=0).fit(PLANE), "The 'n_components' parameter"),
    (lambda: gt.Autoencoder(**FEW).fit(PLANE).inverse_transform(PLANE),
     "X has 6 columns, but the codes of this Autoencoder have 2"),
    (lambda: gt.Autoencoder(**FEW).fit(PLANE).transform(PLANE[:, :3]), "X has 3 features, but"),
    (lambda: gt.Autoencoder(**FEW).fit(IMAGES).transform(IMAGES[:, :4]),
     "Autoencoder was fitted on samples of another shape"),
]


@pytest.mark.parametrize("call, text", ERRORS, ids=[text[:40] for _, text in ERRORS])
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).split("\n")[0].startswith(text)


def test_nothing_before_fit():
    for call in ("transform", "inverse_transform", "score", "report"):
        with pytest.raises(NotFittedError):
            getattr(gt.Autoencoder(), call)(PLANE)


@pytest.mark.parametrize("X", [np.ma.masked_array(np.ones((4, 3)), np.eye(4, 3, dtype=bool)),
                               np.array([["2026-01-01"] * 3] * 4, "datetime64[D]")],
                         ids=["masked", "dates"])
def test_codes_are_refused_of_what_fit_refuses(X):
    model = gt.Autoencoder(hidden_layer_sizes=(4,), epochs=1).fit(np.random.rand(20, 3))
    for call in (model.fit, model.transform):
        with pytest.raises((TypeError, ValueError), match="fix"):
            call(X)
