"""cuBLASLt through ctypes: products of matrices with stream and workspace given at each call.

A matrix of ours, row after row, is to the library its transpose, column after column. So of
``out = x @ y`` it computes ``out^T = y^T @ x^T``, and ``y`` is what it calls A.
"""
from __future__ import annotations

import ctypes as c

import numpy as np

from ..errors import BackendError
from .chain import collapsed
from .expression import itemsize
from .libraries import open_library

WORKSPACE = 32 * 2 ** 20            # what NVIDIA advises for the largest GPUs
# Of cublasLt.h, cublas_api.h and library_types.h; the same in CUDA 12 and 13.
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE = {"float32": 68, "float64": 70, "tf32": 77}
ROWS_OF_TRANSPOSE = {False: 0, True: 1}                          # CUBLAS_OP_N, CUBLAS_OP_T
TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8    # of a product
BATCH_COUNT, BATCH_STRIDE = 5, 6                                 # of a matrix
LARGEST_WORKSPACE, ALIGNMENTS = 1, (5, 6, 7, 8)                  # of a preference: A, B, C, D
NOT_SUPPORTED = 15                                               # a status
PLAIN, RELU, BIAS = 1, 2, 4                                      # epilogues; RELU | BIAS is both


class NoAlgorithm(BackendError):
    """The library cannot compute a product."""


class Heuristic(c.Structure):
    """An algorithm that the library proposes."""
    _fields_ = [("algorithm", c.c_uint64 * 8), ("workspace", c.c_size_t), ("state", c.c_int),
                ("waves", c.c_float), ("reserved", c.c_int * 4)]


_P = c.c_void_p
FUNCTIONS = {
    "cublasLtCreate": (_P,),
    "cublasLtMatmulDescCreate": (_P, c.c_int, c.c_int),
    "cublasLtMatmulDescSetAttribute": (_P, c.c_int, _P, c.c_size_t),
    "cublasLtMatmulDescDestroy": (_P,),
    "cublasLtMatrixLayoutCreate": (_P, c.c_int, c.c_uint64, c.c_uint64, c.c_int64),
    "cublasLtMatrixLayoutSetAttribute": (_P, c.c_int, _P, c.c_size_t),
    "cublasLtMatrixLayoutDestroy": (_P,),
    "cublasLtMatmulPreferenceCreate": (_P,),
    "cublasLtMatmulPreferenceSetAttribute": (_P, c.c_int, _P, c.c_size_t),
    "cublasLtMatmulPreferenceDestroy": (_P,),
    "cublasLtMatmulAlgoGetHeuristic": (_P, _P, _P, _P, _P, _P, _P, c.c_int, _P, _P),
    "cublasLtMatmul": (_P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, c.c_size_t, _P),
}


class Descriptor:
    """What the library is told of a product, a matrix or a preference; destroyed with it."""

    def __init__(self, library, kind: str, *arguments):
        self._library, self._kind, self.pointer = library, kind, c.c_void_p()
        self._call("Create", c.byref(self.pointer), *arguments)

    def set(self, attribute: int, value) -> None:
        """An attribute; ``value`` is a number of ctypes."""
        self._call("SetAttribute", self.pointer, attribute, c.byref(value), c.sizeof(value))

    def _call(self, what: str, *arguments) -> None:
        check(getattr(self._library, f"cublasLt{self._kind}{what}")(*arguments), self._kind + what)

    def __del__(self):
        if self.pointer:
            getattr(self._library, f"cublasLt{self._kind}Destroy")(self.pointer)


class CublasLt:
    """The library with a handle of its own.

    Parameters
    ----------
    workspace : int
        Address of `WORKSPACE` bytes that products of one stream share.
    """

    def __init__(self, workspace: int):
        self._library, self._workspace, self._handle = open_library("cublasLt"), workspace, _P()
        for name, arguments in FUNCTIONS.items():
            getattr(self._library, name).argtypes = arguments
        check(self._library.cublasLtCreate(c.byref(self._handle)), "Create")

    def matmul(self, stream: int, x: int, y: int, out: int, bias: int = 0, *, matrices, dtype: str,
               factors: str, activation: str = "", tf32: bool = False):
        """A function that queues the call "matmul"; see ``cpu_calls.py`` for its arguments."""
        lead = [shape[:-2] for shape, _ in matrices]
        batch, strides = collapsed(lead[2], [s[:-2] for _, s in matrices])
        kinds = factors, factors, dtype
        product = self._product(matrices, batch, strides, kinds, tf32)
        epilogue = (RELU if activation else 0) | (BIAS if bias else 0) or PLAIN
        product[0].set(EPILOGUE, c.c_int32(epilogue))
        if bias:
            product[0].set(BIAS_POINTER, c.c_uint64(bias))
        places = []
        for index in np.ndindex(batch[:-1]):             # one call for what one stride describes
            places.append([address + itemsize(kind) * sum(i * s for i, s in zip(index, own))
                           for address, own, kind in zip((x, y, out), strides, kinds)])
        algorithm = self._algorithm(product, places)
        number = c.c_double if dtype == "float64" else c.c_float
        one, none = number(1), number(0)

        def queue() -> None:
            what, a, b, d = (descriptor.pointer for descriptor in product)
            for at_x, at_y, at_out in places:
                check(self._library.cublasLtMatmul(
                    self._handle, what, c.byref(one), at_y, a, at_x, b, c.byref(none), at_out, d,
                    at_out, d, c.byref(algorithm), self._workspace, WORKSPACE, stream), "Matmul")

        return queue

    def _product(self, matrices, batch, strides, kinds, tf32: bool) -> list[Descriptor]:
        """The product and its matrices A, B and the result; sums have the result's type."""
        compute = "tf32" if tf32 and kinds[0] == "float32" else kinds[2]
        made = [Descriptor(self._library, "MatmulDesc", COMPUTE[compute], TYPES[kinds[2]])]
        order = ((1, TRANSPOSE_A), (0, TRANSPOSE_B), (2, None))
        for which, transposing in order:
            shape, steps = matrices[which]
            turned = not (steps[-1] == 1 and steps[-2] >= shape[-1])
            if transposing is not None:
                made[0].set(transposing, c.c_int32(ROWS_OF_TRANSPOSE[turned]))
            rows, columns = (shape[-2], shape[-1]) if turned else (shape[-1], shape[-2])
            layout = Descriptor(self._library, "MatrixLayout", TYPES[kinds[which]], rows, columns,
                                steps[-1] if turned else steps[-2])
            if batch:
                layout.set(BATCH_COUNT, c.c_int32(batch[-1]))
                layout.set(BATCH_STRIDE, c.c_int64(strides[which][-1]))
            made.append(layout)
        return made

    def _algorithm(self, product: list[Descriptor], places) -> Heuristic:
        """What the library thinks is fastest at addresses as little aligned as these."""
        preference = Descriptor(self._library, "MatmulPreference")
        preference.set(LARGEST_WORKSPACE, c.c_uint64(WORKSPACE))
        for attribute, which in zip(ALIGNMENTS, (1, 0, 2, 2)):
            together = 256
            for place in places:
                together = min(together, place[which] & -place[which] or 256)
            preference.set(attribute, c.c_uint32(together))
        found, count = Heuristic(), c.c_int()
        what, a, b, d = (descriptor.pointer for descriptor in product)
        status = self._library.cublasLtMatmulAlgoGetHeuristic(
            self._handle, what, a, b, d, d, preference.pointer, 1, c.byref(found), c.byref(count))
        if status == NOT_SUPPORTED or not status and not count.value:
            raise NoAlgorithm("cuBLASLt has no algorithm for a product of matrices")
        check(status, "MatmulAlgoGetHeuristic")
        return found


def check(status: int, what: str) -> None:
    """Raise if the library says that a call failed."""
    if status:
        raise BackendError(f"cuBLASLt: {what} failed with status {status}")
