"""Placement: copies where devices meet, parts of a graph at once on several devices, equal bits."""
from contextlib import nullcontext

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import Function, Graph, available
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import BackendError
from gradatim.backend.parts import cut, is_placed
from gradatim.backend.passes import DEFAULT, optimize
from gradatim.training import Adam

BACKENDS = [name for name in ("reference", "native") if name in available()]
UNPLACED = tuple(name for name in DEFAULT if name != "placement")


@pytest.fixture(autouse=True)
def one_thread():
    """How oneDNN adds up may depend on the number of threads, which a group has fewer of."""
    core = getattr(gt.get_backend(BACKENDS[-1]), "core", None)
    before = core.max_threads() if core else 1
    if core:
        core.set_threads(1)
    yield
    if core:
        core.set_threads(before)


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def placed(graph):
    return optimize(graph, ["placement"])[0]


# ---- the pass ----------------------------------------------------------------------------------

def two_devices():
    x, w = gt.placeholder((2, 3), name="x"), gt.variable((3,), name="w")
    with gt.device("cpu:1"):
        y = x * w
        z = gt.exp(y) + x + 1.0
    return Graph([z, y.sum(axis=0)], {w: w - z[0]}, [x])


def test_there_is_one_copy_per_value_and_device():
    graph = placed(two_devices())
    assert str(graph) == """\
%0 = placeholder name='x' shape=(2, 3) dtype='float32' batch=True : float32[2, 3]
%1 = copy %0 device='cpu:1' @cpu:1 : float32[2, 3]
%2 = variable name='w' shape=(3,) dtype='float32' : float32[3]
%3 = copy %2 device='cpu:1' @cpu:1 : float32[3]
%4 = multiply %1 %3 @cpu:1 : float32[2, 3]
%5 = exp %4 @cpu:1 : float32[2, 3]
%6 = add %5 %1 @cpu:1 : float32[2, 3]
%7 = constant value=array('float32', (), [1.0]) @cpu:1 : float32[]
%8 = add %6 %7 @cpu:1 : float32[2, 3]
%9 = sum %4 axis=0 keepdims=False @cpu:1 : float32[3]
%10 = slice %8 start=(0, None) stop=(1, None) step=(1, 1) @cpu:1 : float32[1, 3]
%11 = squeeze %10 axis=(0,) @cpu:1 : float32[3]
%12 = copy %11 device='cpu:0' @cpu:0 : float32[3]
%13 = subtract %2 %12 : float32[3]
update %2 = %13
return %8 %9"""
    assert str(Graph.parse(str(graph))) == str(graph)
    assert str(placed(graph)) == str(graph), "what is placed stays as it is"
    assert is_placed(graph) and not is_placed(two_devices())


def test_the_report_and_the_plan_say_what_is_moved():
    graph, (report,) = optimize(two_devices(), ["placement"])
    assert str(report) == ("placement: 11 nodes -> 14\n"
                           "  copy   0 -> 3\n"
                           "  bytes  144 -> 192")
    plan = graph.plan()
    assert plan.moved_bytes == 24 + 12 + 12
    assert plan.devices == {"cpu:0": 3, "cpu:1": 6 * 4 + 6 + 3 + 3}
    assert str(plan).splitlines()[-3:] == ["FLOPs on cpu:0                 3",
                                           "FLOPs on cpu:1                36",
                                           "moved bytes                   48"]
    assert "copy<br/>float32[2, 3]<br/>cpu:1<br/>24 bytes moved>, style=filled, fillcolor=salmon" \
        in graph.dot()
    assert "<w<br/>float32[3]<br/>cpu:0>" in graph.dot()
    assert gt.graph(gt.constant(1.0) * 2.0).plan().devices == {"cpu:0": 1}


@pytest.mark.parametrize("name", ["", "cpu:0", "cpu:3"])
def test_a_graph_on_one_device_is_left_alone(name):
    with gt.device(name) if name else nullcontext():
        x = gt.placeholder((2,))
        graph = gt.graph(gt.exp(x) * gt.variable((2,)))
    assert placed(graph) is graph


def test_a_new_value_is_carried_to_its_variable_and_explicit_copies_serve():
    with gt.device("cpu:2"):
        w = gt.variable((2,), name="w")
        x = gt.placeholder((2,))
    with gt.device("cpu:10"):
        y = gt.exp(x)
    z = gt.copy(y, device="cpu:2")
    with gt.device("cpu:2"):
        total = z + y
    graph = placed(Graph([total], {w: y}, [x]))
    assert [(n.op.name, n.device) for n in graph.steps] == [
        ("copy", "cpu:10"), ("exp", "cpu:10"), ("copy", "cpu:2"), ("add", "cpu:2")]
    assert graph.devices == ("cpu:2", "cpu:10") and graph.updates[w].device == "cpu:2"


def test_gradients_and_updates_are_where_they_belong():
    with gt.device("cpu:1"):
        w = gt.variable(drawn(3, 4), name="w")
    with gt.device("cpu:2"):
        v = gt.variable(drawn(4, 1), name="v")
    x = gt.placeholder((5, 3), name="x")
    with gt.device("cpu:1"):
        h = gt.tanh(x @ w)
    with gt.device("cpu:2"):
        loss = gt.square(h @ v).mean()
    dw, dv, dx = gt.gradients(loss, [w, v, x])
    assert [t.device for t in (dw, dv, dx)] == ["cpu:1", "cpu:2", "cpu:1"]
    adam, parameters = Adam(), {"w": w, "v": v}
    state = adam.state_for(parameters)
    rate, step = gt.variable(np.float64(0.1)), gt.variable(np.int64(0))
    updates = adam.updates(parameters, {"w": dw, "v": dv}, state, rate, step)
    assert {a.name: (a.device, b.device) for a, b in updates.items()} == {
        name: (device, device) for name, device in
        [("w", "cpu:1"), ("v", "cpu:2"), ("adam/m/w", "cpu:1"), ("adam/m/v", "cpu:2"),
         ("adam/v/w", "cpu:1"), ("adam/v/v", "cpu:2")]}
    graph = optimize(Graph([loss], updates, [x]))[0]
    wide = {n.inputs[0].node.op.name for n in graph.steps if graph.moves(n)
            and n.specs[0].shape == w.shape}
    assert not wide, "neither a weight nor its gradient leaves its device"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_that_is_not_there_is_refused(backend):
    x = gt.placeholder((2,))
    with gt.device("cuda:1"):
        y = x * 2.0
    line = test_a_device_that_is_not_there_is_refused.__code__.co_firstlineno + 4
    text = (f'the backend "{backend}" has no device "cuda:1"\n'
            "  found  cpu:0, cpu:N for any N\n"
            "  at     test_placement.py:{}\n"
            '  fix    use gt.device("cpu:0"), or another backend')
    with pytest.raises(BackendError) as caught:
        gt.run(y, {x: [1, 2]}, backend=backend)
    assert str(caught.value) == text.format(line)
    with pytest.raises(BackendError) as caught, gt.eager(backend), gt.device("cuda:1"):
        gt.constant(2.0) * 3.0
    assert str(caught.value) == text.format(line + 10)


# ---- the same bits on one device and on several ------------------------------------------------

def sgd(loss, weights, inputs, *more):
    slopes = gt.gradients(loss, weights)
    return Graph([loss, *more], {w: w - 0.1 * g for w, g in zip(weights, slopes)}, inputs)


def dense(x, units, weights):
    w, b = gt.variable(drawn(x.shape[-1], units) / 4), gt.variable(drawn(units))
    weights += [w, b]
    return gt.relu(x @ w + b)


def two_branches():
    x, y, weights = gt.placeholder((8, 6), name="x"), gt.placeholder((8,), "int64"), []
    with gt.device("cpu:0"):
        a = dense(dense(x, 7, weights), 5, weights)
    with gt.device("cpu:1"):
        b = dense(dense(x, 9, weights), 5, weights)
    with gt.device("cpu:0"):
        loss = gt.softmax_cross_entropy(gt.concatenate(a, b, axis=1), y).mean()
    return sgd(loss, weights, [x, y], b), [drawn(8, 6), np.arange(8) % 10]


def pipeline():
    """Two halves of a net, and a batch in four shares that follow each other through them."""
    x, y = gt.placeholder((8, 6), name="x"), gt.placeholder((8,), "int64")
    with gt.device("cpu:0"):
        w, b = gt.variable(drawn(6, 16) / 4), gt.variable(drawn(16))
        halves = [gt.relu(x[i:i + 2] @ w + b) for i in range(0, 8, 2)]
    with gt.device("cpu:1"):
        v, c = gt.variable(drawn(16, 4) / 4), gt.variable(drawn(4))
        losses = [gt.softmax_cross_entropy(h @ v + c, y[i:i + 2]).sum()
                  for h, i in zip(halves, range(0, 8, 2))]
        loss = (losses[0] + losses[1] + losses[2] + losses[3]) * 0.125
    return sgd(loss, [w, b, v, c], [x, y]), [drawn(8, 6), np.arange(8) % 4]


def images():
    x, y, weights = gt.placeholder((4, 8, 8, 1), name="x"), gt.placeholder((4,), "int64"), []
    with gt.device("cpu:2"):
        k, b = gt.variable(drawn(3, 3, 1, 4)), gt.variable(drawn(4))
        h, _ = gt.max_pool(gt.relu(gt.convolution(x, k) + b), pool_size=2)
    with gt.device("cpu:1"):
        weights += [k, b]
        logits = dense(gt.reshape(h, shape=(-1, 36)), 3, weights)
    loss = gt.softmax_cross_entropy(logits, y).mean()
    return sgd(loss, weights, [x, y], logits), [drawn(4, 8, 8, 1), np.array([0, 2, 1, 1])]


def shared_weight():
    """One weight read on three devices; its old value is wanted, and so is that of another."""
    x, w, u = gt.placeholder((4, 4), name="x"), gt.variable(drawn(4, 4)), gt.variable(drawn(4, 4))
    parts = []
    for i in range(3):
        with gt.device(f"cpu:{i}"):
            parts.append(gt.tanh(x @ w) * (i + 1.0))
    with gt.device("cpu:1"):
        new = w - 0.1 * parts[0]
        late = gt.exp(parts[2]) * w
    return Graph([parts[2] + parts[1], w, late, late, x, gt.constant(drawn(2)), u],
                 {w: new, u: w + new}, [x]), [drawn(4, 4)]


def swapped():
    with gt.device("cpu:0"):
        a = gt.variable(drawn(3))
    with gt.device("cpu:1"):
        b, c = gt.variable(drawn(3) + 1), gt.variable(drawn(3) + 2)
        d = c * 2.0
    return Graph([a + d], {a: b, b: a, c: d}), []


def fed_in_the_middle():
    x = gt.placeholder((2, 6), name="x")
    with gt.device("cpu:1"):
        a, b = gt.split(x * 2.0, sections=2)
        w = gt.variable(drawn(2, 3))
    with gt.device("cpu:2"):
        y = a + b + w
    return Graph([y, b], {w: y}, [a, x]), [drawn(2, 3), drawn(2, 6)]


def fed_variable():
    with gt.device("cpu:1"):
        w, u = gt.variable(drawn(3)), gt.variable(drawn(3))
    with gt.device("cpu:2"):
        y = w * 2.0 + u
    return Graph([y, w], {u: y}, [w]), [drawn(3) + 5.0]


def random_places(seed):
    """Random ops on random devices, with updates that read what others write."""
    rng = np.random.default_rng(seed)
    on = lambda: gt.device(f"cpu:{rng.integers(3)}")
    x = gt.placeholder((3, 3), name="x")
    weights = []
    for i in range(3):
        with on():
            weights.append(gt.variable(drawn(3, 3) * (i + 1), name=f"w{i}"))
    pool = [x, *weights, gt.constant(drawn(3, 3))]
    pick = lambda: pool[int(rng.integers(max(0, len(pool) - 9), len(pool)))]
    unary = [gt.tanh, gt.exp, gt.transpose, gt.stop_gradient, lambda t: gt.flip(t, axis=0),
             lambda t: gt.concatenate(*gt.split(t, sections=(1, 2)), axis=1),
             lambda t: gt.copy(t, device=f"cpu:{rng.integers(3)}")]
    binary = [gt.add, gt.subtract, gt.multiply, gt.matmul, lambda a, b: gt.where(a > b, a, b)]
    for _ in range(30):
        with on() if rng.random() < 0.7 else nullcontext():
            pool.append(unary[int(rng.integers(len(unary)))](pick()) if rng.random() < 0.4 else
                        gt.tanh(binary[int(rng.integers(len(binary)))](pick(), pick())))
    with on():
        loss = gt.tanh(pool[-1] + pool[-2] * pool[-5]).sum()
    graph = sgd(loss, weights, [x], pool[-3], weights[0], pool[-1], pool[-1])
    return Graph(graph.outputs, {**graph.updates, weights[2]: weights[1]}, [x]), [drawn(3, 3)]


GRAPHS = {f.__name__: f for f in (two_branches, pipeline, images, shared_weight, swapped,
                                  fed_in_the_middle, fed_variable)}
GRAPHS |= {f"random_{seed}": lambda seed=seed: random_places(seed) for seed in range(20)}


def results(make, backend, passes, steps=3):
    graph, feeds = make()
    function = Function(graph, backend, passes)
    values = [np.array(v) for _ in range(steps) for v in function(*feeds)]
    return values + [v.numpy() for v in graph.variables], function


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_results_are_those_of_one_device(make, backend):
    # What folding computes, NumPy does: results are compared with those of the same passes.
    for passes, without in ((DEFAULT, UNPLACED), (("placement",), ("single_device",))):
        want, single = results(make, backend, without)
        got, several = results(make, backend, passes)
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            np.testing.assert_array_equal(a, b, f"value {i}, passes {passes}")
    if backend == "native":
        assert hasattr(several.program, "parts") and not hasattr(single.program, "parts")


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_parts_wait_for_earlier_ones_only_and_compute_everything_once(make):
    graph = optimize(make()[0])[0]
    parts = cut(graph)
    assert is_placed(graph)
    assert all(j < i for i, part in enumerate(parts) for j in part.after)
    done = [n for part in parts for n in part.graph.steps if not graph.moves(n)]
    assert len(done) == len(set(done)) and set(done) == {
        n for n in graph.steps if not graph.moves(n)}
    for part in parts:
        assert {graph.place(n) for n in part.graph.steps} == {part.device}


def test_elementwise_work_for_one_part_is_done_there():
    parts = cut(optimize(two_branches()[0])[0])
    steps = [{n.op.name for n in part.graph.steps} for part in parts]
    assert {"greater"} not in steps and len(parts) == 5, "forward, joining, and backward"
    assert [p.device for p in parts if not p.after] == ["cpu:1", "cpu:0"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicas_of_a_placed_graph_are_one_program_each(backend):
    found = []
    for places in ((), ("cpu:0", "cpu:1")):
        trainer = gt.Trainer(net := model(places), "sparse_categorical_crossentropy", "sgd",
                             backend=backend, strategy=DataParallel(2))
        trainer.fit(drawn(24, 6), np.arange(24) % 3, epochs=1, batch_size=8)
        found.append(net.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def model(places):
    on = lambda i: gt.device(places[i]) if places else nullcontext()
    x = gt.Input((6,))
    with on(0):
        h = layers.Dropout(0.2)(layers.BatchNormalization()(layers.Dense(8, "relu")(x)))
    with on(1):
        y = layers.Dense(3, "softmax")(layers.Add()([h, layers.Dense(8)(h)]))
    return gt.Model(x, y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trainer_trains_a_model_where_its_layers_are(backend):
    X, y, found = drawn(40, 6), np.arange(40) % 3, []
    for places in ((), ("cpu:0", "cpu:1"), ("cpu:3", "cpu:1")):
        trainer = gt.Trainer(net := model(places), "sparse_categorical_crossentropy", "adam",
                             backend=backend)
        run = trainer.fit(X, y, epochs=2, batch_size=16)
        assert {v.device for v in net.variables().values()} == set(places or [""])
        found.append([trainer.predict(X), *net.get_weights(), run.history[-1]["loss"]])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
