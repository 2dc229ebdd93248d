"""Data sets: the loaders on real files, the search for files, generated sets."""
import doctest
import importlib
import pkgutil
import sys
import types

import numpy as np
import pytest

import gradatim.datasets as gd
from gradatim.backend.errors import CorruptFileError, DataNotFoundError, ParameterError

MODULES = [module.name for module in pkgutil.iter_modules(gd.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name, data_home):
    module = importlib.import_module(f"gradatim.datasets.{name}")
    assert doctest.testmod(module).failed == 0


def test_every_public_name_has_an_example():
    for name in gd.__all__:
        assert ">>>" in getattr(gd, name).__doc__, name


# The real files

def r_squared(X, y):
    """Of least squares with an intercept: a number that depends on every value of the table."""
    A = np.column_stack([X, np.ones(len(X))])
    residual = y - A @ np.linalg.lstsq(A, y)[0]
    return 1.0 - residual @ residual / np.sum((y - y.mean()) ** 2)


def test_fashion_mnist(data_home):
    bunch = gd.load_fashion_mnist()
    assert bunch.X_train.shape == (60_000, 28, 28) and bunch.X_test.shape == (10_000, 28, 28)
    assert bunch.X_train.dtype == np.uint8 and bunch.y_train.dtype == np.int64
    assert np.bincount(bunch.y_train).tolist() == [6_000] * 10
    assert np.bincount(bunch.y_test).tolist() == [1_000] * 10
    # The published statistics of the training images, on the scale from 0 to 1.
    assert round(bunch.X_train.mean() / 255, 4) == 0.2860
    assert round(bunch.X_train[::10].std() / 255, 2) == 0.35
    assert len(bunch.target_names) == 10 and bunch.X_train.flags.writeable


def test_japanese_vowels(data_home):
    bunch = gd.load_japanese_vowels()
    assert (len(bunch.X_train), len(bunch.X_test)) == (270, 370)
    lengths = [len(x) for x in bunch.X_train + bunch.X_test]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {x.shape[1] for x in bunch.X_train + bunch.X_test} == {12}
    labels, counts = np.unique(bunch.y_train, return_counts=True)
    assert labels.tolist() == bunch.target_names == list("123456789")
    assert counts.tolist() == [30] * 9
    assert bunch.X_train[0][:2, 0].tolist() == [1.860936, 1.891651]


@pytest.mark.parametrize("color, rows, expected", [("red", 1599, 0.360552),
                                                   ("white", 4898, 0.281870)])
def test_wine_quality(data_home, color, rows, expected):
    bunch = gd.load_wine_quality(color)
    assert bunch.data.shape == (rows, 11) and set(bunch.color) == {color}
    assert len(bunch.feature_names) == 11
    assert r_squared(bunch.data, bunch.target) == pytest.approx(expected, abs=1e-6)


def test_wine_quality_as_first_published_and_both(data_home, tmp_path):
    both = gd.load_wine_quality("both")
    assert both.data.shape == (6497, 11) and both.target.min() == 3 and both.target.max() == 9
    folder = tmp_path / "wine-quality"
    folder.mkdir()
    for color in ("red", "white"):
        text = (data_home / f"wine-quality/winequality-{color}.csv").read_text()
        header = ";".join(f'"{name}"' for name in [*both.feature_names, "quality"])
        (folder / f"winequality-{color}.csv").write_text(header + "\n" + text.replace(",", ";"))
    np.testing.assert_array_equal(gd.load_wine_quality("both", data_home=tmp_path).data, both.data)


def test_auto_mpg(data_home):
    bunch = gd.load_auto_mpg()
    whole = ~np.isnan(bunch.data).any(axis=1)
    assert bunch.data.shape == (398, 7) and whole.sum() == 392
    assert np.isnan(bunch.data).sum(axis=0).tolist() == [0, 0, 6, 0, 0, 0, 0]
    assert r_squared(bunch.data[whole], bunch.target[whole]) == pytest.approx(0.821478, abs=1e-6)


def test_etth1(data_home):
    bunch = gd.load_etth1()
    assert bunch.data.shape == (17_420, 7) and bunch.feature_names[-1] == "OT"
    assert str(bunch.dates[0]) == "2016-07-01T00:00:00" and bunch.dates.dtype == "datetime64[s]"
    assert bunch.data[0, 6] == 30.5310001373291 and bunch.data[-1, 0] == 10.11400032043457


def test_texts(data_home):
    plays = gd.load_tiny_shakespeare()
    assert (len(plays), len(set(plays)), plays.count("\n")) == (1_115_394, 65, 40_000)
    names = gd.load_names()
    assert (len(names), len(set(names)), max(map(len, names))) == (32_033, 29_494, 15)
    reviews = gd.load_sentence_polarity()
    assert np.bincount(reviews.target).tolist() == [5331, 5331] and len(reviews.data) == 10_662
    assert max(len(text.split(" ")) for text in reviews.data) == 59
    assert sum("\x85" in text for text in reviews.data) > 0  # a byte that is no end of line here


def test_python_docs_text_drops_nothing():
    from pydoc_data.topics import topics
    text = gd.load_python_docs_text()
    assert all(topic in text for topic in topics.values())
    assert len(text) == sum(map(len, topics.values())) + 2 * (len(topics) - 1)


@pytest.mark.parametrize("name, shape", [
    ("digits", (1797, 64)), ("diabetes", (442, 10)), ("iris", (150, 4)), ("wine", (178, 13)),
    ("breast_cancer", (569, 30))])
def test_bundled_sets(name, shape):
    bunch = getattr(gd, f"load_{name}")()
    assert bunch.data.shape == shape and bunch.target.shape == shape[:1]
    assert len(bunch.feature_names) == shape[1] and len(bunch.target_names) and bunch.DESCR


def test_digits_have_images():
    digits = gd.load_digits()
    np.testing.assert_array_equal(digits.images.reshape(-1, 64), digits.data)


# The search for files

@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder but an empty cache."""
    monkeypatch.delenv("GRADATIM_DATA", raising=False)
    monkeypatch.setenv("GRADATIM_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_not_found_says_what_where_and_how(nowhere, monkeypatch):
    monkeypatch.setenv("GRADATIM_DATA", str(nowhere / "data"))
    with pytest.raises(DataNotFoundError) as caught:
        gd.load_mnist(data_home=nowhere / "mine")
    assert str(caught.value) == (
        "the data set MNIST is not on this machine\n"
        "  missing    mnist/train-images-idx3-ubyte.gz, mnist/train-labels-idx1-ubyte.gz, "
        "mnist/t10k-images-idx3-ubyte.gz, mnist/t10k-labels-idx1-ubyte.gz\n"
        f"  looked in  {nowhere}/mine, {nowhere}/data, {nowhere}/cache\n"
        "  fix        pass download=True; or get it from "
        "https://ossci-datasets.s3.amazonaws.com/mnist/; or name the folder that has it by "
        "data_home= or the environment variable GRADATIM_DATA")
    with pytest.raises(DataNotFoundError) as caught:
        gd.load_auto_mpg()
    assert str(caught.value).splitlines()[-1] == (
        "  fix        get it from https://github.com/jbrownlee/Datasets (in "
        "weka-datasets-numeric.zip); or name the folder that has it by data_home= or the "
        "environment variable GRADATIM_DATA")


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "tiny_shakespeare", "names",
                                  "sentence_polarity", "japanese_vowels", "wine_quality", "etth1"])
def test_every_loader_says_what_is_missing(nowhere, name):
    with pytest.raises(DataNotFoundError, match="(?s)missing .*fix .*download=True.*https://"):
        getattr(gd, f"load_{name}")()


def test_the_order_of_the_folders(nowhere, monkeypatch):
    folders = [nowhere / "mine", nowhere / "data", nowhere / "cache"]
    monkeypatch.setenv("GRADATIM_DATA", str(folders[1]))
    for folder in reversed(folders):
        (folder / "a").mkdir(parents=True)
        (folder / "a/file").write_text(folder.name)
        assert gd.find("a/file", data_home=folders[0]).parent.parent == folder


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b"])
def test_find_stays_inside_the_data_folders(path):
    with pytest.raises(ParameterError):
        gd.find(path)


def fake_pooch(monkeypatch, outcome):
    """A package pooch that writes "fetched", or raises."""
    def retrieve(url, known_hash, fname, path):
        if isinstance(outcome, Exception):
            raise outcome
        path.mkdir(parents=True)
        (path / fname).write_text(f"{url} {known_hash}")
        return str(path / fname)
    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))


def test_a_download_goes_to_the_cache_and_is_found_again(nowhere, monkeypatch):
    fake_pooch(monkeypatch, None)
    source = {"url": "https://example.org/x", "checksum": "sha256:12"}
    path = gd.find("a/x", **source, download=True)
    assert path == nowhere / "cache/a/x" and path.read_text() == "https://example.org/x sha256:12"
    assert gd.find("a/x", **source) == path


@pytest.mark.parametrize("outcome, kind, message", [
    (ValueError("SHA256 hash does not match"), CorruptFileError, "not the published one"),
    (ConnectionError("no route"), DataNotFoundError, "ConnectionError: no route"),
])
def test_downloads_that_fail(nowhere, monkeypatch, outcome, kind, message):
    fake_pooch(monkeypatch, outcome)
    with pytest.raises(kind, match=message):
        gd.find("a/x", url="https://example.org/x", download=True)


def test_a_download_without_pooch(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataNotFoundError, match="needs the package pooch"):
        gd.load_names(download=True)


# Generated sets

MAKERS = [gd.make_line, gd.make_spirals, gd.make_shapes, gd.make_seasonal, gd.make_adding_problem,
          gd.make_parity]


@pytest.mark.parametrize("make", MAKERS)
def test_generated_sets_depend_on_the_seed_alone(make):
    one, same, other = ([np.asarray(a) for a in np.atleast_1d(result)]
                        if isinstance(result, np.ndarray) else result
                        for result in (make(60), make(60), make(60, random_state=1)))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one, other))
    with pytest.raises(ParameterError):
        make(0)


def test_shapes_look_as_documented():
    X, y = gd.make_shapes(400, noise=0.0)
    area = (X > 0).mean(axis=(1, 2))
    filled = [area[y == k].mean() for k in range(4)]  # disc, square, triangle, cross
    # Of the square around them: pi/4, 1, 1/2 and 5/9.
    expected = [np.pi / 4, 1, 1 / 2, 5 / 9]
    np.testing.assert_allclose(np.array(filled) / filled[1], expected, atol=0.05)
    assert X.dtype == np.float32 and 0.5 <= X[X > 0].min() and X.max() <= 1


def test_adding_problem_marks_one_step_in_each_half():
    X, _ = gd.make_adding_problem(200, length=9)
    assert (X[:, :4, 1].sum(axis=1) == 1).all() and (X[:, 4:, 1].sum(axis=1) == 1).all()
    with pytest.raises(ParameterError):
        gd.make_adding_problem(3, length=1)
