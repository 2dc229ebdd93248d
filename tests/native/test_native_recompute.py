"""What a later chain reads is computed there where less passes through memory by that."""
import os

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.errors import BackendError

try:
    NATIVE = gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)

X, Y, C = gt.placeholder((60, 8), name="x"), gt.placeholder((60, 8)), gt.placeholder((8,))
FEEDS = [np.random.default_rng(i).standard_normal(t.shape).astype("f")
         for i, t in enumerate((X, Y, C))]


def about_the_mean(x):
    """The later chain waits for a sum over the earlier one."""
    e = gt.exp(x)
    return e, e.sum(axis=0)


def scaled():
    e, total = about_the_mean(X)
    return [e * C + total, e]               # e is a result: only e * C can move


def private():
    e, total = about_the_mean(X)
    return [e * 3.0 + total]                # e is read by the sum, so it is written all the same


def three_operands():
    _, total = about_the_mean(X - Y)
    return [gt.where(X > Y, X, Y) * total]  # x, y and the mask instead of one result


def behind_another():
    e, total = about_the_mean(X)
    return [gt.tanh(e * C) * 2.0 + total, e]


def read_twice():
    e, total = about_the_mean(X)
    m = e * C
    return [m + total, m * m.sum(axis=0), e]


def chains(outputs):
    f = gt.function([X, Y, C], outputs, backend="native")
    return [name for name, *_ in f.program.core.steps if name not in ("sum", "copy", "reduce")], f


CASES = {"scaled": (scaled, ["exp", "multiply,add"]),
         "private": (private, ["exp", "multiply,add"]),
         "three_operands": (three_operands, ["greater,where,subtract,exp", "multiply"]),
         "behind_another": (behind_another, ["exp", "multiply,tanh,add"]),
         "read_twice": (read_twice, ["exp,multiply", "add,multiply"])}


@pytest.mark.parametrize("case", CASES)
def test_results_stay_and_what_can_moves(case):
    make, want = CASES[case]
    outputs = make()
    steps, f = chains(outputs)
    assert steps == want
    other = gt.function([X, Y, C], outputs, backend="reference")
    for got, expected in zip(f(*FEEDS), other(*FEEDS), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_normalisation_relu_and_the_residual_are_one_step():
    weights = [gt.variable(FEEDS[0][i] ** 2) for i in range(4)]
    h = gt.relu(gt.batch_norm(X, *weights) + Y)
    f = gt.function([X, Y], [h, gt.cast(h > 0.0, dtype="float32")], backend="native")
    large = [name for name, *_ in f.program.core.steps if "relu" in name or "norm" in name]
    assert large == ["subtract,multiply,add,relu,greater,cast"]
    other = gt.function([X, Y], [h], backend="reference", passes=())
    np.testing.assert_allclose(f(*FEEDS[:2])[0], other(*FEEDS[:2])[0], rtol=1e-5, atol=1e-6)
