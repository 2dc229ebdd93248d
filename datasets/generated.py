"""Data from a formula and a seed: the same numbers on every machine, nothing to download."""
from __future__ import annotations

import numpy as np

from ..backend.errors import ParameterError

SHAPES = ("disc", "square", "triangle", "cross")


def make_line(n_samples: int = 100, *, slope: float = 2.0, intercept: float = 1.0,
              noise: float = 0.1, random_state: int = 0):
    """Points near a line: y = slope * x + intercept + noise * e, x uniform in [-1, 1], e normal.

    Parameters
    ----------
    n_samples : int
        Number of points.
    slope, intercept : float
        The line.
    noise : float
        Standard deviation of the points around it.
    random_state : int
        The seed.

    Returns
    -------
    X : ndarray
        float64 (n_samples, 1).
    y : ndarray
        float64 (n_samples,).

    Examples
    --------
    >>> from gradatim.datasets import make_line
    >>> X, y = make_line(50, slope=3.0, intercept=0.0, noise=0.0)
    >>> bool((y == 3.0 * X[:, 0]).all())
    True
    """
    rng = _generator(n_samples, random_state)
    x = rng.uniform(-1.0, 1.0, n_samples)
    return x[:, None], slope * x + intercept + noise * rng.standard_normal(n_samples)


def make_spirals(n_samples: int = 300, *, n_classes: int = 2, turns: float = 1.0,
                 noise: float = 0.05, random_state: int = 0):
    """Interleaved spirals, one per class, which no line can separate.

    A point of class k is t * (cos a, sin a) + noise * e with a = 2 pi (turns * t + k / n_classes),
    t uniform in [0.1, 1], e normal.

    Parameters
    ----------
    n_samples : int
        Number of points; classes take turns.
    n_classes : int
        Number of arms.
    turns : float
        How often an arm goes round.
    noise : float
        Standard deviation of the points around their arm.
    random_state : int
        The seed.

    Returns
    -------
    X : ndarray
        float64 (n_samples, 2).
    y : ndarray
        int64 (n_samples,).

    Examples
    --------
    >>> from gradatim.datasets import make_spirals
    >>> X, y = make_spirals(6, n_classes=3)
    >>> X.shape, y.tolist()
    ((6, 2), [0, 1, 2, 0, 1, 2])
    """
    rng = _generator(n_samples, random_state)
    y = np.arange(n_samples) % n_classes
    t = rng.uniform(0.1, 1.0, n_samples)
    angle = 2.0 * np.pi * (turns * t + y / n_classes)
    X = t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (n_samples, 2)
    return X + noise * rng.standard_normal(X.shape), y


def make_shapes(n_samples: int = 400, *, size: int = 16, noise: float = 0.1,
                random_state: int = 0):
    """Grey images of a disc, a square, a triangle or a cross of random place, size and grey.

    With (u, v) a pixel's offset from the centre over the radius, v pointing down, the shapes are
    ``u^2 + v^2 <= 1``; ``max(|u|, |v|) <= 1``; ``|u| <= (1 + v) / 2 and v <= 1``; and
    ``max(|u|, |v|) <= 1 and min(|u|, |v|) <= 1/3``. The radius is uniform in [0.2, 0.35] of the
    size, the centre such that the shape is inside, the grey uniform in [0.5, 1]; normal noise is
    added, then all is cut to [0, 1].

    Parameters
    ----------
    n_samples : int
        Number of images; classes take turns.
    size : int
        Height and width in pixels.
    noise : float
        Standard deviation of the noise on every pixel.
    random_state : int
        The seed.

    Returns
    -------
    X : ndarray
        float32 (n_samples, size, size) from 0 to 1.
    y : ndarray
        int64 (n_samples,): 0 disc, 1 square, 2 triangle, 3 cross.

    Examples
    --------
    >>> from gradatim.datasets import make_shapes
    >>> X, y = make_shapes(8)
    >>> X.shape, y.tolist()
    ((8, 16, 16), [0, 1, 2, 3, 0, 1, 2, 3])
    """
    rng = _generator(n_samples, random_state)
    y = np.arange(n_samples) % len(SHAPES)
    radius = size * rng.uniform(0.2, 0.35, (n_samples, 1, 1))
    centre = radius + (size - 2.0 * radius) * rng.uniform(0.0, 1.0, (2, n_samples, 1, 1))
    grey = rng.uniform(0.5, 1.0, (n_samples, 1, 1))
    middle = np.arange(size) + 0.5  # of a pixel
    u = (middle[None, None, :] - centre[0]) / radius  # (n_samples, 1, size)
    v = (middle[None, :, None] - centre[1]) / radius  # (n_samples, size, 1)
    square = np.maximum(np.abs(u), np.abs(v)) <= 1.0
    inside = np.choose(y[:, None, None], [
        u * u + v * v <= 1.0,
        square,
        (np.abs(u) <= (1.0 + v) / 2.0) & (v <= 1.0),
        square & (np.minimum(np.abs(u), np.abs(v)) <= 1.0 / 3.0)])
    X = grey * inside + noise * rng.standard_normal((n_samples, size, size))
    return np.clip(X, 0.0, 1.0).astype(np.float32), y


def make_seasonal(n_steps: int = 1_000, *, period: int = 24, trend: float = 0.001,
                  noise: float = 0.1, random_state: int = 0) -> np.ndarray:
    """A series with a trend, a season and its first harmonic, and noise that remembers.

    x_t = trend * t + sin(2 pi t / period) + 0.5 sin(4 pi t / period + 1) + r_t, where
    r_t = 0.7 r_(t-1) + noise * e_t, e normal, r_(-1) = 0.

    Parameters
    ----------
    n_steps : int
        Length of the series.
    period : int
        Steps in a season.
    trend : float
        Rise in one step.
    noise : float
        Standard deviation of what is new in every step.
    random_state : int
        The seed.

    Returns
    -------
    ndarray
        float64 (n_steps,).

    Examples
    --------
    >>> from gradatim.datasets import make_seasonal
    >>> x = make_seasonal(48, trend=0.0, noise=0.0)
    >>> bool(abs(x[:24] - x[24:]).max() < 1e-12)
    True
    """
    rng = _generator(n_steps, random_state)
    t = np.arange(n_steps)
    phase = 2.0 * np.pi * t / period
    remembered, rest = 0.0, np.empty(n_steps)
    for step, new in enumerate(noise * rng.standard_normal(n_steps)):
        remembered = rest[step] = 0.7 * remembered + new
    return trend * t + np.sin(phase) + 0.5 * np.sin(2.0 * phase + 1.0) + rest


def make_adding_problem(n_samples: int = 1_000, *, length: int = 50, random_state: int = 0):
    """Sequences of numbers of which two are marked: what is the sum of the marked ones?

    Channel 0 is uniform in [0, 1]; channel 1 is 1 at one step of each half and 0 elsewhere;
    y = the sum over time of channel 0 times channel 1. Always answering 1 has a mean squared
    error of 1/6.

    Parameters
    ----------
    n_samples : int
        Number of sequences.
    length : int
        Steps in each, at least 2.
    random_state : int
        The seed.

    Returns
    -------
    X : ndarray
        float32 (n_samples, length, 2).
    y : ndarray
        float32 (n_samples,) from 0 to 2.

    References
    ----------
    Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, section 5.4.

    Examples
    --------
    >>> from gradatim.datasets import make_adding_problem
    >>> X, y = make_adding_problem(4, length=10)
    >>> X.shape, bool(((X[..., 0] * X[..., 1]).sum(axis=1) == y).all())
    ((4, 10, 2), True)
    """
    if length < 2:
        raise ParameterError("the adding problem needs a step in each half",
                             got=f"length={length}", fix="pass length=2 or more")
    rng = _generator(n_samples, random_state)
    rows, half = np.arange(n_samples), length // 2
    X = np.zeros((n_samples, length, 2), np.float32)
    X[..., 0] = rng.random((n_samples, length), np.float32)
    X[rows, rng.integers(0, half, n_samples), 1] = 1.0
    X[rows, rng.integers(half, length, n_samples), 1] = 1.0
    return X, (X[..., 0] * X[..., 1]).sum(axis=1)


def make_parity(n_samples: int = 1_000, *, length: int = 8, random_state: int = 0):
    """Sequences of zeros and ones: y is 1 where the number of ones is odd.

    Parameters
    ----------
    n_samples : int
        Number of sequences.
    length : int
        Bits in each.
    random_state : int
        The seed.

    Returns
    -------
    X : ndarray
        float32 (n_samples, length, 1), each bit 0 or 1 with equal chance.
    y : ndarray
        int64 (n_samples,).

    Examples
    --------
    >>> from gradatim.datasets import make_parity
    >>> X, y = make_parity(5)
    >>> bool((X.sum(axis=(1, 2)) % 2 == y).all())
    True
    """
    bits = _generator(n_samples, random_state).integers(0, 2, (n_samples, length))
    return bits[..., None].astype(np.float32), bits.sum(axis=1) % 2


def _generator(count: int, random_state: int) -> np.random.Generator:
    """NumPy's generator of a seed, after a look at the number of samples."""
    if count < 1:
        raise ParameterError("at least one sample is needed", got=str(count), fix="ask for more")
    return np.random.default_rng(random_state)
