"""Tensors and graphs: making nodes, errors with the user's line, devices, plans."""
import inspect
import zlib

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS, Graph, apply
from gradatim.backend.context import surroundings
from gradatim.backend.errors import DTypeError, Error, GraphError, ParameterError, ShapeError
from gradatim.backend.tensor import LEAVES


def here() -> int:
    """The line that calls this."""
    return inspect.currentframe().f_back.f_lineno


def f32(*shape):
    return gt.placeholder(shape, name="x")


# ---- making tensors ----------------------------------------------------------------------------

def test_equality_is_identity_and_tensors_are_keys():
    x, y = f32(2), f32(2)
    assert (x == x) is True and (x == y) is False and len({x, y, x}) == 2
    assert gt.equal(x, y).dtype == bool


SPECS = [
    (lambda: gt.placeholder(3), "float32[3]"), (lambda: gt.placeholder((), "int64"), "int64[]"),
    (lambda: gt.placeholder([2, np.int64(3)], np.float64), "float64[2, 3]"),
    (lambda: gt.placeholder((2,), ">f4"), "float32[2]"),
    (lambda: gt.variable(3), "float32[3]"),
    (lambda: gt.variable((2, np.int64(3))), "float32[2, 3]"),
    (lambda: gt.variable(()), "float32[]"), (lambda: gt.variable(1.5), "float32[]"),
    (lambda: gt.variable(np.int64(3)), "int64[]"), (lambda: gt.variable(np.ones(2)), "float64[2]"),
    (lambda: gt.variable(True), "bool[]"), (lambda: gt.variable([1, 2]), "int64[2]"),
    (lambda: gt.variable((2,), "float16"), "float16[2]"),
    (lambda: gt.constant(1.0), "float32[]"), (lambda: gt.constant(1), "int64[]"),
    (lambda: gt.constant([True]), "bool[1]"), (lambda: gt.constant(np.ones(1)), "float64[1]"),
    (lambda: gt.constant(np.ones(1, ">i4")), "int32[1]"),
    (lambda: gt.constant([1, 2], "float16"), "float16[2]")]


@pytest.mark.parametrize("make, spec", SPECS)
def test_specs_of_leaves(make, spec):
    assert str(make().spec) == spec


def test_variables_start_from_zeros_arrays_or_an_initializer():
    assert (gt.variable((2, 2)).numpy() == 0).all()
    array = np.arange(3.0)
    v = gt.variable(array)
    array[:] = 9                                    # the caller's array stays the caller's
    np.testing.assert_array_equal(v.numpy(), [0, 1, 2])
    v.assign([5, 5, 5])
    v.initialize()
    np.testing.assert_array_equal(v.numpy(), [0, 1, 2])
    drawn = gt.variable((2,), initializer=lambda spec, seed, stream: np.full(spec.shape, stream))
    drawn.name = "a/b"                              # decides the stream until the first read
    assert not drawn.drawn and drawn.numpy()[0] == np.float32(zlib.crc32(b"a/b")) and drawn.drawn


def test_constants_do_not_follow_their_array():
    array = np.ones(2, np.float32)
    x = gt.constant(array)
    array[:] = 7
    assert x.numpy().tolist() == [1.0, 1.0]
    with pytest.raises(ValueError):
        x.node.settings["value"][0] = 3


def test_numbers_take_the_dtype_beside_them():
    for dtype in ("float16", "float32", "float64"):
        x = gt.placeholder((2,), dtype)
        for y in (x + 1, 1 - x, x * 2.5, 2.5 / x, x ** 2, x @ [[1.0], [2.0]] if x.ndim > 1 else x,
                  gt.maximum(x, 0), gt.where(x > 0, x, 0.0), x + np.float64(0.5), x + [1.0, 2.0]):
            assert y.dtype == dtype
    i = gt.placeholder((2,), "uint8")
    assert (i + 255).dtype == "uint8" and (i > 3).dtype == bool
    assert (np.ones(2, np.float32) + f32(2)).spec == f32(2).spec     # NumPy leaves it to us


MISUSES = [
    (lambda: f32(2) + gt.placeholder((2,), "float64"), DTypeError,
     "add: the element types differ, float32 and float64", "float32[2]  float64[2]",
     "convert one with gt.cast"),
    (lambda: f32(2) * np.ones(2), DTypeError,
     "multiply: the element types differ, float32 and float64", "float32[2]  float64[2]",
     "convert one with gt.cast"),
    (lambda: gt.placeholder((2,), "int64") + 0.5, DTypeError,
     "add: 0.5 is not a whole number and the tensor is int64", "int64[2]  0.5",
     'convert the tensor with gt.cast(x, dtype="float32")'),
    (lambda: gt.placeholder((2,), "uint8") + 256, DTypeError,
     "add: 256 is not a number of the type uint8", "uint8[2]  256", "uint8 goes from 0 to 255"),
    (lambda: gt.placeholder((2,), "uint8") - (-1), DTypeError,
     "subtract: -1 is not a number of the type uint8", "uint8[2]  -1", "uint8 goes from 0 to 255"),
    (lambda: f32(8, 4) @ f32(5, 3), ShapeError, "matmul: the inner sizes differ, 4 and 5",
     "float32[8, 4]  float32[5, 3]", None),
    (lambda: gt.exp(f32(2), f32(2)), ParameterError, "exp: takes 1 input, not 2",
     "float32[2]  float32[2]", "data are positional, settings are keywords"),
    (lambda: gt.sum(f32(2), axes=0), ParameterError, 'sum: there is no setting "axes"',
     "float32[2]", "settings of sum: axis, keepdims"),
    (lambda: gt.softmax(f32(2), axis=2), ShapeError,
     "softmax: axis 2 is out of range for 1 dimension", "float32[2]", "use an axis from -1 to 0"),
    (lambda: f32(2, 3)[2], ShapeError, "index 2 is out of range for axis 0 of length 2",
     "float32[2, 3]", None),
    (lambda: f32(2, 3)[0, 0, 0], ShapeError, "too many indices: 3 for 2 dimensions",
     "float32[2, 3]", None),
    (lambda: f32(2, 3)[..., ...], ShapeError, "an index can have one ellipsis only",
     "float32[2, 3]", None),
    (lambda: f32(2, 3)[1.5:], ParameterError,
     "cannot index a tensor with slice(1.5, None, None)", "float32[2, 3]",
     "use ints, slices, None, ... or an integer tensor"),
    (lambda: f32(2, 3)[True], ParameterError, "cannot index a tensor with True",
     "float32[2, 3]", "use ints, slices, None, ... or an integer tensor"),
    (lambda: f32(2, 3)[np.array([0, 1])], ParameterError,
     "cannot index a tensor with array([0, 1])", "float32[2, 3]",
     "use ints, slices, None, ... or an integer tensor"),
    (lambda: f32(2, 3)[::-1], ParameterError, "a slice's step must be positive",
     "float32[2, 3]", "use gt.flip")]


@pytest.mark.parametrize("misuse, kind, what, got, fix", MISUSES, ids=lambda v: None)
def test_errors_name_op_input_line_and_cure(misuse, kind, what, got, fix):
    with pytest.raises(kind) as caught:
        misuse()
    line = inspect.getsourcelines(misuse)[1]
    facts = dict(caught.value.facts)
    assert caught.value.what == what and facts.pop("got") == got and facts.pop("fix", None) == fix
    file, _, number = facts.pop("at").rpartition(":")
    assert file == "test_graph.py" and line <= int(number) <= line + 3 and not facts


def test_three_part_text_as_in_the_design():
    x, kernel = gt.placeholder((8, 4)), gt.placeholder((5, 3))
    fix = "Dense was built for 5 inputs; pass X with 5 columns or build a new model"
    with pytest.raises(ShapeError) as caught, surroundings(layer='Dense "hidden"', fix=fix):
        line = here() + 1
        gt.matmul(x, kernel)
    assert str(caught.value) == (
        "matmul: the inner sizes differ, 4 and 5\n"
        "  got  float32[8, 4]  float32[5, 3]\n"
        f'  at   test_graph.py:{line}, in Dense "hidden"\n'
        f"  fix  {fix}")


PLAIN_MISUSES = [
    (lambda: gt.placeholder((2,), "complex64"), DTypeError,
     "complex64 is not an element type of tensors"),
    (lambda: gt.placeholder((2,), "number"), DTypeError,
     "number is not an element type of tensors"),
    (lambda: gt.placeholder((2,), None), DTypeError, "None is not an element type of tensors"),
    (lambda: gt.placeholder((2, -1)), ShapeError,
     "a shape is a tuple of whole numbers from 0 on, not (2, -1)"),
    (lambda: gt.placeholder(1.5), ShapeError,
     "a shape is a tuple of whole numbers from 0 on, not 1.5"),
    (lambda: gt.placeholder(None), ShapeError,
     "a shape is a tuple of whole numbers from 0 on, not None"),
    (lambda: gt.placeholder((True,)), ShapeError,
     "a shape is a tuple of whole numbers from 0 on, not (True,)"),
    (lambda: gt.constant("word"), DTypeError, "tensors hold numbers, not <U4"),
    (lambda: gt.constant([[1], [2, 3]]), DTypeError, "tensors hold numbers, not object"),
    (lambda: gt.device("gpu"), ParameterError, "'gpu' is not a device"),
    (lambda: len(f32()), ShapeError, "a 0-d tensor has no length"),
    (lambda: gt.variable((2,)).assign(np.ones(3)), ShapeError,
     'variable "variable": a value of another shape'),
    (lambda: gt.variable(np.int64(1)).assign(1.5), DTypeError,
     'variable "variable": a value of another element type'),
    (lambda: gt.variable(np.uint8(1)).assign(256), DTypeError,
     "256 is not a number of the type uint8")]


@pytest.mark.parametrize("misuse, kind, what", PLAIN_MISUSES, ids=lambda v: None)
def test_errors_of_leaves(misuse, kind, what):
    with pytest.raises(kind) as caught:
        misuse()
    assert caught.value.what == what


def test_a_tensor_has_no_truth_value_while_tracing():
    x = f32()
    line = here() - 1
    with pytest.raises(GraphError) as caught:
        bool(x > 0)
    assert str(caught.value) == (
        "a tensor has no truth value while the graph is being built\n"
        f"  at   test_graph.py:{line + 3}\n"
        "  fix  use gt.where(condition, a, b), or gt.eager()")
    with pytest.raises(GraphError, match="this tensor has no value yet: it is a node of a graph"):
        np.asarray(x)


# ---- devices -----------------------------------------------------------------------------------

def test_ops_are_placed_by_their_surroundings_or_with_their_first_input():
    x = f32(2)
    with gt.device("cpu:1"):
        y, w = x * 2.0, gt.variable((2,))
    with gt.device("cpu:2"):
        z = y + 1.0
    assert [t.device for t in (x, y, w, z)] == ["", "cpu:1", "cpu:1", "cpu:2"]
    assert [t.device for t in (z + y, 2.0 * y, x + y, gt.exp(x))] == ["cpu:2", "cpu:1", "", ""]
    assert [n.op.name for n in gt.graph(z + y).steps] == ["multiply", "add", "add"]
    with gt.eager(), gt.device("cpu:1"):
        assert (gt.variable(2.0) * 3.0).numpy() == 6.0


# ---- graphs ------------------------------------------------------------------------------------

def test_a_placeholder_that_is_not_fed_is_named():
    x, y = gt.placeholder((2,), name="x"), gt.placeholder((3, 1), "int64", name="labels")
    line = here() - 1
    with pytest.raises(GraphError) as caught:
        gt.function([x], [x, y])
    assert str(caught.value) == (
        "a placeholder that is needed is not fed\n"
        '  got  "labels" int64[3, 1]\n'
        f"  at   test_graph.py:{line}\n"
        "  fix  feed it, or feed a tensor after it")


def test_deep_graphs_need_no_deep_stack():
    x = y = f32()
    for _ in range(5000):
        y = y + x
    assert gt.run(y, {x: 1.0}) == 5001.0
    assert gt.run(gt.gradients(y, [x]), {})[0] == 5001.0


# ---- plan --------------------------------------------------------------------------------------

def test_plan_of_a_case_computed_by_hand():
    x, w = gt.placeholder((8, 4), name="x"), gt.variable((4, 16), name="w")
    h = x @ w                       # 2 * 8 * 4 * 16 = 1024 FLOPs, 512 bytes
    r = gt.exp(h)                   # 128 FLOPs, 512 bytes: both alive, 1024
    s = r.sum(axis=1)               # 128 FLOPs, 32 bytes beside r: 544
    report = gt.graph(s).plan()
    assert (report.steps, report.flops, report.peak_bytes) == (3, 1280, 1024)
    assert (report.variable_bytes, report.input_bytes) == (256, 128)
    assert report.ops == {"matmul": 1024, "exp": 128, "sum": 128} and report.fall_backs == ()
    assert str(report) == ("steps                          3\n"
                           "FLOPs                      1,280\n"
                           "peak bytes                 1,024\n"
                           "variable bytes               256\n"
                           "input bytes                  128\n"
                           "  matmul                   80.0%\n"
                           "  exp                      10.0%\n"
                           "  sum                      10.0%")
    assert gt.function([x], s).plan().flops == 1280


def test_leaves_are_no_steps():
    graph = Graph([gt.constant(1.0), gt.variable((2,)), f32(3)])
    assert graph.steps == () and graph.plan().peak_bytes == 0
    assert all(n.op in LEAVES for n in graph.nodes)


# ---- the table of ops --------------------------------------------------------------------------

def test_ops_may_be_defined_again_by_the_same_file_only():
    make = lambda: gt.op("test_again", forward=lambda xp, x: x, spec=gt.backend.same)
    first, second = make(), make()
    assert OPS["test_again"] is second and first is not second
    with pytest.raises(ParameterError, match='there is an op "exp" already'):
        gt.op("exp", forward=lambda xp, x: x, spec=gt.backend.same)
    cell = compile("import gradatim as gt\ngt.op('test_again', forward=lambda xp, x: x, "
                   "spec=gt.backend.same)", "no-such-file-of-a-notebook-cell", "exec")
    with pytest.raises(ParameterError):              # this file's op is not the cell's to change
        exec(cell, {})
    del OPS["test_again"]
    exec(cell, {})
    make()                                           # but an edited cell may be run again
    del OPS["test_again"]


def test_an_op_shows_how_it_is_called():
    assert str(inspect.signature(gt.sum)) == "(x, *, axis=None, keepdims=False)"
    assert str(inspect.signature(gt.tanh)) == "(x, /)"


def test_apply_leaves_trailing_none_out():
    x = f32(2, 3)
    assert len(apply(OPS["batch_sum"], x, None).node.inputs) == 1
    with pytest.raises(Error, match="None is not a tensor"):
        gt.where(x > 0, None, x)
