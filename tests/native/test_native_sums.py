"""Chains of the native backend that add up what they compute, or compute it anew."""
import os
import subprocess
import sys

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.errors import BackendError
from gradatim.backend.native.chain import fits_chain
from gradatim.backend.lowering.clusters import clusters
from gradatim.backend.native.fusions import PATTERNS

try:
    NATIVE = gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)


def compare(build, *arrays, tolerance=2e-6):
    """The native steps' names, after the results were found equal to the reference's."""
    inputs = [gt.placeholder(a.shape, a.dtype.name) for a in arrays]
    outputs = build(*inputs)
    ours, meant = (gt.function(inputs, outputs, backend=b) for b in ("native", "reference"))
    for got, wanted in zip(ours(*arrays), meant(*arrays)):
        assert np.linalg.norm(got - wanted) <= tolerance * max(np.linalg.norm(wanted), 1e-30)
    return [name for name, *_ in ours.program.core.steps]


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7, 11, 16), (301, 48), (9, 31, 500), (3, 50, 41, 1),
                                   (64, 8, 8, 3), (8, 1024, 512)])
def test_sums_over_all_but_the_last_axis(shape, dtype):
    axes = tuple(range(len(shape) - 1))
    steps = compare(lambda x, m: [gt.sum(gt.square(x - m), axis=axes)],
                    normal(*shape, dtype=dtype), normal(shape[-1], dtype=dtype))
    assert [s for s in steps if "sum" in s] == ["subtract,square,sum"]


def test_sums_over_everything_and_a_result_that_is_kept():
    steps = compare(lambda x: [gt.sum(x * 2.0), x * 2.0], normal(70, 130))
    assert [s for s in steps if "sum" in s] == ["multiply,sum"]


@pytest.mark.parametrize("shape", [(16, 9, 9, 16), (5, 40, 32), (2000, 5), (40, 300, 2)])
def test_sums_are_weighted_by_sample(shape):
    axes = tuple(range(len(shape) - 1))
    weights = np.linspace(0, 2, shape[0], dtype="float32")
    steps = compare(lambda x, w: [gt.batch_sum(gt.square(x), w, axes=axes)],
                    normal(*shape), weights)
    assert [s for s in steps if "sum" in s] == ["square,batch_sum"]


def test_operands_of_one_sample_stand_for_all_its_elements():
    rows = normal(7, 1, 1, 24, seed=1)
    compare(lambda x, r, w: [x * r + w, gt.relu(x - w) * r], normal(7, 13, 11, 24), rows,
            normal(7, 1, 1, 1, seed=2))


def test_columns_too_long_for_a_block_are_summed_apart():
    steps = compare(lambda x: [gt.sum(gt.square(x), axis=(0,))], normal(8, 1000))
    assert "square,sum" not in steps


def test_what_reads_a_sum_stands_in_another_chain():
    compare(lambda x: [x * 2.0 / gt.sum(x * 2.0, axis=(0,))], np.abs(normal(900, 6)))


def test_sums_do_not_depend_on_the_number_of_threads():
    code = ("import numpy as np, gradatim as gt\n"
            "x = gt.placeholder((400, 17, 32))\n"
            "f = gt.function([x], gt.sum(gt.square(x), axis=(0, 1)), backend='native')\n"
            "a = np.random.default_rng(0).normal(size=x.shape).astype('float32')\n"
            "print(np.asarray(f(a)).tobytes().hex())\n")
    made = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "OMP_NUM_THREADS": n}).stdout for n in "123"}
    assert len(made) == 1


def test_normalised_activations_are_written_once():
    """Forward and back, two of its size: the masked, scaled cotangent and the gradient."""
    shape = (16, 12, 12, 16)
    x, g = gt.placeholder(shape), gt.placeholder(shape)
    vectors = [gt.variable(np.full(16, v, "float32")) for v in (1.0, 0.5)]
    weights = gt.constant(np.ones(16, "float32"))
    share = 1.0 / (16 * 12 * 12)
    mean = gt.batch_sum(x, weights, axes=(0, 1, 2)) * share
    variance = gt.batch_sum(gt.square(x - mean), weights, axes=(0, 1, 2)) * share
    y = gt.relu(gt.batch_norm(x, mean, variance, *vectors))
    made = gt.gradients((y * g).sum(), [x, *vectors])
    function = gt.function([x, g], made, backend="native")
    program = function.program
    found = clusters(program.graph, lambda n: fits_chain(program, n), PATTERNS)
    chains = [c for c in found if c.kind == "chain"]
    large = [t for c in chains for t in c.written if t.spec.size == np.prod(shape)
             and t.dtype == "float32"]
    assert len(large) == 2 and program.graph.outputs[0] in large
    meant = gt.function([x, g], made, backend="reference")
    data = normal(*shape), normal(*shape, seed=1)
    for got, wanted in zip(function(*data), meant(*data)):
        assert np.linalg.norm(got - wanted) <= 3e-6 * np.linalg.norm(wanted)


def test_a_kernels_gradient_comes_before_the_cotangent_of_its_input_takes_memory():
    x, kernels = gt.placeholder((4, 8, 8, 16)), [gt.variable(normal(3, 3, 16, 16, seed=i))
                                                 for i in range(3)]
    y = x
    for kernel in kernels:
        y = gt.sin(gt.convolution(y, kernel, padding="same"))
    function = gt.function([x], gt.gradients(y.sum(), kernels), backend="native")
    names = [name for name, *_ in function.program.core.steps]
    assert [n for n in names if n.endswith("_gradient")] == [
        "convolution_kernel_gradient", "convolution_data_gradient"] * 2 + [
        "convolution_kernel_gradient"]
