"""Fusion: losses written out op by op become the ops that stay finite where the parts do not."""
from __future__ import annotations

from ..graph import Graph
from .patterns import Equation, Equations

# Each value comes with its gradient as `gradients` writes it, so that neither is left half fused.
# Equal up to rounding, and where the left side meets log(0), 0 / 0 or 0 * infinity, the right side
# has the limit. Class numbers picked from logarithms are not among them: a negative number counts
# from the end in `take_along`, and is a row to ignore for `softmax_cross_entropy`.
LOSSES = Equations([
    # log of softmax; Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4
    Equation("log(softmax(x, axis=a))", "log_softmax(x, axis=a)"),
    Equation("((q := g / (s := softmax(x, axis=a))) - sum(q * s, axis=a, keepdims=True)) * s",
             "g - exp(log_softmax(x, axis=a)) * sum(g, axis=a, keepdims=True)",
             when=lambda names: names["g"].shape == names["s"].shape),
    # cross-entropy of a distribution t
    *(Equation(find, "softmax_cross_entropy(z, t, label_smoothing=0.0)") for find in (
        "-sum(t * log_softmax(z, axis=-1), axis=-1, keepdims=False)",
        "sum(-(t * log_softmax(z, axis=-1)), axis=-1, keepdims=False)",
        "sum(t * -log_softmax(z, axis=-1), axis=-1, keepdims=False)",
        "sum(-t * log_softmax(z, axis=-1), axis=-1, keepdims=False)")),
    *(Equation(f"(d := {slope}) - exp(log_softmax(z, axis=-1)) * sum(d, axis=-1, keepdims=True)",
               f"softmax_cross_entropy_gradient({g}, z, t, label_smoothing=0.0)")
      for slope, g in (("broadcast_to(expand_dims(g, axis=-1)) * t", "-g"),
                       ("-broadcast_to(expand_dims(g, axis=-1)) * t", "g"),
                       ("-(broadcast_to(expand_dims(g, axis=-1)) * t)", "g"),
                       ("broadcast_to(expand_dims(g, axis=-1)) * -t", "g"))),
    # log of the sigmoid, and of what it leaves to one
    Equation("log(sigmoid(x))", "log_sigmoid(x)"),
    Equation("log(1 - sigmoid(x))", "log_sigmoid(-x)"),
    Equation("g / (s := sigmoid(x)) * s * (1 - s)", "g * sigmoid(-x)"),
    Equation("-(g / (1 - (s := sigmoid(x)))) * s * (1 - s)", "-(g * s)"),
    Equation("(a / (s := sigmoid(x)) - b / (1 - s)) * s * (1 - s)", "a * sigmoid(-x) - b * s"),
])


def fuse(graph: Graph) -> Graph:
    """The graph with hand-written losses as fused ops, and their gradients alike."""
    return LOSSES.apply(graph)
