"""Replicas: N of batch B compute what one of N * B does; failures; communicators."""
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS, Graph, get_backend
from gradatim.backend.distribute import (Communicator, DataParallel, ShardedRows, SingleDevice,
                                         Strategy, local_communicators, replicate, strategy)
from gradatim.backend.distribute.sharded_rows import joined
from gradatim.backend.distribute.tree import Tree, dealt
from gradatim.backend.errors import (DataError, DistributedError, GraphError, ParameterError,
                                     ShapeError, UnknownNameError)
from gradatim.training.sharded_source import ShardedSource

REFERENCE = get_backend("reference")
ROWS = 12


def step_of(batch):
    """A training step as layers build it: normalisation over the batch, dropout, weighted loss."""
    rng = np.random.default_rng(0)
    x, y = gt.placeholder((batch, 5), "float64", "x"), gt.placeholder((batch,), "int64", "y")
    weights = gt.placeholder((batch,), "float64", "weights")
    w, v = gt.variable(rng.standard_normal((5, 7))), gt.variable(rng.standard_normal((7, 3)))
    gamma, beta, moving = gt.variable(np.ones(7)), gt.variable(np.zeros(7)), gt.variable(np.ones(7))
    step = gt.variable(np.int64(0))
    total = gt.batch_sum(weights)
    h = x @ w
    mean = gt.batch_sum(h, weights) / total
    variance = gt.batch_sum(gt.square(h - mean), weights) / total
    h = gt.tanh(gt.batch_norm(h, mean, variance, gamma, beta))
    h = h * gt.dropout_mask(h, gt.constant(5), step, gt.row_offset(h), rate=0.3, stream=7)
    values = gt.softmax_cross_entropy(h @ v, y)
    loss = gt.batch_sum(values, weights) / total + gt.square(w).sum() * 0.01
    parameters = [w, v, gamma, beta]
    slopes = gt.gradients(loss, parameters)
    curvature = gt.gradients(gt.square(slopes[0]).sum(), [w, v])
    updates = {p: p - 0.1 * g for p, g in zip(parameters, slopes)}
    updates |= {moving: moving * 0.9 + mean * 0.1, step: step + 1}
    return [x, y, weights], [loss, *slopes, *curvature, mean, variance, h, values], updates


def feeds_of(padding):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((ROWS, 5)), rng.integers(0, 3, ROWS)
    weights = rng.uniform(0.5, 2.0, ROWS)
    if padding:                                     # the last batch is short: zeros that weigh zero
        x[-padding:], y[-padding:], weights[-padding:] = 0, 0, 0
    return x, y, weights


def run_steps(replicas, padding, steps=3):
    inputs, outputs, updates = step_of(ROWS // replicas)
    f = DataParallel(replicas).function(inputs, outputs, updates, REFERENCE)
    x, y, weights = feeds_of(padding)
    results = [r for _ in range(steps) for r in f(x, y, weights)]
    return results + [v.numpy() for v in updates]


@pytest.mark.parametrize("padding", [0, 4, 11])
@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_replicas_equal_one_device_with_the_whole_batch(replicas, padding):
    for got, want in zip(run_steps(replicas, padding), run_steps(1, padding), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_one_device_is_the_plain_function():
    inputs, outputs, updates = step_of(ROWS)
    single = SingleDevice().function(inputs, outputs, updates, REFERENCE)
    rng = np.random.default_rng(1)
    feeds = rng.standard_normal((ROWS, 5)), rng.integers(0, 3, ROWS), rng.uniform(0.5, 2.0, ROWS)
    want = run_steps(1, 0, steps=1)
    for a, b in zip(single(*feeds), want):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_random_numbers_follow_the_row_in_the_batch():
    def noise(replicas):
        x = gt.placeholder((ROWS // replicas, 3), name="x")
        y = gt.normal_like(x, gt.constant(1), gt.constant(2), gt.row_offset(x), stream=9)
        f = DataParallel(replicas).function([x], [y], {}, REFERENCE)
        return f(np.zeros((ROWS, 3), np.float32))[0]
    for replicas in (2, 3, 4, 6):
        np.testing.assert_array_equal(noise(replicas), noise(1))


def test_collectives_stand_where_samples_are_summed_and_nowhere_else():
    inputs, outputs, updates = step_of(4)
    graph = Graph(outputs, updates, inputs)
    names = [n.op.name for n in replicate(graph, 1).steps]
    assert names.count("batch_sum") == 4
    assert names.count("all_reduce") == 4 + sum(n.op.name == "all_reduce" for n in graph.steps)
    for node in replicate(graph, 1).steps:
        if node.op.name == "batch_sum":
            users = [n for n in replicate(graph, 1).steps if node.outputs[0] in n.inputs]
            assert all(n.op.name == "all_reduce" for n in users)


def test_tables_go_to_every_replica_whole():
    x, table = gt.placeholder((2, 3)), gt.placeholder((3, 2), batch=False)
    f = DataParallel(2).function([x, table], [x @ table], {}, REFERENCE)
    a, b = np.arange(12, dtype="f").reshape(4, 3), np.ones((3, 2), "f")
    np.testing.assert_array_equal(f(a, b)[0], a @ b)
    np.testing.assert_array_equal(f(a.tolist(), b)[0], a @ b)


# ---- errors ------------------------------------------------------------------------------------

def test_sums_that_are_not_marked_are_refused():
    x, w = gt.placeholder((2, 3)), gt.variable(())
    build = DataParallel(2).function
    with pytest.raises(GraphError, match="an output is a sum over the samples of one replica") as e:
        build([x], [x.sum()], {}, REFERENCE)
    assert e.value.facts["fix"] == "sum over samples with gt.batch_sum"
    assert e.value.facts["at"].startswith("test_replicas.py:")
    with pytest.raises(GraphError, match='the update of "variable" is a sum'):
        build([x], [], {w: x.mean()}, REFERENCE)
    build([x], [gt.batch_sum(x, axes=(0, 1)), x.sum(axis=1)], {w: gt.batch_sum(x[:, 0])}, REFERENCE)


def test_rows_that_cannot_be_shared():
    x = gt.placeholder((2, 3), name="x")
    f = DataParallel(3).function([x], [x * 2.0], {}, REFERENCE)
    with pytest.raises(ShapeError, match='"x" is fed another number of rows') as caught:
        f(np.zeros((7, 3), "f"))
    assert caught.value.facts["got"] == "float32[7, 3], not 6 rows for 3 replicas"
    with pytest.raises(ShapeError, match="7 rows cannot be shared by 3 replicas"):
        DataParallel(3).local((7, 3))


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_an_error_of_one_replica_surfaces_frees_the_others_and_passes(culprit):
    def forward(xp, x):
        if xp.any(x > 1e6):
            raise RuntimeError("the replica's own trouble")
        return x
    fragile = gt.op("test_fragile", forward=forward, spec=gt.backend.same)
    x, w = gt.placeholder((2, 3)), gt.variable((3,))
    total = gt.batch_sum(fragile(x))
    f = DataParallel(3).function([x], [total], {w: total}, REFERENCE)
    del OPS["test_fragile"]
    good = np.ones((6, 3), "f")
    bad = good.copy()
    bad[2 * culprit] = 1e7
    alive = threading.active_count()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="the replica's own trouble"):
            f(bad)
        assert threading.active_count() == alive
        np.testing.assert_array_equal(f(good)[0], [6, 6, 6])     # the next call works
    w.assign([1, 2, 3])
    with pytest.raises(RuntimeError):
        f(bad)
    np.testing.assert_array_equal(w.numpy(), [1, 2, 3])          # a failed step changes nothing


@pytest.mark.parametrize("replicas", [0, -1, 1.5, "two", True])
def test_replicas_are_counted(replicas):
    with pytest.raises(ParameterError, match="workers must be a whole number from 1 on"):
        DataParallel(replicas)


def test_strategies_are_parameters():
    assert strategy("auto") == SingleDevice() and strategy(DataParallel(3)) == DataParallel(3)
    assert DataParallel(2) != DataParallel(3)
    assert repr(DataParallel(2)) == "DataParallel(workers=2)"
    with pytest.raises(UnknownNameError, match='there is no strategy "doubel"'):
        strategy("doubel")
    with pytest.raises(ParameterError):
        strategy(3)
    with pytest.raises(TypeError, match="abstract"):
        Strategy()                                 # it does not say how a step is compiled


# ---- communicators -----------------------------------------------------------------------------

def everywhere(size, work):
    """What ``work(communicator)`` returns on every rank."""
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, local_communicators(size)))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("operation, want", [("sum", np.sum), ("max", np.max), ("min", np.min)])
def test_all_reduce(size, operation, want):
    parts = np.random.default_rng(size).standard_normal((size, 3, 2))
    found = everywhere(size, lambda c: c.all_reduce(parts[c.rank], operation))
    np.testing.assert_allclose(found[0], want(parts, axis=0), rtol=1e-14)
    for other in found:
        assert other.dtype == found[0].dtype and other.tobytes() == found[0].tobytes()
    found[0][...] = 7                                       # nobody shares memory with anybody
    assert size == 1 or not (found[-1] == 7).any()
    assert not (parts == 7).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_all_reduce_keeps_the_dtype_of_numbers_too(dtype):
    found = everywhere(3, lambda c: c.all_reduce(np.asarray(c.rank + 1, dtype)))
    assert [(f.dtype, f.shape, f.item()) for f in found] == [(np.dtype(dtype), (), 6)] * 3


def test_all_gather_and_broadcast():
    row = lambda rank: np.full((1, 2), rank)
    for found in everywhere(3, lambda c: c.all_gather(row(c.rank))):
        np.testing.assert_array_equal(found, [[0, 0], [1, 1], [2, 2]])
    for found in everywhere(3, lambda c: c.all_gather(row(c.rank), axis=1)):
        np.testing.assert_array_equal(found, [[0, 0, 1, 1, 2, 2]])
    for found in everywhere(3, lambda c: c.broadcast_from(row(c.rank), root=2)):
        np.testing.assert_array_equal(found, [[2, 2]])


def test_things_and_pairs():
    assert everywhere(3, lambda c: c.gather({c.rank})) == [[{0}, {1}, {2}]] * 3
    assert everywhere(3, lambda c: c.share(c.rank, root=1)) == [1] * 3
    assert everywhere(4, lambda c: int(c.swap(np.int64(c.rank), c.rank ^ 1))) == [1, 0, 3, 2]
    assert everywhere(3, lambda c: c.barrier()) == [None] * 3


def test_many_exchanges_in_a_row_do_not_mix():
    def work(c):
        return [float(c.all_reduce(np.float64(c.rank + 10 * i))) for i in range(300)]
    want = [3.0 + 30 * i for i in range(300)]
    assert everywhere(3, work) == [want] * 3


def test_abort_frees_who_waits():
    first, second = local_communicators(2)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(first.all_reduce, np.ones(2))
        second.abort()
        with pytest.raises(threading.BrokenBarrierError):
            waiting.result(timeout=10)


def test_a_communicator_must_say_how():
    class Silent(Communicator):
        def all_reduce(self, x, operation="sum", out=None):
            return x

    with pytest.raises(TypeError, match="abstract method.* .*all_gather.*swap"):
        Silent()


def test_results_go_where_they_are_wanted():
    def work(c):
        x, out = np.full(3, c.rank + 1.0), np.zeros(3)
        assert c.all_reduce(x, "max", out=out) is out and c.all_reduce(x, out=x) is x
        assert c.broadcast_from(x, root=1, out=x) is x
        return [*out, *x]
    assert everywhere(2, work) == [[2, 2, 2, 3, 3, 3]] * 2


# ---- samples that every process brings ---------------------------------------------------------

def test_rows_are_numbered_through_all_ranks():
    X, y = np.arange(12.0).reshape(6, 2), np.array(list("abcdef"))

    def work(c):
        own = slice(*((0, 4), (4, 6))[c.rank])
        rows, targets, weights = joined(X[own], y[own], None, c)
        some = rows.subset([1, 3, 5])
        return (len(rows), rows.shape, targets.tolist(), weights, rows.own.tolist(), some.counts,
                some.own.tolist(), rows.total(rows.own.sum()), rows.min(), rows.max())
    for rank, found in enumerate(everywhere(2, work)):
        assert found == (6, (6, 2), list("abcdef"), None, X[:4].tolist() if rank == 0 else
                         X[4:].tolist(), [2, 1], [[2, 3], [6, 7]] if rank == 0 else [[10, 11]],
                         66, 0, 11)


@pytest.mark.parametrize("X, y, weights, said", [
    (np.ones((2, 3)), np.ones(2), None, r"rank 1 has other samples than rank 0\n"
                                        r"  got  \(3, 'float64'\), not \(2, 'float64'\)"),
    (np.ones((2, 2), "f"), np.ones(2), None, "rank 1 has other samples than rank 0"),
    (np.ones((2, 2)), np.ones((2, 1)), None, "rank 1 has other targets than rank 0"),
    (np.ones((2, 2)), np.ones(2), np.ones(2), "rank 1 has other sample weights than rank 0"),
    (np.ones((0, 2)), np.ones(0), None, "rank 1 has no samples"),
    ([np.ones((2, 2))], np.ones(1), None, "sequences of unequal length cannot be shared out")])
def test_parts_of_another_kind_are_refused(X, y, weights, said):
    def work(c):
        with pytest.raises((DataError, DistributedError), match=said):
            joined(*((np.ones((3, 2)), np.ones(3), None) if c.rank == 0 and
                     not isinstance(X, list) else (X, y, weights)), c)
    everywhere(2, work)


def test_what_cannot_be_sharded_is_refused():
    with pytest.raises(ParameterError, match="data is \"replicated\" or \"sharded\", not 'rows'"):
        DataParallel(data="rows")
    with pytest.raises(ParameterError, match="who brings which samples decides the bits"):
        DataParallel(data="sharded", deterministic=True)
    with pytest.raises(ParameterError, match="workers that a fit starts are all given"):
        gt.Mirrored(2, data="sharded").starts
    with pytest.raises(DistributedError, match="the samples lie in several processes"):
        ShardedRows(np.ones((3, 1)), local_communicators(1)[0], [3])[:2]
    with pytest.raises(ParameterError, match='samples are not drawn by class with data="sharded"'):
        (team,) = local_communicators(1)
        ShardedSource(*joined(np.ones((3, 1)), np.arange(3), None, team), batch_size=2,
                      balanced=True)


# ---- virtual shards ----------------------------------------------------------------------------

@pytest.mark.parametrize("shards", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_the_tree_adds_in_one_order(shards, size):
    size = min(size, shards)
    parts = np.random.default_rng(shards).standard_normal((shards, 5)).astype("f")
    want = Tree(shards, None).sum(parts)
    np.testing.assert_allclose(want, parts.sum(axis=0), rtol=1e-5)
    before = parts.copy()

    def work(c):
        own = dealt(shards, c.rank, size)
        tree = Tree(shards, c)
        return [tree.sum(parts[own.start:own.stop], kind) for kind in ("sum", "max", "min")]
    for found in everywhere(size, work):
        assert found[0].tobytes() == want.tobytes()
        np.testing.assert_array_equal(found[1:], [parts.max(axis=0), parts.min(axis=0)])
    np.testing.assert_array_equal(parts, before)


@pytest.mark.parametrize("padding", [0, 4, 11])
@pytest.mark.parametrize("shards", [2, 3, 4])
def test_virtual_shards_equal_one_device_with_the_whole_batch(shards, padding):
    strategy = DataParallel(virtual_shards=shards, deterministic=True)
    inputs, outputs, updates = step_of(ROWS // shards)
    f = strategy.function(inputs, outputs[:-2], updates, REFERENCE)      # but those with rows
    found = [r for _ in range(3) for r in f(*feeds_of(padding))]
    want = run_steps(1, padding)
    size = len(outputs)
    want = [r for step in range(3) for r in want[step * size:(step + 1) * size - 2]]
    for got, right in zip(found, want, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings, text", [
    (dict(virtual_shards=0), "virtual_shards must be a whole number from 1 on, not 0"),
    (dict(batch_norm="none"), 'batch_norm is "global" or "shard", not \'none\''),
    (dict(timeout=0), "timeout is a number of seconds, not 0")])
def test_settings_of_data_parallel_training(settings, text):
    with pytest.raises(ParameterError, match=text):
        DataParallel(**settings)


def test_more_workers_than_shards():
    with pytest.raises(ParameterError, match="9 workers cannot share 8 virtual shards"):
        DataParallel(9, deterministic=True).local((72, 2))
