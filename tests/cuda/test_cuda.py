"""The CUDA backend on the CPU that stands in for a GPU: every op, whole training steps, memory."""
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.device import Call
from gradatim.backend.cuda.proof import prove
from gradatim.backend.errors import BackendError

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

CUDA = CudaBackend(CpuDevice())
LIBRARIES = CudaBackend(CpuDevice(libraries=True))
CASES = [pytest.param(c, id=str(c)) for c in testing.op_cases()]


@pytest.mark.parametrize("case", CASES)
def test_op(case):
    testing.check_value(case, CUDA, "float32")
    testing.check_value(case, CUDA, "float64")
    testing.check_eager(case, CUDA)
    testing.check_gradient(case, CUDA)


@pytest.mark.parametrize("case", [c for c in CASES if c.id.startswith(
    ("convolution", "lstm", "gru", "simple_rnn"))])
def test_op_by_a_library(case):
    testing.check_value(case, LIBRARIES, "float32")
    testing.check_gradient(case, LIBRARIES)


@pytest.mark.parametrize("op", [o for o in gt.backend.OPS.values() if o.code],
                         ids=lambda o: o.name)
def test_special_values(op):
    for dtype in ("float32", "float64"):
        testing.check_special(op, CUDA, dtype)


def test_weights_stay_on_the_device_and_old_values_are_kept():
    w = gt.variable(np.float32([1, 2, 3]))
    step = gt.function([], w.sum(), updates={w: w * 2.0}, backend=CUDA)
    assert step() == 6
    first = w.storage                                   # somebody still wants it
    assert step() == 12 and step() == 24
    np.testing.assert_array_equal(first, [2, 4, 6])
    np.testing.assert_array_equal(w.numpy(), [8, 16, 24])
    assert gt.run(w.sum(), backend="reference") == 48   # other backends read it
    w.assign(np.float32([1, 1, 1]))
    assert step() == 3


def test_two_models_share_a_program():
    def model():
        w = gt.variable(np.float32([1, 1]), name="w")
        return w, gt.function([], w.sum(), updates={w: w + 1.0}, backend=CUDA)
    (w, step), (other, step_other) = model(), model()
    assert step.program is step_other.program
    for i in range(4):
        assert step() == 2 * (i + 1)
        if i % 2:
            assert step_other() == i + 1
    np.testing.assert_array_equal(w.numpy(), [5, 5])
    np.testing.assert_array_equal(other.numpy(), [3, 3])


def test_a_device_must_train_a_small_net_before_it_is_used():
    prove(CUDA)


class Spoilt(CpuDevice):
    """Its products are one too large."""

    def prepare(self, step, addresses):
        run = super().prepare(step, addresses)
        if not isinstance(step, Call) or step.name != "matmul":
            return run
        out, shape = addresses[step.arguments[2].value], step.settings["matrices"][2][0]

        def spoil():
            run()
            self.array(out, shape, step.settings["dtype"])[...] += 1

        return spoil


class Broken(CpuDevice):
    """Like a GPU whose driver is too old."""

    def allocate(self, nbytes):
        raise OSError("cudaErrorInsufficientDriver")


@pytest.mark.parametrize("device, text", [
    (Spoilt, "the GPU trains a small net differently from NumPy"),
    (Broken, "the GPU failed at a small net\n  why  OSError: cudaErrorInsufficientDriver")])
def test_a_device_that_does_not_is_refused(device, text):
    with pytest.raises(BackendError, match=text):
        prove(CudaBackend(device()))
