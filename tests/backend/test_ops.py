"""Every op from its own record: value, shape, dtype, special values, gradients, eager, code."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend.tensor import LEAVES

CASES = [pytest.param(c, id=str(c)) for c in testing.op_cases()]
ELEMENTWISE = [pytest.param(o, id=o.name) for o in gt.backend.OPS.values() if o.code]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_value_shape_and_dtype(case, dtype):
    testing.check_value(case, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
def test_eager_equals_compiled(case):
    testing.check_eager(case)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_gradient(case, order):
    testing.check_gradient(case, order=order)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_special_values(op):
    for dtype in ("float32", "float64"):
        testing.check_special(op, dtype=dtype)


@pytest.mark.parametrize("op", [o for o in gt.backend.OPS.values() if o not in LEAVES],
                         ids=lambda o: o.name)
def test_every_op_has_samples_and_a_purpose(op):
    assert op.samples is not None, "no samples, no merge"


def test_a_wrong_gradient_is_found():
    bad = gt.op("test_bad_square", forward=lambda xp, x: x * x, spec=gt.backend.same,
                grad=lambda g, out, x: (g * x,), samples=gt.backend.normal((3,)))
    case = testing.Case(bad, [np.array([1.0, 2.0, 3.0])], {}, 0)
    with pytest.raises(AssertionError, match="order 1 gradient"):
        testing.check_gradient(case)
    del gt.backend.OPS["test_bad_square"]
