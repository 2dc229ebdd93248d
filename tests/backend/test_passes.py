"""Graph passes: equal results with each on and off, what they do to small graphs, and memory."""
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend import Graph
from gradatim.backend.errors import UnknownNameError
from gradatim.backend.op import ufunc
from gradatim.backend.passes import DEFAULT, PASSES, optimize
from gradatim.backend.passes.memory import peak_bytes

GOLDEN = Path(__file__).parent / "golden"


def drawn(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def sgd(loss, weights, inputs, *more):
    slopes = gt.gradients(loss, weights)
    return Graph([loss, *more], {w: w - 0.1 * g for w, g in zip(weights, slopes)}, inputs)


def mlp():
    x, y = gt.placeholder((6, 5), "float64", "x"), gt.placeholder((6,), "int64", "y")
    w, b, v = gt.variable(drawn(5, 7)), gt.variable(drawn(7)), gt.variable(drawn(7, 3))
    seed, step = gt.constant(7), gt.variable(np.int64(2))
    h = gt.relu(x @ w + b)
    h = h * gt.dropout_mask(h, seed, step, gt.row_offset(h), rate=0.5, stream=1)
    loss = gt.softmax_cross_entropy(h @ v, y).mean() + gt.square(w).sum() * 0.01
    return sgd(loss, [w, b, v], [x, y]), [drawn(6, 5), np.arange(6) % 3]


def conv_net():
    x, y = gt.placeholder((2, 8, 8, 1), "float64", "x"), gt.placeholder((2,), "int64", "y")
    k, gamma, beta = (gt.variable(drawn(3, 3, 1, 4)), gt.variable(drawn(4) + 2.0),
                      gt.variable(drawn(4)))
    w = gt.variable(drawn(36, 3))
    h = gt.convolution(x, k)
    mean = gt.mean(h, axis=(0, 1, 2))
    h = gt.batch_norm(h, mean, gt.var(h, axis=(0, 1, 2)), gamma, beta)
    h, _ = gt.max_pool(gt.gelu(h), pool_size=2)
    loss = gt.softmax_cross_entropy(gt.reshape(h, shape=(-1, 36)) @ w, y).mean()
    return sgd(loss, [k, gamma, beta, w], [x, y], mean), [drawn(2, 8, 8, 1), np.array([0, 2])]


def recurrent_net():
    x, lengths = gt.placeholder((3, 5, 2), "float64", "x"), gt.placeholder((3,), "int64", "n")
    k, r, b = (gt.variable(drawn(2, 16)), gt.variable(drawn(4, 16)), gt.variable(drawn(16)))
    outputs, h, _, *_ = gt.lstm(x, k, r, b, lengths)
    mask = gt.cast(gt.sequence_mask(outputs, lengths), dtype="float64")
    loss = (gt.square(outputs).mean(axis=-1) * mask).sum() + h[:, -1].sum()
    return sgd(loss, [k, r, b], [x, lengths]), [drawn(3, 5, 2), np.array([5, 0, 3])]


def random_ops(seed):
    """A random graph of views, elementwise ops and reductions on (3, 3) matrices."""
    rng = np.random.default_rng(seed)
    x, w = gt.placeholder((3, 3), "float64", "x"), gt.variable(drawn(3, 3))
    pool = [x, w, gt.constant(drawn(3, 3)), x + w]
    pick = lambda: pool[int(rng.integers(len(pool)))]
    unary = [gt.tanh, gt.exp, gt.negative, gt.transpose, gt.stop_gradient, gt.zeros_like,
             gt.ones_like, lambda t: gt.flip(t, axis=0),
             lambda t: gt.broadcast_like(t[:1], t), lambda t: gt.reshape(t, shape=(-1, 3)),
             lambda t: gt.concatenate(*gt.split(t, sections=(1, 2)), axis=1),
             lambda t: gt.pad(t[1:, 1:], widths=((1, 0), (0, 1))), lambda t: t * 1.0,
             lambda t: t / gt.count(t), lambda t: gt.cast(t, dtype="float64")]
    binary = [gt.add, gt.subtract, gt.multiply, gt.maximum, gt.matmul,
              lambda a, b: gt.where(a > b, a, b)]
    for _ in range(25):
        if rng.random() < 0.5:
            pool.append(unary[int(rng.integers(len(unary)))](pick()))
        else:
            pool.append(gt.tanh(binary[int(rng.integers(len(binary)))](pick(), pick())))
    loss = gt.tanh(pool[-1] + pool[-2]).sum()
    return sgd(loss, [w], [x], pool[-3], pool[-1]), [drawn(3, 3)]


GRAPHS = {"mlp": mlp, "conv_net": conv_net, "recurrent_net": recurrent_net,
          **{f"random_{seed}": lambda seed=seed: random_ops(seed) for seed in range(25)}}


def results(make, passes, steps=2):
    """Outputs of some steps and the weights after them; the weights' values start anew."""
    graph, feeds = make()
    f = gt.backend.Function(graph, "reference", passes)
    values = [np.array(v) for _ in range(steps) for v in f(*feeds)]
    return values + [v.numpy() for v in graph.updates]


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_each_pass_leaves_results_equal(make):
    want = results(make, ())
    settings = [DEFAULT, *([name] for name in PASSES),
                *(tuple(p for p in DEFAULT if p != name) for name in PASSES)]
    for passes in dict.fromkeys(map(tuple, settings)):
        for got, expected in zip(results(make, passes), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13,
                                       err_msg=f"passes {passes}")


def test_every_op_gives_the_same_bits_after_all_passes():
    for case in testing.op_cases():
        arrays = case.cast("float32")
        inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
        made = case.op(*inputs, **case.settings)
        outputs = list(made) if isinstance(made, tuple) else [made]
        for a, b in zip(gt.function(inputs, outputs)(*arrays),
                        gt.function(inputs, outputs, passes=())(*arrays)):
            np.testing.assert_array_equal(a, b, str(case))


def test_an_optimised_step_reads_the_same_for_people():
    graph, _ = optimize(mlp()[0], [p for p in DEFAULT if p != "memory"])
    assert str(graph) == (GOLDEN / "mlp_step_optimised.txt").read_text().rstrip("\n")


# ---- what each pass does -----------------------------------------------------------------------

def small(name):
    x = gt.placeholder((4, 3), name="x")
    if name == "single_device":
        return [gt.all_reduce(x) + gt.cast(gt.row_offset(x), dtype="float32")]
    if name == "shapes":
        h = gt.exp(x)
        return gt.gradients(h.mean(), [h])
    if name == "dead":
        return [gt.reshape(gt.transpose(gt.cast(x, dtype="float32"), axes=(0, 1)), shape=(-1, 3))]
    if name == "fold":
        return [x * (gt.constant(2.0) * 3.0 + 1.0)]
    if name == "common":
        return [gt.exp(x) + gt.exp(x) * 2.0 - gt.exp(x) * 2.0]
    if name == "algebra":
        return [gt.transpose(gt.transpose(-(-x) * 1.0))]
    if name == "fuse":
        return [-(x * gt.log(gt.softmax(x))).sum(axis=-1)]
    if name == "relu_in_pool":
        h = gt.relu(x.reshape(1, 4, 3, 1))
        y, _ = gt.max_pool(h, pool_size=2)
        return [y, *gt.gradients(y.sum(), [x])]
    if name == "batch_statistics":
        return [gt.batch_sum(gt.square(x - gt.placeholder((3,), name="mean")), x[:, 0])]
    if name == "fold_scale":
        return [x / 255.0 @ gt.variable((3, 3))]
    if name in ("fold_batch_norm", "open_batch_norm"):
        return [gt.batch_norm(x @ gt.variable((3, 3)), *(gt.variable((3,)) for _ in range(4)))]
    return [gt.exp(gt.tanh(x) + 1.0) + x]


REPORTS = {
    "single_device": "single_device: 5 nodes -> 4\n"
                     "  all_reduce  1 -> 0\n"
                     "  constant    0 -> 1\n"
                     "  row_offset  1 -> 0\n"
                     "  bytes       108 -> 52",
    "shapes": "shapes: 7 nodes\n"
              "  broadcast_like  1 -> 0\n"
              "  broadcast_to    0 -> 2\n"
              "  constant        1 -> 2\n"
              "  count           1 -> 0\n"
              "  exp             1 -> 0\n"
              "  bytes           108 -> 60",
    "dead": "dead: 4 nodes -> 1\n"
            "  cast       1 -> 0\n"
            "  reshape    1 -> 0\n"
            "  transpose  1 -> 0\n"
            "  bytes      144 -> 0",
    "fold": "fold: 7 nodes -> 3\n"
            "  add       1 -> 0\n"
            "  constant  3 -> 1\n"
            "  multiply  2 -> 1\n"
            "  bytes     56 -> 48",
    "common": "common: 10 nodes -> 6\n"
              "  constant  2 -> 1\n"
              "  exp       3 -> 1\n"
              "  multiply  2 -> 1\n"
              "  bytes     336 -> 192",
    "algebra": "algebra: 7 nodes -> 1\n"
               "  constant   1 -> 0\n"
               "  multiply   1 -> 0\n"
               "  negative   2 -> 0\n"
               "  transpose  2 -> 0\n"
               "  bytes      240 -> 0",
    "fuse": "fuse: 6 nodes -> 2\n"
            "  log                    1 -> 0\n"
            "  multiply               1 -> 0\n"
            "  negative               1 -> 0\n"
            "  softmax                1 -> 0\n"
            "  softmax_cross_entropy  0 -> 1\n"
            "  sum                    1 -> 0\n"
            "  bytes                  176 -> 16",
    "relu_in_pool": "relu_in_pool: 13 nodes -> 8\n"
                    "  constant  3 -> 1\n"
                    "  greater   1 -> 0\n"
                    "  relu      1 -> 0\n"
                    "  where     1 -> 0\n"
                    "  bytes     274 -> 166",
    "fold_batch_norm": "fold_batch_norm: 8 nodes -> 15\n"
                       "  add         0 -> 2\n"
                       "  batch_norm  1 -> 0\n"
                       "  constant    0 -> 1\n"
                       "  divide      0 -> 1\n"
                       "  multiply    0 -> 2\n"
                       "  sqrt        0 -> 1\n"
                       "  subtract    0 -> 1\n"
                       "  bytes       96 -> 192",
    "batch_statistics": "batch_statistics: 7 nodes -> 5\n"
                        "  batch_squares  0 -> 1\n"
                        "  batch_sum      1 -> 0\n"
                        "  square         1 -> 0\n"
                        "  subtract       1 -> 0\n"
                        "  bytes          140 -> 44",
    "fold_scale": "fold_scale: 5 nodes\n"
                  "  bytes  96 -> 84",
    "open_batch_norm": "open_batch_norm: 8 nodes -> 14\n"
                       "  add         0 -> 2\n"
                       "  batch_norm  1 -> 0\n"
                       "  constant    0 -> 1\n"
                       "  divide      0 -> 1\n"
                       "  multiply    0 -> 1\n"
                       "  sqrt        0 -> 1\n"
                       "  subtract    0 -> 1\n"
                       "  bytes       96 -> 228",
    "memory": "memory: 6 nodes\n"
              "  bytes  192 -> 48"}


@pytest.mark.parametrize("name", REPORTS)
def test_reports_say_what_changed(name):
    _, (report,) = optimize(Graph(small(name)), [name])
    assert str(report) == REPORTS[name]


def test_a_pass_that_finds_nothing_says_so():
    _, (report,) = optimize(Graph(small("memory")), ["fold"])
    assert str(report) == "fold: 6 nodes"


def test_unknown_passes_are_named():
    with pytest.raises(UnknownNameError, match='there is no graph pass "folds"'):
        optimize(Graph(small("fold")), ["folds"])


def names(outputs, passes=DEFAULT):
    graph, _ = optimize(Graph(outputs), passes)
    return [n.op.name for n in graph.steps]


def test_a_gradient_does_not_keep_a_forward_it_knows_the_shape_of():
    x, k = gt.placeholder((2, 8, 8, 3)), gt.variable((3, 3, 3, 4))
    found = gt.gradients(gt.convolution(x, k).sum(), [k])
    assert "convolution" in names(found, ())
    assert names(found) == ["broadcast_to", "convolution_kernel_gradient"]


X = gt.placeholder((4, 6), name="x")
I = gt.placeholder((2,), "int64", name="i")
ONLY_SHAPE = {
    "broadcast_like": lambda h: gt.broadcast_like(gt.constant(2.0), h),
    "zeros_like": gt.zeros_like, "ones_like": gt.ones_like,
    "count": lambda h: gt.count(h, axis=1), "full_lengths": gt.full_lengths,
    "slice gradient": lambda h: gt.gradients((h[1:3, :-2] * 2.0).sum(), [h])[0],
    "slice with gaps": lambda h: gt.gradients((h[:, ::2] * 2.0).sum(), [h])[0],
    "gather": lambda h: gt.gradients(gt.gather(h, I).sum(), [h])[0],
    "take_along": lambda h: gt.gradients(gt.take_along(h, gt.broadcast_to(I, shape=(4, 2)), axis=1)
                                         .sum(), [h])[0],
    "mean": lambda h: gt.gradients(h.mean(axis=1).sum(), [h])[0],
    "sequence_mask": lambda h: gt.sequence_mask(h, gt.constant([1, 2, 3, 4])),
    "dropout": lambda h: gt.dropout_mask(h, gt.constant(1), gt.constant(2), gt.constant(0),
                                         rate=0.5, stream=3)}


@pytest.mark.parametrize("make", ONLY_SHAPE.values(), ids=ONLY_SHAPE)
def test_nothing_is_computed_for_its_shape(make):
    y = make(gt.exp(X))
    assert "exp" in names([y], ())
    assert "exp" not in names([y])
    feeds = {X: drawn(4, 6).astype("float32"), I: [0, 3]}
    inputs, arrays = list(feeds), list(feeds.values())
    np.testing.assert_array_equal(gt.function(inputs, y)(*arrays),
                                  gt.function(inputs, y, passes=())(*arrays))


def test_what_is_alive_anyway_is_read_as_it_is():
    h = gt.exp(X)
    mask = gt.dropout_mask(h, gt.constant(1), gt.constant(2), gt.constant(0), rate=0.5, stream=3)
    assert names([h * mask]) == ["exp", "dropout_mask", "multiply"]


def test_folding_makes_no_large_constants_and_leaves_collectives_alone():
    big = gt.broadcast_to(gt.constant(1.0), shape=(1000, 1000))
    graph, _ = optimize(Graph([big + X[0, 0]]), ["fold"])
    assert len(str(graph)) < 1000
    passes = [p for p in DEFAULT if p != "single_device"]
    total = gt.all_reduce(gt.batch_sum(gt.ones_like(gt.constant([1.0, 2.0]))))
    assert "all_reduce" in names([total], passes)


def test_zero_and_minus_zero_are_not_common():
    x = gt.placeholder((), "float64")
    y = gt.function([x], [x * 0.0, x * -0.0])(1.0)
    assert [np.signbit(v) for v in y] == [False, True]


# ---- memory ------------------------------------------------------------------------------------

def optimised(make):
    graph, _ = make()
    return optimize(graph)[0]


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_buffers_of_overlapping_lifetimes_are_never_shared(make):
    """An independent simulation: who reads memory after someone else has written over it?

    A tensor that may be a view stands for all the memory it may show. Each step writes its outputs
    to their buffers; nothing may read a tensor, directly or by a view, that was written over.
    """
    graph = optimised(make)
    shows = {t: {t} for n in graph.nodes for t in n.outputs}
    for node in graph.steps:
        if not isinstance(node.op.forward, ufunc):
            for out in node.outputs:
                shows[out] |= {u for t in node.inputs for u in shows[t]}
    holder: dict[int, object] = {}
    for node in graph.steps:
        for t in node.inputs:
            for u in shows[t] & graph.buffers.keys():
                assert holder[graph.buffers[u]] is u, f"{node.op.name} reads what is written over"
        for out in node.outputs:
            for t in node.inputs:              # in place: elementwise, same spec, no other view
                if graph.buffers.get(t) == graph.buffers[out]:
                    assert node.op.code is not None and t.spec == out.spec
                    assert all(t not in shows[u] for u in node.inputs if u is not t)
        for out in node.outputs:
            holder[graph.buffers[out]] = out
    for t in (*graph.outputs, *graph.updates.values()):
        for u in shows[t] & graph.buffers.keys():
            assert holder[graph.buffers[u]] is u
    specs = {}
    for t, number in graph.buffers.items():
        assert specs.setdefault(number, t.spec.nbytes) == t.spec.nbytes


def test_memory_is_reused():
    for make in (mlp, conv_net, recurrent_net):
        graph = optimised(make)
        plain = Graph(graph.outputs, graph.updates, graph.inputs)
        assert peak_bytes(graph) < 0.75 * peak_bytes(plain)
        assert graph.buffers.keys() == {t for n in graph.steps for t in n.outputs}
    y = gt.placeholder((1000,))
    for _ in range(50):
        y = gt.exp(y * 0.5)
    graph, reports = optimize(gt.graph(y))
    assert peak_bytes(graph) == 4000 and "bytes  400,000 -> 4,000" in str(reports[-1])


VIEWS = {"transposed": lambda h: gt.transpose(h), "reshaped": lambda h: gt.reshape(h, shape=(3, 3)),
         "flipped": lambda h: gt.flip(h, axis=0), "row": lambda h: gt.broadcast_like(h[1], h),
         "column": lambda h: gt.broadcast_like(h[:, 1:2], h)}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_of_what_could_be_written_in_place(view):
    x = gt.placeholder((3, 3), "float64")
    h = gt.tanh(x)
    seen = view(h)
    a = drawn(3, 3)
    t = np.tanh(a)
    shown = gt.run(view(gt.constant(t)))
    cases = [(h + seen, t + shown), (seen * h, t * shown), (gt.exp(h) + seen, np.exp(t) + shown),
             (gt.exp(gt.exp(h)) * seen, np.exp(np.exp(t)) * shown)]
    for y, want in cases:
        np.testing.assert_allclose(gt.run(y, {x: a}), want, rtol=1e-15, atol=1e-15)
        graph, _ = optimize(Graph([y], {}, [x]))
        for node in graph.steps:
            if node.inputs and node.op.name in ("add", "multiply") and seen in node.inputs:
                assert graph.buffers[node.outputs[0]] != graph.buffers.get(h)
