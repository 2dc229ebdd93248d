"""Convolutions by cuDNN: three operation graphs, described in NHWC as the backend keeps arrays.

Kernels come with the filters as their first axis, then the window, then the channels: that layout
is the one that the library's fast engines read.
"""
from __future__ import annotations

import math

from ..lowering.view import contiguous
from .cudnn import TYPES, Cudnn, Descriptor, Plan
from .device import Needs
from .expression import HALVES, itemsize
from .tune import Tuner

X, KERNEL, Y, BIAS, PRODUCT, SHIFTED = range(1, 7)       # the tensors' numbers
ALIGNMENT = 16                                           # bytes; values of a program have more
CROSS_CORRELATION, ADD, RELU, PROPAGATE_NAN = 1, 0, 100, 1
# By call: the operation, what its attributes begin with, the names of x, kernel and y in them,
# and which tensors the call's arguments are: two factors, their result, a bias.
OPERATIONS = {
    "convolution": ("FORWARD", "FORWARD", ("X", "W", "Y"), (X, KERNEL, Y, BIAS)),
    "convolution_data_gradient": ("BACKWARD_DATA", "BWD_DATA", ("DX", "W", "DY"), (Y, KERNEL, X)),
    "convolution_kernel_gradient": ("BACKWARD_FILTER", "BWD_FILTER", ("X", "DW", "DY"),
                                    (X, Y, KERNEL))}


def operations(cudnn: Cudnn, call: str, *, axes, shape, dtype: str, bias: bool = False,
               activation: str = "", tf32: bool = False) -> list[Descriptor]:
    """The graph of a call; ``shape`` is batch, channels, filters and groups."""
    batch, channels, filters, groups = shape
    if len(axes) == 1:                                   # the library knows no fewer than two
        axes = (axes[0]._replace(size=1, window=1, stride=1, dilation=1, low=0, high=0, out=1),
                *axes)
    kind, begin, names, _ = OPERATIONS[call]
    computed = "float64" if dtype == "float64" else "float32"

    def tensor(number: int, *sizes: int) -> Descriptor:
        """A tensor whose second axis lies in memory behind all others."""
        lead, second, *rest = sizes
        virtual = number in (PRODUCT, SHIFTED)
        first, *others, last = contiguous((lead, *rest, second))
        return cudnn.made("TENSOR", TENSOR_DATA_TYPE=TYPES[computed if virtual else dtype],
                          TENSOR_DIMENSIONS=sizes, TENSOR_STRIDES=(first, last, *others),
                          TENSOR_UNIQUE_ID=number, TENSOR_BYTE_ALIGNMENT=ALIGNMENT,
                          TENSOR_IS_VIRTUAL=virtual)

    out = batch, filters, *(a.out for a in axes)
    x = tensor(X, batch, channels, *(a.size for a in axes))
    kernel = tensor(KERNEL, filters, channels // groups, *(a.window for a in axes))
    y = tensor(Y, *out)
    product = tensor(PRODUCT, *out) if bias or activation else y
    how = cudnn.made(
        "CONVOLUTION", CONVOLUTION_COMP_TYPE=TYPES[computed],
        CONVOLUTION_CONV_MODE=CROSS_CORRELATION, CONVOLUTION_SPATIAL_DIMS=len(axes),
        CONVOLUTION_PRE_PADDINGS=[a.low for a in axes],
        CONVOLUTION_POST_PADDINGS=[a.high for a in axes],
        CONVOLUTION_DILATIONS=[a.dilation for a in axes],
        CONVOLUTION_FILTER_STRIDES=[a.stride for a in axes])
    given = {"CONV_DESC": how, "ALPHA": 1.0, "BETA": 0.0, **dict(zip(names, (x, kernel, product)))}
    graph = [cudnn.made(f"OPERATION_CONVOLUTION_{kind}", **{
        f"OPERATION_CONVOLUTION_{begin}_{name}": value for name, value in given.items()})]

    def pointwise(mode: dict, **tensors: Descriptor) -> None:
        means = cudnn.made("POINTWISE", POINTWISE_MATH_PREC=TYPES[computed], **mode)
        graph.append(cudnn.made("OPERATION_POINTWISE", OPERATION_POINTWISE_PW_DESCRIPTOR=means, **{
            f"OPERATION_POINTWISE_{name}DESC": t for name, t in tensors.items()}))

    if bias:
        shifted = tensor(SHIFTED, *out) if activation else y
        pointwise({"POINTWISE_MODE": ADD}, X=product, Y=shifted,
                  B=tensor(BIAS, 1, filters, *(1 for _ in axes)))
        product = shifted
    if activation:
        pointwise({"POINTWISE_MODE": RELU, "POINTWISE_NAN_PROPAGATION": PROPAGATE_NAN},
                  X=product, Y=y)
    return graph


class Convolutions:
    """Plans of the calls that a device was asked about; the fastest of several is measured."""
    calls = tuple(OPERATIONS)

    def __init__(self, cudnn: Cudnn, tuner: Tuner):
        self._cudnn, self._tuner = cudnn, tuner
        self._plans: dict[tuple, Plan | None] = {}

    def needs(self, call: str, settings: dict) -> Needs | None:
        """What a call works in; None if the library has no engine for it."""
        plan = self._plan(call, settings)
        return None if plan is None else Needs(plan.workspace)

    def prepare(self, call: str, addresses: list[int], settings: dict):
        """A function that queues a call; its last address is that of the workspace."""
        return self._execution(call, self._plan(call, settings), addresses)

    def _plan(self, call: str, settings: dict) -> Plan | None:
        key = (call, *sorted(settings.items()))
        if key not in self._plans:
            tensor_cores = settings["tf32"] or settings["dtype"] in HALVES
            plans = {plan.name: plan for plan in self._cudnn.plans(
                operations(self._cudnn, call, **settings), tensor_cores)}
            ways = {name: lambda *given, plan=plan: self._execution(call, plan, given)
                    for name, plan in plans.items()}
            nbytes = [*_nbytes(call, settings), max((p.workspace for p in plans.values()),
                                                    default=0)]
            self._plans[key] = plans.get(self._tuner.fastest(repr(key), ways, nbytes))
        return self._plans[key]

    def _execution(self, call: str, plan: Plan, addresses):
        *tensors, workspace = map(int, addresses)
        return self._cudnn.execution(plan, dict(zip(OPERATIONS[call][-1], tensors)), workspace)


def _nbytes(call: str, settings: dict) -> list[int]:
    """Bytes of the tensors of a call, in the order of its arguments."""
    (batch, channels, filters, groups), axes = settings["shape"], settings["axes"]
    count = {X: batch * math.prod(a.size for a in axes) * channels,
             KERNEL: filters * math.prod(a.window for a in axes) * channels // groups,
             Y: batch * math.prod(a.out for a in axes) * filters,
             BIAS: filters if settings.get("bias") else 0}
    return [itemsize(settings["dtype"]) * count[number] for number in OPERATIONS[call][-1]]
