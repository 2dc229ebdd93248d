"""The native backend among threads and processes: forks, limits, many callers, equal bits."""
import json
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import available
from gradatim.backend.context import surroundings, threads_of

if "native" not in available():
    pytest.skip("the compiled core is not here", allow_module_level=True)

# What every script begins with: a net with matrix products, a convolution, a recurrence and our
# own loops, the threads of this process, and the threads the core's loops took since last asked.
START = """
import json, os, signal, sys, threading
import numpy as np, gradatim as gt
from gradatim import layers

core = gt.get_backend("native").core
rng = np.random.default_rng(0)
X, y = rng.standard_normal((600, 12, 8)).astype("f"), rng.integers(0, 7, 600)

def trained(epochs=1):
    net = gt.Sequential([layers.Conv1D(16, 3, padding="same"), layers.BatchNormalization(),
                         layers.LSTM(32), layers.Dense(64, "relu"), layers.Dense(7)])
    model = gt.Trainer(net, layers.SparseCategoricalCrossentropy(from_logits=True), "adam",
                       metrics=["accuracy"], backend="native")
    model.fit(X, y, epochs=epochs, batch_size=200)
    return model

def bits(model):
    import hashlib
    weights = model.model.variables()
    return hashlib.sha256(b"".join(weights[k].numpy().tobytes() for k in weights)).hexdigest()

def tasks():
    return len(os.listdir("/proc/self/task"))
"""


def run(code, threads, **environment):
    """The JSON that a script prints, in a process of its own with so many OpenMP threads."""
    found = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True,
                           timeout=120, env=os.environ | environment | {
                               "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"})
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


# ---- forks -------------------------------------------------------------------------------------

FORK = """
model = trained()
before, team, expected = core.threads_used(), tasks(), model.predict(X)
ways = {}

def child(report):
    signal.alarm(60)                                       # the deadline
    core.threads_used()
    report["predicts"] = bool(np.array_equal(model.predict(X), expected))
    again = trained()                                      # compiles anew
    report["trains"] = float(np.abs(again.predict(X) - expected).max())
    report["threads"], report["tasks"] = core.threads_used(), tasks()
    os.environ["OMP_NUM_THREADS"] = "3"
    core.set_threads(3)                                    # as threadpoolctl would
    report["still"] = bool(np.array_equal(model.predict(X), expected)) and core.threads_used() == 1
    def work():
        core.threads_used()
        report["thread"] = bool(np.array_equal(model.predict(X), expected))
        report["thread's"] = core.threads_used()
    thread = threading.Thread(target=work)
    thread.start(); thread.join()

read, write = os.pipe()
pid = os.fork()
if not pid:
    report = {}
    try:
        child(report)
    finally:
        os.write(write, json.dumps(report).encode()); os._exit(0)
os.close(write)
report = json.loads(os.fdopen(read).read() or "null")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
same = bool(np.array_equal(model.predict(X), expected)) and core.threads_used() == 3
print(json.dumps([before, team, code, same, report]))
"""


def test_a_forked_child_does_not_wait_for_the_threads_of_its_parent():
    before, team, code, same, report = run(FORK, 3)
    assert before == 3 and team >= 3, "the parent is to have a team before it forks"
    assert code == 0 and same
    assert report.pop("trains") < 1e-5
    assert report == {"predicts": True, "threads": 1, "tasks": 1, "still": True,
                      "thread": True, "thread's": 3}


POOL = """
model = trained()
expected = model.predict(X)

def work(part):
    return model.predict(X[part::4]), core.threads_used()

import multiprocessing
signal.alarm(100)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(work, range(4))
print(json.dumps([all(np.allclose(rows, expected[i::4], rtol=1e-6, atol=1e-6)
                      for i, (rows, _) in enumerate(found)), max(n for _, n in found)]))
"""


def test_a_pool_of_forked_processes():
    assert run(POOL, 2) == [True, 1]


SEARCH = """
import joblib
from sklearn.model_selection import GridSearchCV
signal.alarm(100)
data = X[:, :, 0], y
net = gt.DNNClassifier(hidden_layer_sizes=(256,), epochs=2, batch_size=150, solver="mini_batch",
                       random_state=0, backend="native")
grid = {"learning_rate": [1e-3, 1e-2]}
scores = {}
net.fit(*data)                                              # the parent has a team
for kind, n_jobs in [("sequential", 1), ("loky", 2), ("multiprocessing", 2), ("threading", 2)]:
    with joblib.parallel_config(kind):
        search = GridSearchCV(net, grid, n_jobs=n_jobs, cv=2).fit(*data)
    scores[kind] = search.cv_results_["mean_test_score"].tolist()
print(json.dumps(scores))
"""


def test_joblib_of_every_kind():
    scores = run(SEARCH, 2)
    assert len(scores) == 4
    for found in scores.values():
        assert found == pytest.approx(scores["sequential"], abs=0.005)


LOKY = """
import joblib
def work(i):
    core = gt.get_backend("native").core
    x = gt.placeholder((5000, 60))
    w = gt.constant(np.ones((60, 70), "f"))
    before, granted = tasks(), core.thread_limit()
    core.threads_used()
    gt.function([x], gt.tanh(x @ w).sum(), backend="native")(np.ones((5000, 60), "f"))
    return granted, core.threads_used(), tasks() - before
found = {}
for most in (1, 2):
    with joblib.parallel_config("loky", inner_max_num_threads=most):
        found[most] = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(i) for i in range(2))
print(json.dumps(found))
"""


def test_workers_of_loky_take_the_threads_they_are_granted():
    found = run(LOKY, 4)
    assert {tuple(row) for row in found["1"]} == {(1, 1, 0)}
    assert {tuple(row) for row in found["2"]} == {(2, 2, 1)}


# ---- limits ------------------------------------------------------------------------------------

COUNT = """
from threadpoolctl import threadpool_limits
net = gt.DNNClassifier(hidden_layer_sizes=(512,), epochs=1, batch_size=300, solver="mini_batch",
                       random_state=0, backend="native")
data = np.repeat(X[:, :, 0], 40, axis=1), y
def used(n_jobs, limit=None):
    core.threads_used()
    with threadpool_limits(limit, user_api="openmp"):
        net.set_params(n_jobs=n_jobs).fit(*data).predict(data[0])
    return core.threads_used()
start = tasks()
counts = [used(1), used(None, 1), used(-1, 1), used(5, 1), tasks() - start,
          used(2), used(-2), used(-9), tasks() - start, used(None), used(-1), used(9),
          tasks() - start, used(None, 2)]
print(json.dumps(counts))
"""


@pytest.mark.parametrize("threads, expected", [
    (1, [1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 2]),
    (3, [1, 1, 1, 1, 0, 2, 2, 1, 1, 3, 3, 3, 2, 2])])
def test_the_number_of_threads(threads, expected):
    """By n_jobs, OMP_NUM_THREADS and threadpoolctl; oneDNN starts no others."""
    assert run(COUNT, threads) == expected


@pytest.mark.parametrize("n_jobs, shares, granted, expected", [
    (None, 1, 8, 8), (-1, 1, 8, 8), (-2, 1, 8, 7), (-9, 1, 8, 1), (3, 1, 8, 3), (3, 1, 2, 2),
    (None, 2, 8, 4), (-1, 16, 8, 1), (6, 2, 8, 3)])
def test_threads_of(n_jobs, shares, granted, expected):
    with surroundings(n_jobs=n_jobs, shares=shares):
        assert threads_of(granted) == expected


@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
def test_what_is_no_number_of_threads(n_jobs):
    with pytest.raises(ValueError, match="The 'n_jobs' parameter of DNNRegressor must be None, an "
                                         r"int in the range \[1, inf\) or an int in the range "
                                         r"\(-inf, -1\]"):
        gt.DNNRegressor(n_jobs=n_jobs).fit([[1.0], [2.0]], [1.0, 2.0])


REPLICAS = """
from gradatim.backend.distribute import DataParallel
found = []
for strategy in ("auto", DataParallel(2)):
    net = gt.DNNRegressor(hidden_layer_sizes=(300,), epochs=1, batch_size=600, random_state=0,
                          solver="mini_batch", strategy=strategy, backend="native")
    found.append(net.fit(X[:, :, 0], y).predict(X[:, :, 0]))
print(json.dumps([float(np.abs(found[0] - found[1]).max()), tasks()]))
"""


def test_replicas_share_the_threads():
    difference, tasks = run(REPLICAS, 2)
    # This one, the core's, and two that each compute a replica on one thread.
    assert difference < 1e-5 and tasks == 4, "each of two replicas has one of two threads"


# ---- many callers, equal bits ------------------------------------------------------------------

def estimators():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 12)).astype("f")
    options = dict(epochs=1, batch_size=16, solver="mini_batch", random_state=0, backend="native")
    images, sequences = X[:, :, None].repeat(12, 2)[..., None], X.reshape(64, 6, 2)
    return {"DNN": (gt.DNNClassifier(**options), X), "CNN": (gt.CNNClassifier(**options), images),
            "RNN": (gt.RNNClassifier(**options), sequences)}


@pytest.mark.parametrize("name", ["DNN", "CNN", "RNN"])
def test_sixteen_threads_predict_at_once(name):
    """On one estimator, and on one that came by pickle, whose programs are all still to be made."""
    model, X = estimators()[name]
    model.fit(X, np.arange(64) % 3)
    expected = [model.predict_proba(X[i:i + 40]) for i in range(4)]
    for shared in (model, pickle.loads(pickle.dumps(model))):
        wrong, gate = [], threading.Barrier(16)

        def work(i):
            try:
                gate.wait(60)
                for turn in range(5):
                    k = (i + turn) % 4
                    if not np.array_equal(shared.predict_proba(X[k:k + 40]), expected[k]):
                        wrong.append((i, turn))
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_arrays_at_odd_addresses():
    """Feeds, tables and weights; run by tests/native/sanitize.py, which sees every address."""
    a = np.arange(60, dtype="f").reshape(10, 6)
    odd = np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view("f").reshape(10, 6)
    assert not odd.flags.aligned
    w = gt.variable(np.zeros((10, 6), "f"))
    x = gt.placeholder((10, 6))
    f = gt.function([x], gt.tanh(x) + w, updates={w: w + x.sum()}, backend="native")
    w.storage = odd.copy()
    expected = f(a)
    w.storage = odd
    np.testing.assert_array_equal(f(odd), expected)
    np.testing.assert_array_equal(odd, a)
    np.testing.assert_array_equal(w.numpy(), a + a.sum())
    f.steps([odd], np.arange(10)[None])


BITS = """
print(json.dumps([bits(trained(3)), bits(trained(3))]))
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_trainings_with_the_same_threads_give_the_same_bits(threads):
    one, two, three, four = run(BITS, threads) + run(BITS, threads)
    assert one == two == three == four
