"""``gradatim info``: version, backends and why one is missing, devices, threads."""
from __future__ import annotations

import os
import platform
from importlib import import_module
from importlib.metadata import entry_points

from . import __version__
from .backend import get_backend
from .backend.cuda.libraries import LIBRARIES
from .backend.errors import BackendError
from .backend.installed import installed
from .backend.registry import BUILT_IN, GROUP

PACKAGES = ("numpy", "scikit-learn", "h5py", "tqdm")


def info() -> str:
    """A few lines of text about this installation."""
    lines = [f"gradatim      {__version__}",
             f"Python        {platform.python_version()} on {platform.system()} "
             f"{platform.machine()}"]
    lines += [f"{name:<13} {installed(name) or 'not installed'}" for name in PACKAGES]
    lines += [f"{name:<13} {installed(*library.wheels) or 'not installed as a wheel'}"
              for name, library in LIBRARIES.items()]
    best = get_backend("auto").name
    for name in dict.fromkeys([*BUILT_IN, *(e.name for e in entry_points(group=GROUP))]):
        try:
            devices = ", ".join(get_backend(name).devices())
            chosen = ' (backend="auto" takes it)' if name == best else ""
            lines.append(f"backend       {name}: {devices}{chosen}")
        except BackendError as error:
            facts = (error.facts.get(label, "") for label in ("why", "fix"))
            why = "; ".join(filter(None, (error.what, *facts)))
            lines.append(f"backend       {name}: not here, {' '.join(why.split())}")
    lines.append(f"threads       {threads()}")
    lines.append(f"data          {os.environ.get('GRADATIM_DATA') or 'GRADATIM_DATA is not set'}")
    return "\n".join(lines)


def threads() -> str:
    """Processors of this process and the threads of the linear algebra library."""
    from threadpoolctl import threadpool_info
    import_module("numpy")                       # its library must be loaded to be asked
    pools = {f"{p['internal_api']} {p['num_threads']}" for p in threadpool_info()}
    processors = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    return f"{processors} processors; {', '.join(sorted(pools)) or 'no thread pool'}"
