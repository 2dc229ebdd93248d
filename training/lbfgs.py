"""L-BFGS: all samples in every step, directions from past gradients, and a line search."""
from __future__ import annotations

import numpy as np

from ..backend import Graph, variable
from ..backend.errors import NonFiniteError, ParameterError
from ..layers.arguments import number, positive_int
from .line_search import strong_wolfe
from .optimizers import OPTIMIZERS, Optimizer
from .steps import Shapes, objective_and_slopes


class LBFGS(Optimizer):
    """Limited-memory BFGS with a strong Wolfe line search, for every sample in every step.

    A step goes along a direction in which past changes of the gradient stand for curvature
    (Nocedal and Wright, *Numerical Optimization*, 2006, algorithms 7.4 and 7.5), as far as the
    line search finds good. Training ends by itself when every slope is small. It suits smooth
    losses and few weights, best in float64: linear models and small nets on a few thousand rows.

    Parameters
    ----------
    memory : int
        How many past changes are kept.
    tolerance : float
        Training ends when no slope is larger.

    Raises
    ------
    ParameterError
        If a parameter is out of range; at a fit, if batches are not the whole data, or if the
        loss is not the same twice, as with dropout.
    NonFiniteError
        At a fit, if the loss of its first weights is not finite.

    Notes
    -----
    Learning rate and schedule have no say; ``learning_rate`` in the logs is the step length. What
    past steps have shown is forgotten at the start of each fit, as samples may be others.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> from gradatim.training import LBFGS
    >>> X = np.linspace(-1, 1, 20)[:, None]
    >>> trainer = gt.Trainer(gt.Sequential([layers.Dense(1)]), "mse", LBFGS(), dtype="float64")
    >>> run = trainer.fit(X, 3 * X + 1, epochs=50, batch_size=None)
    >>> run.converged, len(run.history) < 10, [w.round(4).tolist() for w in run.weights().values()]
    (True, True, [[[3.0]], [1.0]])
    """
    whole_batches = True

    def __init__(self, memory: int = 10, tolerance: float = 1e-5):
        super().__init__(1.0)
        self.memory = positive_int("memory", memory)
        self.tolerance = number("tolerance", tolerance, at_least=0.0)

    def state_for(self, parameters):
        size = sum(p.spec.size for p in parameters.values())
        dtype = max((p.dtype.name for p in parameters.values()), default="float64")

        def one(name, shape, dtype):
            return variable(shape, dtype, f"lbfgs/{name}", trainable=False)

        state = {kind: {str(i): one(f"{kind}/{i}", (size,), dtype) for i in range(self.memory)}
                 for kind in ("moves", "changes")}
        return state | {"lbfgs": {name: one(name, (), "int64") for name in ("pairs", "converged")}}

    def converged(self, state) -> bool:
        return bool(state["lbfgs"]["converged"].numpy())

    def updates(self, parameters, gradients, state, rate, step):
        """None that a graph could make; `stepper` makes them."""
        return {}

    def stepper(self, trainer, shapes: Shapes):
        return Descent(self, trainer, shapes)


class Descent:
    """A training step like a compiled one: one iteration on the batch that it is called with."""

    def __init__(self, optimizer: LBFGS, trainer, shapes: Shapes):
        self.optimizer, self.keys, self.slots = optimizer, trainer.keys, trainer.slots
        feeds, objective, sums, slopes, moving = objective_and_slopes(trainer, shapes)
        self.weights = list(trainer.model.trainable_variables().values())
        if trainer.model.all_constraints():
            raise ParameterError("L-BFGS cannot keep weights to their constraints",
                                 fix="leave the constraints out, or use another optimizer")
        outputs = [objective, *sums.values(), *slopes.values()]
        if trainer.keys.step in Graph(outputs, {}, feeds).variables:
            raise ParameterError("L-BFGS needs a loss that is the same twice, and this net draws "
                                 "random numbers while training",
                                 fix="leave out dropout, noise and augmentation, or use another "
                                     "optimizer")
        compiled = trainer.strategy.function
        self.compute = compiled(feeds, outputs, {}, trainer.backend, precision=trainer.precision)
        self.statistics = compiled(feeds, [objective], moving, trainer.backend,
                                   precision=trainer.precision) if moving else None
        self.names = [*sums, ("learning_rate", "")]
        self._known: tuple | None = None     # the last point looked at, for what arrays, and there

    @property
    def functions(self) -> list:
        """What a call computes, at least once."""
        return [*self.compute.functions, *(self.statistics.functions if self.statistics else ())]

    def __call__(self, *arrays) -> list:
        start = flat([w.storage for w in self.weights])
        flags = self.slots["lbfgs"]
        if self.keys.step.numpy() == self.keys.start.numpy():
            flags["pairs"].assign(np.int64(0))
            self._known = None               # the same arrays may hold other samples now
        try:
            value, sums, gradient = self.look(start, arrays)
            if not np.isfinite(value):
                raise NonFiniteError("the loss is not finite where L-BFGS begins",
                                     got=f"loss {value}", fix="scale the samples and targets")
            length = self.descend(start, value, gradient, arrays)
        except BaseException:
            self.put(start)
            raise
        flags["converged"].assign(np.int64(not length))
        if length and self.statistics is not None:
            self.statistics(*arrays)
        self.keys.step.assign(self.keys.step.numpy() + 1)
        return [*sums, np.float64(length)]

    def descend(self, start, value: float, gradient, arrays) -> float:
        """Go to a lower point; the length of the step, 0.0 if there is nothing to be gained."""
        if np.abs(gradient).max(initial=0.0) <= self.optimizer.tolerance:
            return 0.0
        pairs = self.slots["lbfgs"]["pairs"]
        for moves, changes in (self.pairs(), ([], [])):      # without a memory if it misleads
            direction = -scaled(gradient, moves, changes)
            slope = float(direction @ gradient)
            if not slope < 0:
                continue
            first = 1.0 if moves else min(1.0, 1.0 / float(np.abs(gradient).sum()))

            def along(length):
                found, _, there = self.look(start + length * direction, arrays)
                return found, float(there @ direction)

            length = strong_wolfe(along, value, slope, first)
            if length:
                _, _, new = self.look(start + length * direction, arrays)
                self.remember(length * direction, new - gradient)
                return length
            pairs.assign(np.int64(0))
            self.put(start)
        return 0.0

    def look(self, point, arrays) -> tuple[float, list, np.ndarray]:
        """Loss, what is counted, and gradient at a point, where the weights are then."""
        known = self._known
        same = known and known[0].tobytes() == point.tobytes() and \
            all(a is b for a, b in zip(known[1], arrays))
        self.put(point)
        if not same:
            value, *found = self.compute(*arrays)
            count = len(self.names) - 1
            self._known = point, arrays, (float(value), found[:count], flat(found[count:]))
        return self._known[2]

    def put(self, point) -> None:
        """Make a point the weights."""
        first = 0
        for w in self.weights:
            part = point[first:first + w.spec.size]
            w.assign(part.reshape(w.shape).astype(w.dtype, copy=False))
            first += w.spec.size

    def pairs(self) -> tuple[list, list]:
        """Past moves and the changes of the gradient they brought, oldest first."""
        count, size = int(self.slots["lbfgs"]["pairs"].numpy()), self.optimizer.memory
        return tuple([self.slots[kind][str(i % size)].storage
                      for i in range(max(count - size, 0), count)] for kind in ("moves", "changes"))

    def remember(self, move, change) -> None:
        """Keep a move and what it changed, if it shows that the loss curves upwards."""
        if move @ change <= 1e-12 * np.sqrt(move @ move) * np.sqrt(change @ change):
            return
        pairs = self.slots["lbfgs"]["pairs"]
        count = int(pairs.numpy())
        for kind, vector in (("moves", move), ("changes", change)):
            slot = self.slots[kind][str(count % self.optimizer.memory)]
            slot.assign(vector.astype(slot.dtype, copy=False))
        pairs.assign(np.int64(count + 1))


def scaled(gradient, moves: list, changes: list) -> np.ndarray:
    """The gradient times the inverse curvature that the pairs show (algorithm 7.4)."""
    found, shares = gradient.copy(), []
    for move, change in zip(reversed(moves), reversed(changes)):
        shares.append(float(move @ found) / float(move @ change))
        found -= shares[-1] * change
    if moves:
        found *= float(moves[-1] @ changes[-1]) / float(changes[-1] @ changes[-1])
    for move, change, share in zip(moves, changes, reversed(shares)):
        found += (share - float(change @ found) / float(move @ change)) * move
    return found


def flat(arrays) -> np.ndarray:
    """All numbers in one vector of float64."""
    return np.concatenate([np.zeros(0), *(np.asarray(a, np.float64).ravel() for a in arrays)])


OPTIMIZERS |= {"lbfgs": LBFGS}
