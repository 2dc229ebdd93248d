"""The array module: only what NumPy and CuPy share, and four extras."""
import copy
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special

from gradatim.backend.array_module import EXTRAS, SHARED, ArrayModule, numpy_module
from gradatim.backend.errors import BackendError


def test_shared_names_are_names_of_numpy():
    assert len(set(SHARED)) == len(SHARED) and not set(SHARED) & set(EXTRAS)
    for name in SHARED:
        assert getattr(numpy_module, name) is getattr(np, name)


@pytest.mark.parametrize("name", ["nansum", "linalg", "float16x", "_private"])
def test_any_other_name_raises(name):
    with pytest.raises(BackendError) as caught:
        getattr(numpy_module, name)
    assert str(caught.value) == (
        f'the array module has no "{name}"\n'
        "  why  NumPy and CuPy must share what a forward uses\n"
        "  fix  use a name of SHARED or EXTRAS in backend/array_module.py")


def test_python_may_ask_for_its_own_names():
    assert not hasattr(numpy_module, "__array_interface__")
    assert copy.copy(numpy_module).add is np.add
    assert not hasattr(object.__new__(ArrayModule), "__setstate__")


def test_another_library_must_have_every_name_and_brings_its_extras():
    half = SimpleNamespace(__name__="half", **{n: getattr(np, n) for n in SHARED if n != "tanh"})
    with pytest.raises(AttributeError, match="tanh"):
        ArrayModule(half)
    half.tanh = np.tanh
    assert ArrayModule(half, {**EXTRAS, "erf": np.sin}).erf is np.sin


def test_extras():
    x = np.linspace(-0.9, 0.9, 7)
    np.testing.assert_array_equal(numpy_module.erf(x), special.erf(x))
    np.testing.assert_array_equal(numpy_module.erfinv(x), special.erfinv(x))
    target = numpy_module.scatter_add(np.zeros(3), np.array([0, 2, 0]), np.array([1.0, 2.0, 3.0]))
    assert target.tolist() == [4, 0, 2]
    windows = numpy_module.windows(np.arange(5), (3,), (0,))
    assert windows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
