"""Optimizers as graph: each turns gradients into new values of parameters and of its slots."""
from __future__ import annotations

from ..backend import OPS, Tensor, Variable, variable
from ..backend.context import surroundings
from ..backend.errors import ParameterError
from ..backend.named import named
from ..layers.arguments import flag, fraction, number
from ..layers.value import Value

sqrt, maximum, square, cast = OPS["sqrt"], OPS["maximum"], OPS["square"], OPS["cast"]


CLIPS = ("global_clipnorm", "clipnorm", "clipvalue")


class Optimizer(Value):
    """Base: plain parameters without state; the state lives in variables that training owns.

    Formulas are Keras's. A subclass names its ``slots`` and defines `change`.

    Parameters
    ----------
    learning_rate : float
        Step size before any schedule.
    weight_decay : float
        Decoupled: each step also shrinks every parameter, biases too, by
        ``learning_rate * weight_decay`` (Loshchilov and Hutter, *Decoupled Weight Decay
        Regularization*, 2019).
    global_clipnorm : float, optional
        If the norm of all gradients together is larger, they are scaled down to it
        (Pascanu, Mikolov and Bengio, 2013).
    clipnorm : float, optional
        The same for the gradient of each parameter by itself.
    clipvalue : float, optional
        Every number of a gradient is moved into ``[-clipvalue, clipvalue]``.

    Raises
    ------
    ParameterError
        If one of them is negative or no number, or two of the three last are given.

    Examples
    --------
    >>> from gradatim.training import Adam
    >>> Adam(learning_rate=0.01)
    Adam(learning_rate=0.01)
    """
    slots: tuple[str, ...] = ()
    whole_batches = False        # whether every step must see all samples

    def __init__(self, learning_rate: float, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        self.learning_rate = number("learning_rate", learning_rate, at_least=0.0)
        self.weight_decay = number("weight_decay", weight_decay, at_least=0.0)
        self.global_clipnorm, self.clipnorm = global_clipnorm, clipnorm
        self.clipvalue = clipvalue
        given = [name for name in CLIPS if getattr(self, name) is not None]
        for name in given:
            if number(name, getattr(self, name), at_least=0.0) == 0:
                raise ParameterError(f"{name} must be larger than 0: nothing would be learned",
                                     fix="leave it None")
        if len(given) > 1:
            raise ParameterError(f"{given[0]} and {given[1]} cannot both cut gradients",
                                 fix=f"leave {given[1]} out")

    def state_for(self, parameters: dict[str, Variable]) -> dict[str, dict[str, Variable]]:
        """Slot variables by slot and parameter path: ``adam/m/dense_1/kernel``."""
        name = type(self).__name__.lower()
        result: dict[str, dict[str, Variable]] = {slot: {} for slot in self.slots}
        for path, p in parameters.items():
            with surroundings(device=p.device):
                for slot in self.slots:
                    result[slot][path] = variable(self.slot_shape(slot, p), p.dtype,
                                                  f"{name}/{slot}/{path}", trainable=False)
        return result

    def slot_shape(self, slot: str, p: Variable) -> tuple[int, ...]:
        """The parameter's, for most."""
        return p.shape

    def updates(self, parameters: dict[str, Variable], gradients: dict[str, Tensor],
                state: dict[str, dict[str, Variable]], rate: Tensor, step: Tensor) -> dict:
        """New values of parameters and slots.

        Parameters
        ----------
        parameters : dict of str to Variable
            By path.
        gradients : dict of str to Tensor
            The gradient of each.
        state : dict of str to dict
            What `state_for` made.
        rate : Tensor
            0-d float64, the learning rate now.
        step : Tensor
            0-d int64, how many steps were made before this one.

        Returns
        -------
        dict of Variable to Tensor
        """
        gradients = self.clip(gradients)
        scale = self.scale(rate, cast(step, dtype="float64") + 1.0)
        decay = rate * self.weight_decay
        result: dict[Variable, Tensor] = {}
        scalars: dict = {}                   # by element type: they are the same for all parameters
        for path, p in parameters.items():
            name = p.dtype.name
            if name not in scalars:
                scalars[name] = typed(scale, name), cast(decay, dtype=name)
            slots = {slot: state[slot][path] for slot in self.slots}
            with surroundings(device=p.device):
                value = p - p * scalars[name][1] if self.weight_decay else p
                change, new = self.change_of(value, gradients[path], slots, scalars[name][0])
                result[p] = value - change
            result.update((slots[slot], tensor) for slot, tensor in new.items())
        return result

    def scale(self, rate: Tensor, t: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What `change` multiplies by in step ``t``, counted from 1; 0-d float64, or several."""
        return rate

    def change_of(self, p: Tensor, g: Tensor, slots: dict, scale) -> tuple[Tensor, dict]:
        """The same as `change`, for formulas that read the parameter."""
        return self.change(g, slots, scale)

    def change(self, g: Tensor, slots: dict, scale: Tensor) -> tuple[Tensor, dict]:
        """What is subtracted from a parameter, and the new slots."""
        raise NotImplementedError(f"{type(self).__name__} defines neither change nor change_of")

    def stepper(self, trainer, shapes):
        """What makes steps in the place of a compiled graph; None: a graph does."""
        return None

    def converged(self, state) -> bool:
        """Whether nothing is left to be gained."""
        return False

    def clip(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gradients cut to what ``global_clipnorm``, ``clipnorm`` or ``clipvalue`` allows."""
        if self.clipvalue is not None:
            return {path: OPS["clip"](g, low=-self.clipvalue, high=self.clipvalue)
                    for path, g in gradients.items()}
        if self.clipnorm is not None:
            return {path: g * (self.clipnorm / maximum(global_norm({path: g}), self.clipnorm))
                    for path, g in gradients.items()}
        if self.global_clipnorm is None:
            return gradients
        norm = global_norm(gradients)
        factor = self.global_clipnorm / maximum(norm, self.global_clipnorm)
        return {path: g * cast(factor, dtype=g.dtype.name) for path, g in gradients.items()}


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    Parameters
    ----------
    momentum : float
        Share of the last velocity that is kept, in [0, 1): ``v = momentum * v + rate * g``, and
        the step is ``v``.
    nesterov : bool
        The step is ``momentum * v + rate * g`` with the new velocity.

    Examples
    --------
    >>> from gradatim.training import SGD
    >>> SGD(0.1, momentum=0.9, nesterov=True)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.momentum, self.nesterov = fraction("momentum", momentum), bool(nesterov)

    @property
    def slots(self):
        """One velocity per parameter when there is momentum."""
        return ("velocity",) if self.momentum else ()

    def change(self, g, slots, scale):
        if not self.momentum:
            return g * scale, {}
        push = g * scale
        velocity = slots["velocity"] * self.momentum + push
        step = velocity * self.momentum + push if self.nesterov else velocity
        return step, {"velocity": velocity}


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of gradients (Tieleman and Hinton 2012).

    Parameters
    ----------
    rho : float
        Decay of the running means, in [0, 1).
    epsilon : float
        Added to the mean square under the root, as in Keras.
    momentum : float
        Share of the last step that is kept, in [0, 1).
    centered : bool
        Whether the variance stands in place of the mean square (Graves 2013, equation 38).

    Examples
    --------
    >>> from gradatim.training import RMSprop
    >>> RMSprop(0.01)
    RMSprop(learning_rate=0.01)
    """

    def __init__(self, learning_rate: float = 0.001, rho: float = 0.9, epsilon: float = 1e-7,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None,
                 clipnorm: float | None = None, clipvalue: float | None = None,
                 momentum: float = 0.0, centered: bool = False):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.rho, self.epsilon = fraction("rho", rho), number("epsilon", epsilon, at_least=0.0)
        self.momentum, self.centered = fraction("momentum", momentum), flag("centered", centered)

    @property
    def slots(self):
        """Means of squares and of gradients, and the last step, as far as they are needed."""
        return ("mean_square", *["mean"] * self.centered, *["velocity"] * (self.momentum > 0))

    def change(self, g, slots, scale):
        square_ = slots["mean_square"]
        new = {"mean_square": square_ + (g * g - square_) * (1.0 - self.rho)}
        spread = new["mean_square"]
        if self.centered:
            new["mean"] = slots["mean"] + (g - slots["mean"]) * (1.0 - self.rho)
            spread = spread - new["mean"] * new["mean"]
        step = g * scale / sqrt(spread + self.epsilon)
        if self.momentum:
            step = new["velocity"] = slots["velocity"] * self.momentum + step
        return step, new


class Moments(Optimizer):
    """What Adam and its kin share: running means of gradients and of something of their size.

    Parameters
    ----------
    beta_1, beta_2 : float
        Decay of the running means of gradients and of their squares, in [0, 1).
    epsilon : float
        Added to the root ("epsilon hat" of the paper).
    """
    slots = ("m", "v")

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None):
        super().__init__(learning_rate, weight_decay, global_clipnorm, clipnorm, clipvalue)
        self.beta_1, self.beta_2 = fraction("beta_1", beta_1), fraction("beta_2", beta_2)
        self.epsilon = number("epsilon", epsilon, at_least=0.0)

    def means(self, g: Tensor, slots: dict) -> tuple[Tensor, Tensor]:
        """The new means of gradients and of their squares."""
        m, v = slots["m"], slots["v"]
        return m + (g - m) * (1.0 - self.beta_1), v + (g * g - v) * (1.0 - self.beta_2)


class Adam(Moments):
    """Adaptive moments (Kingma and Ba 2015), the bias correction folded into the rate (section 2).

    Parameters
    ----------
    amsgrad : bool
        Whether the largest mean of squares so far stands in place of the present one (Reddi, Kale
        and Kumar, *On the Convergence of Adam and Beyond*, 2018).

    Examples
    --------
    >>> from gradatim.training import Adam
    >>> Adam()
    Adam()
    """

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None, amsgrad: bool = False):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm,
                         clipnorm, clipvalue)
        self.amsgrad = flag("amsgrad", amsgrad)

    @property
    def slots(self):
        """Means of gradients and of squares, and the largest of these where it is wanted."""
        return ("m", "v", "v_hat") if self.amsgrad else ("m", "v")

    def scale(self, rate, t):
        corrections = [1.0 - OPS["power"](beta, t) for beta in (self.beta_1, self.beta_2)]
        return rate * sqrt(corrections[1]) / corrections[0]

    def change(self, g, slots, scale):
        m, v = self.means(g, slots)
        if not self.amsgrad:
            return m * scale / (sqrt(v) + self.epsilon), {"m": m, "v": v}
        largest = maximum(slots["v_hat"], v)
        return m * scale / (sqrt(largest) + self.epsilon), {"m": m, "v": v, "v_hat": largest}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Parameters
    ----------
    weight_decay : float
        Share by which each step, times the rate, shrinks every parameter.

    Examples
    --------
    >>> from gradatim.training import AdamW
    >>> AdamW(weight_decay=0.01)
    AdamW(weight_decay=0.01)
    """

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, weight_decay: float = 0.004,
                 global_clipnorm: float | None = None, clipnorm: float | None = None,
                 clipvalue: float | None = None, amsgrad: bool = False):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay, global_clipnorm,
                         clipnorm, clipvalue, amsgrad)


OPTIMIZERS = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}


def optimizer(name) -> Optimizer:
    """The optimizer of that name with its defaults, or the object itself."""
    return named("optimizer", name, OPTIMIZERS, "a name or an Optimizer",
                 lambda o: isinstance(o, Optimizer))


def typed(scale, dtype: str):
    """One scalar or several of that element type."""
    if isinstance(scale, tuple):
        return tuple(cast(one, dtype=dtype) for one in scale)
    return cast(scale, dtype=dtype)


def global_norm(gradients: dict[str, Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together, a 0-d tensor."""
    total = None
    for g in gradients.values():
        part = square(g).sum()
        total = part if total is None else total + cast(part, dtype=total.dtype.name)
    return sqrt(total)
