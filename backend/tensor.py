"""Tensor: a node of the graph, and `apply`, the only way to make one."""
from __future__ import annotations

import zlib
from typing import Any, Callable

import numpy as np

from .context import current, describe_line, user_line
from .errors import DTypeError, Error, GraphError, ParameterError, ShapeError
from .op import OPS, Op, op
from .spec import Spec, converted
from .subscript import subscript


class Node:
    """One application of an op: its inputs, settings, device and the user's line."""
    __slots__ = ("op", "inputs", "settings", "specs", "device", "where", "layer", "outputs",
                 "__weakref__")

    def __init__(self, op: Op, inputs: tuple[Tensor, ...], settings: dict[str, Any],
                 specs: tuple[Spec, ...], device: str = "", where=("", 0), layer: str = ""):
        self.op, self.inputs, self.settings, self.specs = op, inputs, settings, specs
        self.device, self.where, self.layer = device, where, layer
        self.outputs = tuple(Tensor(self, index) for index in range(len(specs)))

    def with_inputs(self, inputs: tuple[Tensor, ...]) -> Node:
        """The same application to other inputs; shapes follow from them."""
        specs = self.op.spec(*(t.spec for t in inputs), **self.settings)
        return Node(self.op, inputs, self.settings, specs if type(specs) is tuple else (specs,),
                    self.device, self.where, self.layer)

    @property
    def line(self) -> str:
        """The user's line that made the node, and the layer around it."""
        return describe_line(self.where, self.layer)


class Tensor:
    """One output of a node: what users hold and compute with.

    ``==`` on tensors is identity, because tensors are the keys of feeds; `gt.equal` compares.
    Outside `gt.eager()` a tensor has no value: it stands for what a graph will compute.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((2, 3), name="x")
    >>> y = (x * 2.0).sum(axis=1)
    >>> print(y.spec)
    float32[2]
    """
    __slots__ = ("node", "index", "spec", "value", "origin", "__weakref__")
    __array_ufunc__ = None  # NumPy arrays leave mixed arithmetic to us

    def __init__(self, node: Node, index: int):
        self.node, self.index, self.spec = node, index, node.specs[index]
        self.value = None    # the array, while eager
        self.origin = None   # the layer call that made it, for layers.Model

    shape = property(lambda self: self.spec.shape, doc="Tuple of axis lengths.")
    dtype = property(lambda self: self.spec.dtype, doc="Element type, a NumPy dtype.")
    ndim = property(lambda self: len(self.spec.shape), doc="Number of axes.")
    size = property(lambda self: self.spec.size, doc="Number of elements.")
    device = property(lambda self: self.node.device, doc="Device, or an empty string.")
    T = property(lambda self: OPS["transpose"](self), doc="The transpose.")

    def __repr__(self) -> str:
        value = "" if self.value is None else f", value=\n{self.value!r}"
        return f"<Tensor {self.node.op.name} : {self.spec}{value}>"

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array: of a constant, a variable, or any tensor made eagerly."""
        if self.node.op is constant_op:
            return np.array(self.node.settings["value"])
        if self.value is None:
            raise GraphError("this tensor has no value yet: it is a node of a graph",
                             at=self.node.line, fix="use gt.run(tensor, feeds), or gt.eager()")
        return np.array(self.value)

    __array__ = lambda self, dtype=None, copy=None: np.asarray(self.numpy(), dtype)

    def __bool__(self):
        if self.value is None:
            raise GraphError("a tensor has no truth value while the graph is being built",
                             at=self.node.line, fix="use gt.where(condition, a, b), or gt.eager()")
        return bool(self.value)

    def __len__(self):
        if not self.shape:
            raise ShapeError("a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        if isinstance(index, Tensor):
            return OPS["gather"](self, index)
        return subscript(self, index if isinstance(index, tuple) else (index,))

    def reshape(self, *shape) -> Tensor:
        """The same elements in another shape; one -1 is inferred."""
        return OPS["reshape"](self, shape=shape[0] if isinstance(shape[0], tuple) else shape)

    def astype(self, dtype) -> Tensor:
        """The same numbers in another element type."""
        return OPS["cast"](self, dtype=np.dtype(dtype).name)


def _method(name):
    def method(self, axis=None, keepdims=False):
        return OPS[name](self, axis=axis, keepdims=keepdims)
    method.__name__ = name
    method.__doc__ = f"``gt.{name}`` over ``axis`` (None: all axes)."
    return method


for _name in ("sum", "mean", "var", "max", "min", "prod"):
    setattr(Tensor, _name, _method(_name))
for _method_name, _name in {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
        "matmul": "matmul", "mod": "mod"}.items():
    setattr(Tensor, f"__{_method_name}__", lambda a, b, _name=_name: apply(OPS[_name], a, b))
    setattr(Tensor, f"__r{_method_name}__", lambda a, b, _name=_name: apply(OPS[_name], b, a))
for _method_name, _name in {"lt": "less", "le": "less_equal", "gt": "greater",
                            "ge": "greater_equal", "and": "logical_and",
                            "or": "logical_or"}.items():
    setattr(Tensor, f"__{_method_name}__", lambda a, b, _name=_name: apply(OPS[_name], a, b))
for _method_name, _name in {"neg": "negative", "abs": "abs", "invert": "logical_not"}.items():
    setattr(Tensor, f"__{_method_name}__", lambda a, _name=_name: apply(OPS[_name], a))


class Variable(Tensor):
    """A tensor whose value outlives a run and changes only by updates or `assign`.

    The value is drawn from the initializer when first read, keyed by the variable's name, so that
    names given while a model is put together decide it and the order of creation does not.
    `gt.variable` makes one from a shape or a value.

    Parameters
    ----------
    spec : Spec
        Shape and dtype.
    initializer : callable ``(spec, seed, stream) -> array``
        Draws the first value.
    name : str
        The name that files know it by.
    trainable : bool
        Whether an optimizer may change it.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend import Spec, Variable
    >>> w = Variable(Spec.of((2,)), lambda spec, seed, stream: np.ones(spec.shape), "w")
    >>> w.drawn, w.numpy(), w.drawn
    (False, array([1., 1.], dtype=float32), True)
    """
    __slots__ = ("initializer", "trainable", "_storage")

    def __init__(self, spec: Spec, initializer: Callable, name: str, trainable: bool = True):
        settings = {"name": name, "shape": spec.shape, "dtype": spec.dtype.name}
        node = Node(variable_op, (), settings, (spec,), current().device or "", user_line())
        super().__init__(node, 0)
        node.outputs = (self,)
        self.initializer, self.trainable, self._storage = initializer, trainable, None

    @property
    def name(self) -> str:
        """The name that checkpoints and files know it by."""
        return self.node.settings["name"]

    @name.setter
    def name(self, name: str) -> None:
        self.node.settings["name"] = name

    def initialize(self, seed: int = 0) -> None:
        """Draw the value anew from (seed, stream of the name)."""
        value = np.asarray(self.initializer(self.spec, seed, stream_of(self.name)), self.dtype)
        self.assign(value)

    @property
    def drawn(self) -> bool:
        """Whether it has a value yet."""
        return self._storage is not None

    @property
    def storage(self):
        """The value as the backend that wrote it keeps it; an array may be read, not written."""
        value = self.memory()
        if type(value) is not np.ndarray:
            return value.freeze() if hasattr(value, "freeze") else value
        if value.flags.writeable:
            value = value.view()
            value.flags.writeable = False
        return value

    @storage.setter
    def storage(self, value) -> None:
        self._storage = np.array(value) if isinstance(value, np.ndarray) else value

    def memory(self):
        """The value itself, for programs that write their updates into it."""
        if self._storage is None:
            self.initialize()
        return self._storage

    def snapshot(self):
        """The value, from now on read-only: programs keep what they make of it while it is alive.

        An update after this is written to a copy, so a snapshot never changes.
        """
        value = self.memory()
        if type(value) is not np.ndarray:
            return value.freeze() if hasattr(value, "freeze") else value
        if value.flags.writeable:
            value.flags.writeable = False
        return value

    def keep(self, value) -> None:
        """Take over what a program wrote; nobody else may write to it."""
        self._storage = value

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return np.array(self.storage)

    def assign(self, value) -> None:
        """Set the value; shape and dtype stay, and no fraction is cut off."""
        value = np.asarray(value)
        if value.dtype.kind not in "biu" + "f" * self.spec.is_float:
            raise DTypeError(f'variable "{self.name}": a value of another element type',
                             got=f"{value.dtype}, not {self.dtype}")
        if value.shape != self.shape:
            raise ShapeError(f'variable "{self.name}": a value of another shape',
                             got=f"{list(value.shape)}, not {list(self.shape)}")
        self._storage = np.array(converted(value, self.dtype))

    def __repr__(self) -> str:
        return f'<Variable "{self.name}" : {self.spec}>'


def stream_of(path: str) -> int:
    """The random stream of a path: 32 bits that depend on nothing else."""
    return zlib.crc32(path.encode())


# ---- leaves ------------------------------------------------------------------------------------

placeholder_op = op("placeholder", forward=lambda xp, *, name, shape, dtype, batch: None,
                    spec=lambda *, name, shape, dtype, batch: Spec(shape, np.dtype(dtype)))
variable_op = op("variable", forward=lambda xp, *, name, shape, dtype: None,
                 spec=lambda *, name, shape, dtype: Spec(shape, np.dtype(dtype)))
constant_op = op("constant", forward=lambda xp, *, value: xp.asarray(value), onnx="Constant",
                 spec=lambda *, value: Spec(value.shape, value.dtype))
copy_op = op("copy", forward=lambda xp, x, *, device: x, spec=lambda x, *, device: x,
             grad=lambda g, out, x, *, device: (g,), flops=lambda x, *, device: 0,
             samples=lambda rng: [([rng.standard_normal((2, 3))], {"device": "cpu:0"})])
LEAVES = (placeholder_op, variable_op, constant_op)


def constant(value, dtype=None) -> Tensor:
    """A tensor whose value is part of the graph.

    Parameters
    ----------
    value : number, nested list or array
        Arrays keep their dtype; Python floats become float32, ints int64.
    dtype : str or dtype, optional
        Element type to convert to.

    Examples
    --------
    >>> import gradatim as gt
    >>> gt.constant([1.0, 2.0]).numpy()
    array([1., 2.], dtype=float32)
    """
    value = array_of(value, dtype).copy()
    value.setflags(write=False)
    return apply(constant_op, value=value)


def array_of(value, dtype=None) -> np.ndarray:
    """An array of native bytes; Python floats are float32 unless told otherwise."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"tensors hold numbers, not {array.dtype}",
                         got=f"{type(value).__name__} {str(value)[:60]}")
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)) and array.dtype == float:
        dtype = "float32"
    return converted(array, Spec.of(array.shape, array.dtype if dtype is None else dtype).dtype)


# ---- making nodes ------------------------------------------------------------------------------

def apply(op: Op, *inputs, **settings):
    """The only way to make a node: check it, remember the user's line, run it now when eager.

    Parameters
    ----------
    op : Op
        The operation.
    *inputs : Tensor, array or number
        Data; trailing None are left out. Numbers take the dtype of the tensors beside them.
    **settings
        The op's settings.

    Returns
    -------
    Tensor or tuple of Tensor
        One per output.

    Raises
    ------
    ShapeError, DTypeError, ParameterError
        Naming the op, what it got, and the user's line.
    """
    context, where = current(), user_line()
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        settings = op.settle(settings)
        inputs = _as_tensors(op, inputs)
        if op is copy_op:
            device = settings["device"]
        elif context.device is not None:
            device = context.device
        else:
            device = next((t.device for t in inputs if t.node.op is not constant_op), "")
        specs = op.spec(*(t.spec for t in inputs), **settings)
    except Error as error:
        _locate(error, op, inputs, describe_line(where, context.layer), context.fix)
    node = Node(op, inputs, settings, specs if type(specs) is tuple else (specs,),
                device, where, context.layer)
    if context.runner is not None:
        values = context.runner(node, [eager_value(t) for t in inputs])
        for tensor, value in zip(node.outputs, values):
            tensor.value = value
    return node.outputs if type(specs) is tuple else node.outputs[0]


Op.apply = staticmethod(apply)


def eager_value(tensor: Tensor):
    """The array an eager op computes with."""
    if isinstance(tensor, Variable):
        return np.asarray(tensor.storage)
    if tensor.value is None and tensor.node.op is not constant_op:
        raise GraphError("an eager op was given a tensor without a value",
                         at=tensor.node.line, fix="make it inside gt.eager(), or use gt.run")
    return tensor.node.settings["value"] if tensor.value is None else tensor.value


def _as_tensors(op: Op, inputs) -> tuple[Tensor, ...]:
    """Inputs as tensors; Python numbers take the first tensor's dtype that is not bool."""
    least, most, _ = op.signature
    if len(inputs) < least or most is not None and len(inputs) > most:
        wanted = str(least) if least == most else f"{least} or more" if most is None else \
            f"{least} to {most}"
        raise ParameterError(f"takes {wanted} input{'s' * (wanted != '1')}, not {len(inputs)}",
                             fix="data are positional, settings are keywords")
    dtypes = [x.dtype for x in inputs if isinstance(x, (Tensor, np.ndarray)) and x.dtype != bool]
    like = next((d for d in dtypes if d.kind == "f"), dtypes[0] if dtypes else None)
    return tuple(x if isinstance(x, Tensor) else _literal(x, like) for x in inputs)


def _literal(x, like) -> Tensor:
    """A constant; numbers and lists that fit adopt the dtype ``like``, arrays keep theirs."""
    if x is None:
        raise ParameterError("None is not a tensor", fix="only trailing inputs may be left out")
    if isinstance(x, np.ndarray) or like is None:
        return constant(x)
    value = np.asarray(x)
    if value.dtype.kind in "iu" and (like.kind in "iu" or value.ndim == 0) or \
            value.dtype.kind == "f" and like.kind == "f":
        return constant(value, like)
    if value.dtype.kind == "f" and value.ndim == 0:
        raise DTypeError(f"{x!r} is not a whole number and the tensor is {like}",
                         fix='convert the tensor with gt.cast(x, dtype="float32")')
    return constant(x)


def _locate(error: Error, op: Op, inputs, line: str, fix: str):
    """Raise the error again with the op's name, what it got, and the user's line."""
    got = "  ".join(str(x.spec) if isinstance(x, Tensor) else
                    f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else
                    repr(x)[:60] for x in inputs)
    what = error.what if error.what.startswith(op.name + ":") else f"{op.name}: {error.what}"
    facts = {"got": got, "at": line, **error.facts}
    if fix:
        facts["fix"] = fix
    raise type(error)(what, **facts) from None
