"""bfloat16 and float16: products read their factors rounded to two bytes, and add up in float32."""
from __future__ import annotations

from functools import partial

from ..graph import Graph
from ..op import OPS, Op
from ..tensor import Tensor
from .patterns import made

# Which inputs of an op are factors of its products. Whatever else it reads, and all it returns, is
# float32: biases, states, sums.
FACTORS = {"matmul": (0, 1), "convolution": (0, 1), "convolution_data_gradient": (0, 1),
           "convolution_kernel_gradient": (0, 1), "lstm": (0, 1, 2), "lstm_gradient": (6, 7, 8),
           "gru": (0, 1, 2), "gru_gradient": (5, 6, 7), "simple_rnn": (0, 1, 2),
           "simple_rnn_gradient": (3, 4, 5)}
# Whether these come before or after a rounding is the same; after it, more readers share it.
MOVING = ("reshape", "transpose", "expand_dims", "squeeze", "stop_gradient")


def rounded_factors(graph: Graph, rounding: Op) -> Graph:
    """The graph in which every float32 factor of a matrix product or convolution is rounded.

    Weights, sums, losses, statistics and optimizer stay in float32, and so do recurrent states:
    recurrent ops read sequences and kernels rounded. It comes after gradients, so that their
    products read rounded factors, too. Other than the passes that make graphs smaller it changes
    results: each factor by at most 1 part in 256, or in 2048 with float16. Micikevicius et al.,
    "Mixed precision training", 2018, section 3. bfloat16 needs no loss scale, as it has the
    exponents of float32; for float16 `training/loss_scale.py` puts one into the graph.
    """
    done: dict[Tensor, Tensor] = {}
    fed = set(graph.inputs)

    def rounded(t: Tensor, node) -> Tensor:
        """A tensor of the new graph, rounded once for all that read it on one device."""
        if t.dtype != "float32" or t.node.op is rounding and t not in fed:
            return t
        if t not in done:
            if t.node.op.name in MOVING and t not in fed:
                done[t] = t.node.with_inputs((rounded(t.node.inputs[0], t.node),)).outputs[0]
            else:
                done[t] = made(rounding.name, t, like=t.node if t.node.inputs else node)
        return done[t]

    def rule(node, inputs):
        factors = FACTORS.get(node.op.name, ())
        now = tuple(rounded(t, node) if i in factors else t for i, t in enumerate(inputs))
        return node.outputs if now == node.inputs else node.with_inputs(now).outputs

    return graph.rewrite(rule)


HALVES = {name: partial(rounded_factors, rounding=OPS[f"round_to_{name}"])
          for name in ("bfloat16", "float16")}
