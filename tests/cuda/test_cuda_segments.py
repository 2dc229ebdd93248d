"""Equal chains of the CUDA backend over many tensors as one launch; when they may not be one."""
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.device import Launch, Table
from gradatim.training.optimizers import global_norm

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

CUDA = CudaBackend(CpuDevice())
SHAPES = [(3,), (5, 7), (1,), (70, 60), (2, 3, 4), (2048,)]


def adam(count: int, backend, steps: int = 3):
    """Variables after steps of Adam, as a graph, and the program."""
    rng = np.random.default_rng(0)
    shapes = [SHAPES[i % len(SHAPES)] for i in range(count)]
    make = lambda scale: [gt.variable((scale * rng.standard_normal(s)).astype("f"))
                          for s in shapes]
    weights, means, squares = make(1.0), make(0.0), make(0.0)
    rate = gt.placeholder(())
    updates = {}
    for w, m, v in zip(weights, means, squares):
        g = gt.tanh(w)
        first, second = m * 0.9 + g * 0.1, v * 0.999 + gt.square(g) * 0.001
        updates.update({m: first, v: second, w: w - rate * first / (gt.sqrt(second) + 1e-7)})
    step = gt.function([rate], rate * 2.0, updates=updates, backend=backend)
    for i in range(steps):
        step(np.float32(0.01 * (i + 1)))
    return [v.numpy() for v in (*weights, *means, *squares)], step.program


@pytest.mark.parametrize("count", [1, 2, 9, 150])
def test_an_optimizer_over_all_weights_is_one_launch(count):
    got, program = adam(count, CUDA)
    wanted, _ = adam(count, "reference")
    for a, b in zip(got, wanted):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
    launches = [s for s in program.steps if isinstance(s, Launch) and "sqrt" in s.name]
    room = 4000 // (8 * 9)           # addresses of seven tensors, a size and a start
    assert len(launches) == -(-count // room)
    tables = [a for s in launches for a in s.arguments if isinstance(a, Table)]
    assert all(8 * len(t.words) <= 4000 for t in tables) and bool(tables) == (count > 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 6, 200])
def test_a_norm_over_all_gradients_is_one_pass(count, dtype):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(SHAPES[i % len(SHAPES)]).astype(dtype) for i in range(count)]
    inputs = [gt.placeholder(a.shape, dtype) for a in arrays]
    norm = gt.function(inputs, global_norm(dict(enumerate(inputs))), backend=CUDA)
    wanted = np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in arrays))
    np.testing.assert_allclose(norm(*arrays), wanted, rtol=1e-5 if dtype == "float32" else 1e-12)
    names = [s.name for s in norm.program.steps]
    room = 4000 // (8 * 4)
    assert names.count("finish_totals") == -(-count // room)
    assert sum("square" in n for n in names) <= 2 * -(-count // room)
    arrays[-1][...] = np.nan
    assert np.isnan(norm(*arrays))


def test_pieces_of_one_array_are_written_at_once():
    arrays = [np.random.default_rng(i).standard_normal(n).astype("f") for i, n in
              enumerate((300, 1, 2500, 7))]
    inputs = [gt.placeholder(a.shape) for a in arrays]
    join = gt.function(inputs, gt.concatenate(*inputs, axis=0), backend=CUDA)
    np.testing.assert_array_equal(join(*arrays), np.concatenate(arrays))
    assert [s.name for s in join.program.steps] == ["chain_copy"]
    # The middle of what was filled is written after it.
    x = gt.placeholder((3,))
    pad = gt.function([x], gt.pad(x, widths=((2, 2),), value=7.0), backend=CUDA)
    np.testing.assert_array_equal(pad(np.float32([1, 2, 3])), [7, 7, 1, 2, 3, 7, 7])


def test_chains_that_wait_for_each_other_stay_apart():
    x, y = gt.placeholder((6, 5)), gt.placeholder((5, 4))
    build = lambda: gt.tanh(gt.matmul(gt.tanh(x * 2.0), y) * 2.0)
    step = gt.function([x, y], build(), backend=CUDA)
    a, b = np.full((6, 5), 0.1, "f"), np.full((5, 4), 0.3, "f")
    np.testing.assert_allclose(step(a, b), np.tanh(np.tanh(a * 2) @ b * 2), rtol=1e-6)
    assert sum(isinstance(s, Launch) for s in step.program.steps) == 2


def test_a_chain_is_not_put_off_past_what_overwrites_its_input():
    a, b = gt.variable(np.float32([1, 2])), gt.variable(np.float32([10, 20, 30]))
    total = gt.matmul(gt.reshape(a * 3.0, shape=(1, 2)), gt.reshape(a, shape=(2, 1)))
    step = gt.function([], total, updates={a: a * 3.0, b: b * 3.0}, backend=CUDA)
    assert float(step()[0, 0]) == 15.0
    np.testing.assert_array_equal(a.numpy(), [3, 6])
    np.testing.assert_array_equal(b.numpy(), [30, 60, 90])


# ---- losses and their gradients ----------------------------------------------------------------

def cross_entropy(reduce):
    """The steps of a loss and its gradient, after they were found equal to the reference's."""
    x, y, w = gt.placeholder((40, 9)), gt.placeholder((40,), "int64"), gt.placeholder((40,))
    loss = reduce(gt.softmax_cross_entropy(x, y), w)
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((40, 9)).astype("f"), rng.integers(0, 9, 40), \
        rng.uniform(1, 2, 40).astype("f")
    ours, meant = (gt.function([x, y, w], [loss, *gt.gradients(loss, [x])], backend=b)
                   for b in (CUDA, "reference"))
    for got, wanted in zip(ours(*arrays), meant(*arrays)):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-7)
    return [s.name for s in ours.program.steps].count("softmax_cross_entropy")


def test_a_loss_and_its_gradient_are_one_launch():
    assert cross_entropy(lambda loss, w: gt.mean(loss)) == 1
    assert cross_entropy(lambda loss, w: gt.batch_sum(loss, w) / gt.batch_sum(w)) == 1


def test_a_gradient_that_needs_the_loss_waits_for_it():
    assert cross_entropy(lambda loss, w: gt.sum(gt.square(loss) * w)) == 2
