"""Layers and what they are made of as plain trees for files, and back: only known names count."""
from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import cache
from typing import Mapping

import numpy as np

from ..backend.errors import CorruptFileError, Error, ParameterError, unknown_name
from ..backend.spec import DTYPES
from .base import Layer
from .functional import OpLayer
from .model import Input, Model, Sequential
from .value import Value

DEEPEST = 40        # layers in layers in layers: deeper trees are nobody's
_ABSTRACT = {"Layer", "Initializer", "Regularizer", "Constraint", "Loss"}
_PLAIN = (type(None), bool, int, float, str)
TREE_KEYS = {"class", "settings", "name", "trainable"}


@cache
def classes() -> dict[str, type]:
    """What a file may name, fixed: public layers, initializers, regularizers and losses."""
    from .. import layers
    found = {name: thing for name, thing in vars(layers).items()
             if isinstance(thing, type) and issubclass(thing, (Layer, Value))
             and name not in _ABSTRACT}
    return {**found, "OpLayer": OpLayer}


# ---- to trees ----------------------------------------------------------------------------------

def to_config(thing) -> dict:
    """A layer, initializer or regularizer as a tree of dict, list, str, numbers and None.

    Parameters
    ----------
    thing : Layer or Value
        A class that is not one of gradatim's must be given to `from_config` again.

    Returns
    -------
    dict
        ``{"class": name, "settings": {...}}``, ``"name"`` for a layer that was given one, and
        ``"trainable": False`` for a frozen one.

    Raises
    ------
    ParameterError
        If a setting cannot be written down, such as a function, or if one layer stands in two
        places of the tree.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.to_config(layers.Dense(3, kernel_initializer=layers.Constant(0.5)))["settings"]
    {'units': 3, 'kernel_initializer': {'class': 'Constant', 'settings': {'value': 0.5}}}
    """
    if isinstance(thing, Layer):
        _refuse_twins(thing, set())
    return _tree(thing, type(thing).__name__)


def _refuse_twins(layer: Layer, seen: set) -> None:
    """A tree has no place for one layer at two places, and their weights would part."""
    if layer in seen:
        raise ParameterError(f"{layer.label} stands in two places of the network, which a file "
                             "cannot keep", fix="call it twice on tensors of one Model instead")
    seen.add(layer)
    for child in layer.children.values():
        _refuse_twins(child, seen)


def _tree(value, place: str):
    """A setting as a tree; whatever is not plain becomes a dict with a class."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return [_tree(v, place) for v in value]
    if isinstance(value, np.ndarray) and value.dtype.name in DTYPES:
        return {"class": "array", "settings": {"dtype": value.dtype.name, "values": value.tolist(),
                                               "shape": list(value.shape)}}
    if isinstance(value, Mapping):
        return {"class": "dict", "settings": {str(k): _tree(v, f'{place} "{k}"')
                                              for k, v in value.items()}}
    if not isinstance(value, (Layer, Value)):
        kind = "the function" if callable(value) else "the value"
        raise ParameterError(f"{place} cannot be saved: {kind} has no name in gradatim",
                             got=getattr(value, "__name__", repr(value)[:60]),
                             fix='use a name such as "relu", or make a Layer of it')
    name = type(value).__name__
    if classes().get(name, type(value)) is not type(value):
        raise ParameterError(f"{place} cannot be saved: gradatim has another class {name}",
                             fix="give your class a name of its own")
    settings = _SPECIAL[type(value)][0](value) if type(value) in _SPECIAL else {
        k: _tree(v, f'{name} "{k}"') for k, v in value.config().items()
        if k != "name" or isinstance(value, Value)}
    tree = {"class": name, "settings": settings}
    if isinstance(value, Layer):
        tree |= {"name": value.name} if value.name else {}
        tree |= {"trainable": False} if value.frozen else {}
    return tree


def _sequential_settings(network: Sequential) -> dict:
    """The layers in order."""
    return {"layers": [_tree(layer, "Sequential") for layer in network.layers]}


def _model_settings(model: Model) -> dict:
    """Inputs, layers, and wires [layer, [inputs]]; tensors are counted, inputs first."""
    layers = list(dict.fromkeys(layer for layer, _, _ in model.wires))
    tensors = (*model.entries, *(target for _, _, target in model.wires))
    number = {t: i for i, t in enumerate(tensors)}
    return {
        "inputs": [{"shape": list(t.shape[1:]), "dtype": t.dtype.name,
                    "name": t.node.settings["name"]} for t in model.entries],
        "several": model.takes_several,
        "layers": [_tree(layer, "Model") for layer in layers],
        "wires": [[layers.index(layer), [number[t] for t in sources]]
                  for layer, sources, _ in model.wires],
        "output": [number[t] for t in model.exits] if model.gives_several
        else number[model.outputs]}


# ---- and back ----------------------------------------------------------------------------------

def from_config(config: dict, custom: Mapping[str, type] | None = None):
    """The layer, initializer or regularizer a tree stands for.

    Names are looked up in `classes` and in ``custom``; nothing is imported.

    Parameters
    ----------
    config : dict
        Made by `to_config`.
    custom : dict of str to class, optional
        Classes of your own by name.

    Returns
    -------
    Layer or Value

    Raises
    ------
    UnknownNameError
        If a class is in neither table.
    CorruptFileError
        If the tree is not one that `to_config` makes.
    ParameterError
        If a setting has a value it cannot have.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.from_config({"class": "Dense", "settings": {"units": 3, "activation": "relu"}})
    Dense(units=3, activation='relu')
    """
    table = dict(classes())
    for name, thing in (custom or {}).items():
        if not isinstance(thing, type) or not issubclass(thing, (Layer, Value)):
            raise ParameterError(f'custom["{name}"] is not a class of layers, initializers or '
                                 "regularizers", got=repr(thing)[:60])
        if name in table and table[name] is not thing:
            raise ParameterError(f'custom["{name}"] is the name of a class of gradatim',
                                 fix="give your class another name")
        table[name] = thing
    thing = _thing(config, table, 0)
    require(isinstance(thing, (Layer, Value)), "is no layer", config)
    return thing


def require(condition, what: str, got=None) -> None:
    """Refuse a tree that `to_config` does not make."""
    if not condition:
        raise CorruptFileError(f"the architecture {what}", got=repr(got)[:80],
                               fix="save the model again with this version of gradatim")


@contextmanager
def told(what: str, got):
    """Whatever a layer raises on values that no one wrote becomes an error of ours."""
    try:
        yield
    except Error:
        raise
    except Exception as cause:
        raise CorruptFileError(what, got=repr(got)[:80],
                               why=f"{type(cause).__name__}: {cause}") from cause


def _thing(tree, table, depth: int):
    """What a tree stands for; lists become tuples."""
    require(depth < DEEPEST, "is nested too deeply")
    if type(tree) in _PLAIN:
        return tree
    if type(tree) is list:
        return tuple(_thing(t, table, depth + 1) for t in tree)
    require(type(tree) is dict and {"class", "settings"} <= set(tree) <= TREE_KEYS
            and type(tree["class"]) is str and type(tree["settings"]) is dict
            and all(type(k) is str for k in tree["settings"])
            and type(tree.get("name", "")) is str and tree.get("trainable", False) is False,
            "has an entry that is not as written", tree)
    name, settings = tree["class"], tree["settings"]
    named = {"name": tree["name"]} if "name" in tree else {}
    if name in _CONTAINERS:
        require(set(tree) == {"class", "settings"}, f"has a {name} with a name", tree)
        return _CONTAINERS[name](settings, table, depth)
    if name not in table:
        error = unknown_name("layer class", name, table)
        error.__init__(error.what, fix=f'{error.facts["fix"]} A class of your own is given as '
                                       f'custom={{"{name}": ...}}')
        raise error
    cls = table[name]
    require(set(tree) == {"class", "settings"} or issubclass(cls, Layer),
            f"has a {name} with a name", tree)
    with told(f"the architecture has a {name} that cannot be made", settings):
        thing = _SPECIAL[cls][1](settings, table, depth, named) if cls in _SPECIAL else \
            cls(**named, **_checked(cls, settings, table, depth))
    if "trainable" in tree and cls in _SPECIAL:      # its layers' trees speak for themselves
        thing.frozen = True
    elif "trainable" in tree:
        thing.trainable = False
    return thing


def _checked(cls: type, settings: dict, table, depth: int) -> dict:
    """Settings that the constructor knows, all that it needs."""
    parameters = {p.name: p for p in inspect.signature(cls).parameters.values()
                  if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if issubclass(cls, Layer):
        parameters.pop("name", None)
    for key in settings:
        require(key in parameters, f'has a {cls.__name__} with an unknown setting "{key}"',
                settings[key])
    for key, parameter in parameters.items():
        require(key in settings or parameter.default is not parameter.empty,
                f'has a {cls.__name__} without the setting "{key}"', settings)
    return {k: _thing(v, table, depth + 1) for k, v in settings.items()}


def _array(settings: dict, table, depth: int) -> np.ndarray:
    """An array from its entries."""
    require(set(settings) == {"dtype", "shape", "values"} and settings["dtype"] in DTYPES,
            "has an array that is not as written", settings)
    try:
        array = np.array(settings["values"], settings["dtype"])
    except (TypeError, ValueError, OverflowError):
        array = None
    require(array is not None and _shaped(array, settings["shape"]),
            "has an array that is not as written", settings)
    return array.reshape(settings["shape"])


def _shaped(array, shape) -> bool:
    """Whether the entries are those of that shape; empty lists do not tell theirs."""
    whole = type(shape) is list and all(type(n) is int and n >= 0 for n in shape)
    return whole and (list(array.shape) == shape or array.size == 0 and 0 in shape)


def _dict(settings: dict, table, depth: int) -> dict:
    """A dict of settings."""
    return {k: _thing(v, table, depth + 1) for k, v in settings.items()}


def _layers(trees, table, depth: int) -> list[Layer]:
    """The layers of a network."""
    require(type(trees) is list, "has a network without layers", trees)
    layers = [_thing(t, table, depth + 1) for t in trees]
    require(all(isinstance(layer, Layer) for layer in layers), "has a network of other things")
    return layers


def _sequential(settings: dict, table, depth: int, named: dict) -> Sequential:
    """A chain from its layers."""
    require(set(settings) == {"layers"}, "has a Sequential that is not as written", settings)
    return Sequential(_layers(settings["layers"], table, depth), **named)


def _model(settings: dict, table, depth: int, named: dict) -> Model:
    """A model from its wires: the calls are made again in their order."""
    count = lambda n, stop: type(n) is int and 0 <= n < stop
    require(set(settings) == {"inputs", "several", "layers", "wires", "output"}
            and type(settings["inputs"]) is list and type(settings["wires"]) is list,
            "has a Model that is not as written", settings)
    layers = _layers(settings["layers"], table, depth)
    tensors = [make_input(entry) for entry in settings["inputs"]]
    entries = list(tensors)
    for wire in settings["wires"]:
        require(type(wire) is list and len(wire) == 2 and count(wire[0], len(layers))
                and type(wire[1]) is list and wire[1]
                and all(count(n, len(tensors)) for n in wire[1]), "has a wire to nowhere", wire)
        layer, given = layers[wire[0]], [tensors[n] for n in wire[1]]
        require(layer.takes_several or len(given) == 1, "has a wire too many", wire)
        # What the wires join is one tensor, also of a model that hands several to its callers.
        tensors.append(Layer.__call__(layer, given if layer.takes_several else given[0]))
    output = settings["output"]
    ends = output if type(output) is list else [output]
    require(ends and all(count(n, len(tensors)) for n in ends) and
            type(settings["several"]) is bool and (settings["several"] or len(entries) == 1),
            "has a Model without an output")
    outputs = [tensors[n] for n in ends]
    return Model(entries if settings["several"] else entries[0],
                 outputs if type(output) is list else outputs[0], **named)


def make_input(entry):
    """An `Input` from ``{"shape": ..., "dtype": ..., "name": ...}``."""
    require(type(entry) is dict and {"shape", "dtype"} <= set(entry) <= {"shape", "dtype", "name"}
            and type(entry["shape"]) is list and entry["dtype"] in DTYPES
            and all(type(n) is int and n >= 0 for n in entry["shape"])
            and type(entry.get("name", "")) is str, "has an input that is not as written", entry)
    return Input(entry["shape"], entry["dtype"], entry.get("name", "input"))


_CONTAINERS = {"array": _array, "dict": _dict}
_SPECIAL = {Sequential: (_sequential_settings, _sequential), Model: (_model_settings, _model)}
