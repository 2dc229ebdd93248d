"""Tensors and graphs: making nodes, errors with the user's line, devices, text and DOT."""
import copy
import inspect
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend import OPS, Graph, apply
from gradatim.backend.context import surroundings
from gradatim.backend.errors import DTypeError, Error, GraphError, ParameterError, ShapeError

GOLDEN = Path(__file__).parent / "golden"


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


# ---- text --------------------------------------------------------------------------------------

def mlp_step():
    x, y = gt.placeholder((4, 3), name="x"), gt.placeholder((4,), "int64", name="y")
    w, b = gt.variable((3, 2), name="w"), gt.variable((2,), name="b")
    loss = gt.softmax_cross_entropy(x @ w + b, y).mean()
    dw, db = gt.gradients(loss, [w, b])
    return Graph([loss], {w: w - 0.5 * dw, b: b - 0.5 * db}, [x, y])


def fed_in_the_middle():
    x = gt.placeholder((2, 6), name="x")
    a, b = gt.split(x * 2.0, sections=2)
    return Graph([a + b, b], {}, [a, x])            # a is fed, b is computed by the same node


def fed_variable():
    w, u = gt.variable((2,), name="w"), gt.variable((2,), name="unread")
    x = gt.placeholder((2,), name="x")
    return Graph([w * 2.0], {w: w + x, u: x}, [w, x])


def placed():
    with gt.device("cpu:1"):
        return gt.graph(gt.clip(f32(2), low=None, high=2.0) + gt.constant(np.arange(20)).sum()
                        .astype("float32") * gt.variable((2,), name="w"))


def constants():
    values = [np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32), np.array([-0.0, 0.1]),
              np.arange(40.0).reshape(4, 10)[:, ::2], np.array([[True], [False]]), np.zeros((0, 3)),
              np.array(2 ** 63 - 1), np.array([1, 2], np.uint32), np.float16([0.1])]
    return Graph([gt.constant(v) for v in values])


def odd_names():
    return Graph([gt.placeholder((), name=name) * 1.0 for name in
                  ("a 'b\" c", "tail\\", "line\nbreak", " : float32[2]", "%1 = x", "(é")])


GRAPHS = {f.__name__: f for f in (mlp_step, fed_in_the_middle, fed_variable, placed, constants,
                                  odd_names)}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_text_round_trip(make):
    graph = make()
    text = str(graph)
    again = Graph.parse(text)
    assert str(again) == text and again.fingerprint == graph.fingerprint
    assert [t.spec for t in again.inputs] == [t.spec for t in graph.inputs]
    assert [v.name for v in again.variables] == [v.name for v in graph.variables]
    assert str(graph.detached()) == text


def test_text_round_trip_of_every_op():
    for case in testing.op_cases():
        arrays = case.cast("float32")
        inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
        made = case.op(*inputs, **case.settings)
        graph = Graph(made if isinstance(made, tuple) else [made], {}, inputs)
        again = Graph.parse(str(graph))
        assert str(again) == str(graph), case
        for a, b in zip(again.steps, graph.steps, strict=True):
            assert repr(a.settings) == repr(b.settings), case


def test_read_constants_have_the_same_bits():
    graph = constants()
    for a, b in zip(Graph.parse(str(graph)).outputs, graph.outputs):
        assert a.spec == b.spec and a.numpy().tobytes() == b.numpy().tobytes()


def test_a_read_graph_computes_the_same():
    graph = mlp_step()
    feeds = [np.float32([[1, 2, 0], [2, 0, 1], [0, 1, 1], [1, 0, 2]]), np.array([0, 1, 0, 1])]
    again = Graph.parse(str(graph))
    for g in (graph, again):
        step = gt.function(g.inputs, g.outputs, g.updates)
        values = [step(*feeds)[0] for _ in range(3)]
        assert values[0] == pytest.approx(np.log(2)) and values[2] < values[0]
    np.testing.assert_array_equal(*[g.variables[0].numpy() for g in (graph, again)])


def test_infinite_and_missing_settings_are_read_back():
    x = f32(2)
    for y in (gt.clip(x, low=-float("inf"), high=float("inf")), gt.sum(x, axis=None),
              gt.slice(x, start=(None,), stop=(-1,)), gt.clip(x, low=-1e-300)):
        graph = gt.graph(y)
        assert Graph.parse(str(graph)).steps[0].settings == graph.steps[0].settings


BROKEN = [("%0 = exp %7 : float32[2]", "'%7'"), ("nonsense", "a line is %number"),
          ("%0 = nothing : float32[2]", 'there is no op "nothing"'),
          ("%0 = constant value=array('float32', (3,), [1.0]) : float32[3]", "cannot reshape"),
          ("%0 = constant value=array('float32', (), [1.0]) : float32[3]", "do not follow"),
          ("%0 = constant value=__import__('os') : float32[3]", ""),
          ("%0 = placeholder nam='x' : float32[3]", 'no setting "nam"'),
          ("%0 = exp ??? : float32[3]", "neither an input nor a setting")]


@pytest.mark.parametrize("line, why", BROKEN)
def test_what_cannot_be_read_is_located(line, why):
    good = str(gt.graph(f32(3) * 2.0)).replace("%", "%9")
    with pytest.raises(GraphError, match="line 5 of the graph cannot be read") as caught:
        Graph.parse(f"{good}\n{line}")
    assert why in caught.value.facts.get("why", "")


def test_fingerprints_do_not_depend_on_lines_or_order_of_creation():
    first = mlp_step()
    f32(3)                                           # something in between, and other lines
    second = mlp_step()
    assert first.fingerprint == second.fingerprint == copy.copy(second).fingerprint
    assert first.fingerprint != gt.graph(*first.outputs).fingerprint
    x = f32(2)
    texts = {gt.graph(v).fingerprint for v in (x * 2.0, x * 3.0, x + 2.0, f32(3) * 2.0, x * 0.0,
                                               x * -0.0)}
    assert len(texts) == 6


def test_a_graph_reads_the_same_for_people():
    path = GOLDEN / "mlp_step.txt"
    assert str(mlp_step()) == path.read_text().rstrip("\n")


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_dot_is_well_formed(make):
    graph = make()
    lines = graph.dot().splitlines()
    assert lines[0] == "digraph gradatim {" and lines[-1] == "}"
    text = "\n".join(lines[2:-1])
    node = re.compile(r"  n(\d+) \[label=<([^<>]|<br/>)*>(, style=filled, fillcolor=\w+)?\];")
    edge = re.compile(r"  n(\d+) -> n(\d+)( \[style=dashed\])?;")
    nodes = {m[1] for m in node.finditer(text)}
    edges = [m.groups() for m in edge.finditer(text)]
    assert not node.sub("", edge.sub("", text)).strip(), "every statement is a node or an edge"
    assert {end for a, b, _ in edges for end in (a, b)} <= nodes
    assert len(edges) == sum(len(n.inputs) for n in graph.steps) + len(graph.updates)
    assert sum(dashed is not None for *_, dashed in edges) == len(graph.updates)


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


def test_apply_leaves_trailing_none_out():
    x = f32(2, 3)
    assert len(apply(OPS["batch_sum"], x, None).node.inputs) == 1
    with pytest.raises(Error, match="None is not a tensor"):
        gt.where(x > 0, None, x)
