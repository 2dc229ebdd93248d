"""Spatial: what layers over steps, pixels or voxels have in common; how many axes is a number."""
from __future__ import annotations

from .base import Layer

AXES = {1: "(batch, length, channels)", 2: "(batch, height, width, channels)",
        3: "(batch, depth, height, width, channels)"}


class Spatial(Layer):
    """A layer over one, two or three spatial axes, channels last.

    Each idea is written once, for any ``rank``; the public classes give it.
    """
    rank = 2

    @property
    def input_axes(self) -> str:
        """By the rank."""
        return AXES[self.rank]
