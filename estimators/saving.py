"""Estimators in files: class and parameters by name, fitted attributes, the net; no pickle."""
from __future__ import annotations

from typing import Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from ..backend.errors import (CorruptFileError, Error, ParameterError, UnknownNameError,
                              unknown_name)
from ..backend.model_file import read_model, write_model
from ..layers import Layer, load_network, network_from_manifest, network_to_manifest
from ..layers.registry import classes, from_config, to_config, told
from ..layers.value import Value
from .fitted import Fitted
from .parameters import Parameters

# Parameters that belong to a process or a machine, not to a model.
NOT_SAVED = {"callbacks": None, "backend": "auto", "strategy": "auto", "n_jobs": None,
             "checkpoint": None, "max_time": None, "warm_start_from": None, "health": False}


class StoredArchitecture:
    """An architecture that came from a file: builds the same net anew.

    Parameters
    ----------
    tree : dict
        As `gradatim.layers.to_config` writes nets.
    custom : dict of str to class, optional
        Layers of your own in it, by class name.

    Examples
    --------
    >>> from gradatim import layers
    >>> from gradatim.estimators.saving import StoredArchitecture
    >>> StoredArchitecture(layers.to_config(layers.Sequential([layers.Dense(3)])))(None, 3)
    Sequential(layers=[Dense(units=3)])
    """

    def __init__(self, tree: dict, custom: Mapping[str, type] | None = None):
        self.tree, self.custom = tree, custom

    def __call__(self, spec, n_outputs: int) -> Layer:
        return from_config(self.tree, self.custom)

    def __repr__(self) -> str:
        return "StoredArchitecture(...)"


class Saveable:
    """An estimator that can write itself to a file."""

    def save(self, path) -> None:
        """Write the fitted estimator to one file without pickle; `gradatim.load` reads it.

        Parameters
        ----------
        path : str or path-like
            The file; it is replaced only when the new one is complete.

        Raises
        ------
        NotFittedError
            If there is nothing fitted to save.
        ParameterError
            If a parameter has no name in gradatim, such as a loss function of your own.
        """
        check_is_fitted(self)
        save_estimator(self, path)


def estimator_classes() -> dict[str, type]:
    """The estimators a file may name."""
    from .. import estimators
    return {name: getattr(estimators, name) for name in estimators.__all__
            if isinstance(getattr(estimators, name), type)
            and issubclass(getattr(estimators, name), Saveable)}


def value_classes() -> dict[str, type]:
    """The objects besides layers that a parameter may be: optimizers, schedules, losses."""
    from .. import training
    from ..layers import losses
    found = {**vars(training), **vars(losses)}
    return {name: thing for name, thing in found.items()
            if isinstance(thing, type) and issubclass(thing, Value)
            and name not in classes() and not name.startswith("_")}


def fit_sets(cls: type) -> set[str]:
    """The attributes that a fit sets, as the class and its bases declare them."""
    return {name for c in cls.__mro__ for name in vars(c).get("_fit_sets", ())}


def fit_may_set(cls: type) -> set[str]:
    """The attributes that some fits set and others do not."""
    return {"feature_names_in_"}.union(*(vars(c).get("_fit_may_set", ()) for c in cls.__mro__))


def save_estimator(estimator, path) -> None:
    """Write a fitted estimator to one file; the old file stays whole until the new one is."""
    cls, parameters = type(estimator), {}
    not_saved = NOT_SAVED if issubclass(cls, Parameters) else {}
    for name, value in estimator.get_params(deep=False).items():
        if name in not_saved:
            value = not_saved[name]
        elif name == "random_state" and not isinstance(value, (int, np.integer)):
            value = None
        if name in ("architecture", "network") and callable(value):
            parameters[name] = {"net": to_config(estimator._net)}
        else:
            parameters[name] = _parameter(cls.__name__, name, value)
    plain, arrays, objects = {}, {}, []
    for name in sorted((fit_sets(cls) | fit_may_set(cls)) & set(vars(estimator))):
        value = vars(estimator)[name]
        if isinstance(value, (np.ndarray, np.generic)):
            arrays[f"fitted/{name}"] = _storable(name, value)
            objects += [name] * (np.asarray(value).dtype == object)
        else:
            plain[name] = value
    manifest = {"kind": "estimator", "library_version": __version__, "class": cls.__name__,
                "parameters": parameters, "fitted": plain, "objects": objects}
    fitted = getattr(estimator, "_fitted", None)
    if fitted is not None:
        nets = [_written(net, f"net{i}/" if i else "", arrays)
                for i, net in enumerate(fitted.members)]
        manifest["net"] = nets[0] | ({"others": nets[1:]} if fitted.others else {})
    write_model(path, manifest, arrays)


def _written(fitted, room: str, arrays: dict) -> dict:
    """The entry of one net; its weights go to the arrays."""
    entry = {"seed": fitted.seed, "rate": float(fitted.rate)}
    for part, layer in (("network", fitted.network), ("output", fitted.output)):
        if layer is not None:
            entry[part], weights = network_to_manifest(layer)
            arrays.update((f"{room}{part}/{k}", v) for k, v in weights.items())
    return entry


def load(path, custom: Mapping[str, type] | None = None):
    """Read an estimator or a network from a file; nothing in the file is ever executed.

    What belongs to a process or a machine is not in a file: callbacks, checkpoint, max_time,
    backend, strategy, n_jobs, a random generator, and optimizer state, so that `partial_fit` starts
    with a fresh one.

    Parameters
    ----------
    path : str or path-like
        A file written by ``save``.
    custom : dict of str to class, optional
        Layers of your own that the net holds, by class name.

    Returns
    -------
    estimator or Layer
        Ready to predict.

    Raises
    ------
    CorruptFileError
        If any byte is damaged, or the file is not ours or does not fit together.
    UnknownNameError
        If it names a class that is neither gradatim's nor in ``custom``.
    DataNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import os, tempfile, gradatim as gt
    >>> model = gt.LinearRegressor().fit([[0.0], [1.0]], [1.0, 3.0])
    >>> path = os.path.join(tempfile.mkdtemp(), "line.h5")
    >>> model.save(path)
    >>> float(gt.load(path).predict([[2.0]])[0])
    5.0
    """
    manifest, arrays = read_model(path)
    if manifest.get("kind") == "network":
        return load_network(path, custom)
    _require(manifest.get("kind") == "estimator", "is neither an estimator nor a network",
             manifest.get("kind"))
    known, name = estimator_classes(), manifest.get("class")
    if not isinstance(name, str) or name not in known:
        raise unknown_name("estimator", name, known)
    try:
        with told("the file holds no estimator that can be made", name):
            return _estimator(known[name], manifest, arrays, custom)
    except (CorruptFileError, UnknownNameError):
        raise
    except Error as error:
        raise CorruptFileError("the file holds an estimator that cannot be made",
                               got=error.what, at=str(path)) from error


def _estimator(cls: type, manifest: dict, arrays: dict, custom):
    """The estimator, with every part checked against the others: a file may say anything."""
    stored = manifest.get("parameters")
    rooms = {"fitted"}
    if issubclass(cls, Parameters):
        rooms |= {"network", "output"}
        rooms |= {f"net{i + 1}" for i in range(len(_others(manifest.get("net"))))}
    _require({name.partition("/")[0] for name in arrays} <= rooms, "has arrays of no use",
             sorted(arrays)[:5])
    _require(type(stored) is dict and set(stored) <= set(cls._get_param_names()),
             "has parameters that its class has not", stored)
    objects = {**value_classes(), **(custom or {})}
    estimator = cls(**{k: _from_tree(v, objects, custom) for k, v in stored.items()})
    estimator._validate_params()
    vars(estimator).update(_fitted_attributes(cls, manifest, arrays))
    if issubclass(cls, Parameters):
        entry = manifest.get("net")
        estimator._fitted = _fitted_net(entry, arrays, custom)
        estimator._fitted.others = [_fitted_net(other, arrays, custom, f"net{i}/")
                                    for i, other in enumerate(_others(entry), 1)]
    estimator._check_fitted()
    return estimator


def _fitted_attributes(cls: type, manifest: dict, arrays: dict) -> dict:
    """The attributes that a fit sets, all of them and nothing else."""
    plain, objects = manifest.get("fitted"), manifest.get("objects")
    _require(type(plain) is dict and type(objects) is list, "has no fitted attributes", plain)
    found = {**plain, **{k.removeprefix("fitted/"): v for k, v in arrays.items()
                         if k.startswith("fitted/")}}
    strange = set(found) - fit_may_set(cls) ^ fit_sets(cls)
    _require(not strange and len(found) == len(plain) + sum(
        k.startswith("fitted/") for k in arrays), "has other attributes than a fit sets",
        sorted(strange))
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            found[name] = value = value.astype(object) if name in objects else \
                value if value.ndim else value[()]
        _require(_KINDS.get(name, _numbers)(value), f"has a {name} that no fit sets", value)
    names = found.get("feature_names_in_")
    _require(names is None or len(names) == found["n_features_in_"],
             "has other names than features", names)
    return found


def _others(entry) -> list:
    """The entries of an ensemble's further nets."""
    others = entry.get("others", []) if type(entry) is dict else []
    _require(type(others) is list and not any(
        "others" in other for other in others if type(other) is dict),
        "has an ensemble that is not as written", others)
    return others


def _fitted_net(entry, arrays, custom, room: str = ""):
    """The net of a file, with its seed and learning rate."""
    def part(name):
        if name not in entry:
            return None
        weights = {k.removeprefix(f"{room}{name}/"): v for k, v in arrays.items()
                   if k.startswith(f"{room}{name}/")}
        return network_from_manifest(entry[name], weights, custom)

    _require(type(entry) is dict and "network" in entry, "has no net", entry)
    seed, rate = entry.get("seed"), entry.get("rate")
    _require(_whole(seed) and type(rate) is float and 0 < rate < np.inf,
             "has a net without seed or learning rate", [seed, rate])
    network = part("network")
    return Fitted(network, part("output"), seed, rate, entry["network"]["dtype"])


def _whole(value) -> bool:
    """A whole number from 0 on."""
    return type(value) is int and value >= 0


def _numbers(value) -> bool:
    """Numbers, as least squares leaves them."""
    return value is None or isinstance(value, (int, float, np.number)) or (
        isinstance(value, np.ndarray) and value.dtype.kind == "f")


def _names(value) -> bool:
    """A list of text."""
    return all(isinstance(v, str) for v in value)


def _distinct(value) -> bool:
    """Labels, sorted, each once."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and len(value) > 0 and \
        np.array_equal(np.unique(value), value)


# What an attribute that a fit sets may be; the others hold numbers.
_KINDS = {
    **dict.fromkeys(("n_features_in_", "n_epochs_", "best_epoch_", "_targets", "rank_",
                     "n_samples_seen_", "sequence_length_"), _whole),
    "temperature_": lambda value: isinstance(value, float) and 0 < value < np.inf,
    **dict.fromkeys(("_flat_targets", "_rows", "_flat_samples", "_one_channel",
                     "_multilabel"),
                    lambda value: type(value) is bool),
    **dict.fromkeys(("_sample_shape", "_columns", "category_sizes_"),
                    lambda value: type(value) is list and all(map(_whole, value))),
    **dict.fromkeys(("_plans", "_categories"), lambda value: type(value) is list
                    and all(type(plan) is dict for plan in value)),
    "vocabulary_": lambda value: type(value) is list and _names(value)
        and len(set(value)) == len(value) > 0,
    "feature_names_in_": lambda value: isinstance(value, np.ndarray) and value.ndim == 1
        and value.dtype == object and _names(value),
    "classes_": _distinct,
    "history_": lambda value: type(value) is list and all(
        type(logs) is dict and all(isinstance(v, (int, float)) for v in logs.values())
        for logs in value),
}


def _parameter(owner: str, name: str, value):
    """A constructor parameter as a JSON tree; tuples and objects are marked."""
    if isinstance(value, (Value, Layer)):
        return {"object": to_config(value)}
    if isinstance(value, tuple):
        return {"tuple": [_parameter(owner, name, v) for v in value]}
    if isinstance(value, (list, np.ndarray)):
        return [_parameter(owner, name, v) for v in value]
    if isinstance(value, dict):
        return {"pairs": [[_parameter(owner, name, k), _parameter(owner, name, v)]
                          for k, v in value.items()]}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ParameterError(f"{owner}: the parameter {name} cannot be saved",
                         got=repr(value)[:80],
                         fix="use a name, a number, or one of gradatim's own objects")


def _from_tree(tree, objects, custom):
    """A constructor parameter from its JSON tree."""
    if isinstance(tree, list):
        return [_from_tree(v, objects, custom) for v in tree]
    if not isinstance(tree, dict):
        return tree
    _require(len(tree) == 1, "has a parameter of no known form", tree)
    (form, value), = tree.items()
    if form == "object":
        return from_config(value, objects)
    if form == "net":
        from_config(value, custom)                        # so that it is refused now, not later
        return StoredArchitecture(value, custom)
    _require(form in ("tuple", "pairs") and type(value) is list,
             "has a parameter of no known form", tree)
    if form == "tuple":
        return tuple(_from_tree(v, objects, custom) for v in value)
    return {_from_tree(k, objects, custom): _from_tree(v, objects, custom) for k, v in value}


def _storable(name: str, value) -> np.ndarray:
    """An array the file takes; object arrays only of text."""
    array = np.asarray(value)
    if array.dtype != object:
        return array
    if all(isinstance(v, str) for v in array.ravel()):
        return array.astype(str)
    raise ParameterError(f"{name} holds objects that are neither numbers nor text",
                         got=repr(array.ravel()[:3]))


def _require(condition: bool, what: str, got) -> None:
    if not condition:
        raise CorruptFileError(f"the file {what}", got=repr(got)[:80])
