"""The words for augmentation, and the layers they stand for."""
from __future__ import annotations

from ..backend.errors import ParameterError, unknown_name
from ..layers import (
    CutMix, Layer, MixUp, RandomBrightness, RandomContrast, RandomCrop, RandomErasing, RandomFlip,
    RandomRotation, RandomTranslation, RandomZoom, from_config, to_config)
from ..layers.registry import classes

AUGMENTATIONS = {"flip": RandomFlip, "shift": RandomTranslation, "crop": RandomCrop,
                 "rotate": RandomRotation, "zoom": RandomZoom, "brightness": RandomBrightness,
                 "contrast": RandomContrast, "cutout": RandomErasing, "mixup": MixUp,
                 "cutmix": CutMix}


def augmentations(given) -> list[Layer]:
    """New layers from words and layers, in their order; the user's own layers stay untouched."""
    listed = [] if given is None else given if isinstance(given, (list, tuple)) else [given]
    return [_layer(item) for item in listed]


def _layer(item) -> Layer:
    """One layer of a net's own."""
    if isinstance(item, Layer):
        own = {} if type(item) in classes().values() else {type(item).__name__: type(item)}
        return from_config(to_config(item), own)
    if not isinstance(item, str):
        raise ParameterError(f"augmentation is words and layers, not {type(item).__name__}",
                             fix=f"use {', '.join(map(repr, AUGMENTATIONS))}, or layers")
    if item not in AUGMENTATIONS:
        raise unknown_name("augmentation", item, AUGMENTATIONS)
    return AUGMENTATIONS[item]()
