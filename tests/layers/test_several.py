"""Models of several inputs and outputs: called, nested, saved, and trained by a Trainer."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import DataError, ParameterError, ShapeError
from gradatim.training import Accuracy, Checkpoint

rng = np.random.default_rng(0)
N = 60
X = {"features": rng.standard_normal((N, 4)), "tokens": rng.integers(0, 7, (N, 5))}
Y = {"price": 2.0 * X["features"][:, 0], "kind": X["tokens"][:, 0] % 3,
     "sold": (X["features"][:, 1] > 0).astype(int)}
LOSSES = {"price": "mse", "kind": "sparse_categorical_crossentropy", "sold": "binary_crossentropy"}


def model():
    """Numbers and tokens in; a number, a class and a yes or no out."""
    x, tokens = gt.Input((4,), name="features"), gt.Input((5,), "int64", "tokens")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(7, 3)(tokens))
    h = layers.Dense(8, activation="relu")(layers.Concatenate()([x, words]))
    h = layers.Dropout(0.1)(layers.BatchNormalization()(h))
    return gt.Model([x, tokens], [
        layers.Dense(1, name="price")(h), layers.Dense(3, activation="softmax", name="kind")(h),
        layers.Dense(1, activation="sigmoid", name="sold")(h)])


def trainer(**settings):
    return gt.Trainer(model(), **{"loss": LOSSES, "learning_rate": 0.01, **settings})


# ---- the model itself --------------------------------------------------------------------------

def test_a_model_of_several_outputs_gives_a_list():
    net = model()
    assert net.input_names == ["features", "tokens"]
    assert net.output_names == ["price", "kind", "sold"]
    given = [gt.constant(X["features"].astype("float32")), gt.constant(X["tokens"])]
    found = gt.run(net(given))
    assert [a.shape for a in found] == [(N, 1), (N, 3), (N, 1)]
    trained, updates = net(given, training=True)
    assert [t.shape for t in trained] == [(N, 1), (N, 3), (N, 1)] and len(updates) == 2


def test_outputs_of_one_layer_have_different_names():
    x, dense = gt.Input((4,)), layers.Dense(4)
    once = dense(x)
    net = gt.Model(x, [once, dense(once), x])
    assert net.output_names == ["dense", "dense_1", "input"]
    value = X["features"].astype("float32")
    np.testing.assert_array_equal(gt.run(net(gt.constant(value)))[2], value)


def test_outputs_of_any_shape_go_on_in_another_model(tmp_path):
    x = gt.Input((6, 2))
    inner = gt.Model(x, [layers.Conv1D(3, 2)(x), layers.Flatten()(x)])
    a, b = inner(u := gt.Input((6, 2)))
    outer = gt.Model(u, layers.Dense(2)(layers.Concatenate()([layers.Flatten()(a), b])))
    value = gt.constant(rng.standard_normal((3, 6, 2)).astype("float32"))
    conv, flat = gt.run(inner(value))
    kernel, bias = outer.children["dense"].get_weights()
    want = np.concatenate([conv.reshape(3, -1), flat], axis=1) @ kernel + bias
    np.testing.assert_allclose(gt.run(outer(value)), want, rtol=1e-4, atol=1e-5)
    outer.save(tmp_path / "outer.h5")
    np.testing.assert_array_equal(gt.run(gt.load(tmp_path / "outer.h5")(value)),
                                  gt.run(outer(value)))


def test_a_model_of_several_comes_back_from_its_file(tmp_path):
    net = model()
    given = [gt.constant(X["features"].astype("float32")), gt.constant(X["tokens"])]
    want = gt.run(net(given))
    net.save(tmp_path / "net.h5")
    copy = gt.load(tmp_path / "net.h5")
    assert copy.output_names == net.output_names and copy.input_names == net.input_names
    for got, value in zip(gt.run(copy(given)), want, strict=True):
        np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("outputs, text", [
    ([], "a model's output is one tensor or a list of them, not an empty list"),
    ([3], "a model's output is one tensor or a list of them, not int"),
    ("price", "a model's output is one tensor or a list of them, not str")])
def test_outputs_are_checked(outputs, text):
    with pytest.raises(ParameterError) as caught:
        gt.Model(gt.Input((4,)), outputs)
    assert str(caught.value) == text


# ---- training ----------------------------------------------------------------------------------

def test_losses_and_metrics_are_those_of_each_output():
    fit = trainer(loss_weights={"price": 1.0, "kind": 2.0, "sold": 0.5},
                  metrics={"kind": ["accuracy"], "sold": "accuracy"})
    run = fit.fit(X, Y, epochs=30, batch_size=16)
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]
    found, (price, kind, sold) = fit.evaluate(X, Y), fit.predict(X)
    assert list(found) == ["loss", "price_loss", "kind_loss", "sold_loss", "kind_accuracy",
                           "sold_accuracy"]
    want = {
        "price_loss": np.mean((price[:, 0] - Y["price"]) ** 2),
        "kind_loss": -np.mean(np.log(kind[np.arange(N), Y["kind"]])),
        "sold_loss": -np.mean(np.log(np.where(Y["sold"], sold[:, 0], 1.0 - sold[:, 0]))),
        "kind_accuracy": np.mean(kind.argmax(axis=1) == Y["kind"]),
        "sold_accuracy": np.mean((sold[:, 0] > 0.5) == Y["sold"])}
    want["loss"] = want["price_loss"] + 2.0 * want["kind_loss"] + 0.5 * want["sold_loss"]
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_a_step_is_that_of_the_sum_of_losses():
    net, y = model(), [Y["price"][:, None], Y["kind"], Y["sold"][:, None]]
    fit = gt.Trainer(net, loss=list(LOSSES.values()), optimizer=gt.training.SGD(0.1),
                     dtype="float64", backend="reference")
    fit.model.children["dropout"].rate = 0.0
    fit.predict(X)
    before = {name: v.numpy() for name, v in net.trainable_variables().items()}
    given = [gt.constant(X["features"]), gt.constant(X["tokens"])]
    outputs, _ = net(given, training=True)
    total = None
    for name, target, output in zip(LOSSES.values(), y, outputs):
        value = layers.losses.loss(name)(gt.constant(target), output).mean()
        total = value if total is None else total + value
    slopes = gt.run(gt.gradients(total, list(net.trainable_variables().values())))
    fit.fit(X, Y, epochs=1, batch_size=None)
    for (name, v), slope in zip(net.trainable_variables().items(), slopes):
        np.testing.assert_allclose(v.numpy(), before[name] - 0.1 * slope, atol=1e-12)


def test_lists_and_dicts_mean_the_same():
    first, second = trainer(seed=3), trainer(seed=3, loss=list(LOSSES.values()))
    first.fit(X, Y, epochs=2)
    second.fit(list(X.values()), tuple(Y.values()), epochs=2)
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_backends_agree_and_parts_add_up():
    runs = [trainer(seed=1, **settings) for settings in (
        {"backend": "reference"}, {}, {"dtype": "float64"})]
    logs = [run.fit(X, Y, epochs=3, batch_size=16).history[-1]["loss"] for run in runs]
    np.testing.assert_allclose(logs[0], logs[1:], rtol=1e-4)
    assert trainer(accumulate=2).fit(X, Y, epochs=20, batch_size=16).history[-1]["loss"] < 4.0


def test_replicas_equal_one_device():
    logs = [trainer(dtype="float64", strategy=strategy, metrics={"kind": "accuracy"}).fit(
        X, Y, epochs=2, batch_size=18).history for strategy in ("single", DataParallel(2))]
    for one, two in zip(*logs, strict=True):
        assert two == pytest.approx(one, rel=0, abs=1e-10)


def test_validation_weights_and_checkpoints(tmp_path):
    weight = np.where(np.arange(N) < 30, 1.0, 0.0)
    fit = trainer()
    logs = fit.fit(X, Y, weight, epochs=4, validation_fraction=0.2, callbacks=[
        Checkpoint(tmp_path / "fit.h5")]).history[-1]
    assert {"val_loss", "val_price_loss"} <= set(logs)
    half = ({name: a[:30] for name, a in each.items()} for each in (X, Y))
    np.testing.assert_allclose(fit.evaluate(X, Y, weight)["loss"], fit.evaluate(*half)["loss"],
                               rtol=1e-5)


def test_several_inputs_and_one_output():
    a, b = gt.Input((3,), name="a"), gt.Input((2, 2), name="b")
    y = layers.Dense(1)(layers.Concatenate()([a, layers.Flatten()(b)]))
    fit = gt.Trainer(gt.Model([a, b], y), learning_rate=0.05)
    left, right = rng.standard_normal((N, 3)), rng.standard_normal((N, 2, 2))
    target = left[:, 0] - right[:, 1, 1]
    fit.fit([left, right], target, epochs=60)
    assert fit.predict([left, right]).shape == (N, 1)
    assert fit.evaluate({"b": right, "a": left}, target)["loss"] < 0.01
    assert fit.predict([left[:0], right[:0]]).shape == (0, 1)


def test_one_loss_and_one_metric_serve_all_outputs():
    x = gt.Input((4,))
    net = gt.Model(x, [layers.Dense(1, name="a")(x), layers.Dense(2, name="b")(x)])
    fit = gt.Trainer(net, metrics=["mae"])
    y = [X["features"][:, 0], X["features"][:, 1:3]]
    fit.fit(X["features"], y, epochs=1)
    assert set(fit.evaluate(X["features"], y)) == {
        "loss", "a_loss", "b_loss", "a_mean_absolute_error", "b_mean_absolute_error"}
    listed = gt.Trainer(net, metrics=[[], ["r2"]])
    assert [m.name for m in listed.metrics] == ["a_loss", "b_loss", "b_r2"]


WRONG = [
    (lambda: trainer().fit(X["features"], Y), DataError,
     'X must be a list of 2, or a dict\n  got  ndarray\n  fix  pass "features", "tokens"'),
    (lambda: trainer().fit({"features": X["features"]}, Y), DataError,
     'X has other names than the model\n  got  features\n  fix  pass "features", "tokens"'),
    (lambda: trainer().fit([X["tokens"], X["tokens"]], Y), ShapeError,
     'the input "features" does not fit the model\n  got  int64[60, 5]\n'
     "  fix  pass numbers (samples, 4)"),
    (lambda: trainer().fit([X["features"][:9], X["tokens"]], Y), ShapeError,
     "the arrays differ in their number of samples\n  got  features 9, tokens 60"),
    (lambda: trainer().fit([X["features"], X["tokens"] + 2 ** 24], Y), DataError,
     '"tokens" holds whole numbers that float32 does not'),
    (lambda: trainer().fit(X, [Y["price"]]), DataError,
     "y must be a list of 3, or a dict\n  got  1"),
    (lambda: trainer().fit(X, {**Y, "price": X["features"]}), ShapeError,
     'the targets of "price" do not fit the model\n  got  float32[60, 4]\n  fix  (samples, 1)'),
    (lambda: trainer().fit(X, {**Y, "kind": Y["kind"] + 1}), DataError,
     "y holds a class number the model has no output for"),
    (lambda: trainer(loss=["mse"]), DataError, "loss must be a list of 3, or a dict\n  got  1"),
    (lambda: trainer(loss_weights=[1, 2, -1]), ParameterError,
     "loss_weights must be a finite number from 0 on, not -1"),
    (lambda: trainer(metrics={"kid": "accuracy"}), DataError,
     "metrics has other names than the model"),
    (lambda: trainer(metrics={"kind": ["accuracy", Accuracy()]}), ParameterError,
     'two numbers would be called "accuracy" in the logs')]


@pytest.mark.parametrize("make, kind, text", WRONG, ids=[text[:40] for *_, text in WRONG])
def test_error_texts(make, kind, text):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(text)
