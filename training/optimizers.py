"""Optimizers as graph: each turns gradients into new values of parameters and of its slots."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Tensor, Variable, variable
from ..backend.errors import ParameterError, unknown_name
from ..layers.value import Value

sqrt, maximum, square, cast = OPS["sqrt"], OPS["maximum"], OPS["square"], OPS["cast"]


class Optimizer(Value):
    """Base: plain parameters without state; the state lives in variables that training owns.

    Parameters
    ----------
    learning_rate : float
        Step size before any schedule.
    weight_decay : float
        Decoupled: each step also shrinks parameters by ``learning_rate * weight_decay``
        (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019).
    global_clipnorm : float, optional
        If the norm of all gradients together is larger, they are scaled down to it
        (Pascanu, Mikolov and Bengio, 2013).

    Examples
    --------
    >>> from gradatim.training import Adam
    >>> Adam(learning_rate=0.01)
    Adam(learning_rate=0.01)
    """
    slots: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None):
        self.learning_rate = _number("learning_rate", learning_rate)
        self.weight_decay = _number("weight_decay", weight_decay)
        self.global_clipnorm = global_clipnorm if global_clipnorm is None else \
            _number("global_clipnorm", global_clipnorm)

    def state_for(self, parameters: dict[str, Variable]) -> dict[str, dict[str, Variable]]:
        """Slot variables by slot and parameter path: ``adam/m/dense_1/kernel``."""
        name = type(self).__name__.lower()
        return {slot: {path: variable(p.shape, p.dtype, f"{name}/{slot}/{path}", trainable=False)
                       for path, p in parameters.items()} for slot in self.slots}

    def updates(self, parameters: dict[str, Variable], gradients: dict[str, Tensor],
                state: dict[str, dict[str, Variable]], rate: Tensor, step: Tensor) -> dict:
        """New values of parameters and slots.

        ``rate`` is the 0-d float32 learning rate now and ``step`` the 0-d int64 number of steps
        made before this one.
        """
        gradients = self.clip(gradients)
        result: dict[Variable, Tensor] = {}
        scalars: dict = {}
        for path, p in parameters.items():
            if p.dtype not in scalars:
                t = cast(step, dtype=p.dtype.name) + 1.0
                scalars[p.dtype] = (cast(rate, dtype=p.dtype.name), t)
            r, t = scalars[p.dtype]
            slots = {slot: state[slot][path] for slot in self.slots}
            change, new = self.change(gradients[path], slots, r, t)
            value = p - change
            if self.weight_decay:
                value = value - p * (r * self.weight_decay)
            result[p] = value
            result.update((slots[slot], tensor) for slot, tensor in new.items())
        return result

    def change(self, g: Tensor, slots: dict, rate: Tensor, t: Tensor) -> tuple[Tensor, dict]:
        """What is subtracted from a parameter, and the new slots; ``t`` counts from 1."""
        raise NotImplementedError

    def clip(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gradients scaled so that their common norm is at most ``global_clipnorm``."""
        if self.global_clipnorm is None:
            return gradients
        norm = global_norm(gradients)
        factor = self.global_clipnorm / maximum(norm, self.global_clipnorm)
        return {path: g * cast(factor, dtype=g.dtype.name) for path, g in gradients.items()}


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm
        See `Optimizer`.
    momentum : float
        Share of the last velocity that is kept: ``v = momentum * v - rate * g``.
    nesterov : bool
        Step by ``momentum * v - rate * g`` from the new velocity.

    Examples
    --------
    >>> from gradatim.training import SGD
    >>> SGD(0.1, momentum=0.9, nesterov=True)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
        self.momentum, self.nesterov = _number("momentum", momentum), bool(nesterov)

    @property
    def slots(self):
        """One velocity per parameter when there is momentum."""
        return ("velocity",) if self.momentum else ()

    def change(self, g, slots, rate, t):
        if not self.momentum:
            return g * rate, {}
        velocity = slots["velocity"] * self.momentum + g * rate
        step = velocity * self.momentum + g * rate if self.nesterov else velocity
        return step, {"velocity": velocity}


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of gradients (Tieleman and Hinton 2012).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm
        See `Optimizer`.
    rho : float
        Decay of the running mean of squares.
    epsilon : float
        Added to the mean square under the root, as in Keras.

    Examples
    --------
    >>> from gradatim.training import RMSprop
    >>> RMSprop(0.01)
    RMSprop(learning_rate=0.01)
    """
    slots = ("mean_square",)

    def __init__(self, learning_rate: float = 0.001, rho: float = 0.9, epsilon: float = 1e-7,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
        self.rho, self.epsilon = _number("rho", rho), _number("epsilon", epsilon)

    def change(self, g, slots, rate, t):
        mean = slots["mean_square"]
        mean = mean + (g * g - mean) * (1.0 - self.rho)
        return g * rate / sqrt(mean + self.epsilon), {"mean_square": mean}


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba 2015, with the bias correction of section 2 end).

    Parameters
    ----------
    learning_rate, weight_decay, global_clipnorm
        See `Optimizer`.
    beta_1, beta_2 : float
        Decay of the running means of gradients and of their squares.
    epsilon : float
        Added to the root ("epsilon hat" of the paper).

    Examples
    --------
    >>> from gradatim.training import Adam
    >>> Adam()
    Adam()
    """
    slots = ("m", "v")

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm)
        self.beta_1, self.beta_2 = _number("beta_1", beta_1), _number("beta_2", beta_2)
        self.epsilon = _number("epsilon", epsilon)

    def change(self, g, slots, rate, t):
        m, v = slots["m"], slots["v"]
        m = m + (g - m) * (1.0 - self.beta_1)
        v = v + (g * g - v) * (1.0 - self.beta_2)
        rate = rate * sqrt(1.0 - OPS["power"](self.beta_2, t)) / (
            1.0 - OPS["power"](self.beta_1, t))
        return m * rate / (sqrt(v) + self.epsilon), {"m": m, "v": v}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, global_clipnorm
        See `Adam`.
    weight_decay : float
        0.004 by default, as in Keras.

    Examples
    --------
    >>> from gradatim.training import AdamW
    >>> AdamW(weight_decay=0.01)
    AdamW(weight_decay=0.01)
    """

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float = 0.004,
                 global_clipnorm: float | None = None):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm)


OPTIMIZERS = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}


def optimizer(name) -> Optimizer:
    """The optimizer of that name with its defaults, or the object itself."""
    if isinstance(name, Optimizer):
        return name
    if isinstance(name, str) and name in OPTIMIZERS:
        return OPTIMIZERS[name]()
    if isinstance(name, str):
        raise unknown_name("optimizer", name, OPTIMIZERS)
    raise ParameterError(f"an optimizer is a name or an Optimizer, not {name!r}")


def global_norm(gradients: dict[str, Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together, a 0-d tensor."""
    total = None
    for g in gradients.values():
        part = square(g).sum()
        total = part if total is None else total + cast(part, dtype=total.dtype.name)
    return sqrt(total)


def _number(name: str, value) -> float:
    """A finite number from 0 on."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) \
            and np.isfinite(value) and value >= 0:
        return float(value)
    raise ParameterError(f"{name} must be a finite number from 0 on, not {value!r}")
