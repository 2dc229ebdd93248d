"""Graphs as text and as pictures: written, read back, compared by fingerprint, drawn by DOT."""
import copy
import re
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend import Graph
from gradatim.backend.errors import GraphError

GOLDEN = Path(__file__).parent / "golden"


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
        clipped = gt.clip(gt.placeholder((2,), name="x"), low=None, high=2.0)
        return gt.graph(clipped + gt.constant(np.arange(20)).sum().astype("float32")
                        * gt.variable((2,), name="w"))


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
    x = gt.placeholder((2,), name="x")
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
    good = str(gt.graph(gt.placeholder((3,), name="x") * 2.0)).replace("%", "%9")
    with pytest.raises(GraphError, match="line 5 of the graph cannot be read") as caught:
        Graph.parse(f"{good}\n{line}")
    assert why in caught.value.facts.get("why", "")


def test_fingerprints_do_not_depend_on_lines_or_order_of_creation():
    first = mlp_step()
    gt.placeholder((3,))                             # something in between, and other lines
    second = mlp_step()
    assert first.fingerprint == second.fingerprint == copy.copy(second).fingerprint
    assert first.fingerprint != gt.graph(*first.outputs).fingerprint
    x = gt.placeholder((2,), name="x")
    texts = {gt.graph(v).fingerprint for v in (x * 2.0, x * 3.0, x + 2.0, x * 0.0, x * -0.0,
                                               gt.placeholder((3,)) * 2.0)}
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
