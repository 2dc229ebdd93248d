"""Equal graphs share what the passes made of them, and nothing else."""
import gc
import sys
import weakref

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers

functions = sys.modules["gradatim.backend.function"]


def step(start, rows=4):
    """A step of gradient descent from a place of its own."""
    w = gt.variable(np.float32([start, 1.0]), name="w")
    x = gt.placeholder((rows, 2))
    loss = gt.square(x @ gt.reshape(w, shape=(2, 1)) * 1.0 - 1.0).sum()
    return w, gt.function([x], [loss], updates={w: w - 0.1 * gt.gradients(loss, [w])[0]})


@pytest.fixture
def passes_run(monkeypatch):
    """A list that grows by one with each graph that goes through the passes."""
    ran = []
    original = functions.optimize
    monkeypatch.setattr(functions, "optimize", lambda *a: ran.append(1) or original(*a))
    functions._optimized.clear()
    return ran


def test_passes_run_once_for_equal_graphs(passes_run):
    made = [step(start) for start in (0.0, 2.0, 0.0)]
    assert len(passes_run) == 1
    x = np.float32([[1, 2], [3, 4], [0, 1], [1, 0]])
    found = [(f(x)[0].tobytes(), w.numpy().tobytes()) for w, f in made]
    assert found[0] == found[2] != found[1]
    assert made[0][1].program is made[1][1].program
    assert str(made[0][1].graph) == str(made[1][1].graph)
    assert [str(r) for r in made[0][1].reports] == [str(r) for r in made[1][1].reports]
    step(0.0, rows=5)
    assert len({str(f.graph) for _, f in made}) == 1


def test_other_sizes_passes_and_inner_inputs_are_other_graphs(passes_run):
    step(0.0), step(0.0, rows=5)
    assert len(passes_run) == 2
    x = gt.placeholder((3,))
    y = gt.exp(x)
    assert gt.function([y], -(-y))(np.float32([1, 2, 3])).tolist() == [1, 2, 3]
    a, b = gt.function([x], -(-x)), gt.function([x], -(-x), passes=())
    assert len(a.graph.steps) == 0 and len(b.graph.steps) == 2


def test_what_is_shared_keeps_no_weights_alive(passes_run):
    w, f = step(0.0)
    seen = weakref.ref(w.node)
    del w, f
    gc.collect()
    assert seen() is None and len(functions._optimized) == 1


def test_a_search_of_equal_nets_runs_the_passes_once(passes_run):
    X, y = np.random.default_rng(0).standard_normal((40, 3)), np.arange(40.0)
    fits = []
    for seed in (0, 1, 0):
        net = gt.Sequential([layers.Dense(4, "relu"), layers.Dense(1)])
        trainer = gt.Trainer(net, seed=seed)
        trainer.fit(X, y, epochs=2, batch_size=20)
        fits.append(trainer.predict(X))
    assert len(passes_run) == 2                                # of the step, and of prediction
    assert (fits[0] == fits[2]).all() and (fits[0] != fits[1]).any()
