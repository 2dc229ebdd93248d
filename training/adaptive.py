"""Optimizers with a rate for each number: by past squares, by signs, by penalties."""
from __future__ import annotations

import numpy as np

from ..backend import OPS
from ..backend.errors import ParameterError
from ..layers.arguments import fraction, number
from .optimizers import OPTIMIZERS, Moments, Optimizer

abs_, exp, maximum, power, sqrt, where = (
    OPS[n] for n in ("abs", "exp", "maximum", "power", "sqrt", "where"))
NADAM_DECAY = 0.96                 # of Nadam's momentum schedule, as in Dozat's paper and Keras


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
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
    learning_rate : float
        Step size before any schedule; the paper's is 1.
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
    beta_2 : float
        How much of the largest gradient is kept, in [0, 1).

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
    learning_rate : float
        Step size before any schedule; it wants to be 3 to 10 times smaller than Adam's.
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


class RAdam(Moments):
    """Adam with the rate it deserves in its first steps (Liu et al., *On the Variance*, 2020).

    While the mean square has seen too little to be divided by, steps are those of momentum; then
    they grow to Adam's. It takes the place of a warm-up.

    Examples
    --------
    >>> from gradatim.training import RAdam
    >>> RAdam(0.01)
    RAdam(learning_rate=0.01)
    """

    def scale(self, rate, t):
        first, second = (1.0 - power(beta, t) for beta in (self.beta_1, self.beta_2))
        longest = 2.0 / (1.0 - self.beta_2) - 1.0       # of the moving average, in steps
        length = longest - 2.0 * t * (1.0 - second) / second
        known = length > 5.0                            # the paper's 4, as everyone has it
        grown = sqrt(maximum((length - 4.0) * (length - 2.0), 0.0) * longest
                     / (max((longest - 4.0) * (longest - 2.0), 1e-300) * length))
        adam = rate * grown * sqrt(second) / first
        return where(known, adam, 0.0), where(known, 0.0, rate / first)

    def change(self, g, slots, scale):
        m, v = self.means(g, slots)
        adam, momentum = scale
        return m * adam / (sqrt(v) + self.epsilon) + m * momentum, {"m": m, "v": v}


class Ftrl(Optimizer):
    """Follow the regularised leader: sparse weights by penalties in closed form (McMahan 2013).

    Parameters
    ----------
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
               "radam": RAdam, "lion": Lion, "ftrl": Ftrl}
