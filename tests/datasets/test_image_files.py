"""Image files: PNG and arrays, folders of classes, and ImageReader in a pipeline."""
import pickle
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import gradatim as gt
from gradatim.backend.errors import CorruptFileError, DataError, DataNotFoundError
from gradatim.datasets import find_images, load_digits, read_image

RANDOM = np.random.default_rng(0)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(image, colour, filters=(0,), palette=b"", depth=8):
    """A PNG file's bytes, each line filtered by the next of ``filters``."""
    height, width, step = image.shape
    x = image.astype(int)
    left = np.pad(x, [(0, 0), (1, 0), (0, 0)])[:, :-1]
    up = np.pad(x, [(1, 0), (0, 0), (0, 0)])[:-1]
    corner = np.pad(x, [(1, 0), (1, 0), (0, 0)])[:-1, :-1]
    guess = left + up - corner
    a, b, c = (abs(guess - n) for n in (left, up, corner))
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    tables = [x, x - left, x - up, x - (left + up) // 2, x - paeth]
    lines = b"".join(bytes([f]) + (tables[f][i] % 256).astype(np.uint8).tobytes()
                     for i, f in zip(range(height), list(filters) * height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(lines)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette
            + chunk(b"IDAT", packed[:20]) + chunk(b"IDAT", packed[20:]) + chunk(b"IEND", b""))


@pytest.mark.parametrize(["colour", "channels"], [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 3, 2, 1, 0)])
def test_png(colour, channels, filters, tmp_path):
    image = RANDOM.integers(0, 256, (7, 5, channels)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(image, colour, filters))
    found = read_image(tmp_path / "a.png")
    assert found.dtype == np.uint8 and np.array_equal(found, image)


def test_palettes_are_colours(tmp_path):
    codes = RANDOM.integers(0, 3, (4, 6, 1)).astype(np.uint8)
    colours = RANDOM.integers(0, 256, (3, 3)).astype(np.uint8)
    table = chunk(b"PLTE", colours.tobytes())
    (tmp_path / "a.png").write_bytes(png(codes, 3, (1, 4), table))
    assert np.array_equal(read_image(tmp_path / "a.png"), colours[codes[..., 0]])
    (tmp_path / "b.png").write_bytes(png(codes + 1, 3, (0,), table))
    with pytest.raises(CorruptFileError, match="colours that are not in its palette"):
        read_image(tmp_path / "b.png")


def test_damaged_files(tmp_path):
    whole = png(RANDOM.integers(0, 256, (6, 6, 1)).astype(np.uint8), 0, (4,))
    path = tmp_path / "a.png"
    for cut in range(8, len(whole) - 12, 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptFileError, match="a.png holds no image that can be read"):
            read_image(path)
    for at in range(29, len(whole) - 12, 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        with pytest.raises(CorruptFileError):
            read_image(path)
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(CorruptFileError):
        read_image(tmp_path / "a.npy")
    with pytest.raises(DataNotFoundError, match="there is no image b.png"):
        read_image(tmp_path / "b.png")


def test_other_kinds_take_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "a.png").write_bytes(png(np.zeros((2, 4, 1), np.uint8), 0, depth=1))
    for name in ("a.jpg", "a.png"):
        with pytest.raises(DataError, match=f"{name} takes Pillow to be read"):
            read_image(tmp_path / name)


def test_folders_in_a_pipeline(tmp_path):
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images, data.target)):
        if label < 3 and number < 500:
            (tmp_path / f"digit {label}").mkdir(exist_ok=True)
            large = np.kron(image[:, :, None], np.ones((2, 2, 1))) * 15
            path = tmp_path / f"digit {label}" / f"{number:04}.png"
            path.write_bytes(png(large.astype(np.uint8), 0, (1, 2)))
    found = find_images(tmp_path)
    assert found.target_names == ["digit 0", "digit 1", "digit 2"]
    assert len(found.data) == len(found.target) > 140
    reader = gt.ImageReader(image_shape=(8, 8), channels=1)
    net = gt.CNNClassifier(epochs=10, batch_size=32, solver="mini_batch", random_state=0)
    model = make_pipeline(reader, net)
    search = GridSearchCV(model, {"imagereader__image_shape": [(2, 2), (8, 8)]}, cv=2)
    search.fit(found.data, found.target)
    assert search.best_score_ > 0.9
    assert search.best_params_ == {"imagereader__image_shape": (8, 8)}
    assert np.array_equal(reader.transform(pd.Series(found.data)), reader.transform(found.data))
    assert np.array_equal(reader.transform(np.array(found.data)), reader.transform(found.data))
    with pytest.raises(DataNotFoundError, match="there are no images in subfolders"):
        find_images(tmp_path / "digit 0")


def test_sizes_and_channels():
    ramp = np.tile(np.arange(8.0), (4, 1))
    read = lambda image, **parameters: gt.ImageReader(**parameters).fit_transform([image])[0]
    assert read(ramp, image_shape=(4, 8)).shape == (4, 8, 3)
    small = read(ramp, image_shape=(2, 4), channels=1)[:, :, 0]
    assert small.tolist() == [[0.5, 2.5, 4.5, 6.5]] * 2
    large = read(ramp[:, :2], image_shape=(4, 4), channels=1)[0, :, 0]
    assert large.tolist() == [0.0, 0.25, 0.75, 1.0]
    colour = np.stack([ramp, ramp * 0, ramp * 0, ramp], axis=2)
    np.testing.assert_allclose(read(colour, image_shape=(4, 8), channels=1)[0, :, 0],
                               0.299 * np.arange(8), rtol=1e-6)
    constant = read(np.full((37, 23), 7.0), image_shape=(5, 11))
    np.testing.assert_allclose(constant, 7.0)


@pytest.mark.parametrize(["X", "parameters", "says"], [
    ("a.png", {}, "X must hold one image per sample"), ([], {}, "0 sample"),
    ([np.zeros(3)], {}, "sample 0 is neither a path nor an image"),
    ([np.zeros((3, 3)), np.zeros((3, 3, 5))], {}, "sample 1 is neither a path nor an image"),
    ([np.zeros((3, 3))], {"image_shape": (3,)}, "image_shape must be"),
    ([np.zeros((3, 3))], {"channels": 2}, "The 'channels' parameter of ImageReader must be"),
])
def test_what_is_refused(X, parameters, says):
    with pytest.raises(ValueError, match=says):
        gt.ImageReader(**parameters).fit_transform(X)


@pytest.mark.parametrize("check", [
    "check_param_validation", "check_parameters_default_constructible",
    "check_no_attributes_set_in_init", "check_get_params_invariance", "check_set_params"])
def test_scikit_learn_check(check):
    getattr(estimator_checks, check)("ImageReader", gt.ImageReader())


def test_files_and_copies(tmp_path):
    reader, image = gt.ImageReader(image_shape=(3, 5), channels=1), RANDOM.random((9, 9))
    reader.fit([image]).save(tmp_path / "reader.h5")
    for copy in (gt.load(tmp_path / "reader.h5"), pickle.loads(pickle.dumps(reader))):
        assert np.array_equal(copy.transform([image]), reader.transform([image]))
