"""Estimators in files: class and parameters by name, fitted attributes, the net; no pickle."""
from __future__ import annotations

import re
from typing import Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .. import __version__
from ..backend.errors import CorruptFileError, ParameterError, unknown_name
from ..backend.model_file import read_model, write_model
from ..layers import Layer, load_network, network_from_manifest, network_to_manifest
from ..layers.registry import classes, from_config, to_config
from ..layers.value import Value

NOT_SAVED = {"callbacks": None, "random_state": None, "backend": "auto", "strategy": "auto"}
_PRIVATE = {"_flat_targets", "_targets", "_mean_", "_mean_variance_", "_covariance_root_",
            "_r_factor_low_"}
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


class StoredArchitecture(Value):
    """An architecture that came from a file: builds the same net anew.

    Parameters
    ----------
    tree : dict
        As `gradatim.layers.to_config` writes nets.

    Examples
    --------
    >>> from gradatim import layers
    >>> from gradatim.estimators.saving import StoredArchitecture
    >>> StoredArchitecture(layers.to_config(layers.Sequential([layers.Dense(3)])))(None, 3)
    Sequential(layers=[Dense(units=3)])
    """

    def __init__(self, tree: dict):
        self.tree = tree

    def __call__(self, spec, n_outputs: int) -> Layer:
        return from_config(self.tree)


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
            if isinstance(getattr(estimators, name), type)}


def value_classes() -> dict[str, type]:
    """The objects besides layers that a parameter may be: optimizers, schedules, losses."""
    from .. import training
    from ..layers import losses
    found = {**vars(training), **vars(losses), "StoredArchitecture": StoredArchitecture}
    return {name: thing for name, thing in found.items()
            if isinstance(thing, type) and issubclass(thing, Value)
            and name not in classes() and not name.startswith("_")}


def save_estimator(estimator, path) -> None:
    """Write a fitted estimator to one file; the old file stays whole until the new one is."""
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in NOT_SAVED and not isinstance(value, (str, int, type(None))):
            value = NOT_SAVED[name]
        if name == "architecture" and callable(value) and not isinstance(value, Value):
            value = StoredArchitecture(to_config(estimator.network_.layers[-1]))
        parameters[name] = _parameter(type(estimator).__name__, name, value)
    plain, arrays = {}, {}
    for name, value in vars(estimator).items():
        if name in parameters or name == "_fitted":
            continue
        if isinstance(value, (np.ndarray, np.generic)):
            arrays[f"fitted/{name}"] = _storable(name, value)
            if np.asarray(value).dtype == object:
                plain.setdefault("object", []).append(name)
        else:
            plain[name] = value
    manifest = {"kind": "estimator", "library_version": __version__,
                "class": type(estimator).__name__, "parameters": parameters, "fitted": plain}
    fitted = getattr(estimator, "_fitted", None)
    if fitted is not None:
        manifest["net"] = {"sample_shape": fitted.sample_shape, "seed": fitted.seed}
        for part, layer in (("network", fitted.network), ("output", fitted.output)):
            if layer is not None:
                manifest["net"][part], weights = network_to_manifest(layer)
                arrays.update((f"{part}/{k}", v) for k, v in weights.items())
    write_model(path, manifest, arrays)


def load(path, custom: Mapping[str, type] | None = None):
    """Read an estimator or a network from a file; nothing in the file is ever executed.

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
        If any byte is damaged, or the file is not ours.
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
    known = estimator_classes()
    name = manifest.get("class")
    if name not in known:
        raise unknown_name("estimator", name, known)
    cls = known[name]
    stored = manifest.get("parameters")
    _require(type(stored) is dict and set(stored) <= set(cls._get_param_names()),
             "has parameters that its class has not", stored)
    objects = {**value_classes(), **(custom or {})}
    estimator = cls(**{k: _from_tree(v, objects) for k, v in stored.items()})
    state = _fitted_attributes(cls, stored, manifest.get("fitted"), arrays)
    if "net" in manifest:
        state["_fitted"] = _fitted_net(manifest["net"], arrays, custom)
    vars(estimator).update(state)
    return estimator


def _fitted_attributes(cls, parameters, plain, arrays) -> dict:
    """Attributes that a fit sets; nothing else may be set by a file."""
    _require(type(plain) is dict, "has no fitted attributes", plain)
    plain = dict(plain)
    objects = plain.pop("object", [])
    found = {**plain, **{k.removeprefix("fitted/"): v for k, v in arrays.items()
                         if k.startswith("fitted/")}}
    for name, value in found.items():
        ours = name.endswith("_") and not name.startswith("__") or name in _PRIVATE
        _require(bool(_NAME.fullmatch(name)) and ours and name not in parameters
                 and not hasattr(cls, name), "sets an attribute that no fit sets", name)
        if isinstance(value, np.ndarray):
            found[name] = value.astype(object) if name in objects else \
                value if value.ndim else value[()]
    return found


def _fitted_net(entry, arrays, custom):
    from .base import Fitted

    def part(name):
        if name not in entry:
            return None
        weights = {k.removeprefix(f"{name}/"): v for k, v in arrays.items()
                   if k.startswith(f"{name}/")}
        return network_from_manifest(entry[name], weights, custom)

    _require(type(entry) is dict and "network" in entry, "has no net", entry)
    fitted = Fitted(part("network"), part("output"))
    shape = entry.get("sample_shape")
    fitted.sample_shape = None if shape is None else tuple(shape)
    fitted.seed = entry.get("seed", 0)
    return fitted


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


def _from_tree(tree, objects):
    if isinstance(tree, list):
        return [_from_tree(v, objects) for v in tree]
    if not isinstance(tree, dict):
        return tree
    _require(len(tree) == 1, "has a parameter of no known form", tree)
    (form, value), = tree.items()
    if form == "object":
        return from_config(value, objects)
    if form == "tuple":
        return tuple(_from_tree(v, objects) for v in value)
    _require(form == "pairs", "has a parameter of no known form", tree)
    return {_from_tree(k, objects): _from_tree(v, objects) for k, v in value}


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
