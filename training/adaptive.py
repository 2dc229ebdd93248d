"""Optimizers beside the usual ones: Adagrad, Adadelta, Adamax, Nadam, Lion, Lamb and Ftrl."""
from __future__ import annotations

import numpy as np

from ..backend import OPS
from ..backend.errors import ParameterError
from ..layers.arguments import fraction, number
from .optimizers import OPTIMIZERS, Moments, Optimizer

abs_, exp, maximum, power, sqrt = (OPS[n] for n in ("abs", "exp", "maximum", "power", "sqrt"))
NADAM_DECAY = 0.96                 # of Nadam's momentum schedule, as in Dozat's paper and Keras


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Optimizer`.
    initial_accumulator_value : float
        What the sum of squares starts from.
    epsilon : float
        Added to the sum under the root.

    Examples
    --------
    >>> from gradatim.training import Adagrad
    >>> Adagrad(0.01)
    Adagrad(learning_rate=0.01)
    """
    slots = ("sum_square",)

    def __init__(self, learning_rate: float = 0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.initial_accumulator_value = number("initial_accumulator_value",
                                                initial_accumulator_value, at_least=0.0)
        self.epsilon = number("epsilon", epsilon, at_least=0.0)

    def change(self, g, slots, scale):
        total = slots["sum_square"] + g * g
        start = self.initial_accumulator_value + self.epsilon
        return g * scale / sqrt(total + start), {"sum_square": total}


class Adadelta(Optimizer):
    """Steps in the ratio of running means of squares of steps and gradients (Zeiler 2012).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Optimizer`; the paper's rate is 1.
    rho : float
        Decay of both running means, in [0, 1).
    epsilon : float
        Added to both under the root.

    Examples
    --------
    >>> from gradatim.training import Adadelta
    >>> Adadelta(1.0)
    Adadelta(learning_rate=1.0)
    """
    slots = ("mean_square", "mean_square_step")

    def __init__(self, learning_rate: float = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.rho, self.epsilon = fraction("rho", rho), number("epsilon", epsilon, at_least=0.0)

    def change(self, g, slots, scale):
        squares, steps = slots["mean_square"], slots["mean_square_step"]
        squares = squares + (g * g - squares) * (1.0 - self.rho)
        step = g * sqrt(steps + self.epsilon) / sqrt(squares + self.epsilon)
        steps = steps + (step * step - steps) * (1.0 - self.rho)
        return step * scale, {"mean_square": squares, "mean_square_step": steps}


class Adamax(Moments):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba 2015, section 7).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Adam`; ``beta_2`` is how much of the largest gradient is kept.

    Examples
    --------
    >>> from gradatim.training import Adamax
    >>> Adamax(0.002)
    Adamax(learning_rate=0.002)
    """
    slots = ("m", "u")

    def scale(self, rate, t):
        return rate / (1.0 - power(self.beta_1, t))

    def change(self, g, slots, scale):
        m, u = slots["m"], slots["u"]
        m = m + (g - m) * (1.0 - self.beta_1)
        u = maximum(u * self.beta_2, abs_(g))
        return m * scale / (u + self.epsilon), {"m": m, "u": u}


class Nadam(Moments):
    """Adam with Nesterov's momentum (Dozat, *Incorporating Nesterov Momentum into Adam*, 2016).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Adam`.

    Examples
    --------
    >>> from gradatim.training import Nadam
    >>> Nadam(0.002)
    Nadam(learning_rate=0.002)
    """

    def scale(self, rate, t):
        now, following = (self.momentum(t + i) for i in (0.0, 1.0))
        product = power(self.beta_1, t) * self.product(t)
        root = sqrt(1.0 - power(self.beta_2, t))
        return (rate * root * following / (1.0 - product * following),
                rate * root * (1.0 - now) / (1.0 - product), root * self.epsilon)

    def momentum(self, t):
        """The momentum of step ``t``, which rises from half of ``beta_1`` to all of it."""
        return self.beta_1 * (1.0 - 0.5 * power(NADAM_DECAY, t))

    def product(self, t):
        """The product of ``1 - 0.96**i / 2`` for i from 1 to ``t``, with no state to keep.

        Its logarithm is a sum over powers k of geometric series, Euler's for such products.
        """
        k = np.arange(1.0, 61.0)                               # 0.48**60 is below the last bit
        first = (0.5 * NADAM_DECAY) ** k / (k * (1.0 - NADAM_DECAY ** k))
        return exp(-((1.0 - power(NADAM_DECAY ** k, t)) * first).sum())

    def change(self, g, slots, scale):
        m, v = self.means(g, slots)
        of_mean, of_gradient, epsilon = scale
        return (m * of_mean + g * of_gradient) / (sqrt(v) + epsilon), {"m": m, "v": v}


class Lion(Optimizer):
    """Steps of one size by the sign of a momentum (Chen et al., *Symbolic Discovery*, 2023).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Optimizer`; the rate wants to be 3 to 10 times smaller than Adam's.
    beta_1 : float
        Share of the momentum in what gives the sign, in [0, 1).
    beta_2 : float
        Decay of the momentum, in [0, 1).

    Examples
    --------
    >>> from gradatim.training import Lion
    >>> Lion(1e-4)
    Lion(learning_rate=0.0001)
    """
    slots = ("m",)

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.beta_1, self.beta_2 = fraction("beta_1", beta_1), fraction("beta_2", beta_2)

    def change(self, g, slots, scale):
        m = slots["m"]
        direction = OPS["sign"](m * self.beta_1 + g * (1.0 - self.beta_1))
        return direction * scale, {"m": m * self.beta_2 + g * (1.0 - self.beta_2)}


class Lamb(Moments):
    """Adam whose step for a parameter is as long as the rate times the parameter (You et al. 2020).

    For large batches: the same rate serves layers of small and large weights.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Adam`; epsilon is added to the corrected root.

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
        size, length = (sqrt((a * a).sum()) for a in (p, step))
        both = OPS["minimum"](size, length) > 0.0
        ratio = OPS["where"](both, size / OPS["where"](both, length, 1.0), 1.0)
        return step * (ratio * rate), {"m": m, "v": v}


class Ftrl(Optimizer):
    """Follow the regularised leader: sparse weights by penalties in closed form (McMahan 2013).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue
        See `Optimizer`.
    learning_rate_power : float
        How the rate falls with the sum of squares; at most 0.
    initial_accumulator_value : float
        What the sum of squares starts from.
    l1_regularization_strength, l2_regularization_strength : float
        Penalties that hold weights at or near zero.
    l2_shrinkage_regularization_strength : float
        A penalty by the size that weights have now.
    beta : float
        The paper's beta, added to the root.

    Examples
    --------
    >>> from gradatim.training import Ftrl
    >>> Ftrl(0.1, l1_regularization_strength=0.01)
    Ftrl(learning_rate=0.1, l1_regularization_strength=0.01)
    """
    slots = ("accumulator", "linear")

    def __init__(self, learning_rate: float = 0.001, learning_rate_power: float = -0.5,
                 initial_accumulator_value: float = 0.1,
                 l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0,
                 l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.learning_rate_power = number("learning_rate_power", learning_rate_power)
        if self.learning_rate_power > 0:
            raise ParameterError("learning_rate_power must be at most 0, not "
                                 f"{learning_rate_power!r}")
        for name, value in (
                ("initial_accumulator_value", initial_accumulator_value),
                ("l1_regularization_strength", l1_regularization_strength),
                ("l2_regularization_strength", l2_regularization_strength),
                ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
                ("beta", beta)):
            setattr(self, name, number(name, value, at_least=0.0))

    def change_of(self, p, g, slots, scale):
        start, fall = self.initial_accumulator_value, -self.learning_rate_power
        before = slots["accumulator"] + start
        after = before + g * g
        slope = g + p * (2.0 * self.l2_shrinkage_regularization_strength)
        root = power(after, fall)
        linear = slots["linear"] + slope - (root - power(before, fall)) / scale * p
        l1, l2 = self.l1_regularization_strength, 2.0 * self.l2_regularization_strength
        new = (OPS["clip"](linear, low=-l1, high=l1) - linear) / ((root + self.beta) / scale + l2)
        return p - new, {"accumulator": after - start, "linear": linear}


OPTIMIZERS |= {"adagrad": Adagrad, "adadelta": Adadelta, "adamax": Adamax, "nadam": Nadam,
               "lion": Lion, "lamb": Lamb, "ftrl": Ftrl}
