"""Augmentation: images that are flipped, moved, turned or zoomed while training."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS, Tensor, constant
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.random import dropout_mask
from .arguments import fraction, number, one_of, sizes
from .dropout import Noise

cast, flip, floor = OPS["cast"], OPS["flip"], OPS["floor"]
maximum, minimum, reshape, where = (OPS[n] for n in ("maximum", "minimum", "reshape", "where"))
abs_, broadcast_like, take_along = OPS["abs"], OPS["broadcast_like"], OPS["take_along"]
BITS = 24                 # of a random number: exact in float32, in any order of adding
FILLS = ("reflect", "nearest", "constant")


class Augmentation(Noise):
    """What all share: images ``(batch, h, w, channels)`` and uniform numbers per image.

    Parameters
    ----------
    fill_mode : {"reflect", "nearest", "constant"}
        What comes in from outside: the image mirrored, its edge, or ``fill_value``.
    fill_value : float
        As the net sees it, after standardisation.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    ShapeError
        If the input is no images.
    """
    keeps_time = False
    draws = 1

    def build(self, spec):
        if len(spec.shape) != 3:
            raise ShapeError(f"{self.label}: needs images (h, w, channels)", got=str(spec),
                             fix="pass images, or flat rows with image_shape=")

    def forward(self, flow, training):
        out = super().forward(flow, training)
        return out.to(out.x, lengths=None)                 # height is no time

    def disturb(self, x, seed, step, offset):
        return self.changed(x, self.numbers(x, seed, step, offset))

    def numbers(self, x, seed, step, offset) -> list[Tensor]:
        """``draws`` numbers in [0, 1) for each image, each ``(batch, 1, 1, 1)``.

        They are made of random bits, so they are the same on every backend to the last one.
        """
        one = OPS["zeros_like"](reshape(x, shape=(-1, math.prod(x.shape[1:])))[:, :1])
        words = OPS["tile"](one, repeats=(1, BITS * self.draws))       # (batch, bits)
        bits = dropout_mask(words, seed, step, offset, rate=0.5, stream=self.stream)  # 0 or 2
        bits = reshape(bits, shape=(-1, self.draws, BITS))
        values = constant((2.0 ** -np.arange(2, BITS + 2)).astype(x.dtype))
        units = OPS["sum"](bits * values, axis=2)                      # (batch, draws)
        return [reshape(units[:, i:i + 1], shape=(-1, 1, 1, 1)) for i in range(self.draws)]

    def changed(self, x: Tensor, units: list[Tensor]) -> Tensor:
        """The images, changed by what the numbers say."""
        raise NotImplementedError(f"{type(self).__name__} does not define changed")


def axis_numbers(x: Tensor, axis: int) -> Tensor:
    """0, 1, ... along an axis, ones elsewhere in the shape."""
    shape = [1, 1, 1, 1]
    shape[axis] = x.shape[axis]
    return constant(np.arange(x.shape[axis]).reshape(shape).astype(x.dtype))


def folded(at: Tensor, size: int, fill_mode: str) -> Tensor:
    """Positions brought inside an axis; reflected ones repeat the edge, as Keras's do."""
    if fill_mode == "reflect":
        at = at - floor(at * (0.5 / size)) * (2.0 * size)              # in [0, 2 size)
        at = minimum(at, (2.0 * size - 1.0) - at)
    return minimum(maximum(at, 0.0), size - 1.0)


def pixels(x: Tensor, rows: Tensor, columns: Tensor, fill_mode: str, fill_value: float) -> Tensor:
    """Pixels at whole positions ``(batch, h or 1, w or 1, 1)``, inside the images or not."""
    height, width, channels = x.shape[1:]
    flat = folded(rows, height, fill_mode) * float(width) + folded(columns, width, fill_mode)
    table = reshape(x, shape=(-1, height * width, channels))
    index = cast(reshape(flat, shape=(-1, height * width, 1)), dtype="int64")
    found = reshape(take_along(table, broadcast_like(index, table), axis=1),
                    shape=(-1, height, width, channels))
    if fill_mode != "constant":
        return found
    within = (abs_(rows * 2.0 - (height - 1.0)) <= height - 1.0) & \
        (abs_(columns * 2.0 - (width - 1.0)) <= width - 1.0)
    return where(within, found, OPS["zeros_like"](found) + fill_value)


def between(x: Tensor, rows: Tensor, columns: Tensor, fill_mode: str, fill_value: float) -> Tensor:
    """Values between pixels, at ``(batch, h, w, 1)``: means of the four around, by distance."""
    top, left = floor(rows), floor(columns)
    low, far = rows - top, columns - left                              # weights of the next pixel
    taps = [(top, left, (1.0 - low) * (1.0 - far)), (top, left + 1.0, (1.0 - low) * far),
            (top + 1.0, left, low * (1.0 - far)), (top + 1.0, left + 1.0, low * far)]
    parts = [pixels(x, r, c, fill_mode, fill_value) * w for r, c, w in taps]
    return parts[0] + parts[1] + parts[2] + parts[3]


class RandomFlip(Augmentation):
    """Mirrors each image at random, left to right, top to bottom, or both.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012,
    section 4.1. Right where a mirrored image shows the same thing: clothes, but not digits.

    Parameters
    ----------
    mode : {"horizontal", "vertical", "horizontal_and_vertical"}
        Which way; each is taken with probability 1/2.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = np.broadcast_to(np.float32([[[0], [1]]]), (20, 1, 2, 1))
    >>> y = gt.run(layers.RandomFlip()(gt.constant(x), training=True)[0])
    >>> sorted(set(map(tuple, y[:, 0, :, 0].tolist())))
    [(0.0, 1.0), (1.0, 0.0)]
    """
    draws = 2

    def __init__(self, mode: str = "horizontal", name: str | None = None):
        super().__init__(name)
        self.mode = one_of("mode", mode, ("horizontal", "vertical", "horizontal_and_vertical"))

    def changed(self, x, units):
        for axis, word, unit in ((2, "horizontal", units[0]), (1, "vertical", units[1])):
            if word in self.mode:
                x = where(unit < 0.5, flip(x, axis=axis), x)
        return x


class RandomTranslation(Augmentation):
    """Moves each image by whole pixels, up or down and left or right.

    Parameters
    ----------
    height_factor, width_factor : float
        The largest move, as a share of the height or width, in [0, 1].

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = np.broadcast_to(np.eye(4, dtype="float32")[..., None], (30, 4, 4, 1))
    >>> layer = layers.RandomTranslation(0.25, 0.0, fill_mode="constant")
    >>> y = gt.run(layer(gt.constant(x), training=True)[0])
    >>> sorted(set(y.sum((1, 2, 3)).tolist()))
    [3.0, 4.0]
    """
    draws = 2

    def __init__(self, height_factor: float = 0.1, width_factor: float = 0.1,
                 fill_mode: str = "reflect", fill_value: float = 0.0, name: str | None = None):
        super().__init__(name)
        self.height_factor = share("height_factor", height_factor)
        self.width_factor = share("width_factor", width_factor)
        self.fill_mode = one_of("fill_mode", fill_mode, FILLS)
        self.fill_value = number("fill_value", fill_value)

    def changed(self, x, units):
        at = []
        for axis, unit, factor in ((1, units[0], self.height_factor),
                                   (2, units[1], self.width_factor)):
            most = math.floor(factor * x.shape[axis] + 1e-9)           # pixels
            at.append(axis_numbers(x, axis) + (floor(unit * (2.0 * most + 1.0)) - float(most)))
        return pixels(x, *at, self.fill_mode, self.fill_value)


class RandomCrop(Augmentation):
    """Pads each image and cuts a window of the old size out at random.

    He et al., "Deep residual learning for image recognition", 2016, section 4.2: 4 pixels on each
    side of images of 32 by 32. The size stays, so that training and prediction see one net.

    Parameters
    ----------
    padding : int or (int, int)
        Pixels of ``fill_value`` on each side, of height and width.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((30, 4, 4, 1), "float32"))
    >>> y = gt.run(layers.RandomCrop(1)(x, training=True)[0])
    >>> sorted(set(y.sum((1, 2, 3)).tolist()))
    [9.0, 12.0, 16.0]
    """
    draws = 2

    def __init__(self, padding=4, fill_value: float = 0.0, name: str | None = None):
        super().__init__(name)
        sizes("padding", padding, 2)
        self.padding, self.fill_value = padding, number("fill_value", fill_value)

    def changed(self, x, units):
        at = [axis_numbers(x, axis) + (floor(unit * (2.0 * most + 1.0)) - float(most))
              for axis, unit, most in zip((1, 2), units, sizes("padding", self.padding, 2))]
        return pixels(x, *at, "constant", self.fill_value)


class RandomRotation(Augmentation):
    """Turns each image about its middle; pixels between pixels are interpolated (bilinear).

    Parameters
    ----------
    factor : float
        The largest turn to either side, in [0, 1], in turns: 0.1 is 36 degrees.

    Notes
    -----
    The angle is drawn from 257 evenly spaced ones, whose sine and cosine stand in a table.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((3, 4, 4, 1), "float32"))
    >>> y = gt.run(layers.RandomRotation(0.1)(x, training=True)[0])
    >>> bool(np.allclose(y, 1.0))
    True
    """
    angles = 257

    def __init__(self, factor: float = 0.05, fill_mode: str = "reflect", fill_value: float = 0.0,
                 name: str | None = None):
        super().__init__(name)
        self.factor = share("factor", factor)
        self.fill_mode = one_of("fill_mode", fill_mode, FILLS)
        self.fill_value = number("fill_value", fill_value)

    def changed(self, x, units):
        angle = np.linspace(-1.0, 1.0, self.angles) * (2.0 * math.pi * self.factor)
        index = cast(floor(units[0] * float(self.angles)), dtype="int64")
        sine, cosine = (OPS["gather"](constant(t.astype(x.dtype)), index)
                        for t in (np.sin(angle), np.cos(angle)))       # (batch, 1, 1, 1)
        middle = [(n - 1.0) / 2.0 for n in x.shape[1:3]]
        down, right = (axis_numbers(x, axis) - m for axis, m in zip((1, 2), middle))
        return between(x, down * cosine - right * sine + middle[0],
                       down * sine + right * cosine + middle[1], self.fill_mode, self.fill_value)


class RandomZoom(Augmentation):
    """Shows each image smaller or larger, about its middle, by bilinear interpolation.

    Parameters
    ----------
    height_factor : float
        The largest change, in [0, 1): 0.2 is from 20 percent nearer to 20 percent farther.
    width_factor : float, optional
        Of the width; by default both are changed alike.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((3, 4, 4, 1), "float32"))
    >>> y = gt.run(layers.RandomZoom(0.2)(x, training=True)[0])
    >>> bool(np.allclose(y, 1.0))
    True
    """
    draws = 2

    def __init__(self, height_factor: float = 0.1, width_factor: float | None = None,
                 fill_mode: str = "reflect", fill_value: float = 0.0, name: str | None = None):
        super().__init__(name)
        self.height_factor = fraction("height_factor", height_factor)
        self.width_factor = width_factor if width_factor is None else \
            fraction("width_factor", width_factor)
        self.fill_mode = one_of("fill_mode", fill_mode, FILLS)
        self.fill_value = number("fill_value", fill_value)

    def changed(self, x, units):
        alike = self.width_factor is None
        factors = (self.height_factor, self.height_factor if alike else self.width_factor)
        at = []
        for axis, unit, factor in zip((1, 2), units[:1] * 2 if alike else units, factors):
            middle = (x.shape[axis] - 1.0) / 2.0
            at.append((axis_numbers(x, axis) - middle) * (1.0 + (unit * 2.0 - 1.0) * factor)
                      + middle)
        return between(x, *at, self.fill_mode, self.fill_value)


def share(name: str, value) -> float:
    """A number from 0 to 1."""
    found = number(name, value, at_least=0.0)
    if found > 1.0:
        raise ParameterError(f"{name} must be a number in [0, 1], not {value!r}")
    return found


def box(x: Tensor, down: Tensor, right: Tensor, size) -> Tensor:
    """Whether a pixel lies in a box of that share of height and width around a random place."""
    inside = []
    for axis, unit in ((1, down), (2, right)):
        n = x.shape[axis]
        side = floor(n * size + 0.5) if isinstance(size, Tensor) else math.floor(n * size + 0.5)
        half = floor(side * 0.5) if isinstance(side, Tensor) else float(side // 2)
        away = axis_numbers(x, axis) - (floor(unit * float(n)) - half)
        inside.append((away >= 0.0) & (away < side))
    return inside[0] & inside[1]
