"""Backends: the registry and its errors, packages that provide one, foreign and wrong backends."""
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import gradatim as gt
from gradatim import testing
from gradatim.backend import Backend, available, get_backend, registry
from gradatim.backend.array_module import ArrayModule
from gradatim.backend.errors import BackendError, ParameterError


class Plain(Backend):
    """The six lines a new backend takes."""
    name = "plain"
    xp = ArrayModule(np)


class Wrong(Plain):
    """A backend whose hyperbolic tangent is a little off."""
    name = "wrong"

    def run(self, op, *arrays, **settings):
        result = super().run(op, *arrays, **settings)
        return result * 1.001 if op.name == "tanh" else result


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_missing", {})


@pytest.fixture
def install(monkeypatch):
    """Pretend that packages are installed which provide backends: name, what it loads."""
    entries = []

    def entry_points(group, name=None):
        assert group == "gradatim.backends"
        return [e for e in entries if name in (None, e.name)]

    def add(name, load, package="a-package"):
        entries.append(SimpleNamespace(name=name, load=load, value="module:thing",
                                       dist=package and SimpleNamespace(name=package)))

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return add


# ---- the registry ------------------------------------------------------------------------------

def test_names_and_instances(install):
    assert get_backend("reference") is get_backend("reference")
    assert get_backend("auto").name in registry.BUILT_IN
    plain = Plain()
    assert get_backend(plain) is plain and "plain" not in available()
    assert gt.register_backend(plain) is plain and get_backend("plain") is plain
    assert "plain" in available()


def test_a_missing_backend_is_explained(install, monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", {"reference": ".reference"})
    with pytest.raises(BackendError) as caught:
        get_backend("cudda")
    assert str(caught.value) == ('there is no backend "cudda"\n'
                                 "  found  reference\n"
                                 "  why    no package provides it\n"
                                 '  fix    use backend="auto"')


def test_a_built_in_backend_that_cannot_be_imported_says_why(install, monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", {"reference": ".reference", "tpu": ".no_such_module"})
    with pytest.raises(BackendError) as caught:
        get_backend("tpu")
    assert caught.value.facts["why"] == "No module named 'gradatim.backend.no_such_module'"
    assert get_backend("auto").name == "reference" and available() == ["reference"]


@pytest.mark.parametrize("value", [3, None, Plain])
def test_what_is_no_name(value):
    with pytest.raises(ParameterError, match=f"a backend is a name or a Backend, not "
                                             f"{type(value).__name__}"):
        get_backend(value)


def test_built_in_names_are_protected(install):
    for name in ("reference", "auto"):
        taken = Plain()
        taken.name = name
        with pytest.raises(ParameterError) as caught:
            gt.register_backend(taken)
        assert str(caught.value) == (f'"{name}" is the name of a built-in backend\n'
                                     "  fix  choose another name")
        install(name, Wrong)
    assert not isinstance(get_backend("reference"), Wrong)
    assert not isinstance(get_backend("auto"), Wrong) and "auto" not in available()


# ---- packages ----------------------------------------------------------------------------------

def test_a_package_is_loaded_when_its_name_is_asked_for(install):
    loads = []
    install("plain", lambda: loads.append(1) or Plain)
    assert get_backend("reference") and get_backend("auto") and not loads
    assert isinstance(get_backend("plain"), Plain) and get_backend("plain") is get_backend("plain")
    assert loads == [1]
    x = gt.placeholder((2,))
    assert gt.run(x * 2.0, {x: [1, 2]}, backend="plain").tolist() == [2, 4]


def test_a_package_that_fails_is_named(install):
    install("broken", lambda: 1 / 0, "broken-package")
    with pytest.raises(BackendError) as caught:
        get_backend("broken")
    assert caught.value.facts["why"] == "the package broken-package failed: division by zero"
    assert "broken" not in available()


def test_a_package_for_another_version_is_named(install):
    class Old(Plain):
        name, api = "old", 0
    install("old", Old, "gradatim-old")
    install("nameless", lambda: Old, None)
    with pytest.raises(BackendError) as caught:
        get_backend("old")
    assert str(caught.value) == ('the backend "old" was written for another version of gradatim\n'
                                 "  got  api 0, and gradatim has 1\n"
                                 "  fix  update the package gradatim-old")
    assert "old" not in available()                 # and it does not keep others from being listed
    with pytest.raises(BackendError, match="update the package module:thing"):
        get_backend("nameless")
    with pytest.raises(BackendError, match='there is no backend "other"'):
        get_backend("other")
    for use in (gt.register_backend, get_backend):
        with pytest.raises(BackendError, match="another version"):
            use(Old())


def test_what_is_no_backend_is_refused(install):
    install("thing", lambda: SimpleNamespace(name="thing", api=1, xp=np))
    with pytest.raises(BackendError, match="SimpleNamespace is not a backend"):
        get_backend("thing")

    class Nameless(Backend):
        name = ""
        xp = np
    with pytest.raises(BackendError, match="Nameless is not a backend"):
        gt.register_backend(Nameless())


# ---- foreign backends --------------------------------------------------------------------------

def test_a_backend_of_six_lines_passes_all_checks():
    assert testing.check_backend(Plain()) > 1000


def test_a_wrong_backend_is_caught():
    with pytest.raises(AssertionError) as caught:
        testing.check_backend(Wrong(), dtypes=("float32",), gradients=False)
    text = str(caught.value)
    assert 'fail on the backend "wrong"' in text and "tanh-0: AssertionError" in text
    # The reference's recurrent ops call the array module, so only the op itself is off.
    assert text.splitlines()[0].startswith("1 of")


WRONGS = {"dtype": lambda r: r.astype("float64"), "shape": lambda r: r.reshape(-1),
          "nan": lambda r: np.nan_to_num(r), "constant": lambda r: np.ones_like(r)}


@pytest.mark.parametrize("spoil", WRONGS.values(), ids=WRONGS)
def test_other_ways_of_being_wrong_are_caught(spoil):
    class Spoilt(Plain):
        def run(self, op, *arrays, **settings):
            result = super().run(op, *arrays, **settings)
            return spoil(result) if op.name == "exp" else result
    with pytest.raises(AssertionError, match="exp-0"):
        testing.check_backend(Spoilt(), dtypes=("float32",), gradients=False)


def test_a_backend_that_writes_to_its_inputs_is_caught():
    class Greedy(Plain):
        def run(self, op, *arrays, **settings):
            if op.name == "negative":
                arrays[0][...] = -arrays[0]
                return arrays[0]
            return super().run(op, *arrays, **settings)
    with pytest.raises(AssertionError, match="negative-0: ValueError"):
        testing.check_backend(Greedy(), dtypes=("float32",), gradients=False)


def test_two_backends_in_one_process():
    ran = []

    class Counting(Plain):
        name = "counting"

        def run(self, op, *arrays, **settings):
            ran.append(op.name)
            return super().run(op, *arrays, **settings)

    x = gt.placeholder((3,), name="x")
    y = gt.tanh(x) + 1.0
    functions = [gt.function([x], y, backend=b) for b in ("reference", Counting(), Plain())]
    assert len({f.program for f in functions}) == 3
    values = [f([1, 2, 3]) for f in functions]
    assert ran == ["tanh", "add"]
    for v in values[1:]:
        np.testing.assert_array_equal(v, values[0])
    with gt.eager(functions[1].backend):
        gt.constant(1.0) + 1.0
    assert ran[-1] == "add"


def test_weights_move_between_backends():
    w = gt.variable(1.0)
    for backend in ("reference", Plain(), "reference"):
        gt.function([], w, updates={w: w + 1.0}, backend=backend)()
    assert w.numpy() == 4


def test_importing_gradatim_loads_no_backend_package():
    code = "import sys, gradatim; print({'numpy', 'cupy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
