"""Convolutions of few channels with the pooling behind them: one step, the reference's numbers."""
import os

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.errors import BackendError

try:
    gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)


def step(shape, size, filters, padding, pooled, backend, with_bias=True, relu_first=True):
    """A function of (x, cotangent): the pooled output and the gradients of the weights."""
    rng = np.random.default_rng(3)
    x = gt.placeholder(shape)
    kernel = gt.variable(rng.normal(size=(*size, shape[-1], filters)).astype("float32"))
    bias = gt.variable(rng.normal(size=filters).astype("float32"))
    y = gt.convolution(x, kernel, padding=padding)
    if with_bias:
        y = y + bias
    pool = lambda y: gt.max_pool(y, pool_size=2, padding=pooled)[0]
    y = pool(gt.relu(y)) if relu_first else gt.relu(pool(y))
    cotangent = gt.placeholder(y.shape)
    weights = [kernel, bias] if with_bias else [kernel]
    return gt.function([x, cotangent], [y, *gt.gradients((y * cotangent).sum(), weights)],
                       backend=backend)


def arrays(function, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=t.shape).astype("float32") for t in function.graph.inputs]


CASES = [((4, 28, 28, 1), (3, 3), 32, "same", "valid"),
         ((3, 12, 8, 3), (3, 3), 16, "same", "valid"),
         ((5, 11, 13, 1), (5, 5), 48, "same", "valid"),
         ((2, 9, 9, 2), (2, 3), 16, "valid", "valid"),
         ((9, 7, 7, 4), (2, 2), 32, "valid", "same"), ((1, 5, 5, 1), (3, 3), 16, "same", "same"),
         ((17, 6, 6, 1), (1, 1), 64, "same", "valid")]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, c[0])))
@pytest.mark.parametrize("with_bias, relu_first", [(True, True), (True, False), (False, True)])
def test_outputs_and_gradients_are_those_of_the_reference(case, with_bias, relu_first):
    ours, meant = (step(*case, b, with_bias, relu_first) for b in ("native", "reference"))
    data = arrays(ours)
    for got, wanted in zip(ours(*data), meant(*data)):
        assert np.linalg.norm(got - wanted) <= 3e-6 * np.linalg.norm(wanted)
    assert not ours.program.fall_backs


def test_nothing_of_the_size_before_pooling_is_written():
    function = step(*CASES[0], "native")
    names = [name for name, *_ in function.program.core.steps]
    assert "convolution,max_pool" in names and "max_pool,convolution_kernel_gradient" in names
    assert not any("relu" in name or "where" in name for name in names)
    assert function.program.core.arena_bytes < 28 * 28 * 32 * 4 * 4


def test_windows_that_reach_over_the_edge_are_pooled_apart():
    names = [name for name, *_ in step(*CASES[5], "native").program.core.steps]
    assert "max_pool" in names and "convolution,max_pool" not in names


def test_nan_and_the_first_of_equals_as_in_the_reference():
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 1, 2, 0] = np.nan
    for backend in ("native", "reference"):
        p = gt.placeholder(x.shape)
        y = gt.convolution(p, gt.variable(np.ones((1, 1, 1, 16), "float32")), padding="same")
        pooled, indices = gt.max_pool(y + gt.variable(np.zeros(16, "float32")), pool_size=2)
        values, found = gt.function([p], [pooled, indices], backend=backend)(x)
        assert np.isnan(values[0, 0, 1]).all() and (found[0, 0, 1] == 2).all()
        assert (values[0, 1] == 0).all() and (found[0, 1] == 0).all()


def test_predictions_without_indices_are_one_step():
    x = gt.placeholder((6, 10, 10, 1))
    kernel = gt.variable(np.random.default_rng(0).normal(size=(3, 3, 1, 16)).astype("float32"))
    y = gt.convolution(x, kernel, padding="same") + gt.variable(np.ones(16, "float32"))
    y = gt.relu(gt.max_pool(y, pool_size=2)[0])
    ours, meant = (gt.function([x], y, backend=b) for b in ("native", "reference"))
    data = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    np.testing.assert_allclose(ours(data), meant(data), rtol=1e-5, atol=1e-5)
    assert "convolution,max_pool" in [name for name, *_ in ours.program.core.steps]


def test_in_bfloat16_products_read_what_is_stored_in_two_bytes():
    x = gt.placeholder((4, 12, 12, 1))
    kernel = gt.variable(np.random.default_rng(3).normal(size=(3, 3, 1, 16)).astype("float32"))
    y = gt.convolution(x, kernel, padding="same") + gt.variable(np.zeros(16, "float32"))
    y = gt.relu(gt.max_pool(y, pool_size=2)[0])
    outputs = [y, *gt.gradients((y * y).sum(), [kernel])]
    ours, meant = (gt.function([x], outputs, backend=b, precision="bfloat16")
                   for b in ("native", "reference"))
    data = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    for got, wanted in zip(ours(data), meant(data)):
        assert np.linalg.norm(got - wanted) <= 1e-2 * np.linalg.norm(wanted)
