"""Thread groups as devices: parts run at once, errors, threads that call, forked children."""
import os
import select
import threading

import numpy as np
import pytest

import gradatim as gt
from gradatim import backend
from gradatim.backend.op import OPS

if "native" not in backend.available():
    pytest.skip("the compiled core is not here", allow_module_level=True)


def branches():
    """Two branches on two devices, and some input."""
    rng = np.random.default_rng(0)
    x, found = gt.placeholder((8, 6)), []
    for i in range(2):
        with gt.device(f"cpu:{i}"):
            found.append(gt.tanh(x @ gt.constant(rng.standard_normal((6, 5)).astype("float32"))))
    with gt.device("cpu:0"):
        y = found[0] @ gt.transpose(found[1])
    return gt.function([x], [y, found[1]], backend="native"), \
        rng.standard_normal((8, 6)).astype("float32")


@pytest.fixture
def python_op():
    """Makes ops that the native backend leaves to Python."""
    made = []

    def make(forward):
        made.append(gt.op(f"test_placement_{len(made)}", forward=lambda xp, x: forward(x),
                          spec=backend.same))
        return made[-1]

    yield make
    for op in made:
        del OPS[op.name]


def test_what_is_independent_runs_at_the_same_time(python_op):
    barrier = threading.Barrier(3, timeout=20)

    def meet(x):
        barrier.wait()
        return x + 1

    op, x, found = python_op(meet), gt.placeholder((2,)), []
    for i in range(3):
        with gt.device(f"cpu:{i}"):
            found.append(op(gt.exp(x) * i))
    with gt.device("cpu:0"):
        total = found[0] + found[1] + found[2]
    function = gt.function([x], total, backend="native")
    np.testing.assert_array_equal(function([0, 0]), [6, 6])
    assert function.plan().fall_backs == (op.name,)


def test_shares_of_a_batch_follow_each_other_through_two_halves(python_op):
    """The second half of the first share meets the first half of the second share."""
    barrier = threading.Barrier(2, timeout=20)

    def meet(x):
        barrier.wait()
        return x

    first, second, x = python_op(lambda x: x), python_op(meet), gt.placeholder((4,))
    with gt.device("cpu:0"):
        a, b = first(x[:2]), second(x[2:])
    with gt.device("cpu:1"):
        y = gt.concatenate(second(a), first(b), axis=0)
    np.testing.assert_array_equal(gt.run(y, {x: range(4)}, backend="native"), range(4))


def test_an_error_in_a_part_stops_the_rest_and_is_raised(python_op):
    calls, fails = [], [True]

    def fail(x):
        if fails[0]:
            raise ArithmeticError("no")
        return x

    broken, after, x = python_op(fail), python_op(lambda x: calls.append(1) or x), \
        gt.placeholder((2,))
    with gt.device("cpu:1"):
        h = broken(x)
    with gt.device("cpu:2"):
        y = after(h)
    function = gt.function([x], y, backend="native")
    with pytest.raises(ArithmeticError, match="^no$"):
        function([1, 2])
    assert not calls
    fails[0] = False
    np.testing.assert_array_equal(function([1, 2]), [1, 2])


def test_an_op_in_python_may_run_a_placed_graph(python_op):
    inner, x = branches()
    op, t = python_op(lambda a: a + inner(x)[1][0, 0] - branches()[0](x)[1][0, 0]), \
        gt.placeholder((2,))
    with gt.device("cpu:1"):
        y = op(t)
    np.testing.assert_array_equal(gt.run(y, {t: [1, 2]}, backend="native"), [1, 2])


def test_threads_may_run_one_placed_program_at_once():
    function, x = branches()
    inputs = [x * i for i in range(8)]
    want = [function(x) for x in inputs]
    got = [[] for _ in inputs]

    def work(i):
        for _ in range(20):
            got[i].append(function(inputs[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for mine, expected in zip(got, want):
        for values in mine:
            for a, b in zip(values, expected):
                np.testing.assert_array_equal(a, b)


def test_devices_are_groups_of_processors():
    from gradatim.backend.native.groups import thread_groups
    core = gt.get_backend("native").core
    mine = os.sched_getaffinity(0)
    for count in (1, 2, 3, len(mine) + 1):
        groups = thread_groups(core, [f"cpu:{i}" for i in range(count)])
        used = [p for g in groups.values() for p in g.processors]
        assert set(used) == mine
        assert len(used) == max(len(mine), count), "shared only where there are too few"
        for group in groups.values():
            assert group.submit(core, os.sched_getaffinity, 0).result() == set(group.processors)
            assert group.submit(core, core.max_threads).result() == group.threads
    assert os.sched_getaffinity(0) == mine


def test_a_forked_child_has_threads_of_its_own():
    function, x = branches()
    want = function(x)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            found = function(x), branches()[0](x)
            status = 0 if all(np.array_equal(a, b) for got in found for a, b in zip(got, want)) \
                else 2
        finally:
            os.write(writing, b"done")
            os._exit(status)
    ready, _, _ = select.select([reading], [], [], 30)
    if not ready:
        os.kill(child, 9)
    status = os.waitpid(child, 0)[1]
    assert ready and status == 0
