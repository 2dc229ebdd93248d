"""Initializers: how the first values of weights are drawn, from a seed and the weight's stream."""
from __future__ import annotations

import math
from abc import abstractmethod
from typing import Callable

import numpy as np

from ..backend import Spec
from ..backend.errors import ParameterError, ShapeError
from ..backend.named import is_function, named
from ..backend.ops.random import draw
from .arguments import number, one_of
from .value import Value

# The standard deviation of a standard normal variable cut off at two standard deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


class Initializer(Value):
    """Draws a weight's first value: a function of spec, seed and stream and of nothing else.

    A subclass overrides ``__call__``; a plain function of the same arguments will do as well,
    but only an initializer of this module can be saved with a model.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.GlorotUniform()(Spec.of((2, 3)), seed=0, stream=1).shape
    (2, 3)
    """

    @abstractmethod
    def __call__(self, spec: Spec, seed: int, stream: int) -> np.ndarray:
        """The value.

        Parameters
        ----------
        spec : Spec
            Shape and element type.
        seed : int
            The model's seed.
        stream : int
            The weight's own number, made from its name.

        Returns
        -------
        numpy.ndarray
        """


# ---- fixed values ------------------------------------------------------------------------------

class Constant(Initializer):
    """One value, or an array of values.

    Parameters
    ----------
    value : float or nested list
        A number, or values that broadcast to the weight's shape.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.Constant(0.5)(Spec.of(2), 0, 0)
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, value=0.0):
        self.value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    def __call__(self, spec, seed, stream):
        value = np.asarray(self.value, spec.dtype)
        try:
            return np.broadcast_to(value, spec.shape).copy()
        except ValueError:
            raise ShapeError("the constant's shape does not fit the weight's",
                             got=f"{list(value.shape)} for {list(spec.shape)}") from None


class Zeros(Initializer):
    """Zeros.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.Zeros()(Spec.of(2), 0, 0)
    array([0., 0.], dtype=float32)
    """

    def __call__(self, spec, seed, stream):
        return np.zeros(spec.shape, spec.dtype)


class Ones(Initializer):
    """Ones.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.Ones()(Spec.of(2), 0, 0)
    array([1., 1.], dtype=float32)
    """

    def __call__(self, spec, seed, stream):
        return np.ones(spec.shape, spec.dtype)


class Identity(Initializer):
    """A multiple of the identity matrix; ones on the diagonal of a matrix that is not square.

    Parameters
    ----------
    gain : float
        What stands on the diagonal.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.Identity(2.0)(Spec.of((2, 2)), 0, 0)
    array([[2., 0.],
           [0., 2.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0):
        self.gain = number("gain", gain)

    def __call__(self, spec, seed, stream):
        if len(spec.shape) != 2:
            raise ShapeError("Identity makes matrices only", got=str(spec))
        return (self.gain * np.eye(*spec.shape)).astype(spec.dtype)


# ---- given distributions -----------------------------------------------------------------------

class RandomUniform(Initializer):
    """Uniform in ``[minval, maxval)``.

    Parameters
    ----------
    minval, maxval : float
        The bounds.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> w = layers.RandomUniform(-1.0, 1.0)(Spec.of(100), seed=0, stream=1)
    >>> bool((w >= -1).all() and (w < 1).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05):
        self.minval, self.maxval = number("minval", minval), number("maxval", maxval)
        if minval > maxval:
            raise ParameterError(f"minval is above maxval, {minval} and {maxval}")

    def __call__(self, spec, seed, stream):
        return draw("uniform", spec.shape, spec.dtype.name, seed, stream, low=self.minval,
                    high=self.maxval)


class _Normal(Initializer):
    """What the two normal distributions share."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05):
        self.mean, self.stddev = number("mean", mean), number("stddev", stddev, at_least=0.0)

    def __call__(self, spec, seed, stream):
        return draw(self.kind, spec.shape, spec.dtype.name, seed, stream, mean=self.mean,
                    stddev=self.stddev)


class RandomNormal(_Normal):
    """Normal.

    Parameters
    ----------
    mean, stddev : float
        Mean and standard deviation.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.RandomNormal(stddev=0.0)(Spec.of(2), seed=0, stream=1)
    array([0., 0.], dtype=float32)
    """
    kind = "normal"


class TruncatedNormal(_Normal):
    """Normal, cut off at two standard deviations from the mean.

    Parameters
    ----------
    mean, stddev : float
        Mean and standard deviation of the distribution before it is cut.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> w = layers.TruncatedNormal(stddev=1.0)(Spec.of(1000), seed=0, stream=1)
    >>> bool(abs(w).max() <= 2)
    True
    """
    kind = "truncated_normal"


# ---- distributions whose width follows from the shape --------------------------------------------

class VarianceScaling(Initializer):
    """Mean zero and variance ``scale / n``, n being the number of inputs, outputs, or their mean.

    Parameters
    ----------
    scale : float
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}
        What n counts: a layer's inputs per output, outputs per input, or the mean of both.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        The truncated one is widened, so that its variance is as said.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> w = layers.VarianceScaling(2.0)(Spec.of((100, 50), "float64"), seed=0, stream=1)
    >>> abs(float(w.var()) - 0.02) < 0.001
    True
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in",
                 distribution: str = "truncated_normal"):
        self.scale = number("scale", scale)
        if scale <= 0:
            raise ParameterError(f"scale must be above 0, not {scale!r}")
        self.mode = one_of("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.distribution = one_of("distribution", distribution,
                                   ("truncated_normal", "untruncated_normal", "uniform"))

    def __call__(self, spec, seed, stream):
        variance = self.scale / max(1.0, _FANS[self.mode](*fans(spec.shape)))
        deviation = math.sqrt(variance)
        kind, settings = {
            "truncated_normal": ("truncated_normal",
                                 {"stddev": deviation / TRUNCATED_DEVIATION}),
            "untruncated_normal": ("normal", {"stddev": deviation}),
            "uniform": ("uniform", {"low": -math.sqrt(3.0) * deviation,
                                    "high": math.sqrt(3.0) * deviation}),
        }[self.distribution]
        return draw(kind, spec.shape, spec.dtype.name, seed, stream, **settings)


_FANS: dict[str, Callable[[float, float], float]] = {
    "fan_in": lambda n_in, n_out: n_in,
    "fan_out": lambda n_in, n_out: n_out,
    "fan_avg": lambda n_in, n_out: (n_in + n_out) / 2,
}


def fans(shape) -> tuple[int, int]:
    """Inputs per output and outputs per input of a kernel ``(*window, inputs, outputs)``.

    Examples
    --------
    >>> fans((3, 3, 16, 32))
    (144, 288)
    """
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def _scaling(name: str, scale: float, mode: str, distribution: str, source: str) -> type:
    """A variance scaling with a name of its own."""
    text = {"truncated_normal": "Truncated normal", "uniform": "Uniform"}[distribution]
    fan = {"fan_in": "inputs", "fan_avg": "(mean of inputs and outputs)"}[mode]
    doc = f"""{text} of mean zero and variance ``{scale:g} / {fan}``; {source}.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> layers.{name}()(Spec.of((4, 3)), seed=0, stream=1).shape
    (4, 3)
    """

    def __init__(self):
        VarianceScaling.__init__(self, scale, mode, distribution)

    return type(name, (VarianceScaling,), {"__init__": __init__, "__doc__": doc,
                                           "__module__": __name__})


_GLOROT = "Glorot and Bengio, 2010, equation 16"
_HE = "He et al., 2015, equation 10"
_LECUN = "LeCun et al., 1998, section 4.6"
GlorotUniform = _scaling("GlorotUniform", 1.0, "fan_avg", "uniform", _GLOROT)
GlorotNormal = _scaling("GlorotNormal", 1.0, "fan_avg", "truncated_normal", _GLOROT)
HeUniform = _scaling("HeUniform", 2.0, "fan_in", "uniform", _HE)
HeNormal = _scaling("HeNormal", 2.0, "fan_in", "truncated_normal", _HE)
LecunUniform = _scaling("LecunUniform", 1.0, "fan_in", "uniform", _LECUN)
LecunNormal = _scaling("LecunNormal", 1.0, "fan_in", "truncated_normal", _LECUN)


class Orthogonal(Initializer):
    """A random matrix with orthonormal columns, or rows if it is wide.

    A kernel of more axes is one matrix with the last axis as columns. Saxe, McClelland and
    Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014.

    Parameters
    ----------
    gain : float
        What the matrix is multiplied by.

    Examples
    --------
    >>> from gradatim import Spec, layers
    >>> w = layers.Orthogonal()(Spec.of((3, 3), "float64"), seed=0, stream=1)
    >>> bool(abs(w.T @ w - np.eye(3)).max() < 1e-12)
    True
    """

    def __init__(self, gain: float = 1.0):
        self.gain = number("gain", gain)

    def __call__(self, spec, seed, stream):
        if len(spec.shape) < 2:
            raise ShapeError("Orthogonal needs at least two axes", got=str(spec))
        rows, columns = math.prod(spec.shape[:-1]), spec.shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(draw("normal", tall, "float64", seed, stream))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)    # makes the distribution uniform
        q = q if rows >= columns else q.T
        return (self.gain * q).reshape(spec.shape).astype(spec.dtype)


# ---- by name -----------------------------------------------------------------------------------

INITIALIZERS: dict[str, type[Initializer]] = {
    "zeros": Zeros, "ones": Ones, "constant": Constant, "identity": Identity,
    "uniform": RandomUniform, "normal": RandomNormal,
    "random_uniform": RandomUniform, "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal, "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform, "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform, "he_normal": HeNormal,
    "lecun_uniform": LecunUniform, "lecun_normal": LecunNormal, "orthogonal": Orthogonal}


def initializer(name_or_object) -> Callable:
    """The initializer of that name.

    Parameters
    ----------
    name_or_object : str, Initializer or callable
        A name of `INITIALIZERS`, an initializer, or a function ``(spec, seed, stream) -> array``.

    Returns
    -------
    callable

    Raises
    ------
    UnknownNameError
        If there is no such name.
    ParameterError
        If it is neither a name nor callable.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.initializer("he_normal")
    HeNormal()
    """
    return named("initializer", name_or_object, INITIALIZERS, "a name or an object",
                 is_function, fix='pass "glorot_uniform", or layers.RandomNormal(stddev=0.1)')
