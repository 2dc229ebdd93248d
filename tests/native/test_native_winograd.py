"""3x3 convolutions by Winograd's tiles: equal to the direct sum, whatever stands beside them."""
import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import gradatim as gt
from gradatim.backend.errors import BackendError

try:
    gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)


def step(shape, filters, padding, backend, relu=True):
    """A function of (x, kernel, bias, cotangent) that gives the output and all gradients."""
    x, kernel = gt.placeholder(shape), gt.placeholder((3, 3, shape[-1], filters))
    bias = gt.variable(np.linspace(-1, 1, filters, dtype="float32"))
    y = gt.convolution(x, kernel, padding=padding) + bias
    if relu:
        y = gt.relu(y)
    cotangent = gt.placeholder(y.shape)
    gradients = gt.gradients((y * cotangent).sum(), [x, kernel, bias])
    return gt.function([x, kernel, cotangent], [y, *gradients], backend=backend)


def arrays(function, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=t.shape).astype("float32") for t in function.graph.inputs]


@pytest.mark.parametrize("shape, filters, padding", [
    ((2, 14, 14, 32), 64, "same"), ((1, 13, 7, 16), 48, "same"), ((5, 9, 10, 96), 32, "valid"),
    ((3, 8, 8, 64), 64, "same"), ((1, 3, 17, 16), 16, "same"), ((7, 6, 5, 16), 112, "valid"),
    ((40, 4, 4, 32), 32, "same"),
])
@pytest.mark.parametrize("relu", [True, False])
def test_outputs_and_gradients_are_those_of_the_reference(shape, filters, padding, relu):
    ours, meant = (step(shape, filters, padding, b, relu) for b in ("native", "reference"))
    data = arrays(ours)
    for got, wanted in zip(ours(*data), meant(*data)):
        assert np.linalg.norm(got - wanted) <= 3e-6 * np.linalg.norm(wanted)
    assert not ours.program.fall_backs


@pytest.mark.parametrize("shape, filters, padding", [
    ((2, 14, 14, 32), 64, "same"), ((1, 13, 7, 16), 48, "same"), ((5, 9, 11, 16), 32, "valid")])
@pytest.mark.parametrize("relu", [True, False])
def test_pooled_outputs_are_those_that_are_pooled_apart(shape, filters, padding, relu):
    rng = np.random.default_rng(0)
    x, bias = gt.placeholder(shape), gt.variable(rng.normal(size=filters).astype("float32"))
    kernel = gt.variable(rng.integers(-2, 3, (3, 3, shape[-1], filters)).astype("float32"))
    y = gt.convolution(x, kernel, padding=padding) + bias
    pooled = gt.max_pool(y, pool_size=2, relu=relu)
    data = rng.integers(-1, 2, shape).astype("float32")
    data[0, 3, 3] = np.nan
    ours = gt.function([x], [*pooled], backend="native")
    assert "convolution,max_pool" in [name for name, *_ in ours.program.core.steps]
    apart = gt.function([x], [y, *pooled], backend="native")          # y is wanted, too
    for got, wanted in zip(ours(data), apart(data)[1:], strict=True):
        np.testing.assert_array_equal(got, wanted)
    alone = gt.function([x], pooled[0], backend="native")
    np.testing.assert_array_equal(alone(data), ours(data)[0])


def test_an_image_does_not_depend_on_its_neighbours():
    shape = (23, 11, 9, 16)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 32)).astype("float32")

    def output(images):
        function = step(images.shape, 32, "same", "native")
        return function(images, kernel, np.zeros((*images.shape[:-1], 32), "float32"))[0]

    whole = output(x)
    for first, last in ((0, 1), (5, 6), (22, 23), (3, 17)):
        np.testing.assert_array_equal(output(x[first:last]), whole[first:last])


def test_what_the_memory_held_before_does_not_matter():
    function = step((3, 5, 5, 16), 16, "same", "native")
    data = arrays(function)
    first = [a.copy() for a in function(*data)]
    function(np.full_like(data[0], np.nan), *data[1:])
    for got, wanted in zip(function(*data), first):
        np.testing.assert_array_equal(got, wanted)


def test_the_narrower_instructions_give_the_same_answers():
    code = ("import sys; sys.argv = ['']; import runpy, gradatim as gt, numpy as np\n"
            f"tests = runpy.run_path({__file__!r})\n"
            "for shape, filters in (((2, 14, 14, 32), 64), ((3, 7, 6, 16), 48)):\n"
            "    tests['test_outputs_and_gradients_are_those_of_the_reference']"
            "(shape, filters, 'same', True)\n"
            "    tests['test_pooled_outputs_are_those_that_are_pooled_apart']"
            "(shape, filters, 'same', True)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape, filters, padding, relu", [
    ((64, 14, 13, 16), 32, "same", False), ((70, 9, 9, 32), 64, "valid", True),
    ((3, 32, 32, 16), 16, "same", True)])
def test_batch_statistics_come_from_the_convolution(shape, filters, padding, relu, weighted):
    rng = np.random.default_rng(0)
    kernel = gt.variable(rng.normal(size=(3, 3, shape[-1], filters)).astype("float32"))
    x, w, m = gt.placeholder(shape), gt.placeholder(shape[:1]), gt.placeholder((filters,))
    y = gt.convolution(x, kernel, padding=padding) + np.full(filters, 100.0, "float32")
    y = gt.relu(y) if relu else y
    given = [w] if weighted else []
    outputs = [y, gt.batch_sum(y, *given, axes=(0, 1, 2)), gt.batch_squares(y, m, *given)]
    ours, meant = (gt.function([x, w, m], outputs, backend=b) for b in ("native", "reference"))
    data = [rng.normal(size=shape).astype("float32"),
            rng.integers(0, 3, shape[0]).astype("float32"), np.full(filters, 101.0, "float32")]
    got = ours(*data)
    for ours_, wanted in zip(got, meant(*data)):
        assert np.linalg.norm(ours_ - wanted) <= 3e-6 * np.linalg.norm(wanted)
    steps = [(name, flops) for name, flops, _ in ours.program.core.steps]
    assert {name for name, _ in steps} >= {"convolution", "batch_sum", "batch_squares"}
    assert all(flops < got[0].size for name, flops in steps if name.startswith("batch_"))
    with threadpool_limits(1, user_api="openmp"):
        for one, two in zip(ours(*data), got):
            np.testing.assert_array_equal(one, two)
