"""The house itself: import arrows, packaging, first lines, file lengths, free imports."""
import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("estimators", "training", "layers", "backend", "datasets")
SOURCES = sorted(p for f in FOLDERS for p in (ROOT / f).rglob("*.py")) + sorted(ROOT.glob("*.py"))

# From a room to the rooms below it.
ARROWS = {
    "estimators": {"training", "layers", "backend", "datasets"},
    "training": {"layers", "backend", "datasets"},
    "layers": {"backend"},
    "datasets": {"backend"},
    "backend": set(),
}
OPTIONAL = {"cupy", "mpi4py", "onnx", "matplotlib", "tensorboardX", "pooch", "pandas", "polars",
            "torch", "tensorflow", "scipy"}
ALWAYS = {  # third-party packages a room may import at its top
    "estimators": {"numpy", "sklearn", "scipy"}, "training": {"numpy"}, "layers": {"numpy"},
    "datasets": {"numpy"}, "backend": {"numpy"}}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(path, top_only=False):
    """(level, module) of every import in a file."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            if node.module is None or not node.level:
                yield from ((node.level, node.module or a.name) for a in node.names)
            else:
                yield node.level, node.module
        elif isinstance(node, ast.Import):
            yield from ((0, a.name) for a in node.names)


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent != ROOT], ids=name_of)
def test_imports_point_down_only(path):
    parts = path.relative_to(ROOT).parts
    room, depth = parts[0], len(parts) - 1
    for level, module in imports(path):
        if level > depth:                                  # from the package's root: another room
            other = module.split(".")[0]
            if other in FOLDERS and other != room:
                assert other in ARROWS[room], f"{name_of(path)} imports {other}"
        assert not (level == 0 and module.split(".")[0] == "gradatim"), "imports are relative"


# Inside backend: backends -> passes -> graph -> tensor -> op.
ORDER = ["errors", "spec", "op", "context", "tensor", "graph", "passes", "lowering", "base",
         "function"]


@pytest.mark.parametrize("lower", ORDER)
def test_imports_inside_backend_point_down_only(lower):
    path = ROOT / "backend" / f"{lower}.py"
    files = [path] if path.exists() else sorted((ROOT / "backend" / lower).glob("*.py"))
    above = set(ORDER[ORDER.index(lower) + 1:])
    for file in files:
        for level, module in imports(file, top_only=True):
            if level and module.split(".")[0] in above:
                raise AssertionError(f"{name_of(file)} imports {module}, which is above it")


def test_only_the_registry_imports_a_backend():
    for path in SOURCES:
        for level, module in imports(path):
            if level and module.split(".")[-1] in ("reference", "native", "cuda"):
                assert path.name == "registry.py", f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "setup.py"], ids=name_of)
def test_nothing_optional_is_imported_at_the_top(path):
    room = path.relative_to(ROOT).parts[0]
    allowed = ALWAYS.get(room, {"numpy"})
    for level, module in imports(path, top_only=True):
        package = module.split(".")[0]
        if level == 0 and package not in sys.stdlib_module_names:
            assert package in allowed, f"{name_of(path)} imports {package} at its top"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_first_line_says_what_the_file_is_for(path):
    first = ast.get_docstring(ast.parse(path.read_text()))
    assert first, "no docstring"
    line = first.splitlines()[0]
    assert len(line) > 20 and line.endswith((".", ":")), line


@pytest.mark.parametrize("path", SOURCES + sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_style(path):
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) <= 400, f"{len(lines)} lines: one idea per file"
    long = [i for i, line in enumerate(lines, 1) if len(line) > 100]
    assert not long, f"over 100 columns: lines {long}"
    marks = "|".join(["TO" + "DO", "FIX" + "ME", "HA" + "CK", "X" * 3])
    assert not re.search(rf"\b({marks})\b", text)


def test_every_package_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(("gradatim", *p.parent.relative_to(ROOT).parts))
             for p in ROOT.rglob("__init__.py")
             if not p.relative_to(ROOT).parts[0].startswith((".", "tests", "tutorials", "build",
                                                             "dist", "benchmarks"))}
    assert listed == found


def test_extras_and_metadata():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["license"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text().strip().startswith("Apache License")
    assert config["options"]["python_requires"] == ">=3.11"
    lines = [line for line in config["options"]["install_requires"].split("\n") if line]
    always = {re.split(r"[<>=]", line)[0] for line in lines if ";" not in line}
    assert always == {"numpy", "scikit-learn", "h5py", "tqdm"}
    assert [re.split(r"[<>=]", line)[0] for line in lines if ";" in line] == [
        "onednn-cpu-gomp"]


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          cwd=ROOT.parent, check=True)


def test_import_is_silent_and_lazy():
    done = run_python(
        "import sys, threading, gradatim, gradatim.estimators\n"
        f"heavy = {sorted(OPTIONAL - {'scipy', 'pandas', 'polars'})!r} + ['h5py', 'tqdm']\n"
        "print([m for m in heavy if m in sys.modules], threading.active_count())")
    assert done.stdout == "[] 1\n" and done.stderr == ""


def test_import_of_the_package_alone_loads_nothing():
    done = run_python("import sys, gradatim\nprint('numpy' in sys.modules, gradatim.__version__)")
    assert done.stdout.split()[0] == "False"


def test_public_names():
    import gradatim as gt
    golden = (ROOT / "tests" / "project" / "golden" / "public_names.txt").read_text().split()
    from gradatim.backend import OPS
    ours = sorted(n for n in dir(gt) if n not in OPS or n in golden)
    assert sorted(golden) == [n for n in ours if n not in OPS or n in golden]
    with pytest.raises(AttributeError):
        gt.there_is_no_such_name


def test_the_project_speaks_of_itself_alone():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    words = re.compile("|".join(["/wo" + "rk/", "/ro" + "ot/", "pypi" + r"\.", "issue" + r" #?\d"]))
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".cfg", ".toml", ".txt") and path.exists():
            found = words.search(path.read_text())
            assert not found, f"{name}: {found[0]}"
