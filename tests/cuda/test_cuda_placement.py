"""One program on several GPUs of the stand-in, and which GPU a process of a search takes."""
import shutil

import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV

import gradatim as gt
from gradatim.backend.cuda import CudaBackend, chosen
from gradatim.backend.distribute import gpus
from gradatim.backend.errors import BackendError

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((24, 6)).astype("f"), RNG.integers(0, 3, 24)


def trained(backend, *devices):
    """Losses and weights of a net of two layers, each on a device of its own."""
    x, y = gt.placeholder((24, 6)), gt.placeholder((24,), "int64")
    rng = np.random.default_rng(1)
    weights = [gt.variable(rng.standard_normal(shape).astype("f"), name=name)
               for name, shape in (("a", (6, 8)), ("b", (8, 3)))]
    with gt.device(devices[0]):
        hidden = gt.relu(x @ weights[0])
    with gt.device(devices[1]):
        loss = gt.softmax_cross_entropy(hidden @ weights[1], y).mean()
    updates = {w: w - 0.1 * g for w, g in zip(weights, gt.gradients(loss, weights))}
    step = gt.function([x, y], loss, updates, backend=backend)
    return [float(step(X, Y)) for _ in range(5)], [w.numpy() for w in weights], step.plan()


def test_a_program_on_two_devices_is_that_of_one():
    device = CpuDevice(count=3)
    backend = CudaBackend(device)
    losses, weights, plan = trained(backend, "cuda:0", "cuda:2")
    one, same, whole = trained(CudaBackend(CpuDevice()), "cuda:0", "cuda:0")
    np.testing.assert_allclose(losses, one, rtol=1e-6)
    for found, expected in zip(weights, same):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert plan.device_bytes > whole.device_bytes and plan.devices.keys() >= {"cuda:0", "cuda:2"}
    assert device.neighbour(2)._taken and not device.neighbour(1)._taken


class Counting(CpuDevice):
    """Counts what comes to the host, and what goes from device to device."""
    downloaded, received = [], []

    def _other(self, number):
        return Counting(self.flags, self.libraries, self.memory, number, self.count)

    def download(self, array, address):
        self.downloaded.append(array.nbytes)
        super().download(array, address)

    def receive(self, to, other, source, nbytes):
        self.received.append((other.name, self.name, nbytes))
        super().receive(to, other, source, nbytes)


def test_what_crosses_stays_on_the_devices(monkeypatch):
    monkeypatch.setattr(Counting, "downloaded", [])
    monkeypatch.setattr(Counting, "received", [])
    losses, *_ = trained(CudaBackend(Counting(count=2)), "cuda:0", "cuda:1")
    hidden = 24 * 8 * 4                                  # there, and its gradient back
    assert {("cuda:0", "cuda:1", hidden), ("cuda:1", "cuda:0", hidden)} < {*Counting.received}
    # Each step's loss, and what two parts may find wrong with labels; the weights in the end.
    assert sorted(Counting.downloaded) == sorted([4, 32, 32] * 5 + [6 * 8 * 4, 8 * 3 * 4])


@pytest.mark.parametrize("enabled", [False, True])
def test_copies_go_from_gpu_to_gpu(install, enabled):
    from gradatim.backend.cuda.cuda_device import CudaDevice
    fake = install(gpus=2)
    fake.peers_enabled = enabled                          # by somebody else, which is no error
    losses, weights, _ = trained(CudaBackend(CudaDevice()), "cuda:0", "cuda:1")
    one, same, _ = trained(CudaBackend(CpuDevice()), "cuda:0", "cuda:0")
    np.testing.assert_allclose(losses, one, rtol=1e-5)
    for found, expected in zip(weights, same):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert fake.log.count("peer") >= 10 and sorted(fake.peers) == [0, 1]
    assert "graph" in fake.log


def test_a_wrong_label_on_another_device_is_raised_when_all_is_done():
    labels = Y.copy()
    labels[5] = 7
    x, y = gt.placeholder((24, 3)), gt.placeholder((24,), "int64")
    with gt.device("cuda:0"):
        logits = x * 2.0
    with gt.device("cuda:1"):
        loss = gt.softmax_cross_entropy(logits, y).mean()
    f = gt.function([x, y], loss, backend=CudaBackend(CpuDevice(count=2)))
    with pytest.raises(IndexError, match=r"number of classes, 3: 7 at \[5\]"):
        f(X[:, :3], labels)
    assert np.isfinite(f(X[:, :3], Y))


def test_a_device_that_is_not_there_is_refused_before_anything_runs():
    with pytest.raises(BackendError) as caught:
        trained(CudaBackend(CpuDevice(count=2)), "cuda:0", "cuda:2")
    text = str(caught.value)
    assert text.startswith('the backend "cuda" has no device "cuda:2"\n'
                           "  found  cuda:0, cuda:1, cpu:N for any N\n")
    assert text.endswith('fix    use gt.device("cuda:0"), or another backend')


@pytest.mark.parametrize("name, count, own", [
    ("MainProcess", 4, 0), ("LokyProcess-1", 2, 0), ("LokyProcess-2", 2, 1),
    ("SpawnPoolWorker-7", 4, 2), ("LokyProcess-3", 0, 0)])
def test_processes_of_a_search_take_gpus_in_turn(monkeypatch, name, count, own):
    monkeypatch.setattr(gpus, "current_process", lambda: type("Process", (), {"name": name}))
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ["H100"] * count)
    assert gpus.own_gpu() == own


def test_a_search_in_two_processes_on_two_devices(monkeypatch):
    monkeypatch.setenv("GRADATIM_CUDA", "stand-in:2")
    get_reusable_executor().shutdown(wait=True)           # workers of other tests know one device
    model = gt.DNNClassifier(hidden_layer_sizes=(4,), epochs=2, random_state=0, backend="cuda")
    grid = {"learning_rate": [0.1, 0.01]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, Y)
    same = GridSearchCV(model.set_params(backend="reference"), grid, cv=2).fit(X, Y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"],
                               same.cv_results_["mean_test_score"])
    np.testing.assert_allclose(search.predict_proba(X), same.predict_proba(X), atol=1e-4)
    names = Parallel(n_jobs=2)(delayed(name_of_gpu)(i) for i in range(8))
    get_reusable_executor().shutdown(wait=True)
    assert {*names} == {"cuda:0", "cuda:1"}


def name_of_gpu(i):
    import time
    time.sleep(0.05)                                 # so that both have some of the work
    return gt.get_backend("cuda").device.name


@pytest.mark.parametrize("given", ["stand-in:0", "stand-in:x", "moon"])
def test_devices_in_the_environment_that_are_none(monkeypatch, given):
    monkeypatch.setenv("GRADATIM_CUDA", given)
    with pytest.raises(BackendError, match=f"GRADATIM_CUDA is '{given}'"):
        chosen.open_device()
