"""The registry: finds a backend by name, imports it only then, and says why one is missing."""
from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from .base import Backend, check_api
from .errors import BackendError, ParameterError

GROUP = "gradatim.backends"
BUILT_IN = {"reference": ".reference", "native": ".native", "cuda": ".cuda.here"}    # best last
_loaded: dict[str, Backend] = {}
_missing: dict[str, BackendError | str] = {}       # built-in ones; "auto" tries them once


def register_backend(backend: Backend) -> Backend:
    """Make a backend known to this process by its name.

    Parameters
    ----------
    backend : Backend
        Its ``name`` is what users write in ``backend="..."``.

    Returns
    -------
    Backend
        The same.

    Raises
    ------
    ParameterError
        If the name is that of a built-in backend.
    BackendError
        If it was written for another version of the surface.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim.backend import Backend, register_backend
    >>> from gradatim.backend.array_module import ArrayModule
    >>> class Plain(Backend):
    ...     name, xp = "plain", ArrayModule(np)
    >>> _ = register_backend(Plain())
    >>> gt.run(gt.constant([1.0, 2.0]) * 2.0, backend="plain")
    array([2., 4.], dtype=float32)
    """
    check_api(backend)
    if backend.name in BUILT_IN or backend.name == "auto":
        raise ParameterError(f'"{backend.name}" is the name of a built-in backend',
                             fix="choose another name")
    _loaded[backend.name] = backend
    return backend


def get_backend(name="auto") -> Backend:
    """The backend of that name.

    Parameters
    ----------
    name : str or Backend
        ``"auto"`` takes the fastest that works here; an instance is returned as it is.

    Raises
    ------
    BackendError
        Saying what was found, why this one is missing, and how to get it.

    Examples
    --------
    >>> import gradatim as gt
    >>> gt.get_backend("reference").name
    'reference'
    """
    if isinstance(name, Backend):
        return check_api(name)
    if name == "auto":
        tried = (_try(n) for n in reversed(BUILT_IN) if n not in _missing)
        return next(b for b in tried if isinstance(b, Backend) and b.automatic)
    if not isinstance(name, str):
        raise ParameterError(f"a backend is a name or a Backend, not {type(name).__name__}",
                             fix='use backend="auto"')
    found = _try(name)
    if isinstance(found, Backend):
        return found
    if isinstance(found, BackendError):
        raise found
    raise BackendError(f'there is no backend "{name}"', found=", ".join(available()),
                       why=found, fix='use backend="auto"')


def available() -> list[str]:
    """Names of the backends that work here.

    Returns
    -------
    list of str
        The built-in ones first, then those registered or provided by packages.

    Examples
    --------
    >>> from gradatim.backend import available
    >>> "reference" in available()
    True
    """
    provided = (e.name for e in entry_points(group=GROUP) if e.name != "auto")
    names = dict.fromkeys([*BUILT_IN, *_loaded, *provided])
    return [name for name in names if isinstance(_try(name), Backend)]


def _try(name: str) -> Backend | BackendError | str:
    """The backend, or why there is none; an error when a package provides one that is no good."""
    if name in _loaded:
        return _loaded[name]
    if name in BUILT_IN:
        try:
            _loaded[name] = import_module(BUILT_IN[name], __package__).backend
            return _loaded[name]
        except BackendError as error:
            _missing[name] = error
        except (ImportError, OSError) as error:
            _missing[name] = str(error)
        return _missing[name]
    for entry in entry_points(group=GROUP, name=name):
        try:
            loaded = entry.load()
            backend = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # another package's code: anything may go wrong in it
            return f"the package {_package(entry)} failed: {error}"
        try:
            _loaded[name] = check_api(backend, _package(entry))
        except BackendError as error:
            return error
        return backend
    return "no package provides it"


def _package(entry) -> str:
    return entry.dist.name if entry.dist else entry.value
