"""bfloat16 and float16 as roundings: numbers of two bytes, held in their own element type.

A bfloat16 number (Google's "brain float", Kalamkar et al., "A study of BFLOAT16 for deep learning
training", 2019) is the upper half of a float32, with eight significant bits. NumPy has no such
type. A float16 number (IEEE 754) has eleven bits and ends at 65,504. What makes both matter is
their values, so the graph keeps float32 and rounds: products of such numbers are exact in float32.
A backend may store them in two bytes where only products of such numbers read them.
"""
from __future__ import annotations

from ..op import cases, normal, op, positive
from ..spec import same_float

# By the bytes of an element: whole numbers of that size, and how many bits are too many.
_LAYOUTS = {2: ("uint16", 3), 4: ("uint32", 16), 8: ("uint64", 45)}


def _bfloat16(xp, x):
    """Nearest, halves to even: half a unit, less one bit where the last kept one is even."""
    x = xp.asarray(x)
    name, surplus = _LAYOUTS[x.dtype.itemsize]
    bits = x.view(name)
    one, surplus = bits.dtype.type(1), bits.dtype.type(surplus)
    unit = one << surplus
    nearest = bits + (unit // (one + one) - one) + (bits >> surplus & one)
    return xp.where(xp.isnan(x), x, (nearest & ~(unit - one)).view(x.dtype))


def _float16(xp, x):
    """Nearest, halves to even; infinite where the largest float16 is too small."""
    x = xp.asarray(x)
    return x.astype("float16").astype(x.dtype)


round_to_bfloat16 = op("round_to_bfloat16", forward=_bfloat16, spec=same_float,
                       code="bfloat16({0})", samples=cases(normal((5, 3)), positive(())))
round_to_float16 = op("round_to_float16", forward=_float16, spec=same_float,
                      code="float16({0})", samples=cases(normal((5, 3)), positive(())))
