"""Optimizers with a rate for each layer, by the size of its weights: Lamb, LARS and Adafactor."""
from __future__ import annotations

from ..backend import OPS, Tensor
from ..layers.arguments import flag, fraction, number
from .optimizers import OPTIMIZERS, Moments, Optimizer

expand_dims, maximum, minimum, power, sqrt, square, where = (OPS[n] for n in (
    "expand_dims", "maximum", "minimum", "power", "sqrt", "square", "where"))


def trust(p: Tensor, step: Tensor, share: float = 1.0) -> Tensor:
    """What makes a step as long as a share of its parameter; 1 where either is zero."""
    size, length = (sqrt((a * a).sum()) for a in (p, step))
    both = minimum(size, length) > 0.0
    return where(both, share * size / where(both, length, 1.0), 1.0)


class Lamb(Moments):
    """Adam whose step for a parameter is as long as the rate times the parameter (You et al. 2020).

    For large batches: the same rate serves layers of small and large weights.

    Parameters
    ----------
    epsilon : float
        Added to the corrected root.

    Examples
    --------
    >>> from gradatim.training import Lamb
    >>> Lamb(0.01)
    Lamb(learning_rate=0.01)
    """

    def scale(self, rate, t):
        return (rate, *(1.0 - power(beta, t) for beta in (self.beta_1, self.beta_2)))

    def change_of(self, p, g, slots, scale):
        m, v = self.means(g, slots)
        rate, first, second = scale
        step = m / first / (sqrt(v / second) + self.epsilon)
        return step * (trust(p, step) * rate), {"m": m, "v": v}


class LARS(Optimizer):
    """Momentum over steps that are a share of each layer's weights (You, Gitman, Ginsburg 2017).

    For large batches; ``v = momentum * v + rate * trust_coefficient * |w| / |g| * g``.

    Parameters
    ----------
    trust_coefficient : float
        The share, above 0.
    momentum : float
        Share of the last velocity that is kept, in [0, 1).

    Examples
    --------
    >>> from gradatim.training import LARS
    >>> LARS(1.0)
    LARS(learning_rate=1.0)
    """
    slots = ("velocity",)

    def __init__(self, learning_rate: float = 0.1, trust_coefficient: float = 0.001,
                 momentum: float = 0.9, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.trust_coefficient = number("trust_coefficient", trust_coefficient, at_least=0.0)
        self.momentum = fraction("momentum", momentum)

    def change_of(self, p, g, slots, scale):
        push = g * (trust(p, g, self.trust_coefficient) * scale)
        velocity = slots["velocity"] * self.momentum + push
        return velocity, {"velocity": velocity}


class Adafactor(Optimizer):
    """Adaptive steps whose mean squares are kept by row and column (Shazeer and Stern 2018).

    Of a kernel ``(n, m)`` it remembers ``n + m`` numbers, where Adam does ``2 n m``.

    Parameters
    ----------
    beta_2_decay : float
        The mean squares of step t keep ``1 - t ** beta_2_decay`` of those before; below 0.
    epsilon_1 : float
        Added to squared gradients.
    epsilon_2 : float
        The least root mean square that is taken for a parameter's; steps are in proportion to it.
    clip_threshold : float
        The largest root mean square of a step before its rate; above 0.
    relative_step : bool
        Whether the rate is at most ``1 / sqrt(t)``.

    Examples
    --------
    >>> from gradatim.training import Adafactor
    >>> Adafactor(0.01)
    Adafactor(learning_rate=0.01)
    """
    slots = ("rows", "columns")

    def __init__(self, learning_rate: float = 0.001, beta_2_decay: float = -0.8,
                 epsilon_1: float = 1e-30, epsilon_2: float = 1e-3, clip_threshold: float = 1.0,
                 relative_step: bool = True, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.beta_2_decay = number("beta_2_decay", beta_2_decay)
        self.epsilon_1 = number("epsilon_1", epsilon_1, at_least=0.0)
        self.epsilon_2 = number("epsilon_2", epsilon_2, at_least=0.0)
        self.clip_threshold = number("clip_threshold", clip_threshold, at_least=1e-30)
        self.relative_step = flag("relative_step", relative_step)

    def slot_shape(self, slot, p):
        """Means over the last axis, and over the one before; a vector's squares are all rows."""
        if p.ndim < 2:
            return p.shape if slot == "rows" else ()
        return p.shape[:-1] if slot == "rows" else (*p.shape[:-2], p.shape[-1])

    def scale(self, rate, t):
        rate = minimum(rate, 1.0 / sqrt(t)) if self.relative_step else rate
        return rate, power(t, self.beta_2_decay)

    def change_of(self, p, g, slots, scale):
        rate, new = scale
        squares = square(g) + self.epsilon_1
        rows = slots["rows"]
        if p.ndim < 2:
            mean = rows = rows + (squares - rows) * new
            kept = {"rows": rows}
        else:
            columns = slots["columns"]
            rows = rows + (squares.mean(axis=-1) - rows) * new
            columns = columns + (squares.mean(axis=-2) - columns) * new
            mean = expand_dims(rows / rows.mean(axis=-1, keepdims=True), axis=-1) * \
                expand_dims(columns, axis=-2)
            kept = {"rows": rows, "columns": columns}
        step = g / sqrt(mean)
        long = maximum(sqrt(square(step).mean()) / self.clip_threshold, 1.0)
        size = maximum(sqrt(square(p).mean()), self.epsilon_2)
        return step * (rate * size / long), kept


OPTIMIZERS |= {"lamb": Lamb, "lars": LARS, "adafactor": Adafactor}
