"""Docstring examples run, public names are documented, and README and docs tell the truth."""
import doctest
import inspect
import os
import pkgutil
import pydoc
import re
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gradatim
from gradatim.backend import available, registry

ROOT = Path(__file__).parents[2]
OUTSIDE = {"tests", "tutorials", "benchmarks", "docs", "setup", "build", "dist", "__main__"}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

FOUND = pkgutil.walk_packages(gradatim.__path__, "gradatim.", onerror=lambda name: None)
MISSING = {"gradatim.backend.native": "native", "gradatim.backend.cuda.here": "cuda"}
ABSENT = {*MISSING.values()} - {*available()}      # what cannot be imported here
MODULES = ["gradatim"] + [m.name for m in FOUND if m.name.split(".")[1] not in OUTSIDE
                          and not m.name.endswith("._core")
                          and MISSING.get(m.name) not in ABSENT]


# ---- examples run ------------------------------------------------------------------------------

LOADS = re.compile(r"\bload_(?!digits|diabetes|iris|wine\(|breast_cancer|python_docs_text)\w+\(")


def needs_data(test):
    """Whether an example reads a data set that does not come with Python or scikit-learn."""
    return any(LOADS.search(example.source) for example in test.examples)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)                        # an example may write a file
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))    # or register a backend
    found = doctest.DocTestFinder(exclude_empty=True).find(import_module(name))
    if not os.environ.get("GRADATIM_DATA") and not os.environ.get("CI"):
        found = [test for test in found if not needs_data(test)]
    runner, report = doctest.DocTestRunner(optionflags=FLAGS), []
    for test in found:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


# ---- public names are documented ---------------------------------------------------------------

SITE = runpy.run_path(str(ROOT / "docs" / "build.py"))
PUBLIC = {f"{room}.{name}": thing for room in SITE["ROOMS"]
          for name, thing in SITE["public"](room).items()}

# What needs no example of its own, and why.
OF_RECORDS = "what op records are made of: every file of backend/ops is an example"
WITHOUT_EXAMPLE = {
    "backend.Backend": "an interface; backend/reference.py is the example",
    "backend.Function": "made by function, which has an example",
    "backend.apply": "called by ops: every use of an op is an example",
    **dict.fromkeys([f"backend.{name}" for name in (
        "cases", "inside", "normal", "positive", "ufunc", "same", "same_float", "truth")],
        OF_RECORDS),
    "layers.Flow": "what layers hand to each other",
}
# Parameters that need no row in a table, and why.
WITHOUT_ROW = {
    "backend.Function": {"graph", "backend", "passes", "single", "communicator",
                         "precision"},                                              # see function
    "backend.Tensor": {"node", "index"},              # ops make tensors
    **dict.fromkeys([name for name, why in WITHOUT_EXAMPLE.items() if why == OF_RECORDS],
                    {"samplers", "shapes", "settings", "arity", "name", "specs", "_"}),
}


def parameters(thing):
    """Names of the parameters a user may pass; of a class, those of its construction."""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return set()
    return {p.name for p in signature.parameters.values()} - {"self", "cls"}


def rows(text):
    """Names that have a row in a numpydoc table of parameters or attributes."""
    names = set()
    for section in re.split(r"^(?=\w[\w ]*\n-{3,}$)", text, flags=re.MULTILINE):
        if section.startswith(("Parameters", "Attributes")):
            for row in re.findall(r"^(\*{0,2}\w[\w*, ]*)(?: :.*)?$", section, flags=re.MULTILINE):
                names |= {name.strip().lstrip("*") for name in row.split(",")}
    return names


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing, text = PUBLIC[name], inspect.getdoc(PUBLIC[name]) or ""
    assert text.split("\n")[0].rstrip()[-1:] in {".", "?", ":"}, "the first line is a sentence"
    assert ">>>" in text or name in WITHOUT_EXAMPLE, "no example"
    silent = parameters(thing) - rows(text) - WITHOUT_ROW.get(name, set())
    assert not silent, f"no row for {sorted(silent)}"


@pytest.mark.parametrize("room", SITE["ROOMS"])
def test_help_of_a_room_lists_its_public_names(room):
    text = pydoc.plain(pydoc.render_doc(import_module(f"gradatim.{room}")))
    for name in SITE["public"](room):
        assert re.search(rf"^    (class )?{name}[(\n ]", text, re.MULTILINE), name


def test_tables_of_exceptions_name_what_there_is():
    assert set(WITHOUT_EXAMPLE) | set(WITHOUT_ROW) <= set(PUBLIC)


def test_every_public_name_and_op_has_a_place_on_the_site():
    pages = SITE["pages"]()
    for name, thing in PUBLIC.items():
        assert f"gradatim.{name}" in pages[f"{name.replace('.', '/')}.rst"]
    assert " fit, " in pages["estimators/CNNClassifier.rst"], "methods of base classes, too"
    for name in gradatim.backend.OPS:
        assert f"``{name}(" in pages["ops.rst"]


# ---- README, CONTRIBUTING, docs ----------------------------------------------------------------

README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "CONTRIBUTING.md", "docs/index.md"]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line.strip() for line in README.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_readme_code_runs(block, tmp_path):
    done = subprocess.run([sys.executable, "-c", BLOCKS[block]], capture_output=True, text=True,
                          cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and not done.stderr


def test_readme_promise_of_five_lines():
    assert BLOCKS[0].count("\n") == 5
    done = subprocess.run([sys.executable, "-c", BLOCKS[0]], capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) > 0.85


def test_readme_shell_lines_are_what_the_build_runs():
    assert len(SHELL) == 2 and all(line.startswith("python3 -m venv .venv && ") for line in SHELL)
    first = next(line for line in README.splitlines() if "pytest" in line)
    assert first.strip() == SHELL[1], "the first line with pytest is the one to run"
    assert SHELL[0].endswith("gradatim quickstart") and "-m pytest" in SHELL[1]
    assert "grep -m1 'pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_readme_names_every_estimator():
    from gradatim import estimators
    table = README.split("## What there is")[1].split("\n## ")[0]
    named = {n for n in estimators.__all__ if n != "load"}
    assert set(re.findall(r"`([A-Z]\w+)`", table)) - {"Pipeline", "GridSearchCV"} == named


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_links_exist(page):
    text = (ROOT / page).read_text()
    paths = re.findall(r"`([\w.]+(?:/[\w.]*)+|\w+\.(?:py|md|cfg))`", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert paths
    for path in paths + links:
        assert (ROOT / path).exists(), path


def test_names_of_gradatim_on_the_pages_exist():
    for page in PAGES:
        for dotted in re.findall(r"\bgradatim((?:\.\w+)+)\(?", (ROOT / page).read_text()):
            thing = gradatim
            for name in dotted[1:].split("."):
                if name == "backends":
                    break                              # the group of entry points
                thing = getattr(thing, name)


@pytest.mark.parametrize("room", ["layers", "training"])
def test_every_layer_loss_metric_optimizer_and_callback_is_on_the_map(room):
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/index.md").read_text()))
    bases = {"Layer", "Flow", "Loss", "Initializer", "Regularizer", "Constraint", "Callback",
             "Metric", "Optimizer", "Schedule"}
    ours = {name.partition(".")[2] for name, thing in PUBLIC.items()
            if name.startswith(f"{room}.") and isinstance(thing, type)}
    assert ours - bases <= named


def test_every_folder_is_on_the_map():
    listed = set(re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/index.md").read_text(), re.MULTILINE))
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in done.stdout.split() if "/" in line}
    assert listed - {"docs"} == {f for f in folders if not f.startswith(".")} - {"docs"}


def test_picture_on_the_map_is_what_dot_prints():
    picture = re.findall(r"```dot\n(digraph gradatim .*?)```", (ROOT / "docs/index.md").read_text(),
                         flags=re.DOTALL)[0]
    x, w, b = gradatim.placeholder((4, 3)), gradatim.variable((3, 2)), gradatim.variable((2,))
    assert gradatim.graph((x @ w + b).sum()).dot().startswith(picture)
