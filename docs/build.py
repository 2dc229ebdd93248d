"""The site: ``python docs/build.py FOLDER`` makes a page of every public name from its docstring."""
import inspect
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import gradatim

ROOT = Path(__file__).parents[1]
ROOMS = ("estimators", "layers", "training", "datasets", "backend", "testing")
READ = {"index": "README.md", "map": "docs/index.md", "contributing": "CONTRIBUTING.md",
        "changes": "CHANGELOG.md"}
SETTINGS = {
    "project": "gradatim", "version": gradatim.__version__, "html_theme": "alabaster",
    "extensions": ["sphinx.ext.autodoc", "numpydoc", "myst_parser"],
    "numpydoc_show_class_members": False, "autodoc_typehints": "none",
    "default_role": "py:obj", "myst_heading_anchors": 3,
    "html_theme_options": {"description": "Step by step.", "page_width": "1100px"},
    "html_show_sphinx": False, "html_copy_source": False}


def public(room: str) -> dict:
    """The public classes and functions of a room, by name."""
    module = import_module(f"gradatim.{room}")
    names = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
    return {name: getattr(module, name) for name in names
            if inspect.isroutine(thing := getattr(module, name)) or isinstance(thing, type)
            if thing.__module__.startswith("gradatim")}


def titled(title: str, text: str) -> str:
    """reStructuredText with a title."""
    return f"{title}\n{'=' * len(title)}\n\n{text}\n"


def listed(pages) -> str:
    """A table of contents."""
    return "\n   ".join([".. toctree::", ":maxdepth: 1", "", *pages])


def page(room: str, name: str, thing) -> str:
    """The page of one name: its docstring, and those of its methods."""
    if not isinstance(thing, type):
        return titled(name, f".. autofunction:: gradatim.{room}.{name}")
    return titled(name, f".. autoclass:: gradatim.{room}.{name}\n"
                        f"   :members: {', '.join(members(thing))}")


def members(thing: type) -> list[str]:
    """Its public methods and properties, without those that scikit-learn gives it."""
    return [name for name, member in inspect.getmembers(thing) if name[0] != "_"
            and (inspect.isroutine(member) or isinstance(member, property))
            and str(getattr(getattr(member, "fget", member), "__module__", "")).startswith("gradatim")]


def ops() -> str:
    """The table of ops, as their records tell it."""
    rows = "".join(f"   * - ``{name}{inspect.signature(op)}``\n     - {formula(op)}\n"
                   for name, op in sorted(gradatim.backend.OPS.items()))
    return titled("Ops", ".. list-table::\n   :header-rows: 1\n\n"
                         f"   * - ``gradatim.``\n     - what an entry is\n{rows}")


def formula(op) -> str:
    """The elementwise expression of an op, if it is one, in the names of its parameters."""
    names = list(inspect.signature(op).parameters)
    return f"``{op.code.format(*names, **dict(zip(names, names)))}``" if op.code else ""


def pages() -> dict[str, str]:
    """The text of every page, by its path."""
    found = {f"{name}.md": (ROOT / path).read_text() for name, path in READ.items()}
    for room in ROOMS:
        names = public(room)
        found |= {f"{room}/{name}.rst": page(room, name, thing) for name, thing in names.items()}
        found[f"{room}/index.rst"] = titled(f"gradatim.{room}", listed(sorted(names)))
    found["ops.rst"] = ops()
    found["index.md"] += "\n".join(["", "```{toctree}", ":hidden:", "", *list(READ)[1:],
                                    *(f"{room}/index" for room in ROOMS), "ops", "```"])
    return found


def build(folder: str, texts: dict[str, str]) -> int:
    """Make the site of some pages in a folder; a warning is an error."""
    from sphinx.application import Sphinx
    with tempfile.TemporaryDirectory() as sources:
        for path, text in texts.items():
            Path(sources, path).parent.mkdir(exist_ok=True)
            Path(sources, path).write_text(text)
        app = Sphinx(sources, None, folder, f"{folder}/.doctrees", "html", SETTINGS,
                     warningiserror=True, status=None)
        app.build()
        return app.statuscode


if __name__ == "__main__":
    sys.exit(build(sys.argv[1], pages()))
