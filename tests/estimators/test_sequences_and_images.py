"""CNN and RNN estimators: every form samples come in, architectures, and what is refused."""
import numpy as np
import pandas as pd
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import Error

RANDOM = np.random.default_rng(0)
LABELS = np.arange(24) % 2
FEW = {"epochs": 2, "random_state": 0}
IMAGES = RANDOM.normal(size=(24, 6, 4))
SEQUENCES = RANDOM.normal(size=(24, 10, 3))
LISTS = [RANDOM.normal(size=(5 + 3 * (k % 4), 3)) for k in range(24)]
FLAT_LISTS = [list(RANDOM.normal(size=9 + k % 4)) for k in range(24)]


# ---- images ------------------------------------------------------------------------------------

def test_every_form_of_images_is_the_same():
    flat = gt.CNNClassifier(image_shape=(6, 4), **FEW).fit(IMAGES.reshape(24, -1), LABELS)
    whole = gt.CNNClassifier(**FEW).fit(IMAGES, LABELS)
    deep = gt.CNNClassifier(image_shape=[6, 4, 1], **FEW).fit(IMAGES[..., None], LABELS)
    frame = pd.DataFrame(IMAGES.reshape(24, -1))
    for model, samples in [(flat, frame), (flat, IMAGES), (whole, IMAGES[..., None]),
                           (deep, IMAGES), (whole, IMAGES.tolist())]:
        np.testing.assert_allclose(model.predict_proba(samples), whole.predict_proba(IMAGES),
                                   atol=1e-12)


def test_colours_and_signals():
    colours = RANDOM.integers(0, 256, size=(24, 6, 6, 3), dtype=np.uint8)
    model = gt.CNNClassifier(**FEW).fit(colours, LABELS)
    standard = model.network_.layers[0]
    assert (float(standard.mean), float(standard.variance) ** 0.5) == (
        colours.min(), colours.max() - colours.min())
    signals = RANDOM.normal(2.0, 3.0, size=(24, 20))
    model = gt.CNNRegressor(**FEW).fit(signals, signals[:, 0])
    assert float(model.network_.layers[0].mean) == pytest.approx(signals.mean())
    assert float(model.network_.layers[0].variance) == pytest.approx(signals.var())
    assert "Conv1D" in repr(model.network_)


@pytest.mark.parametrize("name, shape", [
    ("auto", (1, 1)), ("auto", (3, 3)), ("auto", (16, 17)), ("auto", (28, 28)),
    ("lenet", (8, 8)), ("resnet20", (8, 9))])
def test_architectures_by_name(name, shape):
    images = RANDOM.normal(size=(6, *shape))
    model = gt.CNNClassifier(architecture=name, epochs=1, random_state=0)
    assert model.fit(images, [0, 1, 2] * 2).predict_proba(images).shape == (6, 3)


def test_resnet20_learns_from_colour_images():
    images = RANDOM.normal(size=(2, 32, 32, 3)).astype("float32")
    model = gt.CNNClassifier(architecture="resnet20", epochs=1, solver="mini_batch",
                             random_state=0).fit(images, [0, 1])
    kernels = [v for v in model.network_.trainable_variables().values() if v.ndim == 4]
    assert len(kernels) == 21                      # 19 of 3 x 3, and two shortcuts
    assert sum(v.size for v in model.network_.trainable_variables().values()) > 270_000


def test_an_architecture_of_your_own():
    asked = []

    def pooled(spec, n_outputs):
        asked.append((spec.shape, n_outputs))
        return layers.Sequential([layers.Conv2D(3, 3), layers.GlobalAveragePooling2D(),
                                  layers.Dense(n_outputs)])

    model = gt.CNNClassifier(architecture=pooled, **FEW).fit(IMAGES, LABELS + 5)
    assert asked == [((6, 4, 1), 2)] and model.predict(IMAGES).min() >= 5


@pytest.mark.parametrize("cls, samples, net, says", [
    (gt.CNNClassifier, IMAGES, lambda s, n: layers.Dense(n), "after Flatten or pooling"),
    (gt.CNNClassifier, IMAGES, lambda s, n: layers.Sequential(
        [layers.Flatten(), layers.Dense(n + 1)]), "other outputs than are needed"),
    (gt.CNNRegressor, IMAGES, lambda s, n: None, "NoneType, not a Layer"),
    (gt.RNNClassifier, SEQUENCES, lambda s, n: layers.LSTM(n, return_sequences=True),
     "other outputs than are needed"),
    (gt.CNNClassifier, IMAGES, "vgg", "architecture")])
def test_architectures_that_do_not_fit(cls, samples, net, says):
    with pytest.raises(ValueError, match=says):
        cls(architecture=net, **FEW).fit(samples, LABELS)


@pytest.mark.parametrize("image_shape, samples, says", [
    ((5, 4), IMAGES.reshape(24, -1), "must multiply to 24"),
    ((24,), IMAGES.reshape(24, -1), r"image_shape must be \(h, w\)"),
    ((0, 4), IMAGES.reshape(24, -1), r"image_shape must be \(h, w\)"),
    ((2.0, 12), IMAGES.reshape(24, -1), r"image_shape must be \(h, w\)"),
    ("6x4", IMAGES.reshape(24, -1), "image_shape"), (24, IMAGES.reshape(24, -1), "image_shape"),
    ((4, 6), IMAGES, "leave image_shape out"), (None, IMAGES[..., None, None], "reshape X"),
    (None, IMAGES[:, :0], "at least one pixel"), (None, IMAGES[0, 0], "Reshape your data")])
def test_images_that_cannot_be_used(image_shape, samples, says):
    with pytest.raises(ValueError, match=says):
        gt.CNNClassifier(image_shape=image_shape, **FEW).fit(samples, LABELS[:len(samples)])


def test_images_of_another_size_are_refused():
    model = gt.CNNClassifier(**FEW).fit(IMAGES, LABELS)
    for other in (IMAGES[:, :5], IMAGES[:, :, :3], IMAGES[..., None].repeat(3, axis=3),
                  IMAGES.reshape(24, 4, 6)):
        for act in (model.predict, lambda X: model.partial_fit(X, LABELS)):
            with pytest.raises(ValueError, match="fitted on samples of another shape|features"):
                act(other)
    with pytest.raises(ValueError, match="needs images"):
        gt.CNNClassifier(architecture="lenet", **FEW).fit(IMAGES.reshape(24, -1), LABELS)


# ---- sequences ---------------------------------------------------------------------------------

@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("units", [5, (4, 3)])
def test_padding_is_invisible(cell, bidirectional, units):
    model = gt.RNNClassifier(cell=cell, bidirectional=bidirectional, units=units, dropout=0.1,
                             **FEW).fit(LISTS, LABELS)
    together = model.predict_proba(LISTS)
    alone = np.concatenate([model.predict_proba([s]) for s in LISTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(LISTS[::-1]), together[::-1], atol=1e-6)
    as_array = [model.predict_proba(s[None]) for s in LISTS]
    np.testing.assert_allclose(np.concatenate(as_array), together, atol=1e-6)
    kinds = {type(layer).__name__ for layer in model._net.layers}
    assert ("Bidirectional" in kinds) == bidirectional


def test_equal_lengths_in_a_list_are_an_array():
    one = gt.RNNRegressor(units=4, **FEW).fit(SEQUENCES, SEQUENCES[:, 0, 0])
    for same in (list(SEQUENCES), SEQUENCES.tolist(), tuple(SEQUENCES)):
        other = gt.RNNRegressor(units=4, **FEW).fit(same, SEQUENCES[:, 0, 0])
        np.testing.assert_array_equal(one.predict(SEQUENCES), other.predict(same))


def test_rows_are_sequences_of_one_feature():
    rows = RANDOM.normal(size=(24, 7))
    one = gt.RNNRegressor(units=4, **FEW).fit(rows, rows[:, 0])
    other = gt.RNNRegressor(units=4, **FEW).fit(rows[:, :, None], rows[:, 0])
    np.testing.assert_array_equal(one.predict(rows), other.predict(rows[:, :, None]))
    assert (one.n_features_in_, other.n_features_in_) == (7, 1)


def test_plain_lists_of_unequal_length():
    model = gt.RNNClassifier(units=4, **FEW).fit(FLAT_LISTS, LABELS)
    together = model.predict_proba(FLAT_LISTS)
    boxed = np.empty(24, object)
    boxed[:] = FLAT_LISTS
    for same in (boxed, pd.Series(FLAT_LISTS), tuple(FLAT_LISTS),
                 [np.array(s)[:, None] for s in FLAT_LISTS]):
        np.testing.assert_allclose(model.predict_proba(same), together, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba([FLAT_LISTS[1]]), together[1:2], atol=1e-6)
    rows = np.array(FLAT_LISTS[::4])
    np.testing.assert_allclose(model.predict_proba(rows), together[::4], atol=1e-6)


@pytest.mark.parametrize("samples, says", [
    ([[1.0, 2.0], []], "at least one step"), ([np.zeros((3, 2)), np.zeros((0, 2))], "one step"),
    ([np.zeros((3, 2)), np.full((2, 2), np.nan)], "contains NaN"),
    ([np.zeros((3, 2)), np.full((2, 2), np.inf)], "contains infinity"),
    ([np.zeros((3, 2)), np.zeros((3, 1))], "1 features and sequence 0 has 2"),
    ([["a", "b"], ["c"]], "encode texts|does not hold numbers"),
    ([np.zeros((3, 2)), np.zeros(2)], "features|inhomogeneous|sequence"),
    (np.zeros((2, 0, 3)), "one step"), (np.full((2, 3, 1), np.nan), "contains NaN"),
    (np.zeros((2, 3, 4, 5)), "Found array with dim 4|time, features"), ([], "0|minimum of 1"),
    (np.zeros((2, 3), complex), "Complex data not supported"),
    ([np.zeros((3, 2), complex), np.zeros((2, 2), complex)], "encode texts|numbers"),
    ("ab", "array|sequence"), (None, "array|sequence|None"), ([1.0, 2.0], "Reshape your data|1D")])
def test_sequences_that_cannot_be_used(samples, says):
    model = gt.RNNClassifier(units=3, **FEW)
    with pytest.raises(ValueError, match=says):
        model.fit(samples, [0, 1])
    assert not hasattr(model, "n_features_in_")


def test_sequences_of_another_kind_are_refused():
    model = gt.RNNClassifier(units=3, **FEW).fit(LISTS, LABELS)
    for other in (SEQUENCES[:, :, :2], [s[:, :2] for s in LISTS]):
        with pytest.raises(ValueError, match="X has 2 features, but RNNClassifier is expecting 3"):
            model.predict(other)
    with pytest.raises(ValueError, match="expecting 3"):
        model.predict(np.zeros((4, 3)))
    rows = gt.RNNClassifier(units=3, **FEW).fit(np.zeros((24, 3)), LABELS)
    for other in (SEQUENCES, LISTS):
        with pytest.raises(ValueError, match="fitted on rows of 3 time steps"):
            rows.predict(other)
    with pytest.raises(Error, match="hold whole numbers"):
        gt.RNNClassifier(units=(), **FEW).fit(LISTS, LABELS)


def test_lists_with_weights_validation_and_regression():
    targets = np.array([[s.mean(), s.max()] for s in LISTS])
    model = gt.RNNRegressor(units=6, epochs=3, early_stopping=True, random_state=0)
    model.fit(LISTS, targets, sample_weight=np.arange(24) % 3, X_val=LISTS[:5], y_val=targets[:5])
    assert model.predict(LISTS).shape == (24, 2) and "val_r2" in model.history_[0]
    frames = [pd.DataFrame(s) for s in LISTS]
    np.testing.assert_array_equal(model.predict(frames), model.predict(LISTS))
