"""Layer: builds a piece of graph, and holds the weights in it."""
from __future__ import annotations

import re
from abc import ABC
from typing import Sequence

import numpy as np

from ..backend import OPS, Spec, Tensor, Variable, variable
from ..backend.context import current, surroundings
from ..backend.errors import DataError, ParameterError, ShapeError
from ..backend.tensor import stream_of
from .arguments import flag
from .constraints import constraint as find_constraint
from .documentation import complete
from .flow import Flow, as_flow
from .initializers import initializer as find_initializer
from .regularizers import regularizer as find_regularizer
from .value import arguments_of

# What a weight can be given beside its shape, and what finds it by name.
SETTINGS = {"initializer": find_initializer, "regularizer": find_regularizer,
            "constraint": find_constraint}


class Layer(ABC):
    """A piece of graph with weights. The simplest layer overrides `call`, and `build` for weights.

    A subclass stores each constructor argument under its own name, as scikit-learn's estimators
    do; files and copies are made from that, so there is no ``get_config`` to write.

    Parameters
    ----------
    name : str, optional
        The layer's name inside its model; made from the class name otherwise.

    Attributes
    ----------
    weights : dict of str to Variable
        The layer's own variables by short name.
    children : dict of str to Layer
        Layers inside this one by short name.
    keeps_time : bool
        Whether the time axis passes through, and lengths with it.
    any_rank : bool
        Whether the weights depend on the last axis alone, so that one layer takes ``(batch,
        features)`` and ``(batch, time, features)``.
    trainable : bool
        Setting it to False freezes the layer and all in it: no optimizer changes the weights.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> class Scale(layers.Layer):
    ...     '''Multiplies every feature by a learned factor.'''
    ...     def build(self, spec):
    ...         self.factor = self.add_weight("factor", spec.shape[-1:], "ones")
    ...     def call(self, x):
    ...         return x * self.factor
    >>> print(Scale()(gt.placeholder((2, 3))).spec)
    float32[2, 3]
    """
    keeps_time = any_rank = False
    input_axes = ""                # what its input needs, such as "(batch, time, features)"
    takes_several = False          # whether it is called on a list of tensors
    takes_integers = False         # whether the input is whole numbers, as Embedding's is
    nested = False                 # whether it stands inside another layer
    frozen = False                 # whether no optimizer may change its weights
    device: str | None = None      # where it was last called inside gt.device, to be built again

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        complete(cls)

    def __init__(self, name: str | None = None):
        if name is not None and not re.fullmatch(r"[A-Za-z0-9_.\-]{1,128}", str(name)):
            raise ParameterError(f"{name!r} cannot be the name of a layer",
                                 fix="use letters, digits, '_', '.' and '-'")
        self.name = name
        self.path = name or snake_case(type(self).__name__)
        self.weights: dict[str, Variable] = {}
        self.children: dict[str, Layer] = {}
        self.penalties: list[tuple] = []           # (regularizer, Variable)
        self.constraints: list[tuple] = []         # (constraint, Variable)
        self.built: Spec | None = None
        self.dtype = "float32"

    # ---- for authors of layers -----------------------------------------------------------------

    def build(self, spec: Spec) -> None:
        """Make the weights; ``spec`` is the input's without the batch axis."""

    def call(self, x: Tensor) -> Tensor:
        """The layer's formula on ``(batch, ...)``."""
        raise NotImplementedError(f"{type(self).__name__} defines neither call nor forward")

    def forward(self, flow: Flow, training: bool) -> Flow:
        """The formula for layers that use more than the tensor; returns updates in the flow."""
        return flow.to(self.call(flow.x), lengths=flow.lengths if self.keeps_time else None)

    def add_weight(self, name: str, shape: Sequence[int], initializer="glorot_uniform",
                   regularizer=None, trainable: bool = True, constraint=None) -> Variable:
        """A variable of the layer, ``<path>/<name>`` in files."""
        weight = variable(tuple(int(n) for n in shape), self.dtype, f"{self.path}/{name}",
                          find_initializer(initializer), trainable)
        self.weights[name] = weight
        if regularizer is not None:
            self.penalties.append((find_regularizer(regularizer), weight))
        if constraint is not None:
            self.constraints.append((find_constraint(constraint), weight))
        return weight

    def settle_weight(self, weight: str, initializer, regularizer=None, constraint=None) -> None:
        """Check and keep the constructor's arguments for a weight: ``<weight>_initializer``, ..."""
        for kind, value in zip(SETTINGS, (initializer, regularizer, constraint)):
            SETTINGS[kind](value)
            setattr(self, f"{weight}_{kind}", value)

    def weight_settings(self, weight: str) -> dict:
        """What `settle_weight` kept, for `add_weight`."""
        return {kind: getattr(self, f"{weight}_{kind}") for kind in SETTINGS}

    def add_child(self, name: str, layer: Layer) -> Layer:
        """A layer inside this one, ``<path>/<name>`` in files."""
        self.children[name] = layer
        layer.nested = True
        layer.set_path(f"{self.path}/{name}")
        return layer

    # ---- for users -----------------------------------------------------------------------------

    def __call__(self, x, training: bool = False):
        """Apply the layer.

        Parameters
        ----------
        x : Tensor, array or Flow, or a list of them for layers that merge
            ``(batch, ...)``.
        training : bool
            Builds the training graph: dropout active, batch statistics taken.

        Returns
        -------
        Tensor, or (Tensor, updates) when training, or Flow when called with one
        """
        several = isinstance(x, (list, tuple))
        if several != self.takes_several:
            raise ParameterError(f"{self.label} takes {'a list of tensors' * (not several)}"
                                 f"{'one tensor, not a list' * several}")
        flows = [as_flow(t) for t in (x if several else [x])]
        given = x if several else [x]
        result = self.run(flows if several else flows[0], training)
        if isinstance(given[0], Flow):
            return result
        if training:
            return result.x, dict(result.updates)
        y, sources = result.x, tuple(f.x for f in flows)
        if y in sources:      # an identity, as dropout at inference, is a layer of a model too
            y = OPS["cast"](y, dtype=y.dtype.name)
        y.origin = (self, sources)
        return y

    def run(self, flow, training: bool) -> Flow:
        """Build if needed, check the input, and go forward; what models call."""
        first = flow[0] if isinstance(flow, list) else flow
        spec = ([Spec(f.x.shape[1:], f.x.dtype) for f in flow] if isinstance(flow, list)
                else Spec(flow.x.shape[1:], flow.x.dtype))
        if current().device is not None:
            self.device = current().device
        with surroundings(layer=self.label, fix="", device=self.device):
            dtype = str(first.x.dtype) if first.x.spec.is_float else first.dtype
            self.check_axes(spec)
            if self.built is None or dtype != self.dtype and self._undrawn():
                self.dtype = dtype
                self.weights, self.penalties, self.constraints = {}, [], []
                self.build(spec)
                self.built = spec
            self.check(spec)
            out = self.forward(flow, training)
            if (watch := current().watch) is not None:
                watch(self, out)
            return out

    def _undrawn(self) -> bool:
        """Whether there are weights and none has a value, so another precision costs nothing."""
        return bool(self.weights) and not any(w.drawn for w in self.weights.values())

    def check_axes(self, spec) -> None:
        """Refuse an input of other axes, before weights are made for it."""
        if self.input_axes and len(spec.shape) != self.input_axes.count(","):
            last = self.input_axes.strip("()").split(", ")[-1].removesuffix("s")
            raise ShapeError(f"{type(self).__name__} needs {self.input_axes}",
                             got=f"{list(spec.shape)} (without batch)",
                             fix=f"reshape the input; one {last} is an axis of length 1")

    def check(self, spec) -> None:
        """Refuse an input whose last axis is not what the weights were made for."""
        built = self.built
        if isinstance(spec, list) or not self.weights or not built.shape:
            return
        if spec.shape[-1:] != built.shape[-1:] or \
                len(spec.shape) != len(built.shape) and not self.any_rank:
            size = built.shape[-1]
            raise ShapeError(f"{self.label}: the input has another shape than it was built for",
                             got=f"{list(spec.shape)}, not {list(built.shape)} (without batch)",
                             fix=f"{type(self).__name__} was built for {size} inputs; pass X with "
                                 f"{size} columns or build a new model")

    @property
    def label(self) -> str:
        """``Dense "hidden"``: how errors call it."""
        return f'{type(self).__name__} "{self.path.rpartition("/")[2]}"'

    def set_path(self, path: str) -> None:
        """Name the layer and everything in it; random streams and files follow the names."""
        self.path = path
        for name, weight in self.weights.items():
            weight.name = f"{path}/{name}"
        for name, child in self.children.items():
            child.set_path(f"{path}/{name}")

    @property
    def stream(self) -> int:
        """The layer's random stream."""
        return stream_of(self.path)

    @property
    def root(self) -> str:
        """The path of the layer where it stands alone."""
        return self.name or snake_case(type(self).__name__)

    def layers_by_path(self) -> dict[str, Layer]:
        """The layer and every layer in it, each once, by the path it has in this one.

        Paths follow from the tree of layers alone, wherever else a layer may stand: optimizer
        slots, checkpoints and files know weights by them.
        """
        found: dict[Layer, str] = {}

        def visit(layer: Layer, path: str) -> None:
            if layer not in found:
                found[layer] = path
                for name, child in layer.children.items():
                    visit(child, joined(path, name))
        visit(self, self.root)
        return {path: layer for layer, path in found.items()}

    def variables(self) -> dict[str, Variable]:
        """Every variable of the layer and its children by path, in a fixed order."""
        return {joined(path, name): v for path, layer in self.layers_by_path().items()
                for name, v in layer.weights.items()}

    @property
    def trainable(self) -> bool:
        """Whether an optimizer may change the weights; setting it sets everything inside too.

        Examples
        --------
        >>> import gradatim as gt
        >>> from gradatim import layers
        >>> model = gt.Sequential([gt.Input((4,)), layers.Dense(3), layers.Dense(2)])
        >>> model.layers[0].trainable = False
        >>> list(model.trainable_variables())
        ['dense_1/kernel', 'dense_1/bias']
        """
        return not self.frozen

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.frozen = not flag("trainable", value)
        for child in self.children.values():
            child.trainable = value

    def trainable_variables(self) -> dict[str, Variable]:
        """The variables an optimizer may change, by path: none of a frozen layer or in one."""
        frozen: set[Layer] = set()
        layers = self.layers_by_path().values()
        for layer in layers:                                       # outer ones come first
            if layer.frozen or layer in frozen:
                frozen.update((layer, *layer.children.values()))
        kept = {v for layer in layers if layer not in frozen for v in layer.weights.values()}
        return {path: v for path, v in self.variables().items() if v.trainable and v in kept}

    def all_penalties(self) -> list[tuple]:
        """(regularizer, variable) of everything that is trained; the rest adds no slope."""
        trained = set(self.trainable_variables().values())
        return [(penalty, v) for layer in self.layers_by_path().values()
                for penalty, v in layer.penalties if v in trained]

    def all_constraints(self) -> dict[Variable, object]:
        """What everything that is trained is put back to after a step."""
        trained = set(self.trainable_variables().values())
        return {v: constraint for layer in self.layers_by_path().values()
                for constraint, v in layer.constraints if v in trained}

    def initialize(self, seed: int) -> None:
        """Draw every weight anew."""
        for v in self.variables().values():
            v.initialize(seed)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `variables`."""
        self._require_built()
        return [v.numpy() for v in self.variables().values()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Set all weights; nothing is changed if one does not fit.

        Raises
        ------
        DataError
            If the number of arrays or a shape differs.
        """
        self._require_built()
        found = self.variables()
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(found):
            raise DataError(f"{self.label} has {len(found)} weights, not {len(arrays)}")
        for (name, v), a in zip(found.items(), arrays):
            if a.shape != v.shape:
                raise ShapeError(f'the weight "{name}" has another shape',
                                 got=f"{list(a.shape)}, not {list(v.shape)}")
        for v, a in zip(found.values(), arrays):
            v.assign(a)

    def _require_built(self) -> None:
        if self.built is None:
            raise ParameterError(f"{self.label} has no weights yet",
                                 fix="call it on a tensor first, or start with Input(shape)")

    def config(self) -> dict:
        """Constructor arguments that differ from their defaults, by name."""
        return arguments_of(self)

    def __reduce_ex__(self, protocol):
        if self.built is None:
            return super().__reduce_ex__(protocol)
        from .copies import parts_of, put_together
        return put_together, parts_of(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


def joined(path: str, name: str) -> str:
    """A name below a path."""
    return f"{path}/{name}" if path else name


def snake_case(name: str) -> str:
    """``Conv2D`` -> ``conv2d``, ``BatchNormalization`` -> ``batch_normalization``."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
