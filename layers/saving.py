"""Networks in files: the architecture as a tree of known names, the weights by their paths."""
from __future__ import annotations

from typing import Mapping

import numpy as np

from .. import __version__
from ..backend import Spec, Variable
from ..backend.errors import CorruptFileError
from ..backend.model_file import read_model, write_model
from .base import Layer
from .flow import Flow
from .registry import from_config, make_input, require, to_config, told


def save_network(network: Layer, path) -> None:
    """Write architecture and weights to one file.

    Parameters
    ----------
    network : Layer
        A model, or any layer that has been called once.
    path : str or os.PathLike
        The file to make or replace.

    Raises
    ------
    ParameterError
        If it has no weights yet, or holds something that has no name in gradatim.
    FileAccessError
        If the operating system refuses; an older file is then as it was.

    Examples
    --------
    >>> import os, tempfile
    >>> from gradatim import Input, Sequential, layers
    >>> model = Sequential([Input((4,)), layers.Dense(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.h5")
    ...     layers.save_network(model, path)
    ...     layers.load_network(path)
    Sequential(layers=[Dense(units=3)])
    """
    manifest, arrays = network_to_manifest(network)
    write_model(path, {"kind": "network", "library_version": __version__, **manifest}, arrays)


def load_network(path, custom: Mapping[str, type] | None = None) -> Layer:
    """Read what `save_network` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    custom : dict of str to class, optional
        Layers of your own that the network holds, by class name.

    Returns
    -------
    Layer
        With its weights.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If the file is damaged, or holds something else.
    UnknownNameError
        If it names a class that is neither gradatim's nor in ``custom``.

    Examples
    --------
    >>> import os, tempfile
    >>> from gradatim import Input, Sequential, layers
    >>> class Scaled(layers.Dense):
    ...     '''A layer of our own.'''
    >>> model = Sequential([Input((4,)), Scaled(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.h5")
    ...     layers.save_network(model, path)
    ...     layers.load_network(path, custom={"Scaled": Scaled})
    Sequential(layers=[Scaled(units=3)])
    """
    manifest, arrays = read_model(path)
    kind = manifest.get("kind")
    if kind != "network":
        raise CorruptFileError("the file does not hold a network", got=f"kind {kind!r}",
                               at=str(path), fix="read it with gradatim.load")
    return network_from_manifest(manifest, arrays, custom)


def network_to_manifest(network: Layer) -> tuple[dict, dict[str, np.ndarray]]:
    """What a file says of a network, for a file of its own or inside another's manifest.

    Parameters
    ----------
    network : Layer
        Built.

    Returns
    -------
    manifest : dict
        ``architecture``, ``input`` (shapes without the batch axis) and ``dtype``.
    arrays : dict of str to numpy.ndarray
        The weights by path.

    Raises
    ------
    ParameterError
        If it has no weights yet, or holds something that has no name in gradatim.

    Examples
    --------
    >>> from gradatim import Input, Sequential, layers
    >>> manifest, arrays = layers.network_to_manifest(Sequential([Input((4,)), layers.Dense(3)]))
    >>> manifest["input"]
    [{'shape': [4], 'dtype': 'float32'}]
    >>> {name: array.shape for name, array in arrays.items()}
    {'dense/kernel': (4, 3), 'dense/bias': (3,)}
    """
    inputs, dtype = entries(network)
    manifest = {"architecture": to_config(network), "dtype": dtype,
                "input": [{"shape": list(s.shape), "dtype": s.dtype.name} for s in inputs]}
    return manifest, {name: v.numpy() for name, v in network.variables().items()}


def entries(network: Layer) -> tuple[list[Spec], str]:
    """What a built network takes, without the batch axis, and the precision of its weights.

    A model is wired in float32 and takes on the precision of what it is first run with.
    """
    network._require_built()
    built = network.built if isinstance(network.built, list) else [network.built]
    dtype = next((v.dtype.name for v in network.variables().values() if v.spec.is_float),
                 network.dtype)
    return [Spec(s.shape, np.dtype(dtype)) if s.is_float else s for s in built], dtype


def network_from_manifest(manifest: dict, arrays: Mapping[str, np.ndarray],
                          custom: Mapping[str, type] | None = None) -> Layer:
    """The network that `network_to_manifest` described, with its weights.

    Parameters
    ----------
    manifest, arrays : dict
        As `network_to_manifest` returned them.
    custom : dict of str to class, optional
        Layers of your own, by class name.

    Returns
    -------
    Layer

    Raises
    ------
    CorruptFileError
        If manifest and weights do not fit together exactly; no half-loaded network is returned.
    UnknownNameError
        If it names a class that is neither gradatim's nor in ``custom``.

    Examples
    --------
    >>> from gradatim import Input, Sequential, layers
    >>> manifest, arrays = layers.network_to_manifest(Sequential([Input((4,)), layers.Dense(3)]))
    >>> copy = layers.network_from_manifest(manifest, arrays)
    >>> copy
    Sequential(layers=[Dense(units=3)])
    >>> (copy.variables()["dense/kernel"].numpy() == arrays["dense/kernel"]).all()
    np.True_
    """
    require(isinstance(manifest, Mapping), "is not there", manifest)
    inputs, dtype = manifest.get("input"), manifest.get("dtype")
    require(type(inputs) is list and inputs and dtype in ("float16", "float32", "float64"),
            "has no input", inputs)
    network = from_config(manifest.get("architecture"), custom)
    require(isinstance(network, Layer), "is no layer", network)
    flows = [Flow(make_input(entry), dtype=dtype) for entry in inputs]
    require(network.takes_several or len(flows) == 1, "has too many inputs", inputs)
    with told("the network does not take the input it was saved with", inputs):
        network.run(flows if network.takes_several else flows[0], training=False)
    weights = network.variables()
    _require_same(weights, arrays)
    for name, variable in weights.items():
        variable.assign(arrays[name])
    return network


def _require_same(weights: Mapping[str, Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Names, shapes and element types must be the network's."""
    missing, extra = sorted(set(weights) - set(arrays)), sorted(set(arrays) - set(weights))
    if missing or extra:
        parts = [f"{what} {', '.join(names[:5])}" for what, names in
                 (("missing:", missing), ("not its own:", extra)) if names]
        raise CorruptFileError("the weights are not those of the network", got="; ".join(parts))
    for name, v in weights.items():
        a = arrays[name]
        if (a.shape, a.dtype) != (v.shape, v.dtype):
            raise CorruptFileError(f'the weight "{name}" does not fit the network',
                                   got=f"{a.dtype}{list(a.shape)}, not {v.spec}")
