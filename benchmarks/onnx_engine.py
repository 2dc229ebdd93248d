"""onnxruntime's side of the benchmark: the LeNet as an ONNX graph written by hand."""
from __future__ import annotations

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.workloads import CLASSES, lenet_weights_channels_first, training_data


def lenet() -> bytes:
    """The graph, for images (batch, 1, 28, 28)."""
    weights, nodes, x = [], [], "x"
    for i, (kernel, bias) in enumerate(lenet_weights_channels_first()):
        names = [f"kernel{i}", f"bias{i}"]
        weights += [numpy_helper.from_array(a, n) for a, n in zip((kernel, bias), names)]
        if kernel.ndim == 4:
            steps = [("Conv", names, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
                     ("Relu", [], {}),
                     ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]})]
        else:
            steps = [("Flatten", [], {})] if i == 2 else []
            steps += [("Gemm", names, {"transB": 1})] + ([("Relu", [], {})] if i == 2 else [])
        for op, more, settings in steps:
            nodes.append(helper.make_node(op, [x, *more], [f"{op}{i}"], **settings))
            x = f"{op}{i}"
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 28, 28])
    exit_ = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "lenet", [entry], [exit_], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class Engine:
    """Prepares rounds."""
    variants = [""]

    def __init__(self, setting: str, threads: int):
        self.threads, self.version = threads, onnxruntime.__version__

    def prepare(self, work, variant: str):
        """What runs one round, and what is known beforehand; None where it does not apply."""
        if work.kind != "infer":
            return None, {"not_here": True}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(lenet(), options,
                                               providers=["CPUExecutionProvider"])
        X = training_data(work._replace(steps=1)).X.reshape(work.batch, 1, 28, 28)

        def calls():
            for _ in range(work.steps):
                out, = session.run(None, {"x": X})
            return {"output": out[0].tolist()}

        calls()
        return calls, {}
