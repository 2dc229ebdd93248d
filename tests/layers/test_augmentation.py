"""Augmentation: against formulas of its own, equal on backends, and in the estimators of images."""
import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.base import clone

import gradatim as gt
from gradatim import layers
from gradatim.backend import available
from gradatim.backend.errors import ParameterError, ShapeError, UnknownNameError
from gradatim.datasets import load_digits
from gradatim.estimators.augmentations import AUGMENTATIONS
from gradatim.layers.flow import Flow
from gradatim.layers.mixing import LEVELS, beta_quantiles

LAYERS = [layers.RandomFlip("horizontal_and_vertical"), layers.RandomTranslation(0.5, 0.3),
          layers.RandomTranslation(0.5, 0.3, "nearest"), layers.RandomCrop((2, 1), 7.0),
          layers.RandomTranslation(1.0, 1.0, "constant", 7.0), layers.RandomRotation(0.3),
          layers.RandomRotation(0.5, "constant"), layers.RandomErasing(0.7, 0.4, 7.0),
          layers.MixUp(0.4), layers.CutMix(1.0), layers.RandomZoom(0.3),
          layers.RandomZoom(0.3, 0.5, "constant"), layers.RandomBrightness(0.4),
          layers.RandomContrast(0.7)]
each = pytest.mark.parametrize("layer", LAYERS, ids=repr)


def images(n=200, height=5, width=4, channels=2, dtype="float32"):
    return np.random.default_rng(0).random((n, height, width, channels)).astype(dtype)


def flow_of(layer, x, seed=3, step=5, weights=None):
    keys = (gt.constant(np.int64(n)) for n in (seed, step))
    weights = None if weights is None else gt.constant(weights)
    return layers.from_config(layers.to_config(layer)).run(
        Flow(gt.constant(x), None, weights, *keys, dtype=str(x.dtype)), training=True)


def changed(layer, x, **options):
    backend = options.pop("backend", "auto")
    return gt.function([], flow_of(layer, x, **options).x, backend=backend)()


@each
def test_nothing_happens_outside_training(layer):
    x = images(3)
    np.testing.assert_array_equal(gt.run(layer(gt.constant(x))), x)


@each
@pytest.mark.skipif("native" not in available(), reason="needs the native backend")
def test_backends_agree(layer):
    x = images(7)
    ours, theirs = (changed(layer, x, backend=b) for b in ("native", "reference"))
    rounded = isinstance(layer, (layers.RandomRotation, layers.RandomZoom, layers.MixUp,
                                 layers.RandomContrast, layers.RandomBrightness))
    np.testing.assert_allclose(ours, theirs, atol=1e-6 if rounded else 0)


@each
def test_what_happens_depends_on_seed_step_and_place_alone(layer):
    x = images(40)
    first = changed(layer, x)
    np.testing.assert_array_equal(first, changed(layer, x))
    assert not np.array_equal(first, changed(layer, x, step=6))
    assert not np.array_equal(first, changed(layer, x, seed=4))
    if not isinstance(layer, (layers.MixUp, layers.CutMix)):        # those have partners
        np.testing.assert_array_equal(first[:9], changed(layer, x[:9]))


def moved(image, down, right, mode, value):
    """The image with its content moved by whole pixels, by SciPy."""
    return ndimage.shift(image, (-down, -right, 0), order=0, mode=mode, cval=value)


@pytest.mark.parametrize("layer, most", [
    (LAYERS[1], (2, 1)), (LAYERS[2], (2, 1)), (LAYERS[3], (2, 1)), (LAYERS[4], (5, 4))], ids=repr)
def test_every_move_is_made_and_no_other(layer, most):
    x, mode = images(900), getattr(layer, "fill_mode", "constant")
    seen = set()
    for image, found in zip(x, changed(layer, x)):
        fits = [(i, j) for i in range(-most[0], most[0] + 1) for j in range(-most[1], most[1] + 1)
                if np.array_equal(moved(image, i, j, mode, layer.fill_value), found)]
        assert fits
        seen.add(fits[0])
    outside = {(i, j) for i, j in seen if mode == "constant" and (abs(i) > 4 or abs(j) > 3)}
    expected = (2 * most[0] + 1) * (2 * most[1] + 1)
    assert len(seen) == expected or outside and len(seen) == (2 * 4 + 1) * (2 * 3 + 1) + 1


@pytest.mark.parametrize("mode, ways", [("horizontal", 2), ("vertical", 2),
                                        ("horizontal_and_vertical", 4)])
def test_flips(mode, ways):
    x = images()
    seen = []
    for image, found in zip(x, changed(layers.RandomFlip(mode), x)):
        flips = {"no": image, "horizontal": image[:, ::-1], "vertical": image[::-1],
                 "both": image[::-1, ::-1]}
        seen.append(next(name for name, flipped in flips.items()
                         if np.array_equal(flipped, found)))
    assert len(set(seen)) == ways
    assert min(seen.count(name) for name in set(seen)) > 200 / ways / 2


def test_rotation_is_that_of_scipy():
    x = images(30, 9, 9, 1, "float64")
    layer = layers.RandomRotation(0.25, "constant")
    angles = np.linspace(-90, 90, layer.angles)
    for image, found in zip(x, changed(layer, x)):
        errors = [np.abs(ndimage.rotate(image[..., 0], -a, reshape=False, order=1, cval=0.0,
                                        mode="grid-constant") - found[..., 0]).max()
                  for a in angles]
        assert min(errors) < 1e-9


def zoomed(image, down, right):
    """The image seen from nearer or farther, by SciPy."""
    middle = (np.array(image.shape) - 1.0) / 2.0
    scales = np.array([down, right])
    return ndimage.affine_transform(image, scales, middle - middle * scales, order=1,
                                    mode="grid-constant")


def test_zooms_are_those_of_scipy():
    """What was drawn is read off an image of its own pixel numbers, and used on another."""
    ramps = np.stack(np.broadcast_arrays(np.arange(9.0)[:, None], np.arange(9.0)), axis=-1)
    x = np.concatenate([images(30, 9, 9, 1, "float64"), np.tile(ramps, (30, 1, 1, 1))], axis=-1)
    drawn = []
    for image, found in zip(x, changed(layers.RandomZoom(0.3, 0.2, "constant"), x)):
        down, right = (found[4, 5, 2] - found[4, 4, 2], found[5, 4, 1] - found[4, 4, 1])[::-1]
        np.testing.assert_allclose(found[..., 0], zoomed(image[..., 0], down, right), atol=1e-9)
        drawn.append((down, right))
    drawn = np.array(drawn)
    assert (abs(drawn - 1) <= [0.3, 0.2]).all() and (np.ptp(drawn, axis=0) > [0.4, 0.25]).all()
    alike = changed(layers.RandomZoom(0.3, fill_mode="constant"), x)
    np.testing.assert_allclose(alike[:, 5, 4, 1], alike[:, 4, 5, 2], atol=1e-9)


def test_brightness_moves_and_contrast_spreads():
    x = images(200, dtype="float64")
    moves = changed(layers.RandomBrightness(0.4), x) - x
    np.testing.assert_allclose(moves, np.broadcast_to(moves[:, :1, :1, :1], x.shape), atol=1e-12)
    assert abs(moves).max() <= 0.4 and np.ptp(moves) > 0.7
    found, means = changed(layers.RandomContrast(0.7), x), x.mean((1, 2), keepdims=True)
    factors = (found - means) / (x - means)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1, :1], x.shape), rtol=1e-6)
    assert factors.min() >= 0.3 and factors.max() <= 1.7 and np.ptp(factors) > 1.2


def test_cutout_erases_a_square_of_some_images():
    lost = (changed(LAYERS[7], images(400)) == 7.0).all(-1).sum((1, 2))
    assert 0.6 < np.mean(lost > 0) < 0.8 and lost.max() == 4


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_quantiles_of_beta(alpha):
    expected = stats.beta(alpha, alpha).ppf((np.arange(LEVELS) + 0.5) / LEVELS)
    np.testing.assert_allclose(beta_quantiles(alpha), expected, atol=1e-4)


@pytest.mark.parametrize("layer", [layers.MixUp(1.0), layers.CutMix()], ids=repr)
def test_mixing_by_the_share_that_it_reports(layer):
    x = np.zeros((11, 6, 6, 1), "float32") + np.arange(11, dtype="float32").reshape(-1, 1, 1, 1)
    weights = np.ones(11, "float32")
    weights[3] = 0.0
    flow = flow_of(layer, x, weights=weights)
    mixed, own = gt.function([], [flow.x, flow.own_share])()
    assert own[7] == 1.0, "the partner of 7 is 3, which weighs nothing"
    expected = own * np.arange(11) + (1 - own) * np.arange(11)[::-1]
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), expected, rtol=1e-5)
    assert len(set(own.tolist())) > 5 or isinstance(layer, layers.CutMix)


def test_two_mixings_know_each_samples_share():
    x = np.zeros((8, 6, 6, 1), "float32") + np.arange(8, dtype="float32").reshape(-1, 1, 1, 1)
    net = layers.Sequential([layers.MixUp(1.0), layers.CutMix()])
    flow = flow_of(net, x)
    mixed, own = gt.function([], [flow.x, flow.own_share])()
    expected = own * np.arange(8) + (1 - own) * np.arange(8)[::-1]
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), expected, rtol=1e-4)


def test_the_loss_is_that_of_both_targets():
    x, y = images(16, 3, 3, 1), np.arange(16) % 3
    tail = lambda: [layers.Flatten(), layers.Dense(3, kernel_initializer="zeros", name="last")]
    loss = layers.SparseCategoricalCrossentropy(from_logits=True)
    trainer = gt.Trainer(gt.Sequential([layers.MixUp(1.0, name="mix"), *tail()]), loss, "sgd",
                         learning_rate=1.0, seed=2)
    trainer.fit(x, y, epochs=1, batch_size=None)
    kernel = trainer.model.get_weights()[0]
    keys = (gt.constant(np.int64(n)) for n in (2, 0))
    mix = trainer.model.layers[0]
    flow = mix.run(Flow(gt.constant(x), None, None, *keys), training=True)
    mixed, own = gt.function([], [flow.x, flow.own_share])()
    targets = own[:, None] * np.eye(3)[y] + (1 - own[:, None]) * np.eye(3)[y[::-1]]
    np.testing.assert_allclose(kernel, mixed.reshape(16, 9).T @ (targets - 1 / 3) / 16, atol=1e-6)


@pytest.mark.parametrize("make, error, text", [
    (lambda: layers.RandomFlip("diagonal"), ParameterError, "mode must be one of"),
    (lambda: layers.RandomTranslation(1.5), ParameterError, r"height_factor must be a number in"),
    (lambda: layers.RandomRotation(-1), ParameterError, "factor must be a finite number from 0"),
    (lambda: layers.RandomZoom(1.0), ParameterError, "height_factor must be a number in"),
    (lambda: layers.RandomContrast(1.5), ParameterError, "factor must be a number in"),
    (lambda: layers.RandomCrop(0), ParameterError, "padding must be a whole number from 1 on"),
    (lambda: layers.MixUp(0), ParameterError, "alpha must be above 0, not 0"),
    (lambda: layers.RandomFlip()(gt.placeholder((2, 3))), ShapeError, "needs images"),
    (lambda: fitted("flop"), UnknownNameError, "flop"),
    (lambda: fitted([3]), ParameterError, "augmentation is words and layers, not int"),
    (lambda: gt.CNNClassifier(augmentation="flip").fit(np.eye(20), np.arange(20) % 2),
     ParameterError, "augmentation needs images")])
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ---- in the estimators -------------------------------------------------------------------------

DIGITS = load_digits()
MORE = dict(architecture="lenet", epochs=4, solver="mini_batch", random_state=0)


def fitted(augmentation, kind=gt.CNNClassifier, n=200, **parameters):
    net = kind(**MORE | parameters | {"augmentation": augmentation})
    return net.fit(DIGITS.images[:n], DIGITS.target[:n])


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_every_word(word, tmp_path):
    net = fitted(word, epochs=2)
    path = tmp_path / "net.h5"
    net.save(path)
    X = DIGITS.images[:50]
    np.testing.assert_array_equal(gt.load(path).predict_proba(X), net.predict_proba(X))
    assert clone(net).get_params()["augmentation"] == word
    assert not np.array_equal(fitted(None, epochs=2).predict_proba(X), net.predict_proba(X))


def test_a_list_with_layers_and_a_net_with_branches():
    mine = layers.RandomRotation(0.02)
    net = fitted(["shift", mine, "mixup"], epochs=1, architecture="resnet20")
    assert mine.built is None, "the user's layer stays as it was"
    assert [type(layer).__name__ for layer in net._net.layers[:-1]] == [
        "RandomTranslation", "RandomRotation", "MixUp"]
    again = clone(net).fit(DIGITS.images[:200], DIGITS.target[:200])
    np.testing.assert_array_equal(again.predict_proba(DIGITS.images[:9]),
                                  net.predict_proba(DIGITS.images[:9]))


def test_regression():
    net = fitted(["rotate", "mixup"], gt.CNNRegressor, epochs=30)
    assert net.score(DIGITS.images[:200], DIGITS.target[:200]) > 0.5


def test_moving_few_digits_makes_better_readers_of_moved_ones():
    X = np.pad(DIGITS.images, ((0, 0), (2, 2), (2, 2)))
    moved_ones = np.roll(X[1000:], (1, -1), axis=(1, 2))
    scores = []
    for augmentation in (None, layers.RandomTranslation(0.17, 0.17, "constant")):
        net = gt.CNNClassifier(**MORE | {"epochs": 20, "augmentation": augmentation})
        scores.append(net.fit(X[:300], DIGITS.target[:300]).score(moved_ones,
                                                                  DIGITS.target[1000:]))
    assert scores[1] > scores[0] + 0.05, scores
