"""Every estimator that trains a net, on the CUDA stand-in: one epoch is that of the reference."""
import runpy
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import gradatim as gt
from gradatim.backend import registry
from gradatim.backend.cuda import CudaBackend

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

RNG = np.random.default_rng(0)
TABLE, IMAGES = RNG.standard_normal((24, 6)).astype("f"), RNG.standard_normal((12, 8, 8, 3))
SEQUENCES = [RNG.standard_normal((n, 4)) for n in (5, 3, 4, 5, 2, 5) * 2]
NUMBERS, BITS = TABLE[:, 0] * 2 + TABLE[:, 1], (TABLE[:, 0] > 0).astype(int)
THREE = np.array(["a", "b", "c"] * 4)
TAGS = [list("xyzxy"[:len(s)]) for s in SEQUENCES]
SMALL = {"epochs": 1, "random_state": 0}
TRAINED = {"solver": "mini_batch", "batch_size": 8, **SMALL}
CASES = {
    "autoencoder": (gt.Autoencoder(hidden_layer_sizes=(4,), **SMALL), TABLE, None),
    "linear": (gt.LinearClassifier(**SMALL), TABLE, BITS),
    "dense": (gt.DNNClassifier(hidden_layer_sizes=(8,), **TRAINED), TABLE, BITS),
    "dense-full-batch": (gt.DNNRegressor(hidden_layer_sizes=(8,), **SMALL), TABLE, NUMBERS),
    "images": (gt.CNNClassifier(**SMALL), IMAGES, THREE),
    "images-numbers": (gt.CNNRegressor(**SMALL), IMAGES, NUMBERS[:12]),
    **{cell: (gt.RNNClassifier(cell=cell, units=4, **SMALL), SEQUENCES, THREE)
       for cell in ("rnn", "lstm", "gru")},
    "sequences-numbers": (gt.RNNRegressor(units=4, **SMALL), SEQUENCES, NUMBERS[:12]),
    "network": (gt.NetworkClassifier(n_ensemble=2, **SMALL), TABLE, BITS),
    "huber": (gt.NetworkRegressor(loss="huber", **SMALL), TABLE, NUMBERS),
    "wide": (gt.WideAndDeepClassifier(hidden_layer_sizes=(4,), label_smoothing=0.1, **SMALL),
             TABLE, BITS),
    "wide-numbers": (gt.WideAndDeepRegressor(hidden_layer_sizes=(4,), **SMALL), TABLE, NUMBERS),
    "tagger": (gt.RNNTagger(units=4, **SMALL), SEQUENCES, TAGS),
    "forecaster": (gt.RNNForecaster(horizon=2, lookback=3, units=4, **SMALL),
                   np.sin(np.arange(40.0) / 3), None),
    "text": (gt.TextGenerator(units=4, **SMALL), ["the cat sat on the mat", "a dog ran"] * 3,
             None)}


def test_no_estimator_that_trains_a_net_is_forgotten():
    trains = {name for name in gt.estimators.__all__
              if hasattr(getattr(gt.estimators, name), "plan")}
    assert trains - {"LinearRegressor"} == {type(case[0]).__name__ for case in CASES.values()}


@pytest.mark.parametrize("name", ["01_the_graph"])
def test_a_tutorial_of_graphs_runs(name, monkeypatch, capsys):
    """It checks its own numbers; those of the others are estimators as above."""
    backend = Keeping(CpuDevice())
    backend.programs, backend.automatic = [], True
    monkeypatch.setitem(registry._loaded, "cuda", backend)
    monkeypatch.delitem(registry._missing, "cuda", raising=False)
    monkeypatch.setenv("FAST", "1")
    path = Path(gt.__file__).parent / "tutorials" / "expert" / f"{name}.py"
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == f"Done: {name}"
    assert backend.programs and not any(p.fall_backs for p in backend.programs)


class Keeping(CudaBackend):
    """Remembers its programs."""

    def compile(self, graph, device="", communicator=None):
        program = super().compile(graph, device, communicator)
        self.programs.append(program)
        return program


@pytest.mark.parametrize("name", CASES)
def test_one_epoch_is_that_of_the_reference(name):
    estimator, X, y = CASES[name]
    backend = Keeping(CpuDevice())
    backend.programs = []
    data = (X,) if y is None else (X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plan = estimator.set_params(backend=backend).plan(*data)
    assert plan.device_bytes >= plan.variable_bytes > 0 and not vars(estimator).get("history_")
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for b in (backend, "reference"):
            fitted = estimator.set_params(backend=b).fit(X) if y is None else \
                estimator.set_params(backend=b).fit(X, y)
            losses.append(fitted.history_[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert backend.programs and not any(p.fall_backs for p in backend.programs)
