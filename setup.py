"""Builds the compiled core of the native backend; where that fails, installs without it."""
import importlib.metadata
import platform
import sys
from pathlib import Path

from setuptools import setup

FLAGS = ["-std=c++17", "-O3", "-fopenmp", "-fvisibility=hidden",
         # Not -ffast-math: NaN and infinities keep their meaning.
         "-fno-math-errno", "-fno-trapping-math"]


def extensions():
    """The core, where it can be built: Linux x86-64 with pybind11 and oneDNN's headers."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return []
    try:
        from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
        files = importlib.metadata.files("onednn-devel-cpu-gomp") or ()
    except ImportError as missing:
        print(f"the native backend is left out: {missing}", file=sys.stderr)
        return []
    headers = [f.locate() for f in files if f.name == "dnnl.hpp" and f.parent.name == "dnnl"]
    if not headers:
        print("the native backend is left out: oneDNN's headers are missing", file=sys.stderr)
        return []
    ParallelCompile(default=0).install()
    include = Path(headers[0]).resolve().parents[2]
    sources = sorted(str(p) for p in Path("backend/native/src").glob("*.cpp"))
    core = Pybind11Extension("gradatim.backend.native._core", sources,
                             include_dirs=[str(include)], cxx_std=17, extra_compile_args=FLAGS,
                             extra_link_args=["-fopenmp", "-ldl"],
                             depends=[str(p) for p in Path("backend/native/src").glob("*.hpp")])
    core.optional = True
    return [core]


setup(script_name="setup.py", ext_modules=extensions())
