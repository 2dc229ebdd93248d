"""Samples in files larger than memory: same bits as in memory, bounded memory, checked alike."""
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gradatim as gt
from gradatim.backend.errors import DataError, ShapeError
from gradatim.datasets import OnDisk, is_on_disk, on_disk
from gradatim.training import sources

SMALL = dict(epochs=2, random_state=0, solver="mini_batch", batch_size=32)
ROWS = 300


class Rows:
    """The least that counts as a file: shape, dtype and slices."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key):
        return self.array[key]


def hdf5(array, path):
    return h5py.File(path, "w").create_dataset("x", data=array, chunks=(4, *array.shape[1:]))


def mapped(array, path):
    np.save(path, array)
    return np.load(f"{path}.npy", mmap_mode="r")


FILES = {"hdf5": hdf5, "memmap": mapped, "own": lambda array, path: Rows(array)}
NETS = {
    "dnn": (gt.DNNClassifier(hidden_layer_sizes=(8,), **SMALL), (5,)),
    "dnn regressor": (gt.DNNRegressor(hidden_layer_sizes=(8,), **SMALL), (5,)),
    "cnn": (gt.CNNClassifier(architecture="lenet", **SMALL), (6, 6)),
    "cnn flat": (gt.CNNRegressor(architecture="lenet", image_shape=(6, 6), **SMALL), (36,)),
    "cnn signals": (gt.CNNClassifier(**SMALL), (12,)),
    "rnn": (gt.RNNClassifier(cell="rnn", units=4, **SMALL), (6, 2)),
    "rnn rows": (gt.RNNRegressor(cell="rnn", units=4, **SMALL), (6,)),
}


@pytest.fixture
def small(monkeypatch):
    """Files count as large, and are read in several windows."""
    monkeypatch.setattr(on_disk, "READ_WHOLE", 0)
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(on_disk, "NEAR_BYTES", 100)
    monkeypatch.setattr(sources, "WINDOW_BYTES", 2 ** 13)


def data(shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, *shape)).astype("float32")
    return X, (X.reshape(ROWS, -1)[:, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("name, kind", [(name, kind) for i, name in enumerate(NETS)
                                        for j, kind in enumerate(FILES) if not i or i % 3 == j])
def test_equals_the_fit_in_memory(name, kind, tmp_path, small):
    net, shape = NETS[name]
    X, y = data(shape)
    file = FILES[kind](X, tmp_path / "x")
    weights = np.linspace(0.0, 2.0, ROWS)                            # the first row counts nothing
    expected = clone(net).fit(X, y, weights, X[:50], y[:50])
    found = clone(net).fit(file, y, weights, FILES[kind](X[:50], tmp_path / "v"), y[:50])
    assert found.history_ == expected.history_ or name.startswith("rnn")
    same = np.testing.assert_allclose if name == "rnn" else np.testing.assert_array_equal
    same(found.predict(file), expected.predict(X))
    assert found.score(file, y) == pytest.approx(expected.score(X, y), abs=1e-6)
    assert found.n_features_in_ == expected.n_features_in_


@pytest.mark.parametrize("kind", FILES)
def test_early_stopping_and_partial_fit_leave_rows_in_the_file(kind, tmp_path, small):
    X, y = data((5,))
    file, net = FILES[kind](X, tmp_path / "x"), NETS["dnn"][0]
    fits = [clone(net).set_params(early_stopping=True).fit(a, y) for a in (X, file)]
    np.testing.assert_array_equal(fits[0].predict_proba(X), fits[1].predict_proba(file))
    fits = [clone(net).partial_fit(a, y, classes=[0, 1]) for a in (X, file)]
    np.testing.assert_array_equal(fits[0].predict_proba(X), fits[1].predict_proba(file))


def test_targets_and_weights_may_lie_in_the_file(tmp_path, small):
    X, y = data((5,))
    file = h5py.File(tmp_path / "x", "w")
    for name, array in {"x": X, "y": y, "w": np.ones(ROWS)}.items():
        file[name] = array
    net = clone(NETS["dnn"][0]).fit(file["x"], file["y"], file["w"])
    expected = clone(NETS["dnn"][0]).fit(X, y, np.ones(ROWS))
    np.testing.assert_array_equal(net.predict(X), expected.predict(X))


@pytest.mark.parametrize("key", [slice(3, 9), slice(None), slice(8, 2, -2), 4, np.array([5, 1, 5]),
                                 np.array([], np.int64)], ids=str)
@pytest.mark.parametrize("kind", FILES)
def test_reads_what_indexing_an_array_gives(kind, key, tmp_path, small):
    X, _ = data((3, 2))
    chosen = np.random.default_rng(1).permutation(ROWS)[:40]
    file, array = OnDisk(FILES[kind](X, tmp_path / "x")), X
    np.testing.assert_array_equal(file[key], array[key])
    np.testing.assert_array_equal(file.subset(chosen)[key], array[chosen][key])
    np.testing.assert_array_equal(file.reshape(-1, 6)[key], array.reshape(-1, 6)[key])
    np.testing.assert_array_equal(file[..., None][key], array[..., None][key])
    assert (file.min(), file.max()) == (array.min(), array.max())


def stored(array, path):
    """A data set of a file that was written before and is read now."""
    hdf5(array, path).file.close()
    return h5py.File(path, "r")["x"]


def test_a_search_in_processes_equals_that_in_memory(tmp_path):
    X, y = data((5,))
    search = GridSearchCV(NETS["dnn"][0], {"alpha": [1e-3, 1.0]}, cv=2)
    expected = clone(search).fit(X, y)
    with pytest.raises(TypeError, match="h5py objects cannot be pickled"):
        pickle.dumps(stored(X, tmp_path / "raw"))
    found = clone(search).set_params(n_jobs=2).fit(OnDisk(stored(X, tmp_path / "x")), y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(found.cv_results_[name], expected.cv_results_[name])
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("make", [stored, mapped])
def test_parts_and_copies_stay_on_disk(make, tmp_path):
    X, y = data((5,))
    file = OnDisk(make(X, tmp_path / "x")).subset(np.arange(ROWS)[::-1]).reshape(-1, 5, 1)
    for part, array in zip(train_test_split(file, random_state=0),
                           train_test_split(X[::-1, :, None], random_state=0)):
        assert type(part) is OnDisk and part.data is file.data
        np.testing.assert_array_equal(part[:], array)
    copy = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(copy[:], X[::-1, :, None])
    assert make is mapped or len(pickle.dumps(file)) < 8 * ROWS + 1000, "rows are no part of it"
    flat = file.reshape(-1, 5)
    pipeline = make_pipeline(StandardScaler(), NETS["dnn"][0])
    assert pipeline.fit(flat, y[::-1]).predict(flat).shape == (ROWS,)


def test_what_cannot_be_found_again_is_not_pickled(tmp_path):
    being_written = hdf5(np.zeros((4, 2)), tmp_path / "x")
    nowhere = h5py.File("nowhere", "w", driver="core", backing_store=False)
    nowhere["x"] = np.zeros((4, 2))
    for rows in (being_written, nowhere["x"]):
        with pytest.raises(DataError, match="opened for reading can go to other processes"):
            pickle.dumps(OnDisk(rows))


def test_what_counts_as_a_file(tmp_path):
    assert not is_on_disk(np.zeros(3)) and not is_on_disk([1]) and not is_on_disk("text")
    small_file = hdf5(np.zeros((4, 2)), tmp_path / "x")
    assert not is_on_disk(small_file), "small files are read whole"
    assert type(on_disk.in_memory(small_file)) is np.ndarray
    large = h5py.File(tmp_path / "y", "w").create_dataset("x", (2 ** 22, 2), "float32")
    assert is_on_disk(large)


@pytest.mark.parametrize("change, error, text", [
    (lambda X: X[:, 0], ShapeError, "X must have two axes"),
    (lambda X: X.astype("S3"), DataError, "X must hold numbers"),
    (lambda X: np.where(X > 2, np.nan, X), ValueError, "Input X contains NaN"),
    (lambda X: X[1:], ValueError, "inconsistent numbers of samples"),
])
def test_refusals(change, error, text, tmp_path, small):
    X, y = data((5,))
    with pytest.raises(error, match=text):
        gt.DNNClassifier(**SMALL).fit(Rows(change(X)), y)


def test_other_features_are_refused(small):
    X, y = data((5,))
    net = gt.DNNClassifier(**SMALL).fit(Rows(X), y)
    with pytest.raises(ValueError, match="X has 4 features, but DNNClassifier is expecting 5"):
        net.predict(Rows(X[:, :4]))


MEASURED = """
import resource, sys
import h5py, numpy as np, gradatim as gt
kind, path = sys.argv[1:]
rows = 160_000
if kind == "hdf5":
    X = h5py.File(path, "w").create_dataset("x", (rows, 200), "float32")
else:
    X = np.lib.format.open_memmap(path, "w+", "float32", (rows, 200))
rng = np.random.default_rng(0)
y = rng.integers(0, 2, rows)
for i in range(0, rows, 10_000):
    X[i:i + 10_000] = rng.standard_normal((10_000, 200), "float32") + y[i:i + 10_000, None]
if kind != "hdf5":
    X.flush()
    X._mmap.madvise(__import__("mmap").MADV_DONTNEED)
net = gt.DNNClassifier(hidden_layer_sizes=(4,), epochs=1, batch_size=1024, learning_rate=1e-2,
                       random_state=0)
net.fit(np.float32(rng.standard_normal((2000, 200))), y[:2000])         # what any fit needs
def now():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
open("/proc/self/clear_refs", "w").write("5")
before = now()
score = net.fit(X, y).score(X, y)
print(X.size * 4 / 2 ** 20, (now() - before) / 2 ** 10, score)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("kind", ["hdf5", "memmap"])
def test_memory_is_bounded(kind, tmp_path):
    done = subprocess.run([sys.executable, "-c", MEASURED, kind, tmp_path / "x"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, peak, score = map(float, done.stdout.split())
    assert size > 120 and peak < size / 2, done.stdout
    assert score > 0.95
