"""A script: plans of the real cuDNN for a GPU that is not there; prints how many for each call.

One of cuDNN's libraries is linked to the driver. Where there is none, a library with the same name
and functions that fail is loaded first: planning calls none of them.
"""
import ctypes
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from gradatim.backend.cuda.cudnn import Cudnn
from gradatim.backend.cuda.cudnn_convolution import OPERATIONS, operations
from gradatim.backend.cuda.cudnn_rnn import ALGORITHMS, CELLS, Layer
from gradatim.backend.cuda.libraries import open_library
from gradatim.backend.errors import BackendError
from gradatim.backend.ops.sliding import sliding

DRIVER = ("cuGetErrorString", "cuModuleGetFunction", "cuModuleLoadData", "cuModuleUnload",
          "cuTensorMapEncodeIm2col", "cuTensorMapEncodeTiled")
# An H200, as far as it is known from outside.
PROPERTIES = {
    "deviceVer": 900, "deviceName": "NVIDIA H200", "maxGridSize": [2 ** 31 - 1, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "multiProcessorCount": 132,
    "smCountOrigin": 0, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448, "oversizedSharedMemoryPerBlock": 0,
    "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "cudaDeviceId": 0,
    "driverVer": 13000, "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000,
    "memClockRateKHz": 3201000, "memoryBusWidth": 6144, "l2CacheSize": 62914560,
    "totalGlobalMem": 150 * 10 ** 9}
# Sizes of the axes and of the window, channels, filters, groups, the op's settings.
CASES = {
    "same": ((28, 28), (3, 3), 64, 64, 1, dict(strides=1, padding="same")),
    "channels that fill no vector": ((28, 28), (3, 3), 30, 30, 1,
                                     dict(strides=2, padding="same")),
    "causal": ((100,), (5,), 16, 32, 1, dict(strides=1, padding="causal")),
    "volume": ((8, 8, 8), (3, 3, 3), 16, 32, 1, dict(strides=1, padding="valid")),
    "groups": ((28, 28), (3, 3), 64, 64, 4, dict(strides=1, padding="same", dilation=2))}
# The numbers, and whether tensor cores may round them.
PRECISIONS = {"float32": ("float32", False), "tf32": ("float32", True),
              "bfloat16": ("bfloat16", True), "float16": ("float16", True),
              "float64": ("float64", False)}


def load_driver() -> None:
    """The driver of this machine, or one without functions."""
    try:
        ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL)
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "libcuda.so.1"
            source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in DRIVER)
            subprocess.run([shutil.which("cc") or shutil.which("gcc") or "cc", "-shared", "-fPIC",
                            "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", str(path)],
                           input=source.encode(), check=True)
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def main() -> None:
    load_driver()
    open_library("cublasLt")                   # without it the next lines would end the process
    cudnn, found = Cudnn(0, json.dumps(PROPERTIES)), {}
    for case, (size, window, channels, filters, groups, settings) in CASES.items():
        axes = sliding(size, window, **settings)
        for precision, (dtype, tensor_cores) in PRECISIONS.items():
            for call in OPERATIONS:
                more = dict(bias=True, activation="relu") if call == "convolution" else {}
                graph = operations(cudnn, call, axes=axes, shape=(32, channels, filters, groups),
                                   dtype=dtype, **more)
                found[f"{call}, {case}, {precision}"] = len(cudnn.plans(graph, tensor_cores))
    for cell in CELLS:                         # as far as it goes without a handle
        found[cell] = sum(describes(cudnn, number, cell) for number in ALGORITHMS.values())
    print(json.dumps(found))


def describes(cudnn: Cudnn, algorithm: int, cell: str) -> bool:
    """Whether the library takes the description of a layer."""
    try:
        return bool(Layer(cudnn, algorithm, cell=cell, batch=4, steps=7, features=16, units=128,
                          dtype="float32", training=True, tf32=True))
    except BackendError:
        return False


if __name__ == "__main__":
    main()
