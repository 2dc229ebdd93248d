"""bfloat16: the rounding, the pass, gradients, the native backend, and estimators in it."""
import copy
import math

import numpy as np
import pytest
from sklearn.base import clone

import gradatim as gt
from gradatim import layers
from gradatim.backend import Graph
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import BackendError, GradientError, ParameterError
from gradatim.backend.passes import DEFAULT, in_precision, optimize

try:
    NATIVE = gt.get_backend("native")
except BackendError:
    NATIVE = None
needs_native = pytest.mark.skipif(NATIVE is None, reason="the compiled core is not here")
BACKENDS = ["reference", pytest.param("native", marks=needs_native)]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def by_hand(x):
    """The nearest number with eight significant bits, by fractions and powers of two."""
    fraction, power = np.frexp(np.asarray(x, np.float64))
    step = np.maximum(power - 8, -133)                  # denormals have all the same spacing
    return np.ldexp(np.rint(np.ldexp(fraction, power - step)), step).astype("float32")


# ---- the rounding ------------------------------------------------------------------------------

LARGEST = np.float32(3.3895314e38)                      # 2**127 * (2 - 2**-7)
VALUES = [  # float32, its bfloat16
    (1.0, 1.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -math.inf),
    (1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (1 + 2**-8 + 2**-20, 1 + 2**-7),
    (-(1 + 2**-8), -1.0), (LARGEST, LARGEST), (np.finfo("f").max, math.inf),
    (-np.finfo("f").max, -math.inf), (2**-133, 2**-133), (2**-134, 0.0), (3 * 2**-134, 2**-132)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_halves_go_to_the_even_neighbour(backend):
    given, wanted = np.float32(VALUES).T
    x = gt.placeholder(given.shape)
    got = gt.function([x], gt.round_to_bfloat16(x), backend=backend)(given)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted))
    assert not (got.view("uint32") & 0xffff).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_nan(backend):
    bits = np.uint32([0x7fc00000, 0x7f800001, 0xffffffff, 0x7fffffff])
    x = gt.placeholder(bits.shape)
    got = gt.function([x], gt.round_to_bfloat16(x), backend=backend)(bits.view("float32"))
    assert np.isnan(got).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_number_is_rounded_as_by_hand(backend):
    bits = np.random.default_rng(1).integers(0, 2**32, 20000, dtype="uint32")
    x = bits.view("float32")
    x = x[np.isfinite(x) & (np.abs(x) <= LARGEST)]
    t = gt.placeholder(x.shape)
    round_again = gt.function([t], [gt.round_to_bfloat16(t),
                                    gt.round_to_bfloat16(gt.round_to_bfloat16(t))], backend=backend)
    once, twice = round_again(x)
    np.testing.assert_array_equal(once, by_hand(x))
    np.testing.assert_array_equal(twice, once)


@pytest.mark.parametrize("dtype, relative", [("float16", 2.0**-8), ("float64", 2.0**-8)])
def test_other_element_types_keep_eight_bits(dtype, relative):
    x = np.random.default_rng(2).standard_normal(500).astype(dtype)
    got = gt.run(gt.round_to_bfloat16(gt.constant(x)), backend="reference")
    assert got.dtype == dtype
    np.testing.assert_allclose(got, by_hand(x), rtol=0)
    assert (np.abs(got - x) <= relative * np.abs(x)).all()


def test_the_rounding_itself_has_no_gradient():
    x = gt.placeholder((3,))
    with pytest.raises(GradientError, match="round_to_bfloat16 has no gradient"):
        gt.gradients(gt.round_to_bfloat16(x).sum(), [x])


# ---- the pass ----------------------------------------------------------------------------------

def rounded(graph):
    return [n.inputs[0] for n in graph.nodes if n.op.name == "round_to_bfloat16"]


def brought(graph, passes=()):
    return optimize(graph, in_precision(passes, "bfloat16"))[0]


def test_every_factor_is_rounded_once_whoever_reads_it():
    x, w, b = gt.placeholder((4, 3), name="x"), gt.variable(drawn(3, 2)), gt.variable(drawn(2))
    h = x @ w + b
    graph = brought(Graph([h, *gt.gradients(gt.square(h).sum(), [w, b])], inputs=[x]))
    slope = next(n for n in graph.nodes if n.op.name == "matmul" and n.settings["transpose_x"])
    assert {t for t in rounded(graph)} == {x, w, slope.inputs[1].node.inputs[0]}
    assert len(rounded(graph)) == 3 and b not in rounded(graph)


def test_what_moves_is_rounded_before_it_moves():
    x, w = gt.placeholder((2, 3, 4)), gt.variable(drawn(4, 5))
    moved = gt.reshape(gt.transpose(x, axes=(1, 0, 2)), shape=(6, 4))
    graph = brought(Graph([moved @ w, gt.reshape(x, shape=(6, 4)) @ w], inputs=[x]))
    assert set(rounded(graph)) == {x, w} and len(rounded(graph)) == 2


def test_a_fed_tensor_is_rounded_where_it_is_fed():
    x, w = gt.placeholder((2, 6)), gt.variable(drawn(4, 5))
    middle = gt.reshape(x, shape=(3, 4))
    assert set(rounded(brought(Graph([middle @ w], inputs=[middle])))) == {middle, w}


def test_float64_and_other_ops_are_left_alone():
    x, w = gt.placeholder((4, 3), "float64"), gt.variable(drawn(3, 2).astype("float64"))
    y = gt.placeholder((4, 3))
    graph = Graph([x @ w, gt.exp(y).sum()], inputs=[x, y])
    assert str(brought(graph)) == str(graph)


def test_twice_is_once():
    x, w = gt.placeholder((4, 3)), gt.variable(drawn(3, 2))
    once = brought(Graph([x @ w], inputs=[x]))
    assert str(brought(once)) == str(once)


def test_it_comes_before_constants_are_folded():
    names = in_precision(DEFAULT, "bfloat16")
    assert names.index("bfloat16") == names.index("fold") - 1
    assert in_precision(DEFAULT, None) == DEFAULT and in_precision((), "bfloat16") == ("bfloat16",)
    x, two = gt.placeholder((1, 1)), gt.constant(np.float32([[1 + 2**-8]]))
    f = gt.function([x], x @ two, precision="bfloat16", backend="reference")
    assert "round_to_bfloat16" in str(f.graph) and f(np.ones((1, 1), "f")) == 1.0
    assert [r.name for r in f.reports] == list(names)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_products_of_rounded_factors(backend):
    a, w = drawn(33, 20), drawn(20, 17, seed=1)
    x, v = gt.placeholder(a.shape), gt.variable(w)
    h = gt.tanh(x @ v)
    value, slope = gt.function([x], [h, *gt.gradients(h.sum(), [v])], precision="bfloat16",
                               backend=backend)(a)
    exact = np.tanh(by_hand(a).astype("float64") @ by_hand(w))
    np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-6)
    wanted = by_hand(a).T.astype("float64") @ by_hand((1 - exact * exact).astype("f"))
    assert np.linalg.norm(slope - wanted) <= 1e-4 * np.linalg.norm(wanted)


# ---- nets --------------------------------------------------------------------------------------

NETS = {
    "dense": ((11,), lambda: [layers.Dense(37, "relu"), layers.Dense(7)]),
    "steps": ((6, 5), lambda: [layers.Dense(16, "relu"), layers.Flatten(), layers.Dense(7)]),
    "images": ((12, 9, 3), lambda: [
        layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(32, 3, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(7)]),
    "odd": ((15, 10), lambda: [
        layers.Conv1D(12, 4, strides=2, activation="relu"), layers.Conv1D(8, 2, dilation_rate=2),
        layers.Flatten(), layers.Dense(7)]),
    "grouped": ((9, 9, 4), lambda: [
        layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(12, 3, groups=2),
        layers.Flatten(), layers.Dense(7)]),
    "recurrent": ((5, 4), lambda: [
        layers.LSTM(9, return_sequences=True), layers.GRU(6, return_sequences=True),
        layers.SimpleRNN(5), layers.Dense(7)]),
}


def trained(name, backend, precision="bfloat16", batch=24, epochs=1, **options):
    """A trainer after some full-batch steps, and by how much they changed each weight."""
    shape, build = NETS[name]
    X, y = drawn(batch, *shape), np.arange(batch) % 7
    trainer = gt.Trainer(gt.Sequential(build()),
                         layers.SparseCategoricalCrossentropy(from_logits=True), "sgd",
                         learning_rate=0.5, backend=backend, precision=precision, **options)
    trainer.prepare(X)
    before = {k: v.numpy() for k, v in trainer.model.variables().items()}
    trainer.fit(X, y, epochs=epochs, batch_size=None)
    return trainer, {k: v.numpy() - before[k] for k, v in trainer.model.variables().items()}, X


def distance(a, b):
    """The difference of all weights' changes by norm, relative."""
    norm = lambda arrays: math.sqrt(sum(float(np.sum(np.square(v))) for v in arrays))
    return norm([a[k] - b[k] for k in b]) / norm(b.values())


@needs_native
@pytest.mark.parametrize("name", NETS)
def test_native_steps_are_those_of_the_reference(name):
    trainer, changes, X = trained(name, "native")
    reference, expected, _ = trained(name, "reference")
    exact = trained(name, "reference", None)[1]
    assert distance(changes, expected) < 1e-3 < distance(expected, exact) < 0.1
    np.testing.assert_allclose(trainer.predict(X), reference.predict(X), rtol=2e-2, atol=2e-3)
    assert all(f.plan().fall_backs == () for f, _ in trainer._functions.values())


@needs_native
@pytest.mark.parametrize("name", NETS)
def test_without_bfloat16_instructions_the_meaning_is_the_same(name):
    other = type(NATIVE)()
    other.bfloat16 = False
    trainer, changes, _ = trained(name, other)
    assert distance(changes, trained(name, "reference")[1]) < 1e-3
    plan = trainer._functions[next(iter(trainer._functions))][0].plan()
    assert plan.notes == ("products of bfloat16 numbers are computed in float32: this processor "
                          "has no instructions for them",)
    assert str(plan).endswith(plan.notes[0])


@needs_native
@pytest.mark.skipif(NATIVE is not None and not NATIVE.bfloat16, reason="no bfloat16 instructions")
def test_factors_take_half_the_memory_where_only_products_read_them():
    small, large = (trained("dense", "native", p, batch=64)[0] for p in ("bfloat16", None))
    program, plain = (t._functions[next(iter(t._functions))][0].program for t in (small, large))
    # Two inputs, two kernels and two cotangents.
    assert len(program._halves) == 6 and not plain._halves
    assert {program.stored(t) for t in program._halves} == {"bfloat16"}
    x, k = gt.placeholder((2, 5, 5, 6)), gt.variable(drawn(3, 3, 6, 8))
    wide = gt.function([x], gt.convolution(x, k), precision="bfloat16", backend="native")
    assert not wide.program._halves         # six channels: float32 is faster
    x, w = gt.placeholder((4, 3)), gt.variable(drawn(3, 2))
    seen = gt.round_to_bfloat16(x)
    f = gt.function([x], [seen @ w, seen], precision="bfloat16", backend="native")
    assert not f.program._halves            # the caller is to see one of the factors
    np.testing.assert_array_equal(f(drawn(4, 3))[1], by_hand(drawn(4, 3)))


@needs_native
@pytest.mark.skipif(NATIVE is not None and not NATIVE.bfloat16, reason="float32 has its own test")
@pytest.mark.parametrize("name", ["dense", "images"])
def test_rows_do_not_depend_on_their_neighbours(name):
    trainer, _, X = trained(name, "native")
    whole = trainer.predict(X)
    for rows in (slice(0, 1), slice(3, 8), slice(7, 24)):
        np.testing.assert_array_equal(trainer.predict(X[rows]), whole[rows])


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicas_round_alike(backend):
    one, two = (trained("dense", backend, strategy=s)[1] for s in ("auto", DataParallel(2)))
    assert distance(two, one) < 1e-3


def test_weights_and_optimizer_stay_float32():
    trainer, *_ = trained("images", "reference", epochs=2)
    kinds = {v.dtype.name for k, v in trainer.variables().items() if not k.startswith("training/")}
    assert kinds == {"float32"}
    kernel = next(v for k, v in trainer.model.variables().items() if k.endswith("kernel")).numpy()
    assert (kernel != by_hand(kernel)).mean() > 0.9


# ---- estimators --------------------------------------------------------------------------------

def digits():
    from sklearn.datasets import load_digits
    data = load_digits()
    return data.images / 16.0, data.target


def test_an_estimator_learns_as_well():
    X, y = digits()
    score = {p: gt.CNNClassifier(epochs=4, precision=p, random_state=0).fit(
        X[:1200], y[:1200]).score(X[1200:], y[1200:]) for p in ("float32", "bfloat16")}
    assert score["bfloat16"] > 0.8 and abs(score["bfloat16"] - score["float32"]) < 0.03


@pytest.fixture(scope="module")
def fitted():
    X, y = digits()
    return gt.DNNClassifier(epochs=3, hidden_layer_sizes=(32,), precision="bfloat16",
                            random_state=0).fit(X[:600].reshape(600, -1), y[:600]), \
        X[600:700].reshape(100, -1)


def test_files_keep_float32_weights_and_the_precision(fitted, tmp_path):
    net, X = fitted
    net.save(tmp_path / "net.h5")
    again = gt.load(tmp_path / "net.h5")
    weights = again.network_.variables()
    assert {v.dtype.name for k, v in weights.items() if "dense" in k} == {"float32"}
    for path, v in net.network_.variables().items():
        np.testing.assert_array_equal(weights[path].numpy(), v.numpy())
    assert again.precision == "bfloat16"
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_a_clone_asks_for_it_too(fitted):
    assert clone(fitted[0]).precision == "bfloat16"


def test_precision_can_change_after_a_fit(fitted):
    net, X = fitted
    rough = net.predict_proba(X)
    fine = copy.copy(net).set_params(precision="float32")
    exact = fine.predict_proba(X)
    assert 0 < np.abs(rough - exact).max() < 0.05
    np.testing.assert_array_equal(net.predict_proba(X), rough)


def test_a_full_batch_is_float32_then():
    X, y = drawn(60, 4), np.arange(60) % 2
    net = gt.DNNClassifier(epochs=5, precision="bfloat16", random_state=0).fit(X, y)
    kernels = [v for k, v in net.network_.variables().items() if k.endswith("kernel")]
    assert {v.dtype.name for v in kernels} == {"float32"}
    small = gt.DNNClassifier(epochs=5, random_state=0).fit(X, y)        # float64
    small.set_params(precision="bfloat16").predict(X)                   # and stays it


def test_texts_are_written_in_it():
    net = gt.TextGenerator(units=8, epochs=1, precision="bfloat16", random_state=0)
    assert len(net.fit("abcabcabd" * 40).generate("abc", 5)) >= 5


# ---- what cannot be ----------------------------------------------------------------------------

def test_a_precision_that_no_backend_here_has():
    with pytest.raises(BackendError) as error:
        gt.DNNClassifier(precision="tf32", backend="reference").fit(drawn(9, 2), np.arange(9) % 2)
    assert str(error.value) == (
        'the backend "reference" has no precision "tf32"\n'
        "  found  float32, float64, bfloat16, float16\n"
        '  fix    use precision="float32", or "bfloat16" for faster products')


def test_double_precision_is_not_rounded():
    with pytest.raises(ParameterError) as error:
        gt.Trainer(gt.Sequential([layers.Dense(1)]), dtype="float64", precision="bfloat16")
    assert str(error.value) == (
        'precision="bfloat16" does not fit dtype="float64"\n'
        '  fix  leave precision out, or use "bfloat16" with dtype="float32"')


def test_functions_refuse_unknown_precisions():
    x = gt.placeholder((2,))
    with pytest.raises(BackendError, match='no precision "float8"'):
        gt.function([x], x + 1.0, precision="float8")
