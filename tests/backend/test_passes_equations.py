"""Equations and moves as graph passes: what they find, what they leave, and that bits stay."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import Graph
from gradatim.backend.passes import optimize
from gradatim.backend.passes.patterns import Equation, Equations
from gradatim.backend.registry import available
from gradatim.layers.flow import Flow

ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -3.5, 2.5, 7.0], "float32")
X, Y = gt.placeholder((9,), name="x"), gt.placeholder((9,), name="y")
M, K = gt.placeholder((3, 3), name="m"), gt.placeholder((2, 3, 3), name="k")
FEEDS = {X: ODD, Y: np.roll(ODD, 4), M: ODD.reshape(3, 3),
         K: np.stack([ODD, ODD[::-1]]).reshape(2, 3, 3)}


def names(outputs, passes):
    graph, _ = optimize(Graph(outputs), passes)
    return [n.op.name for n in graph.steps]


def values(outputs, passes, backend="reference", feeds=FEEDS):
    inputs = [t for t in feeds if t in Graph(outputs).inputs]
    return gt.function(inputs, outputs, backend=backend, passes=passes)(
        *(feeds[t] for t in inputs))


# ---- algebra -----------------------------------------------------------------------------------

CANCELS = {
    "-(-x)": (-(-X), []), "x * 1": (X * 1.0, []), "1 * x": (1.0 * X, []), "x / 1": (X / 1.0, []),
    "x - 0": (X - 0.0, []), "x + -0": (X + -0.0, []), "x * -1": (X * -1.0, ["negative"]),
    "x / -1": (X / -1.0, ["negative"]), "x + -y": (X + -Y, ["subtract"]),
    "-y + x": (-Y + X, ["subtract"]), "x - -y": (X - -Y, ["add"]),
    "-x * -y": (-X * -Y, ["multiply"]), "-x / -y": (-X / -Y, ["divide"]),
    "square(-x)": (gt.square(-X), ["square"]), "abs(-x)": (gt.abs(-X), ["abs"]),
    "square(abs(x))": (gt.square(gt.abs(X)), ["square"]),
    "abs(abs(x))": (gt.abs(gt.abs(X)), ["abs"]), "relu(relu(x))": (gt.relu(gt.relu(X)), ["relu"]),
    "x ** 1": (X ** 1.0, []), "x ** 2": (X ** 2.0, ["square"]),
    "maximum(x, x)": (gt.maximum(X, X), []), "minimum(x, x)": (gt.minimum(X, X), []),
    "where(c, x, x)": (gt.where(X > 0.0, Y, Y), []),
    "not not": (gt.logical_not(gt.logical_not(X > Y)), ["greater"]),
    "reshape twice": (X.reshape(3, 3).reshape(1, 9), ["reshape"]),
    "reshape back": (X.reshape(3, 3).reshape(9), []),
    "expand, reshape": (gt.expand_dims(X, axis=1).reshape(3, 3), ["reshape"]),
    "expand, squeeze": (gt.squeeze(gt.expand_dims(X, axis=1), axis=-1), []),
    "flip twice": (gt.flip(gt.flip(X, axis=0), axis=-1), []),
    "transpose back": (gt.transpose(gt.transpose(M)), []),
    "transpose on": (gt.transpose(gt.transpose(K, axes=(1, 2, 0)), axes=(1, 0, 2)), ["transpose"]),
    "x' @ y": (M.T @ M, ["matmul"]), "x @ y'": (M @ M.T, ["matmul"]),
    "x @ y', batched": (K @ gt.transpose(K, axes=(0, 2, 1)), ["matmul"]),
    "cast and back": (gt.cast(gt.cast(X, dtype="float64"), dtype="float32"), []),
    "all at once": (-(-(X * 1.0)) ** 2.0 - -Y, ["square", "subtract"])}
# Not bit for bit, or not for every number.
STAYS = {"x + 0": X + 0.0, "x - -0": X - -0.0, "x * 0": X * 0.0, "x - x": X - X, "x / x": X / X,
         "-(x - y)": -(X - Y), "x + y - y": X + Y - Y,
         "cast to less": gt.cast(gt.cast(X, dtype="float16"), dtype="float32"),
         "to whole numbers": gt.cast(gt.cast(M * 0.0, dtype="int64"), dtype="float32"),
         "transposed rows of matrices": gt.transpose(K, axes=(0, 2, 1)) @ M,
         "another transpose": M @ gt.transpose(K, axes=(1, 2, 0))[:, :, :1],
         "to more entries": X.reshape(9, 1) * np.ones((9, 2), "float32")}


@pytest.mark.parametrize("case", CANCELS)
def test_what_cancels_is_gone_and_bits_stay(case):
    y, left = CANCELS[case]
    assert sorted(names([y], ["dead", "algebra", "dead"])) == sorted(left)
    for passes in (["dead", "algebra", "dead"], gt.backend.passes.DEFAULT):
        got, want = (np.asarray(values([y], p)[0]) for p in (passes, ()))
        np.testing.assert_array_equal(got, want)
        finite = ~np.isnan(want) if want.dtype.kind == "f" else slice(0)
        np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(want[finite]))


@pytest.mark.parametrize("case", STAYS)
def test_what_is_not_equal_for_all_numbers_stays(case):
    y = STAYS[case]
    assert names([y], ["algebra"]) == names([y], ())


def test_whole_numbers_have_one_zero_and_no_sign_below_it():
    n, u = gt.placeholder((3,), "int64"), gt.placeholder((3,), "uint8")
    assert names([n + 0, n * 1, u * 1, n * -1], ["algebra"]) == ["negative"]
    assert names([u * 255], ["algebra"]) == ["multiply"]


def test_nothing_is_looked_for_behind_what_is_fed():
    inner = -X
    f = gt.function([inner], -inner, passes=["algebra"])
    np.testing.assert_array_equal(f(np.arange(9, dtype="f")), -np.arange(9, dtype="f"))
    one = gt.constant(1.0)
    f = gt.function([X, one], X * one, passes=["algebra"])
    assert f(np.ones(9, "f"), np.float32(3))[0] == 3.0


def test_equations_remember_settings_and_parts():
    rules = Equations([Equation("(d := exp(x)) - sum(d, axis=a, keepdims=True)",
                                "softmax(x, axis=a)",
                                when=lambda names: names["x"].ndim == 2)])
    for t, axis, found in ((M, 0, True), (M, -1, True), (K, 0, False)):
        e = gt.exp(t)
        graph = rules.apply(Graph([e - e.sum(axis=axis, keepdims=True)]))
        ops = [n.op.name for n in graph.steps]
        assert ops == (["softmax"] if found else ["exp", "sum", "subtract"])
        assert not found or graph.steps[0].settings == {"axis": axis}
    assert rules.apply(Graph([gt.exp(M) - gt.exp(M).sum(axis=0, keepdims=True)])).steps[0].op.name \
        == "exp"


# ---- losses ------------------------------------------------------------------------------------

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [-2.0, 0.1, 0.2]])
Z, T = gt.placeholder((3, 3), "float64", "z"), gt.placeholder((3, 3), "float64", "t")
P, V = gt.placeholder((3,), "float64", "p"), gt.placeholder((3,), "float64", "v")
TARGETS = np.array([[1.0, 0.0, 0.0], [0.1, 0.7, 0.2], [0.0, 0.0, 1.0]])
FUSED = ["mean", "softmax_cross_entropy", "softmax_cross_entropy_gradient"]
S = gt.sigmoid(V)
LOSSES = {
    "-sum(t log softmax)": (-(T * gt.log(gt.softmax(Z))).sum(axis=-1), Z, FUSED),
    "sum(-t log softmax)": ((-T * gt.log(gt.softmax(Z))).sum(axis=1), Z, [*FUSED, "negative"]),
    "sum(-(t log softmax))": ((-(gt.log(gt.softmax(Z)) * T)).sum(axis=-1), Z, FUSED),
    "sum(t -log softmax)": ((T * -gt.log(gt.softmax(Z))).sum(axis=-1), Z, FUSED),
    "-sum(t log_softmax)": (-(T * gt.log_softmax(Z)).sum(axis=-1), Z, FUSED),
    "log softmax alone": (gt.log(gt.softmax(Z, axis=0))[0], Z, ["log_softmax"]),
    "binary": (-(P * gt.log(S) + (1.0 - P) * gt.log(1.0 - S)), V, ["log_sigmoid"]),
    "binary, one class": (-gt.log(S), V, ["log_sigmoid"]),
    "binary, other class": (-gt.log(1.0 - S), V, ["log_sigmoid"])}


def loss_and_gradient(case):
    loss, by, ops = LOSSES[case]
    loss = loss.mean()
    return [loss, *gt.gradients(loss, [by])], ops


@pytest.mark.parametrize("case", LOSSES)
def test_losses_by_hand_become_stable(case):
    outputs, ops = loss_and_gradient(case)
    found = names(outputs, gt.backend.passes.DEFAULT)
    assert set(ops) <= set(found) and not {"log", "softmax"} & set(found)
    for scale in (1.0, 1e5):            # where softmax and sigmoid are 0 the parts give NaN
        feeds = {Z: scale * LOGITS, V: scale * LOGITS[0], T: TARGETS, P: np.array([1.0, 0.0, 0.3])}
        got = values(outputs, gt.backend.passes.DEFAULT, feeds=feeds)
        assert all(np.isfinite(v).all() for v in got)
        if scale == 1.0:
            for v, want in zip(got, values(outputs, (), feeds=feeds)):
                np.testing.assert_allclose(v, want, rtol=1e-12, atol=1e-14)


def test_a_broadcast_loss_keeps_its_meaning():
    """One distribution for all rows is no input of the fused op; the gradient is right as well."""
    t = gt.constant([0.2, 0.3, 0.5], "float64")
    loss = -(t * gt.log(gt.softmax(Z))).sum(axis=-1).mean()
    outputs = [loss, *gt.gradients(loss, [Z])]
    feeds = {Z: LOGITS}
    for v, want in zip(values(outputs, gt.backend.passes.DEFAULT, feeds=feeds),
                       values(outputs, (), feeds=feeds)):
        np.testing.assert_allclose(v, want, rtol=1e-12, atol=1e-14)


def test_class_numbers_picked_by_hand_are_left():
    i = gt.placeholder((3, 1), "int64")
    loss = -gt.take_along(gt.log(gt.softmax(Z)), i, axis=-1).mean()
    assert "softmax_cross_entropy" not in names([loss], gt.backend.passes.DEFAULT)


# ---- ReLU in pooling ---------------------------------------------------------------------------

IMAGE = gt.placeholder((2, 5, 6, 3), name="image")


def pooled(h, **settings):
    return gt.max_pool(h, **{"pool_size": 2, **settings})[0]


def odd_image():
    rng = np.random.default_rng(0)
    image = rng.integers(-3, 3, (2, 5, 6, 3)).astype("float32")      # many ties, many below zero
    image[rng.random(image.shape) < 0.1] = np.nan
    image[rng.random(image.shape) < 0.1] = np.inf
    image[rng.random(image.shape) < 0.1] = -np.inf
    return image


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("settings", [{}, {"pool_size": 3, "strides": 1, "padding": "same"},
                                      {"pool_size": (3, 2), "strides": 2, "padding": "same"}])
def test_a_pool_takes_relu_and_the_mask_and_its_gradient_keeps_every_bit(settings, backend):
    y = pooled(gt.relu(IMAGE), **settings)
    loss = (y * 0.5).sum()
    outputs = [y, *gt.gradients(loss, [IMAGE])]
    on = ["common", "relu_in_pool"]
    graph, _ = optimize(Graph(outputs), on)
    assert {"max_pool", "max_pool_gradient"} <= {n.op.name for n in graph.steps}
    assert not {"relu", "greater", "where"} & {n.op.name for n in graph.steps}
    feeds = {IMAGE: odd_image()}
    for got, want in zip(values(outputs, on, backend, feeds), values(outputs, (), backend, feeds)):
        np.testing.assert_array_equal(got, want)


def test_a_pool_takes_the_relu_behind_it_only_where_its_indices_are_not_read():
    y, indices = gt.max_pool(IMAGE, pool_size=2)
    assert "relu" not in names([gt.relu(y)], ["relu_in_pool"])
    for outputs in ([gt.relu(y), y], [gt.relu(y), indices]):
        assert "relu" in names(outputs, ["relu_in_pool"])
    feeds = {IMAGE: odd_image()}
    (got,), (want,) = (values([gt.relu(y)], on, feeds=feeds) for on in (["relu_in_pool"], ()))
    np.testing.assert_array_equal(got, want)


def kept(h, y):
    return {"is read elsewhere": [y, h.sum()], "is a result": [y, h],
            "gets an unmasked gradient": [y, *gt.gradients(y.sum(), [h])],
            "has its mask read": [y, gt.cast(gt.greater(h, 0.0), dtype="float32")],
            "is masked by another number": [y, gt.where(gt.greater(h, 1.0), 1.0, 0.0)],
            "is pooled twice": [y, pooled(h, pool_size=3)]}


@pytest.mark.parametrize("case", kept(IMAGE, IMAGE[:, :1]))
def test_relu_stays_where_its_result(case):
    h = gt.relu(IMAGE)
    outputs = kept(h, pooled(h))[case]
    assert names(outputs, ["common", "relu_in_pool"]) == names(outputs, ["common"])


# ---- batch normalisation at inference ----------------------------------------------------------

def drawn(*shape):
    return np.random.default_rng(sum(shape)).uniform(0.5, 1.5, shape).astype("float32")


def normalised(product, channels):
    statistics = [gt.variable(drawn(channels) - i % 2, name=f"v{i}") for i in range(4)]
    statistics[1] = gt.variable(drawn(channels), name="variance")
    return gt.batch_norm(product, *statistics, epsilon=0.01)


ROWS, PIXELS = gt.placeholder((4, 5), name="rows"), gt.placeholder((2, 6, 6, 4), name="pixels")
W, WT = gt.variable(drawn(5, 3)), gt.variable(drawn(3, 5))
C, G, B = gt.variable(drawn(3, 3, 4, 3)), gt.variable(drawn(3, 3, 2, 6)), gt.variable(drawn(3))
FOLDS = {
    "dense": (ROWS @ W, 3), "dense with a bias": (ROWS @ W + B, 3),
    "transposed": (gt.matmul(ROWS, WT, transpose_y=True) + B, 3),
    "convolution": (gt.convolution(PIXELS, C) + B, 3),
    "groups": (gt.convolution(PIXELS, G, groups=2), 6)}


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", FOLDS)
def test_batch_norm_goes_into_the_weights(case, backend):
    product, channels = FOLDS[case]
    y = gt.relu(normalised(product, channels))
    graph, _ = optimize(Graph([y]))
    assert "batch_norm" not in [n.op.name for n in graph.steps]
    product = next(n for n in graph.steps if n.op.name in ("matmul", "convolution"))
    add = next(n for n in graph.steps if product.outputs[0] in n.inputs)
    for t in (product.inputs[1], add.inputs[1]):            # of variables alone
        assert not Graph([t]).inputs
    inputs = graph.inputs
    feeds = {t: drawn(*t.shape) - 1.0 for t in inputs}
    (got,), (want,) = (values([y], p, backend, feeds) for p in (gt.backend.passes.DEFAULT, ()))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def stays(x, product):
    batch = [gt.mean(product, axis=0), gt.var(product, axis=0), B, B]
    return {"statistics of the batch": [gt.batch_norm(product, *batch)],
            "a product read elsewhere": [normalised(product, 3), product],
            "weights that are computed": [normalised(x @ (x.T @ x @ W), 3)],
            "no product": [normalised(gt.relu(product), 3)]}


@pytest.mark.parametrize("case", stays(ROWS, ROWS @ W))
def test_batch_norm_stays_with(case):
    outputs = stays(ROWS, ROWS @ W)[case]
    assert "batch_norm" in names(outputs, gt.backend.passes.DEFAULT)
    fed = gt.function([ROWS, W], normalised(ROWS @ W, 3))
    assert "batch_norm" in [n.op.name for n in fed.graph.steps]


def test_a_bias_that_is_computed_is_added_by_the_product_on_native():
    if "native" not in available():
        pytest.skip("no compiled core")
    y = gt.relu(normalised(gt.convolution(PIXELS, C) + B, 3))
    f = gt.function([PIXELS], y, backend="native")
    assert "relu" not in ",".join(name for name, *_ in f.program.core.steps)


# ---- scales at inference -----------------------------------------------------------------------

S1, S3, S6 = gt.variable(np.float32(3.0)), gt.variable(drawn(3)), gt.variable(drawn(6))
SCALES = {"pixels": gt.convolution(PIXELS / 255.0, C), "rows": (2.0 * ROWS) @ W,
          "a variable": (ROWS * S1) @ W, "behind": (ROWS @ W) * S3,
          "behind, divided": ROWS @ W / S3,
          "transposed": gt.matmul(ROWS, WT, transpose_y=True) * S3,
          "groups": gt.convolution(PIXELS, G, groups=2) * S6,
          "both sides": gt.convolution(PIXELS * 0.5, C) * S1}
UNSCALED = {"one per feature": (ROWS * gt.variable(drawn(5))) @ W,
            "what is fed": (ROWS @ W) * gt.placeholder((3,)),
            "its reciprocal": 1.0 / (ROWS @ W)}


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", SCALES)
def test_scales_go_into_the_weights(case, backend):
    y = SCALES[case]
    graph, _ = optimize(Graph([y]))
    large = [n for n in graph.steps if graph.inputs[0] in n.inputs or n is y.node]
    assert [n.op.name in ("matmul", "convolution") for n in large] == [True]
    feeds = {graph.inputs[0]: drawn(*graph.inputs[0].shape) - 1.0}
    got, want = (values([y], p, backend, feeds) for p in (gt.backend.passes.DEFAULT, ()))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", UNSCALED)
def test_scales_stay(case):
    y = UNSCALED[case]
    assert names([y], ["fold_scale"]) == names([y], ())
    trained = Graph([SCALES["behind"]], {S1: S1 + 1.0})
    assert str(optimize(trained, ["fold_scale"])[0]) == str(trained)


# ---- batch statistics --------------------------------------------------------------------------

def training_step(rows, shape):
    """The gradient of a normalised batch by its input, with weights for the rows."""
    x, w = gt.placeholder((rows, *shape), "float64", "x"), gt.placeholder((rows,), "float64", "w")
    vectors = [gt.variable(np.ones(shape[-1])) for _ in range(4)]
    layer = layers.BatchNormalization()
    layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance = vectors
    flow = layer.forward(Flow(x, weights=w), training=True)
    y, updates = flow.x, flow.updates
    loss = gt.batch_sum((gt.sin(y * 3.0)).reshape(rows, -1).sum(axis=1), w)
    slope, = gt.gradients(loss, [x])
    curvature, = gt.gradients(gt.square(slope).sum(), [x])
    return [x, w], [loss, slope, curvature, *updates.values()]


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("rows, shape", [(5, (3,)), (20, (3,)), (3, (4, 5, 2)), (20, (3, 2))])
def test_variance_takes_one_pass_and_gradients_no_sum_that_is_zero(rows, shape, backend):
    inputs, outputs = training_step(rows, shape)
    first = gt.function(inputs, outputs[:2], backend=backend).graph
    ops = [n.op.name for n in first.steps]
    large = [n for n in first.steps if n.op.name == "sum" and n.inputs[0].shape == inputs[0].shape
             and n.specs[0].shape == shape[-1:]]
    assert "batch_squares" in ops and "zeros_like" in ops and not large
    rng = np.random.default_rng(0)
    feeds = [rng.standard_normal(inputs[0].shape) + 10.0, rng.integers(0, 3, rows) + 0.5]
    got = gt.function(inputs, outputs, backend=backend)(*feeds)
    want = gt.function(inputs, outputs, backend="reference", passes=())(*feeds)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_a_sum_about_another_centre_stays():
    x, w = gt.placeholder((4, 3), "float64"), gt.placeholder((4,), "float64")
    for count, gone in ((1.0, True), (2.0, False)):
        rows = gt.constant(np.full(4, count))
        mean = gt.batch_sum(x, w) * (1.0 / gt.maximum(gt.batch_sum(rows, w), 1e-300))
        (slope,) = gt.gradients(gt.batch_sum(gt.square(x - mean), w).sum(), [x])
        assert ("zeros_like" in names([slope], gt.backend.passes.DEFAULT)) is gone
        feeds = {x: np.arange(12.0).reshape(4, 3) ** 2, w: np.arange(1.0, 5.0)}
        got, want = (values([slope], p, feeds=feeds) for p in (gt.backend.passes.DEFAULT, ()))
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-9)
