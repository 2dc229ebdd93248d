"""check_layer: whether a layer keeps what networks, files and strategies rely on."""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Callable, Iterator

import numpy as np

from ..backend import Spec, function, gradients, graph, placeholder
from ..backend.errors import DataError, ShapeError
from .base import Layer
from .flow import Flow
from .registry import classes, from_config, to_config

DTYPES = ("float32", "float64")
MODES = (False, True)          # inference and training
ROWS = 4
KEYS = (np.int64(3), np.int64(5))    # seed and step


def check_layer(layer: Layer, spec, *, seed: int = 0, backend="reference") -> list[str]:
    """Check that a layer keeps what networks, files and strategies rely on.

    Copies of the layer are made from its arguments, with random weights; the layer itself is left
    as it is. The checks:

    - ``batch_size``: the graph is the same at any batch size, but for shapes.
    - ``shapes``: what comes out has the shape that the graph says.
    - ``dtypes``: the output has the input's element type, or the weights' if the input is integers.
    - ``gradients``: by every weight and input, against central differences in float64.
    - ``lengths``: steps beyond a row's length change nothing within it.
    - ``rows``: at inference a row's output does not depend on the rows beside it.
    - ``padding``: while training, rows of weight zero change no other row and no update.
    - ``determinism``: the same seed and step give the same bits.
    - ``updates``: a training step changes only the layer's own variables that are not trainable.
    - ``files``: a copy made from the written arguments and weights gives the same bits.
    - ``weights``: ``get_weights`` and ``set_weights`` undo each other, and refuse what cannot fit.

    Parameters
    ----------
    layer : Layer
        The layer, called before or not.
    spec : Spec or tuple of int, or a list of them for layers that merge
        Input without the batch axis; a shape alone is float32. Integers are drawn from {0, 1}.
    seed : int
        Of the random weights and inputs.
    backend : str or Backend
        What runs the graphs.

    Returns
    -------
    list of str
        The checks that were made; "lengths" needs an input with a time axis, and a layer that
        passes lengths on or uses them.

    Raises
    ------
    AssertionError
        Listing every check that failed, and how.

    Examples
    --------
    >>> from gradatim import layers
    >>> from gradatim.testing import check_layer
    >>> check_layer(layers.Dense(3), (4,))[:3]
    ['batch_size', 'shapes', 'dtypes']
    >>> class Half(layers.Layer):
    ...     def call(self, x):
    ...         return x.reshape(x.shape[0], -1) * 0.5
    >>> check_layer(Half(), (4,))
    Traceback (most recent call last):
    AssertionError: the layer Half fails 1 check:
      batch_size: the graph depends on the batch size: reshape %0 shape=(2, -1)
    """
    several = isinstance(spec, list)
    specs = tuple(s if isinstance(s, Spec) else Spec.of(s, "float32")
                  for s in (spec if several else [spec]))
    subject = Subject(to_config(layer), strangers(layer), specs, several, seed, backend)
    made, failures = [], []
    for name, check in CHECKS.items():
        try:
            if check(subject) is not False:
                made.append(name)
        except Exception as error:  # a foreign layer may fail in any way
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            failures.append(f"  {name}: {kind}{str(error).strip().splitlines()[0]}")
    if failures:
        plural = "s" * (len(failures) > 1)
        raise AssertionError("\n".join([
            f"the layer {type(layer).__name__} fails {len(failures)} check{plural}:", *failures]))
    return made


def strangers(layer: Layer) -> dict[str, type]:
    """The classes of a layer and the layers in it that are not gradatim's."""
    found = {} if type(layer) in classes().values() else {type(layer).__name__: type(layer)}
    for child in layer.children.values():
        found.update(strangers(child))
    return found


@dataclass(frozen=True)
class Subject:
    """A layer as its arguments, and what it is fed."""
    tree: dict
    custom: dict[str, type]
    specs: tuple[Spec, ...]
    several: bool
    seed: int
    backend: object

    def unbuilt(self) -> Layer:
        """A copy of the layer without weights; through text, as in a file."""
        return from_config(json.loads(json.dumps(self.tree)), self.custom)

    def built(self, dtype: str = "float64") -> Layer:
        """A copy with random weights; the untrained stay positive, as variances must."""
        layer, rng = self.unbuilt(), np.random.default_rng(self.seed)
        self.trace(layer, 2, dtype)
        layer.initialize(self.seed)
        for v in layer.variables().values():
            value = v.numpy()
            v.assign(value + 0.3 * rng.standard_normal(v.shape) if v.trainable else
                     value * rng.uniform(0.5, 1.5, v.shape) + rng.uniform(0.1, 0.5, v.shape))
        return layer

    def arrays(self, dtype: str = "float64", salt: int = 1) -> list[np.ndarray]:
        """Random inputs of `ROWS` rows."""
        rng = np.random.default_rng((self.seed, salt))
        return [rng.standard_normal((ROWS, *s.shape)).astype(dtype) if s.is_float else
                rng.integers(0, 2, (ROWS, *s.shape)).astype(s.dtype) for s in self.specs]

    def trace(self, layer: Layer, batch: int, dtype: str, training: bool = False,
              riders=()) -> tuple[list, Flow]:
        """Placeholders (inputs, seed, step, "lengths" or "weights") and the flow that comes out."""
        xs = [placeholder((batch, *s.shape), dtype if s.is_float else s.dtype, f"x{i}")
              for i, s in enumerate(self.specs)]
        seed, step = (placeholder((), "int64", name, batch=False) for name in ("seed", "step"))
        beside = {name: placeholder((batch,), "int64" if name == "lengths" else dtype, name)
                  for name in riders}
        flows = [Flow(x, seed=seed, step=step, dtype=dtype, **beside) for x in xs]
        out = layer.run(flows if self.several else flows[0], training)
        return [*xs, seed, step, *beside.values()], out

    def values(self, layer: Layer, arrays, training: bool = False, **riders) -> list[np.ndarray]:
        """The output of arrays, and the updates."""
        dtype = next((a.dtype.name for a in arrays if a.dtype.kind == "f"), layer.dtype)
        inputs, out = self.trace(layer, len(arrays[0]), dtype, training, riders)
        return function(inputs, [out.x, *out.updates.values()], backend=self.backend)(
            *arrays, *KEYS, *riders.values())

    def value(self, layer: Layer, arrays, training: bool = False, **riders) -> np.ndarray:
        """The output of arrays."""
        return self.values(layer, arrays, training, **riders)[0]

    @property
    def steps(self) -> int | None:
        """Length of the time axis, if all inputs have one and the same."""
        found = {s.shape[0] if len(s.shape) >= 1 + s.is_float else None for s in self.specs}
        return found.pop() if len(found) == 1 else None


def some_lengths(time: int) -> np.ndarray:
    """A full row, a half, one step and none."""
    return np.array([time, (time + 1) // 2, 1, 0])


# ---- the checks; False says that there was nothing to check --------------------------------------

def check_batch_size(subject: Subject) -> None:
    """The same graph but for shapes at two batch sizes, and the batch axis comes out."""
    for training in MODES:
        texts = []
        for batch in (2, 5):
            _, out = subject.trace(subject.unbuilt(), batch, "float32", training)
            assert out.x.shape[:1] == (batch,), f"{batch} samples become {out.x.spec}"
            texts.append(list(without_shapes(str(graph(out.x, *out.updates.values())))))
        differ = [a for a, b in zip(*texts) if a != b]
        assert not differ, f"the graph depends on the batch size: {differ[0]}"
        assert len(texts[0]) == len(texts[1]), "the graph has more nodes at another batch size"


def without_shapes(text: str) -> Iterator[str]:
    """A graph's lines without result names, specs and the shapes of placeholders."""
    for line in text.splitlines():
        line = line.partition(" = ")[2].rpartition(" : ")[0] or line
        if line.startswith("placeholder"):
            line = re.sub(r" shape=\([^)]*\)", "", line)
        yield line


def check_shapes(subject: Subject) -> None:
    """The shape of the array is that of the tensor."""
    for training in MODES:
        layer, arrays = subject.built("float32"), subject.arrays("float32")
        _, out = subject.trace(layer, ROWS, "float32", training)
        got = subject.value(layer, arrays, training)
        assert got.shape == out.x.shape, \
            f"{list(got.shape)} comes out, and the graph says {list(out.x.shape)}"


def check_dtypes(subject: Subject) -> None:
    """float32 in, float32 out; float64 in, float64 out."""
    for dtype in DTYPES:
        for training in MODES:
            layer = subject.built(dtype)
            got = subject.value(layer, subject.arrays(dtype), training)
            assert got.dtype == dtype, f"{dtype} becomes {got.dtype}"
        wrong = [n for n, v in layer.variables().items() if v.spec.is_float and v.dtype != dtype]
        assert not wrong, f'the weight "{wrong[0]}" is not {dtype}'


def check_gradients(subject: Subject) -> None:
    """Each derivative in one random direction against a central difference."""
    for training in MODES:
        layer, arrays = subject.built(), subject.arrays()
        rng = np.random.default_rng((subject.seed, 2))
        inputs, out = subject.trace(layer, ROWS, "float64", training)
        loss = (out.x * rng.standard_normal(out.x.shape)).sum()
        weights = layer.trainable_variables()
        places = [i for i, s in enumerate(subject.specs) if s.is_float]
        run = function(inputs, loss, backend=subject.backend)
        derivatives = gradients(loss, [*weights.values(), *(inputs[i] for i in places)])
        slopes = function(inputs, derivatives, backend=subject.backend)(*arrays, *KEYS)
        labels = [*weights, *(f"input {i}" for i in places)]
        values = [*(v.numpy() for v in weights.values()), *(arrays[i] for i in places)]
        setters = [*(v.assign for v in weights.values()),
                   *(lambda a, i=i: arrays.__setitem__(i, a) for i in places)]
        for label, value, change, slope in zip(labels, values, setters, slopes):
            direction = rng.standard_normal(value.shape)
            numeric = central_difference(lambda: float(run(*arrays, *KEYS)), change, value,
                                         direction)
            exact, scale = np.sum(slope * direction), np.sum(np.abs(slope * direction))
            assert abs(exact - numeric) <= 1e-6 * max(1.0, scale), (
                f"by {label}{', training' * training}: the gradient gives {exact:.9g}, "
                f"a central difference {numeric:.9g}")


def central_difference(run: Callable, change: Callable, value, direction,
                       step: float = 1e-5) -> float:
    """The derivative along a direction; the value is put back."""
    ends = []
    for sign in (1, -1):
        change(value + sign * step * direction)
        ends.append(run())
    change(value)
    return (ends[0] - ends[1]) / (2 * step)


def check_lengths(subject: Subject) -> bool | None:
    """What stands beyond a row's length changes nothing within it."""
    time = subject.steps
    if not time:
        return False
    lengths = some_lengths(time)
    mask = np.arange(time) < lengths[:, None]                             # (batch, time)
    arrays, others = subject.arrays(), subject.arrays(salt=7)
    changed = [np.where(mask.reshape(*mask.shape, *(1,) * (a.ndim - 2)), a, b)
               for a, b in zip(arrays, others)]
    concerned = False
    for training in MODES:
        layer = subject.built()
        inputs, out = subject.trace(layer, ROWS, "float64", training, ["lengths"])
        keeps = out.lengths is not None
        if not keeps and inputs[-1].node not in graph(out.x).nodes:
            continue
        concerned = True
        first, second = (subject.value(layer, a, training, lengths=lengths)
                         for a in (arrays, changed))
        if keeps:
            assert first.shape[1:2] == (time,), f"lengths are kept, and {time} steps are not"
            first, second = first[mask], second[mask]
        assert_close(first, second, 1e-9, "steps beyond a row's length change it")
    return None if concerned else False


def check_rows(subject: Subject) -> None:
    """Each row alone gives what it gives among others."""
    layer, arrays = subject.built(), subject.arrays()
    time = subject.steps
    for riders in ({}, {"lengths": some_lengths(time)}) if time else ({},):
        among = subject.value(layer, arrays, **riders)
        for i in range(ROWS):
            row = slice(i, i + 1)
            alone = subject.value(layer, [a[row] for a in arrays],
                                  **{name: a[row] for name, a in riders.items()})
            assert_close(alone, among[row], 1e-6, f"row {i} depends on its neighbours")


def check_padding(subject: Subject) -> None:
    """Rows that fill up the last batch weigh zero, and nobody must see them."""
    layer, arrays, others = subject.built(), subject.arrays(), subject.arrays(salt=7)
    real = ROWS // 2
    weights = (np.arange(ROWS) < real).astype("float64")
    padded = [np.concatenate([a[:real], 5 * b[real:] if b.dtype.kind == "f" else b[real:]])
              for a, b in zip(arrays, others)]
    first, second = (subject.values(layer, a, True, weights=weights) for a in (arrays, padded))
    assert_close(first[0][:real], second[0][:real], 1e-9, "a row of weight zero changes others")
    for a, b in zip(first[1:], second[1:], strict=True):
        assert_close(a, b, 1e-9, "a row of weight zero changes an update")


def check_determinism(subject: Subject) -> None:
    """The same bits again, from the same copy and from another."""
    for training in MODES:
        layer, arrays = subject.built("float32"), subject.arrays("float32")
        first = subject.value(layer, arrays, training)
        for again in (layer, subject.built("float32")):
            assert_same(subject.value(again, arrays, training), first, "two runs differ")


def check_updates(subject: Subject) -> None:
    """Only while training, only the layer's own, only what an optimizer leaves alone."""
    layer = subject.built()
    _, out = subject.trace(layer, ROWS, "float64")
    assert not out.updates, "there are updates at inference"
    _, out = subject.trace(layer, ROWS, "float64", training=True)
    own = {v for v in layer.variables().values() if not v.trainable}
    for v, new in out.updates.items():
        assert v in own, f'"{v.name}" is updated, and is trainable or of another layer'
        assert new.spec == v.spec, f'"{v.name}" is {v.spec}, and its new value {new.spec}'


def check_files(subject: Subject) -> None:
    """Arguments and weights are all there is to a layer."""
    layer, copy = subject.built("float32"), subject.unbuilt()
    assert to_config(layer) == subject.tree, "a copy has other arguments"
    subject.trace(copy, 2, "float32")
    assert list(copy.variables()) == list(layer.variables()), "a copy has other weights"
    copy.set_weights(layer.get_weights())
    for training in MODES:
        arrays = subject.arrays("float32")
        assert_same(*(subject.value(each, arrays, training) for each in (copy, layer)),
                    "a copy with the same weights gives another output")


def check_weights(subject: Subject) -> None:
    """Weights come out as they went in, and none is changed if one does not fit."""
    layer, rng = subject.built("float32"), np.random.default_rng(subject.seed)
    given = [rng.standard_normal(w.shape).astype(w.dtype) for w in layer.get_weights()]
    layer.set_weights(given)
    refusals = [([*given, np.zeros(1)], DataError)]
    if given:
        refusals.append(([*(w + 1 for w in given[:-1]), np.zeros((*given[-1].shape, 2))],
                         ShapeError))
    for weights, error in refusals:
        try:
            layer.set_weights(weights)
        except error:
            continue
        raise AssertionError("set_weights accepts arrays that do not fit")
    for got, want in zip(layer.get_weights(), given, strict=True):
        assert_same(got, want, "a weight does not come out as it went in")


def assert_close(got, want, tolerance: float, text: str) -> None:
    """Equal within a tolerance relative to the largest entry."""
    assert got.shape == want.shape, f"{text}: {list(got.shape)}, not {list(want.shape)}"
    largest = np.max(np.abs(got - want), initial=0.0)
    allowed = tolerance * max(1.0, np.max(np.abs(want), initial=0.0))
    assert largest <= allowed, f"{text}: by {largest:.3g}"          # a NaN is not below it


def assert_same(got, want, text: str) -> None:
    """The same bits."""
    assert got.tobytes() == want.tobytes(), text


CHECKS: dict[str, Callable[[Subject], bool | None]] = {
    "batch_size": check_batch_size, "shapes": check_shapes, "dtypes": check_dtypes,
    "gradients": check_gradients, "lengths": check_lengths, "rows": check_rows,
    "padding": check_padding, "determinism": check_determinism, "updates": check_updates,
    "files": check_files, "weights": check_weights}
