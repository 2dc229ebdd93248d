"""Dynamic loss scale: small slopes are none in float16, so they are computed of a larger loss."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Tensor, Variable, gradients, variable
from .optimizers import global_norm

FIRST, LEAST, MOST = 2.0 ** 15, 1.0, 2.0 ** 24
STEADY = 2000        # steps without overflow after which the scale doubles
isfinite, maximum, minimum, where = (
    OPS[name] for name in ("isfinite", "maximum", "minimum", "where"))


class Unscaled:
    """Slopes as they are, in element types that have room for them."""

    def variables(self) -> dict[str, Variable]:
        """By name, for checkpoints."""
        return {}

    def slopes(self, loss: Tensor, parameters: dict[str, Variable]) -> dict[str, Tensor]:
        """The gradients of a loss by path."""
        return dict(zip(parameters, gradients(loss, list(parameters.values()))))

    def checked(self, slopes: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Whether a step may be made of slopes, and what it is made of."""
        return None, slopes

    def kept(self, fine: Tensor | None, updates: dict) -> dict:
        """The updates of a step, if it may be made."""
        return updates

    def updates(self, fine: Tensor | None) -> dict:
        """What becomes of the scale."""
        return {}


class LossScale(Unscaled):
    """A power of two that the loss's gradient begins with and that slopes are divided by.

    Where slopes overflow all the same, nothing of the step is kept and the scale is halved.
    Scale and count are variables: a fit that goes on from a checkpoint has them, and no step waits
    for the host. Micikevicius et al., "Mixed precision training", 2018, section 3.2.
    """

    def __init__(self):
        self.scale = variable(np.float32(FIRST), name="loss_scale/scale", trainable=False)
        self.good = variable(np.int64(0), name="loss_scale/good_steps", trainable=False)

    def variables(self):
        return {v.name: v for v in vars(self).values()}

    def slopes(self, loss, parameters):
        larger = super().slopes(loss * self.scale, parameters)
        return {path: g / self.scale for path, g in larger.items()}

    def checked(self, slopes):
        """Zeros where it may not, so that all that is made of slopes waits for the answer."""
        fine = isfinite(global_norm(slopes))
        return fine, {path: where(fine, g, 0.0) for path, g in slopes.items()}

    def kept(self, fine, updates):
        return {v: where(fine, new, v) for v, new in updates.items()}

    def updates(self, fine):
        """Half after an overflow, double after many steps without."""
        again = self.good + 1 < STEADY
        larger = where(again, self.scale, minimum(self.scale * 2.0, MOST))
        return {self.scale: where(fine, larger, maximum(self.scale * 0.5, LEAST)),
                self.good: where(fine & again, self.good + 1, 0)}
