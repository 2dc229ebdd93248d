"""cuDNN 9's graph API through ctypes: descriptors of operations, plans for them, their execution.

An operation graph is described, a heuristic lists engines that can run it, and one of them becomes
a plan with a workspace. All of this needs no GPU if the properties of one are given instead.
"""
from __future__ import annotations

import ctypes as c
from typing import NamedTuple

from ..errors import BackendError
from .libraries import LIBRARIES, open_library

OLDEST, BEYOND = 91000, 100000             # what cudnnGetVersion must answer at least, and below
LARGEST_WORKSPACE = 256 * 2 ** 20
MOST_PLANS = 6                             # that are measured against each other
HEURISTICS = (3, 2)                        # HEUR_MODE_A, HEUR_MODE_FALLBACK
# Numerical notes of engines.
TENSOR_CORE, DOWN_CONVERT_INPUTS, REDUCED_PRECISION_REDUCTION, NONDETERMINISTIC = 0, 1, 2, 4
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}  # cudnnDataType_t

_P, _N = c.c_void_p, c.c_int64
FUNCTIONS = {
    "cudnnCreate": (_P,), "cudnnSetStream": (_P, _P),
    "cudnnGetLastErrorString": (_P, c.c_size_t),
    "cudnnBackendCreateDescriptor": (c.c_int, _P), "cudnnBackendDestroyDescriptor": (_P,),
    "cudnnBackendSetAttribute": (_P, c.c_int, c.c_int, _N, _P),
    "cudnnBackendGetAttribute": (_P, c.c_int, c.c_int, _N, _P, _P),
    "cudnnBackendFinalize": (_P,), "cudnnBackendExecute": (_P, _P, _P),
}
# Of cudnn_graph.h, without CUDNN_BACKEND_ and _DESCRIPTOR; numbers stay the same in cuDNN 9.
KINDS = {
    "POINTWISE": 0, "CONVOLUTION": 1, "ENGINE": 2, "ENGINECFG": 3, "ENGINEHEUR": 4,
    "EXECUTION_PLAN": 5, "OPERATION_CONVOLUTION_FORWARD": 10,
    "OPERATION_CONVOLUTION_BACKWARD_FILTER": 11, "OPERATION_CONVOLUTION_BACKWARD_DATA": 12,
    "OPERATION_POINTWISE": 13, "OPERATIONGRAPH": 15, "VARIANT_PACK": 16, "TENSOR": 17,
    "DEVICEPROP": 38}
# Without CUDNN_TYPE_: the number, and what an element is in C.
ELEMENTS = {
    "HANDLE": (0, _P), "DATA_TYPE": (1, c.c_int), "BOOLEAN": (2, c.c_bool), "INT64": (3, _N),
    "FLOAT": (4, c.c_float), "DOUBLE": (5, c.c_double), "VOID_PTR": (6, _P),
    "CONVOLUTION_MODE": (7, c.c_int), "HEUR_MODE": (8, c.c_int), "NAN_PROPOGATION": (10, c.c_int),
    "NUMERICAL_NOTE": (11, c.c_int), "POINTWISE_MODE": (14, c.c_int),
    "BACKEND_DESCRIPTOR": (15, _P), "CHAR": (24, c.c_char)}


def _numbered(first: int, kind: str, *names: str) -> dict[str, tuple[int, str]]:
    return {name: (first + i, kind) for i, name in enumerate(names)}


# Without CUDNN_ATTR_: the number, and the type of the elements.
ATTRIBUTES = {
    "POINTWISE_MODE": (0, "POINTWISE_MODE"), "POINTWISE_MATH_PREC": (1, "DATA_TYPE"),
    "POINTWISE_NAN_PROPAGATION": (2, "NAN_PROPOGATION"),
    "CONVOLUTION_COMP_TYPE": (100, "DATA_TYPE"), "CONVOLUTION_CONV_MODE": (101, "CONVOLUTION_MODE"),
    **_numbered(102, "INT64", "CONVOLUTION_DILATIONS", "CONVOLUTION_FILTER_STRIDES",
                "CONVOLUTION_POST_PADDINGS", "CONVOLUTION_PRE_PADDINGS",
                "CONVOLUTION_SPATIAL_DIMS"),
    "ENGINEHEUR_MODE": (200, "HEUR_MODE"),
    **_numbered(201, "BACKEND_DESCRIPTOR", "ENGINEHEUR_OPERATION_GRAPH", "ENGINEHEUR_RESULTS"),
    "ENGINEHEUR_DEVICEPROP": (204, "BACKEND_DESCRIPTOR"),
    "ENGINECFG_ENGINE": (300, "BACKEND_DESCRIPTOR"),
    "EXECUTION_PLAN_HANDLE": (400, "HANDLE"),
    "EXECUTION_PLAN_ENGINE_CONFIG": (401, "BACKEND_DESCRIPTOR"),
    "EXECUTION_PLAN_WORKSPACE_SIZE": (402, "INT64"),
    "EXECUTION_PLAN_DEVICEPROP": (407, "BACKEND_DESCRIPTOR"),
    **{f"OPERATION_CONVOLUTION_{way}_{name}": (first + i, kind)
       for first, way, names in ((700, "FORWARD", ("W", "X", "Y")),
                                 (706, "BWD_DATA", ("W", "DX", "DY")),
                                 (712, "BWD_FILTER", ("DW", "X", "DY")))
       for i, (name, kind) in enumerate((("ALPHA", "FLOAT"), ("BETA", "FLOAT"), *(
           (name, "BACKEND_DESCRIPTOR") for name in ("CONV_DESC", *names))))},
    **_numbered(750, "BACKEND_DESCRIPTOR", "OPERATION_POINTWISE_PW_DESCRIPTOR",
                "OPERATION_POINTWISE_XDESC", "OPERATION_POINTWISE_BDESC",
                "OPERATION_POINTWISE_YDESC"),
    "OPERATIONGRAPH_HANDLE": (800, "HANDLE"), "OPERATIONGRAPH_OPS": (801, "BACKEND_DESCRIPTOR"),
    "TENSOR_BYTE_ALIGNMENT": (900, "INT64"), "TENSOR_DATA_TYPE": (901, "DATA_TYPE"),
    "TENSOR_DIMENSIONS": (902, "INT64"), "TENSOR_STRIDES": (903, "INT64"),
    "TENSOR_UNIQUE_ID": (906, "INT64"), "TENSOR_IS_VIRTUAL": (907, "BOOLEAN"),
    "VARIANT_PACK_UNIQUE_IDS": (1000, "INT64"), "VARIANT_PACK_DATA_POINTERS": (1001, "VOID_PTR"),
    "VARIANT_PACK_WORKSPACE": (1003, "VOID_PTR"),
    "ENGINE_NUMERICAL_NOTE": (1303, "NUMERICAL_NOTE"),
    "DEVICEPROP_JSON_REPRESENTATION": (2702, "CHAR")}


class Descriptor:
    """What the library is told, or tells; destroyed with it."""

    def __init__(self, cudnn: Cudnn, kind: str):
        self._cudnn, self.pointer = cudnn, c.c_void_p()
        self._kept: list = []                    # descriptors that this one is made of
        cudnn.call("cudnnBackendCreateDescriptor", KINDS[kind], c.byref(self.pointer))

    def set(self, name: str, *values) -> None:
        """An attribute, from numbers or descriptors."""
        number, kind = ATTRIBUTES[name]
        code, element = ELEMENTS[kind]
        self._kept += [v for v in values if isinstance(v, Descriptor)]
        array = (element * len(values))(
            *(v.pointer.value if isinstance(v, Descriptor) else v for v in values))
        self._cudnn.call("cudnnBackendSetAttribute", self.pointer, number, code, len(values),
                         array, about=name)

    def get(self, name: str, most: int = 1) -> list:
        """The elements of an attribute that are numbers."""
        number, kind = ATTRIBUTES[name]
        code, element = ELEMENTS[kind]
        count, array = _N(), (element * most)()
        self._cudnn.call("cudnnBackendGetAttribute", self.pointer, number, code, most,
                         c.byref(count), array, about=name)
        return list(array[:count.value])

    def descriptors(self, name: str, kind: str, most: int) -> list[Descriptor]:
        """The elements of an attribute that are descriptors, which the caller provides."""
        number, element = ATTRIBUTES[name]
        made = [Descriptor(self._cudnn, kind) for _ in range(most)]
        count, array = _N(), (_P * most)(*(d.pointer.value for d in made))
        self._cudnn.call("cudnnBackendGetAttribute", self.pointer, number, ELEMENTS[element][0],
                         most, c.byref(count), array, about=name)
        return made[:count.value]

    def __del__(self):
        if self.pointer:
            self._cudnn.library.cudnnBackendDestroyDescriptor(self.pointer)


class Plan(NamedTuple):
    """An engine that can run a graph, what it is known by, and the bytes it works in."""
    name: str
    descriptor: Descriptor
    workspace: int


class Cudnn:
    """The library with a handle of its own.

    Parameters
    ----------
    stream : int
        Where its kernels are queued.
    properties : str
        Of a GPU, as JSON, to plan for it where there is none; then nothing can be executed.

    Raises
    ------
    BackendError
        If the library is not there, is of another version, or has no GPU.
    """

    def __init__(self, stream: int, properties: str = ""):
        self.library = open_library("cuDNN")
        self.version = self.library.cudnnGetVersion()
        if not OLDEST <= self.version < BEYOND:
            raise BackendError(
                f"cuDNN, which {LIBRARIES['cuDNN'].purpose}, must be of a version from "
                f"{OLDEST // 10000}.{OLDEST % 10000 // 100} to 9.99", got=str(self.version))
        self.library.cudnnGetErrorString.restype = c.c_char_p
        self.declare(FUNCTIONS)
        self.handle, self._stream = _P(), stream
        for_graph, for_plan, self._for_heuristics = {}, {}, {}
        if properties:
            device = Descriptor(self, "DEVICEPROP")
            device.set("DEVICEPROP_JSON_REPRESENTATION", *(bytes([b]) for b in
                                                           properties.encode() + b"\0"))
            self.finalize(device)
            self._for_heuristics = {"ENGINEHEUR_DEVICEPROP": [device]}
            for_plan = {"EXECUTION_PLAN_DEVICEPROP": [device]}
        else:
            self.call("cudnnCreate", c.byref(self.handle))
            for_graph = {"OPERATIONGRAPH_HANDLE": [self.handle]}
            for_plan = {"EXECUTION_PLAN_HANDLE": [self.handle]}
        self._for_graph, self._for_plan = for_graph, for_plan

    def declare(self, functions: dict) -> None:
        """Tell ctypes the arguments of functions."""
        for name, arguments in functions.items():
            getattr(self.library, name).argtypes = arguments

    def call(self, name: str, *arguments, about: str = "") -> None:
        """Call a function that returns a status.

        Raises
        ------
        BackendError
            With what the library says of it.
        """
        status = getattr(self.library, name)(*arguments)
        if status:
            text = c.create_string_buffer(512)
            self.library.cudnnGetLastErrorString(text, len(text))
            raise BackendError(f"cuDNN: {' '.join(filter(None, (name, about)))} failed",
                               why=f"{self.library.cudnnGetErrorString(status).decode()} "
                                   f"{text.value.decode(errors='replace')}".strip())

    def use_stream(self) -> None:
        """What is called next is queued in the device's stream."""
        self.call("cudnnSetStream", self.handle, self._stream)

    def made(self, kind: str, **attributes) -> Descriptor:
        """A finished descriptor; each attribute is a list of its elements, or the only one."""
        descriptor = Descriptor(self, kind)
        for name, value in attributes.items():
            descriptor.set(name, *(value if isinstance(value, (list, tuple)) else (value,)))
        return self.finalize(descriptor)

    def finalize(self, descriptor: Descriptor) -> Descriptor:
        """Nothing of a descriptor changes from here on."""
        self.call("cudnnBackendFinalize", descriptor.pointer)
        return descriptor

    def plans(self, operations: list[Descriptor], tensor_cores: bool) -> list[Plan]:
        """Plans for a graph, what is thought the fastest first.

        Engines whose sums depend on the order in which threads come, or are of fewer digits than
        float32, are left out, and without ``tensor_cores`` those that read float32 with ten bits
        after the point.
        """
        graph = self.made("OPERATIONGRAPH", OPERATIONGRAPH_OPS=operations, **self._for_graph)
        without = {DOWN_CONVERT_INPUTS, REDUCED_PRECISION_REDUCTION, NONDETERMINISTIC} | (
            set() if tensor_cores else {TENSOR_CORE})
        found: list[Plan] = []
        for mode in HEURISTICS:
            for place, config in enumerate(self._configs(graph, mode)):
                engine, = config.descriptors("ENGINECFG_ENGINE", "ENGINE", 1)
                if without & {*engine.get("ENGINE_NUMERICAL_NOTE", 16)}:
                    continue
                try:
                    plan = self.made("EXECUTION_PLAN", EXECUTION_PLAN_ENGINE_CONFIG=config,
                                     **self._for_plan)
                except BackendError:           # a heuristic does not see all that an engine needs
                    continue
                workspace, = plan.get("EXECUTION_PLAN_WORKSPACE_SIZE")
                if workspace <= LARGEST_WORKSPACE:
                    found.append(Plan(f"{'AF'[mode == HEURISTICS[1]]}{place}", plan, workspace))
                if len(found) == MOST_PLANS:
                    return found
        return found

    def _configs(self, graph: Descriptor, mode: int) -> list[Descriptor]:
        """Engines for a graph with their settings."""
        try:
            heuristic = self.made("ENGINEHEUR", ENGINEHEUR_OPERATION_GRAPH=graph,
                                  ENGINEHEUR_MODE=mode, **self._for_heuristics)
            return heuristic.descriptors("ENGINEHEUR_RESULTS", "ENGINECFG", 32)
        except BackendError:                   # no engine at all
            return []

    def execution(self, plan: Plan, tensors: dict[int, int], workspace: int):
        """A function that queues a plan with its tensors, by their numbers, at these addresses."""
        pack = self.made("VARIANT_PACK", VARIANT_PACK_UNIQUE_IDS=list(tensors),
                         VARIANT_PACK_DATA_POINTERS=list(tensors.values()),
                         VARIANT_PACK_WORKSPACE=workspace)

        def queue() -> None:
            self.use_stream()
            self.call("cudnnBackendExecute", self.handle, plan.descriptor.pointer, pack.pointer)

        return queue
