"""Optimizers beside the usual ones: Adagrad, Adadelta, Adamax, Nadam and Lion."""
from __future__ import annotations

import numpy as np

from ..backend import OPS
from ..layers.arguments import fraction, number
from .optimizers import OPTIMIZERS, Adam, Optimizer

abs_, exp, maximum, power, sqrt = (OPS[n] for n in ("abs", "exp", "maximum", "power", "sqrt"))
NADAM_DECAY = 0.96                 # of Nadam's momentum schedule, as in Dozat's paper and Keras


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm
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
                 global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
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
    learning_rate, weight_decay, global_clipnorm
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
                 weight_decay: float = 0.0, global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
        self.rho, self.epsilon = fraction("rho", rho), number("epsilon", epsilon, at_least=0.0)

    def change(self, g, slots, scale):
        squares, steps = slots["mean_square"], slots["mean_square_step"]
        squares = squares + (g * g - squares) * (1.0 - self.rho)
        step = g * sqrt(steps + self.epsilon) / sqrt(squares + self.epsilon)
        steps = steps + (step * step - steps) * (1.0 - self.rho)
        return step * scale, {"mean_square": squares, "mean_square_step": steps}


class Adamax(Adam):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba 2015, section 7).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm
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


class Nadam(Adam):
    """Adam with Nesterov's momentum (Dozat, *Incorporating Nesterov Momentum into Adam*, 2016).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm
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
        m, v = slots["m"], slots["v"]
        m = m + (g - m) * (1.0 - self.beta_1)
        v = v + (g * g - v) * (1.0 - self.beta_2)
        of_mean, of_gradient, epsilon = scale
        return (m * of_mean + g * of_gradient) / (sqrt(v) + epsilon), {"m": m, "v": v}


class Lion(Optimizer):
    """Steps of one size by the sign of a momentum (Chen et al., *Symbolic Discovery*, 2023).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm
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
                 weight_decay: float = 0.0, global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
        self.beta_1, self.beta_2 = fraction("beta_1", beta_1), fraction("beta_2", beta_2)

    def change(self, g, slots, scale):
        m = slots["m"]
        direction = OPS["sign"](m * self.beta_1 + g * (1.0 - self.beta_1))
        return direction * scale, {"m": m * self.beta_2 + g * (1.0 - self.beta_2)}


OPTIMIZERS |= {"adagrad": Adagrad, "adadelta": Adadelta, "adamax": Adamax, "nadam": Nadam,
               "lion": Lion}
