"""NVRTC, the compiler of CUDA C++, called through ctypes; it needs no GPU and no driver."""
from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from ..errors import BackendError
from .cache import KERNELS, cached, headers
from .device import Source
from .libraries import LIBRARIES, open_library, wheel_file

FLAGS = ("-std=c++17", "-lineinfo", f"-I{KERNELS}")
SUFFIXES = "af"                     # sm_90a, sm_120f: what only one architecture or family has


class Nvrtc:
    """The compiler, with its version and the architectures it compiles for.

    Attributes
    ----------
    version : str
        ``"13.0"``.
    architectures : tuple of int
        ``90`` stands for sm_90.
    """

    def __init__(self):
        # It looks for its built-in functions only among libraries that are open already.
        builtins = wheel_file(LIBRARIES["NVRTC"].wheels, "libnvrtc-builtins.so")
        if builtins is not None:
            ctypes.CDLL(str(builtins))
        self._library = open_library("NVRTC")
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        known = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(known))
        self.version, self.architectures = f"{major.value}.{minor.value}", tuple(known)

    def compiled(self, source: Source, architecture: str) -> bytes:
        """Machine code of a source for ``"sm_90"``, from the cache if it is there.

        For a GPU newer than this compiler it is PTX, which the driver compiles.

        Raises
        ------
        BackendError
            With what the compiler says of a source that it refuses.
        """
        options, kind = self._options(source, architecture)
        parts = [source.whole, *headers(), f"NVRTC {self.version}", *options]
        path = cached("." + kind.lower(), parts, lambda: self._compile(source, options, kind))
        return Path(path).read_bytes()

    def _options(self, source: Source, architecture: str) -> tuple[list[str], str]:
        """Flags, and which of its results is asked for."""
        number, kind = int(architecture.removeprefix("sm_").rstrip(SUFFIXES)), "CUBIN"
        if number not in self.architectures:
            older = [a for a in self.architectures if a < number]
            if not older:
                raise BackendError(
                    f"NVRTC {self.version} does not compile for a GPU of architecture "
                    f"{architecture}", got=f"sm_{min(self.architectures)} and newer",
                    fix='pip install "gradatim[cuda12]", which knows older GPUs')
            architecture, kind = f"compute_{max(older)}", "PTX"
        return [f"-arch={architecture}", *FLAGS], kind

    def _compile(self, source: Source, options: list[str], kind: str) -> bytes:
        library, program = self._library, ctypes.c_void_p()
        self._check(library.nvrtcCreateProgram(
            ctypes.byref(program), source.whole.encode(), f"{source.name}.cu".encode(), 0, None,
            None))
        try:
            flags = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
            if library.nvrtcCompileProgram(program, len(options), flags):
                log = self._result(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
                raise BackendError(f"the kernels {source.name} do not compile", why=log[:2000])
            return self._result(program, kind)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _result(self, program, kind: str) -> bytes:
        """One result of a compilation."""
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
        made = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{kind}")(program, made))
        return made.raw

    def _check(self, code: int) -> None:
        if code:
            raise BackendError(f"NVRTC: {self._library.nvrtcGetErrorString(code).decode()}")


@cache
def nvrtc() -> Nvrtc:
    """The compiler of this process."""
    return Nvrtc()
