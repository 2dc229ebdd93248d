"""The ONNX half of every op's record: names and attributes exist, and the nodes give its values."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import gradatim as gt
from gradatim import testing
from gradatim.backend.array_module import numpy_module
from gradatim.backend.ops.emission import OPSET, TYPES, Edge, Emitter, emit_op
from gradatim.backend.tensor import LEAVES

CASES = [pytest.param(c, id=str(c)) for c in testing.op_cases() if c.op.onnx is not None]

# What onnx's own evaluator cannot run or computes otherwise than the standard says.
UNTRIED = {
    "lstm": lambda c: len(c.arrays) > 4 or c.settings.get("reverse"),      # ignores lengths
    "gru": lambda c: len(c.arrays) > 4 or c.settings.get("reverse"),
    "simple_rnn": lambda c: len(c.arrays) > 4 or c.settings.get("reverse"),
    "convolution_data_gradient": lambda c: c.settings.get("groups") or not len(c.arrays[0]),
    "softmax_cross_entropy": lambda c: not c.arrays[0].size,
    "reverse_sequence": lambda c: 0 in c.arrays[1]}                        # rows without a step


def emitted(case):
    """The case's arrays in float32, the emitter with its nodes, and the outputs' names."""
    arrays = case.cast("float32")
    edges = [Edge(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    emit = Emitter()
    return arrays, emit, emit_op(emit, case.op, edges, case.settings)


def model_of(arrays, emit, wanted, specs):
    """An ONNX model of the nodes."""
    nodes = [helper.make_node(n.op_type, n.inputs, n.outputs, **{
        k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
        for k, v in n.attributes.items()}) for n in emit.nodes]
    inputs = [helper.make_tensor_value_info(f"x{i}", TYPES[a.dtype.name], a.shape)
              for i, a in enumerate(arrays)]
    outputs = [helper.make_tensor_value_info(name, TYPES[s.dtype.name], s.shape)
               for name, s in zip(wanted, specs)]
    constants = [numpy_helper.from_array(v, k) for k, v in emit.constants.items()]
    graph = helper.make_graph(nodes, "case", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


@pytest.mark.parametrize("case", CASES)
def test_nodes_are_of_the_operator_set_and_give_the_ops_values(case):
    arrays, emit, names = emitted(case)
    if names is None:
        assert case.op.code is not None or case.op.name == "batch_norm"
        return
    for node in emit.nodes:
        schema = defs.get_schema(node.op_type, OPSET)
        assert set(node.attributes) <= set(schema.attributes), node
        assert schema.min_input <= len(node.inputs) <= schema.max_input, node
    settings = case.op.settle(case.settings)
    want = case.op.forward(numpy_module, *arrays, **settings)
    want = want if isinstance(want, tuple) else (want,)
    specs = case.op.spec(*(gt.Spec(a.shape, a.dtype) for a in arrays), **settings)
    specs = specs if type(specs) is tuple else (specs,)
    assert len(names) == len(want)
    kept = [i for i, name in enumerate(names) if name is not None]
    model = model_of(arrays, emit, [names[i] for i in kept], [specs[i] for i in kept])
    onnx.checker.check_model(model)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    if UNTRIED.get(case.op.name, lambda c: False)(case):
        return
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    got = ReferenceEvaluator(model).run(None, feeds)
    for i, value in zip(kept, got):
        assert (value.dtype, value.shape) == (specs[i].dtype, specs[i].shape)
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, want[i], rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(value, want[i])


def test_types_are_onnx_numbers():
    for name, number in TYPES.items():
        assert helper.tensor_dtype_to_np_dtype(number) == np.dtype(name)
    assert TYPES["float32"] == TensorProto.FLOAT


# Ops that no model needs after training, and those that ONNX has nothing for.
WITHOUT = {"random_bits", "random_uniform", "random_normal", "truncated_normal", "dropout_mask",
           "normal_like", "permutation", "erfinv", "sparsemax", "scatter_add"}


# Called gradients and used going forward: transposed convolution is one.
ALSO_FORWARD = {"stop_gradient", "convolution_data_gradient"}


@pytest.mark.parametrize("op", [o for o in gt.backend.OPS.values()
                                if o not in LEAVES and o.name != "copy"],
                         ids=lambda o: o.name)
def test_every_op_has_a_way_to_onnx_or_a_reason_not_to(op):
    gradient = op.grad and op.name not in ALSO_FORWARD and op.name.endswith(
        ("_gradient", "_sums", "_select"))
    assert (op.onnx is None and op.code is None) == bool(gradient or op.name in WITHOUT)


def test_an_op_of_ones_own_may_emit_nodes():
    own = gt.op("test_twice_and_once", forward=lambda xp, x, *, by=2.0: (x * by, x),
                spec=lambda x, *, by: (x, x), samples=gt.backend.normal((3,)),
                onnx=lambda emit, x, *, by: (emit("Mul", x, emit.constant(by, x.dtype)),
                                             emit("Identity", x)))
    emit = Emitter()
    names = emit_op(emit, own, [Edge("x", (3,), np.dtype("float32"))], {})
    assert [n.op_type for n in emit.nodes] == ["Mul", "Identity"] and len(set(names)) == 2
    assert emit.constants[emit.nodes[0].inputs[1]] == 2.0
    del gt.backend.OPS["test_twice_and_once"]
