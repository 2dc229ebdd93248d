"""The CUDA backend's kernels under AddressSanitizer, on the CPU that stands in for a GPU.

Run ``python tests/cuda/sanitize_cuda.py``; it starts itself again with the sanitizer's library
loaded first. Every value of a program gets memory of its own with forbidden bytes behind it, so
that one element too far ends the process with the kernel's line. Words choose ops (``softmax``) or
nets (``net:lenet``); without any, all ops and nets are run. ``planted`` reads one element too far.
"""
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

OPTIONS = "detect_leaks=0:detect_stack_use_after_return=0"
SPARE = 256


def start_again() -> int:
    """Run this script with the sanitizer."""
    compiler = os.environ.get("CXX", "g++")
    library = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True,
                             text=True, check=True).stdout.strip()
    environment = {**os.environ, "LD_PRELOAD": library, "ASAN_OPTIONS": OPTIONS}
    return subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=environment).returncode


def forbid_what_lies_between() -> None:
    """Place every value by itself, and forbid what bytes of a program's memory are no value's."""
    import ctypes
    from weakref import finalize

    from gradatim.backend.cuda import arena, lease
    poison = ctypes.CDLL(None).__asan_poison_memory_region
    allow = ctypes.CDLL(None).__asan_unpoison_memory_region
    poison.argtypes = allow.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    def apart(sizes, first, last):
        offsets, total = {}, SPARE
        for value, size in sizes.items():
            offsets[value] = total
            total += arena.aligned(size) + SPARE
        return offsets, total
    arena.plan = apart
    prepare = lease.Lease.__init__

    def prepare_and_forbid(self, program):
        prepare(self, program)
        end = 0
        for offset, value in sorted((o, v) for v, o in program.offsets.items()):
            poison(self.memory.address + end, offset - end)
            end = offset + program.values[value].nbytes
        poison(self.memory.address + end, program.bytes - end)
        # NumPy hands out small memory again that it never gave back.
        finalize(self.memory, allow, self.memory.address, program.bytes)
    lease.Lease.__init__ = prepare_and_forbid


PLANTED = """#include "common.cuh"
extern "C" __global__ void planted(const float* x, float* out, int64 count) {
  int64 i = int64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i <= count) out[0] = x[i];
}
EXPORT_FLAT(planted)
"""


def planted(backend) -> None:
    """A kernel that reads one element too far."""
    import numpy as np

    import gradatim as gt
    from gradatim.backend.cuda import emit
    from gradatim.backend.cuda.device import Source

    def wrong(program, node):
        program.launch(Source("planted", PLANTED), "planted", (1, 1, 1), (256, 1, 1),
                       [program.read(node.inputs[0]), program.write(node.outputs[0]),
                        np.int64(node.inputs[0].spec.size)])
        return True
    emit.EMIT["max"] = wrong
    x = gt.placeholder((7,))
    gt.function([x], gt.max(x), backend=backend)(np.ones(7, "f"))


def main(words) -> None:
    """Run what the words choose."""
    from gradatim import testing
    from gradatim.backend.cuda import CudaBackend
    from gradatim.backend.cuda.cpu_device import CpuDevice
    forbid_what_lies_between()
    backend = CudaBackend(CpuDevice(flags=("-fsanitize=address", "-g")))
    if "planted" in words:
        planted(backend)
    for case in testing.op_cases():
        if not words or case.op.name in words:
            testing.check_value(case, backend)
            testing.check_gradient(case, backend)
    path = Path(__file__).with_name("test_cuda_programs.py")
    spec = spec_from_file_location("test_cuda_programs", path)
    programs = module_from_spec(spec)
    spec.loader.exec_module(programs)
    for name in programs.NETS:
        if not words or f"net:{name}" in words:
            programs.compare(name, 5, backend)
            programs.trainer(name, backend, 5, precision="float16")
    print("nothing was found")


if __name__ == "__main__":
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):
        sys.exit(start_again())
    main(sys.argv[1:])
