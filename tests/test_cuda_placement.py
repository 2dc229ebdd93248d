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
