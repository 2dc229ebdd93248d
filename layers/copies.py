"""Copies and pickles of built layers: what they are made of, and the weights that have values."""
from __future__ import annotations

from typing import Mapping

import numpy as np

from .base import Layer
from .flow import Flow
from .registry import classes, from_config, make_input, to_config
from .saving import entries


def own_classes(layer: Layer) -> dict[str, type]:
    """The classes of a layer and those in it that are not gradatim's, by name."""
    found = {type(part) for part in layer.layers_by_path().values()}
    return {cls.__name__: cls for cls in found - set(classes().values())}


def unbuilt(layer: Layer) -> Layer:
    """The same layers without weights."""
    return from_config(to_config(layer), own_classes(layer))


def parts_of(layer: Layer) -> tuple:
    """What `put_together` makes a built layer of: a graph has no place in a pickle."""
    inputs, dtype = entries(layer)
    weights = {path: v.numpy() for path, v in layer.variables().items() if v.drawn}
    shapes = [{"shape": list(s.shape), "dtype": s.dtype.name} for s in inputs]
    return to_config(layer), own_classes(layer), shapes, dtype, weights


def put_together(tree: dict, own: Mapping[str, type], shapes: list[dict], dtype: str,
                 weights: Mapping[str, np.ndarray]) -> Layer:
    """The layer, built again."""
    layer = from_config(tree, own)
    flows = [Flow(make_input(shape), dtype=dtype) for shape in shapes]
    layer.run(flows if layer.takes_several else flows[0], training=False)
    variables = layer.variables()
    for path, values in weights.items():
        variables[path].assign(values)
    return layer
