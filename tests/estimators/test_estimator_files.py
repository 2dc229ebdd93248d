"""Estimators in files: the same bits back, the same bytes twice, nothing from a hostile file."""
import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import CorruptFileError, DataNotFoundError, ParameterError
from gradatim.backend.errors import UnknownNameError
from gradatim.backend.model_file import read_model, write_model
from gradatim.layers import Huber
from gradatim.training import Adam, Cosine, FunctionCallback

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 4))
LABELS = (X[:, 0] > 0).astype(int)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0] + 3.0
IMAGES = RANDOM.normal(size=(40, 5, 5))
LISTS = [RANDOM.normal(size=(9 + k % 5, 2)) for k in range(40)]
TEXT = "the cat sat on the mat. " * 6
FEW = {"epochs": 2, "random_state": 0}


class Double(layers.Layer):
    """Twice the input: a layer gradatim does not know."""

    def call(self, x):
        return x * 2.0


def own_net(spec, n_outputs):
    """An architecture with a layer of its own."""
    return layers.Sequential([layers.Flatten(), Double(), layers.Dense(n_outputs)])


def plain_net(spec, n_outputs):
    """An architecture of known layers."""
    return layers.Sequential([layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(n_outputs)])


MODELS = {
    "LinearRegressor": lambda: gt.LinearRegressor(0.1).fit(X, NUMBERS),
    "two targets": lambda: gt.LinearRegressor().fit(X, np.stack([NUMBERS, X[:, 0]], 1)),
    "LinearClassifier": lambda: gt.LinearClassifier(**FEW).fit(X, LABELS),
    "names": lambda: gt.LinearClassifier(**FEW).fit(pd.DataFrame(X, columns=list("abcd")), LABELS),
    "text labels": lambda: gt.DNNClassifier(hidden_layer_sizes=(8,), **FEW).fit(
        X, np.array(["nö", "yes"])[LABELS]),
    "object labels": lambda: gt.DNNClassifier(hidden_layer_sizes=[8, 4], **FEW).fit(
        X, np.array(["no", "yes"], object)[LABELS]),
    "bool labels": lambda: gt.DNNClassifier(
        hidden_layer_sizes=8, batch_norm=True, dropout=0.2, class_weight={True: 2.0},
        **FEW).fit(X, LABELS == 1),
    "objects": lambda: gt.DNNRegressor(
        hidden_layer_sizes=(8,), optimizer=Adam(3e-3, beta_1=0.8), schedule=Cosine(), loss=Huber(),
        callbacks=FunctionCallback(lambda run: None), **FEW).fit(X, NUMBERS),
    "multi": lambda: gt.DNNRegressor(hidden_layer_sizes=(8,), standardize=False, epochs=2,
                                     random_state=np.random.RandomState(3)).fit(X, X[:, :2]),
    "counts": lambda: gt.DNNRegressor(loss="poisson", **FEW).fit(X, LABELS),
    "CNNClassifier": lambda: gt.CNNClassifier(**FEW).fit(IMAGES, LABELS),
    "CNNRegressor": lambda: gt.CNNRegressor(image_shape=(2, 2), **FEW).fit(X, NUMBERS),
    "function": lambda: gt.CNNClassifier(architecture=plain_net, **FEW).fit(IMAGES, LABELS),
    "RNNClassifier": lambda: gt.RNNClassifier(units=(4, 3), bidirectional=True, **FEW).fit(
        LISTS, LABELS),
    "RNNRegressor": lambda: gt.RNNRegressor(cell="gru", units=4, **FEW).fit(X, NUMBERS),
    "TextGenerator": lambda: gt.TextGenerator(units=6, sequence_length=8, level="word",
                                              **FEW).fit(TEXT),
}
SAMPLES = {"CNNClassifier": IMAGES, "function": IMAGES, "RNNClassifier": LISTS}
MACHINE = {"callbacks", "random_state", "backend", "strategy"}


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    """A model, samples for it, and its file."""
    model = MODELS[request.param]()
    path = tmp_path_factory.mktemp("files") / "model.h5"
    model.save(path)
    return model, SAMPLES.get(request.param, X), path


def answers(model, samples):
    """All that a model says."""
    if isinstance(model, gt.TextGenerator):
        return [model.score(TEXT), model.generate("the", 8, random_state=0)]
    names = ["predict", "predict_proba", "decision_function", "predict_log_proba"]
    return [getattr(model, name)(samples) for name in names if hasattr(model, name)]


def test_a_loaded_model_is_the_saved_one(case, tmp_path):
    model, samples, path = case
    loaded = gt.load(path)
    assert type(loaded) is type(model)
    for one, other in zip(answers(model, samples), answers(loaded, samples), strict=True):
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
    assert vars(loaded).keys() == vars(model).keys()
    for name, value in vars(model).items():
        if name.endswith("_"):
            np.testing.assert_equal(vars(loaded)[name], value)
            assert type(vars(loaded)[name]) is type(value)
    for name in set(model.get_params()) - MACHINE - {"architecture"}:
        assert getattr(loaded, name) == getattr(model, name), name
        assert type(getattr(loaded, name)) is type(getattr(model, name))
    loaded.save(tmp_path / "again.h5")
    model.save(tmp_path / "twice.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()
    assert path.read_bytes() == (tmp_path / "twice.h5").read_bytes()


def test_a_loaded_model_can_go_on(case):
    model, samples, path = case
    loaded = gt.load(path)
    if isinstance(model, gt.TextGenerator):
        assert loaded.partial_fit(TEXT).n_epochs_ == 3
        return
    targets = model.predict(samples)
    if hasattr(model, "classes_"):                # of a net that says one class only, too
        targets = np.resize(model.classes_, targets.shape)
    loaded.partial_fit(samples, targets)
    assert len(loaded.predict(samples)) == len(samples)
    copy.deepcopy(loaded).fit(samples, targets).predict(samples)


def test_least_squares_streams_on_after_loading(tmp_path):
    model = gt.LinearRegressor().partial_fit(X[:20], NUMBERS[:20] + X[:20, 0] ** 2)
    model.save(tmp_path / "model.h5")
    rest = X[20:], NUMBERS[20:] + X[20:, 0] ** 2
    one, other = model.partial_fit(*rest), gt.load(tmp_path / "model.h5").partial_fit(*rest)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.standard_errors_, other.standard_errors_)


def test_a_function_is_stored_as_the_tree_it_built(tmp_path):
    model = MODELS["function"]()
    model.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    again = loaded.fit(IMAGES, LABELS)
    np.testing.assert_array_equal(again.predict_proba(IMAGES), model.predict_proba(IMAGES))
    with pytest.raises(ValueError, match="other outputs than are needed"):
        again.fit(IMAGES, np.arange(40) % 3)


def test_layers_of_your_own(tmp_path):
    model = gt.CNNClassifier(architecture=own_net, **FEW).fit(IMAGES, LABELS)
    model.save(tmp_path / "model.h5")
    with pytest.raises(UnknownNameError, match="Double"):
        gt.load(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5", custom={"Double": Double})
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), model.predict_proba(IMAGES))
    np.testing.assert_array_equal(loaded.fit(IMAGES, LABELS).predict_proba(IMAGES),
                                  model.predict_proba(IMAGES))
    copy.deepcopy(loaded).predict(IMAGES)


@pytest.mark.parametrize("cls", [gt.LinearRegressor, gt.DNNClassifier, gt.TextGenerator])
def test_nothing_to_save(cls, tmp_path):
    with pytest.raises(NotFittedError):
        cls().save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_a_function_as_a_loss_cannot_be_saved(tmp_path):
    def squares(y, p):
        return ((y - p) ** 2).mean(axis=1)

    model = gt.DNNRegressor(loss=squares, **FEW).fit(X, NUMBERS)
    with pytest.raises(ParameterError, match="the parameter loss cannot be saved"):
        model.save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_what_is_no_fitted_attribute_is_not_saved(tmp_path):
    model = gt.LinearClassifier(**FEW).fit(X, LABELS)
    model.note = "mine"
    model.save(tmp_path / "model.h5")
    assert not hasattr(gt.load(tmp_path / "model.h5"), "note")


def test_a_network_is_loaded_too(tmp_path):
    network = layers.Sequential([gt.Input((3,)), layers.Dense(2)])
    layers.save_network(network, tmp_path / "net.h5")
    loaded = gt.load(tmp_path / "net.h5")
    assert repr(loaded) == repr(network)
    with pytest.raises(DataNotFoundError):
        gt.load(tmp_path / "none.h5")
    with pytest.raises(CorruptFileError, match="does not hold a network"):
        gt.LinearRegressor().fit(X, NUMBERS).save(tmp_path / "line.h5")
        layers.load_network(tmp_path / "line.h5")


# ---- hostile files -----------------------------------------------------------------------------

def put(*path):
    """A change of the manifest: the last of the path is the value."""
    *keys, last, value = path

    def change(manifest, arrays):
        for key in keys:
            manifest = manifest[key]
        manifest[last] = value
    return change


def drop(*path):
    *keys, last = path

    def change(manifest, arrays):
        for key in keys:
            manifest = manifest[key]
        del manifest[last]
    return change


def array(name, value):
    def change(manifest, arrays):
        arrays[name] = np.asarray(value)
    return change


def no_array(name):
    return lambda manifest, arrays: arrays.pop(name)


HOSTILE = {
    "kind": put("kind", "pickle"), "no kind": drop("kind"), "class": put("class", "os.system"),
    "class of layers": put("class", "Dense"), "class list": put("class", ["DNNClassifier"]),
    "function": put("class", "load"), "no class": drop("class"),
    "parameters": put("parameters", [1]), "no parameters": drop("parameters"),
    "unknown parameter": put("parameters", "hack", 1), "bad value": put("parameters", "alpha", -1),
    "bad type": put("parameters", "epochs", "ten"), "null": put("parameters", "epochs", None),
    "form": put("parameters", "epochs", {"exec": "1"}),
    "forms": put("parameters", "epochs", {"tuple": [], "pairs": []}),
    "tuple": put("parameters", "hidden_layer_sizes", {"tuple": 5}),
    "pairs": put("parameters", "class_weight", {"pairs": [[1]]}),
    "unhashable": put("parameters", "class_weight", {"pairs": [[[1], 2]]}),
    "object": put("parameters", "optimizer", {"object": {"class": "Popen", "settings": {}}}),
    "object tree": put("parameters", "optimizer", {"object": 3}),
    "layer": put("parameters", "optimizer", {"object": {"class": "Flatten", "settings": {}}}),
    "setting": put("parameters", "optimizer",
                   {"object": {"class": "Adam", "settings": {"learning_rate": -1.0}}}),
    "settings": put("parameters", "optimizer",
                    {"object": {"class": "Adam", "settings": {"file": "/etc/passwd"}}}),
    "loss": put("parameters", "loss", "no such loss"),
    "nested": put("parameters", "hidden_layer_sizes", [{"tuple": [{"tuple": []}]}]),
    "fitted": put("fitted", 3), "no fitted": drop("fitted"), "objects": put("objects", 3),
    "method": put("fitted", "predict", 1), "dunder": put("fitted", "__class__", 1),
    "parameter": put("fitted", "alpha", 1), "private": put("fitted", "_fitted", 1),
    "property": put("fitted", "network_", 1), "missing": drop("fitted", "n_epochs_"),
    "epochs": put("fitted", "n_epochs_", "3"), "features": put("fitted", "n_features_in_", 5),
    "features type": put("fitted", "n_features_in_", True),
    "history": put("fitted", "history_", {}),
    "history rows": put("fitted", "history_", [{"loss": "x"}]),
    "classes text": put("fitted", "classes_", "ab"), "no classes": no_array("fitted/classes_"),
    "classes order": array("fitted/classes_", [1, 0]),
    "classes count": array("fitted/classes_", [0, 1, 2]),
    "classes shape": array("fitted/classes_", [[0, 1]]),
    "names": array("fitted/feature_names_in_", ["a"]), "net": put("net", 3), "no net": drop("net"),
    "network": put("net", "network", {}), "no network": drop("net", "network"),
    "architecture": put("net", "network", "architecture", {"class": "Dense", "settings": {}}),
    "input": put("net", "network", "input", [{"shape": [7], "dtype": "float64"}]),
    "dtype": put("net", "network", "dtype", "float16"), "seed": put("net", "seed", -1),
    "seed type": put("net", "seed", "1"), "rate": put("net", "rate", 0.0),
    "output": lambda manifest, arrays: manifest["net"].update(
        output=copy.deepcopy(manifest["net"]["network"])),
    "extra array": array("fitted/score", [1.0]), "foreign array": array("elsewhere/x", [1.0]),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_files_of_nets(change, tmp_path):
    path = tmp_path / "model.h5"
    gt.DNNClassifier(hidden_layer_sizes=(3,), **FEW).fit(X, LABELS).save(path)
    manifest, arrays = read_model(path)
    manifest = {k: v for k, v in manifest.items() if k not in ("format_version", "tensors")}
    write_model(path, manifest, arrays)
    assert len(gt.load(path).predict(X)) == 40            # the way through is free
    HOSTILE[change](manifest, arrays)
    write_model(path, manifest, arrays)
    with pytest.raises((CorruptFileError, UnknownNameError)):
        gt.load(path)


LINES = {
    "intercept": array("fitted/intercept_", [1.0, 2.0]),
    "coefficients": array("fitted/coef_", [1.0]),
    "matrix": array("fitted/coef_", np.ones((2, 4))), "factor": array("fitted/r_factor_", [1.0]),
    "root": array("fitted/_covariance_root_", np.ones((3, 3))), "text": put("fitted", "rank_", "2"),
    "whole": array("fitted/coef_", [1, 2, 3, 4]), "method": put("fitted", "partial_fit", 1),
    "samples": put("fitted", "n_samples_seen_", -1), "missing": drop("fitted", "rank_"),
    "names": array("fitted/feature_names_in_", ["a", "b", "c", "d"]),
    "std": array("fitted/residual_std_", ["1"]),
}


@pytest.mark.parametrize("change", LINES)
def test_hostile_files_of_least_squares(change, tmp_path):
    path = tmp_path / "model.h5"
    gt.LinearRegressor().fit(X, NUMBERS).save(path)
    manifest, arrays = read_model(path)
    manifest = {k: v for k, v in manifest.items() if k not in ("format_version", "tensors")}
    LINES[change](manifest, arrays)
    write_model(path, manifest, arrays)
    with pytest.raises(CorruptFileError):
        gt.load(path)
