"""float16: the rounding, and fits with a loss scale that is kept where the weights are."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import available
from gradatim.backend.errors import ParameterError
from gradatim.training import loss_scale
from gradatim.training.checkpoint import Checkpoint

RNG = np.random.default_rng(3)
X = RNG.standard_normal((48, 6)).astype("f")
Y = (X @ np.arange(-2.5, 3.5) > 0).astype(int)
CROSS_ENTROPY = layers.SparseCategoricalCrossentropy(from_logits=True)
BACKENDS = ["reference", pytest.param("native", marks=pytest.mark.skipif(
    "native" not in available(), reason="the compiled core is not here"))]
STATE = ("loss_scale/scale", "loss_scale/good_steps")


def fitted(precision="float16", epochs=3, X=X, before=None, callbacks=None, optimizer="adam",
           backend="reference", **settings):
    """A small net with batch statistics after three steps an epoch."""
    net = gt.Sequential([layers.Dense(12, "relu"), layers.BatchNormalization(), layers.Dense(2)])
    trainer = gt.Trainer(net, CROSS_ENTROPY, optimizer, learning_rate=0.05, backend=backend,
                         precision=precision, **settings)
    trainer.prepare(X)
    if before:
        before(trainer)
    trainer.fit(X, Y, epochs=epochs, batch_size=16 // trainer.accumulate, shuffle=False,
                callbacks=callbacks)
    return trainer


def values(trainer, names=None):
    return {k: v.numpy() for k, v in trainer.variables().items() if names is None or k in names}


# ---- the rounding ------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_are_rounded_as_numpy_does(backend):
    bits = RNG.integers(0, 2**32, 20000, dtype="uint32").view("float32")
    near = np.ldexp(RNG.standard_normal(20000), RNG.integers(-28, 18, 20000)).astype("f")
    edges = np.float32([65504, 65519.99, 65520, 2**-24, 2**-25, 3 * 2**-25, np.inf, np.nan, -0.0])
    for x in (bits, near, edges, -edges):
        t = gt.placeholder(x.shape)
        got = gt.function([t], gt.round_to_float16(t), backend=backend)(x)
        with np.errstate(all="ignore"):
            want = x.astype("float16").astype("f")
        np.testing.assert_array_equal(got, want)


# ---- fits --------------------------------------------------------------------------------------

def scaled(scale):
    return lambda trainer: [v.assign(np.float32(scale))
                            for k, v in trainer.variables().items() if k == STATE[0]]


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"ema": 0.9}, {"alpha": 0.01}],
                         ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_is_close_to_one_in_float32(settings, backend):
    half, full = (values(fitted(p, backend=backend, before=scaled(2.0**10), **settings))
                  for p in ("float16", None))
    assert half["loss_scale/scale"] == 2.0**10 and half["loss_scale/good_steps"] == 9
    distances = [np.abs(half[k] - full[k]).max() for k in full]
    assert 0 < max(distances) < 0.02


def test_small_slopes_are_not_lost():
    """A loss so small that its slopes are below float16 teaches as one in float32 does."""
    small = lambda y, p: CROSS_ENTROPY(y, p) * 1e-7
    weights = {}
    for name, precision in (("scaled", "float16"), ("full", None)):
        net = gt.Sequential([layers.Dense(12, "tanh"), layers.Dense(2)])
        trainer = gt.Trainer(net, small, "sgd", learning_rate=1e6, backend="reference",
                             precision=precision)
        trainer.fit(X, Y, epochs=3, batch_size=16)
        weights[name] = np.concatenate([v.numpy().ravel() for v in net.variables().values()])
    np.testing.assert_allclose(weights["scaled"], weights["full"], atol=0.02)
    # Without the scale they are lost: the first layer's all round to zero.
    slopes = gt.run(gt.round_to_float16(gt.constant(np.float32([1e-7 / 16 / 2]))),
                    backend="reference")
    assert slopes == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflow_leaves_out_its_step_and_halves_the_scale(backend):
    """The second of three steps has a sample so large that its slopes overflow."""
    planted = X.copy()
    planted[20] *= 1e5                                 # above the largest float16
    trainer = fitted(epochs=0, backend=backend)
    seen = [values(trainer)]
    for rows in (slice(0, 16), slice(16, 32), slice(32, 48)):
        trainer.fit(planted[rows], Y[rows], epochs=1, batch_size=16)
        seen.append(values(trainer))
    weights = {k for k in seen[0] if not k.startswith(("training/", "loss_scale/"))}
    moved = [{k for k in weights if not np.array_equal(a[k], b[k])} for a, b in zip(seen, seen[1:])]
    assert moved[0] == moved[2] == weights and moved[1] == set()
    assert [s["loss_scale/scale"] for s in seen] == [2.0**15, 2.0**15, 2.0**14, 2.0**14]
    assert [s["loss_scale/good_steps"] for s in seen] == [0, 1, 0, 1]
    assert [s["training/step"] for s in seen] == [0, 1, 2, 3]


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}], ids=str)
def test_a_scale_that_is_too_large_comes_down_by_itself(settings):
    found = values(fitted(epochs=15, before=scaled(2.0**40), **settings))
    assert 2.0**10 < found["loss_scale/scale"] < 2.0**35
    assert all(np.isfinite(v).all() for v in found.values())


def test_many_good_steps_double_the_scale(monkeypatch):
    monkeypatch.setattr(loss_scale, "STEADY", 4)
    found = values(fitted(epochs=3), STATE)
    assert (found["loss_scale/scale"], found["loss_scale/good_steps"]) == (2.0**17, 1)
    ends = {}
    for bound, start in (("MOST", 2.0**24), ("LEAST", 1.0)):
        trainer = fitted(epochs=0)
        trainer.loss_scale.scale.assign(np.float32(start))
        fine, _ = trainer.loss_scale.checked(
            {"w": gt.constant(np.float32(1 if bound == "MOST" else np.nan))})
        trainer.loss_scale.good.assign(np.int64(3))
        step = gt.function([], [], trainer.loss_scale.updates(fine), backend="reference")
        step()
        ends[bound] = float(trainer.loss_scale.scale.numpy())
    assert ends == {"MOST": 2.0**24, "LEAST": 1.0}


def test_a_fit_that_goes_on_has_its_scale(tmp_path):
    class Stop(gt.training.Callback):
        at = 5

        def on_batch_end(self, run):
            if run.steps_done == self.at:
                raise KeyboardInterrupt

    whole = fitted(epochs=4, before=scaled(2.0**40))
    keep = lambda: Checkpoint(tmp_path / "run.h5", every_steps=1, keep=True)
    fitted(epochs=4, before=scaled(2.0**40), callbacks=[keep(), Stop()])
    Stop.at = None
    again = fitted(epochs=4, before=scaled(2.0**40), callbacks=[keep(), Stop()])
    for name, value in values(whole).items():
        np.testing.assert_array_equal(values(again)[name], value, err_msg=name)


def test_replicas_leave_out_the_same_step():
    alone, *others = (values(fitted(before=scaled(2.0**40), epochs=9, strategy=s, optimizer="sgd"))
                      for s in ("single", gt.DataParallel(2),
                                gt.DataParallel(deterministic=True, virtual_shards=4)))
    assert all(alone[k] == found[k] for found in others for k in STATE)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_plan_tells_the_precision(precision):
    x, w = gt.placeholder((4, 3)), gt.variable(np.ones((3, 2), "f"))
    plan = gt.function([x], x @ w, precision=precision, backend="reference").plan()
    assert plan.precision == precision and f"precision {precision:>22}" in str(plan)
    assert "precision" not in str(gt.function([x], x @ w, backend="reference").plan())


# ---- estimators, files, predictions ------------------------------------------------------------

def test_an_estimator_learns_saves_and_predicts_in_it(tmp_path):
    rows = np.random.default_rng(0).standard_normal((400, 6)).astype("f")
    labels = (rows[:, 0] > rows[:, 1]).astype(int)
    net = gt.DNNClassifier(hidden_layer_sizes=(16,), epochs=15, precision="float16",
                           learning_rate=0.02, backend="reference", random_state=0)
    assert net.fit(rows, labels).score(rows, labels) > 0.93
    net.save(tmp_path / "net.h5")
    again = gt.load(tmp_path / "net.h5")
    kinds = {v.dtype.name for k, v in again.network_.variables().items() if "dense" in k}
    assert kinds == {"float32"} and again.precision == "float16"
    rough = again.predict_proba(rows)
    np.testing.assert_allclose(rough, net.predict_proba(rows), atol=1e-3)
    exact = again.set_params(precision="float32").predict_proba(rows)
    assert 0 < np.abs(rough - exact).max() < 0.01


def test_a_text_is_written_where_it_was_learned():
    net = gt.TextGenerator(units=8, epochs=1, precision="float16", backend="reference",
                           random_state=0)
    assert len(net.fit("abcabcabd" * 40).generate("abc", 5)) >= 5


def test_line_searches_have_no_scale():
    with pytest.raises(ParameterError) as error:
        gt.Trainer(gt.Sequential([layers.Dense(1)]), optimizer="lbfgs", precision="float16",
                   backend="reference")
    assert str(error.value) == (
        "L-BFGS has no loss scale, without which float16 loses small slopes\n"
        '  fix  use precision="bfloat16", or another optimizer')
