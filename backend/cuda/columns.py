"""Columns: tensors seen as (outer, n, inner), and the blocks of threads that work on the n."""
from __future__ import annotations

import math

from ..lowering.view import View, contiguous
from ..spec import one_axis
from .chain import emit_copy
from .segments import BLOCKS, THREADS

ALONE = 8              # elements that a thread goes through before another shares its column
LONG = 4096            # elements from which a row gets the largest block there is
MOST = 1024
SIDE = 32              # threads side by side, so that a warp reads what lies together
ENOUGH = 264           # blocks that fill a GPU: beyond, columns are not cut into parts


def rows(count: int, n: int, inner: int = 1) -> tuple[tuple, tuple]:
    """Grid and block of kernels that go over a row more than once.

    So few long rows are worked on at a time that they stay in a GPU's cache meanwhile.
    """
    if inner == 1 and n >= LONG:
        return (count, 1, 1), (1, MOST, 1)
    return block(count, n, inner)


def block(outer: int, n: int, inner: int) -> tuple[tuple, tuple]:
    """Grid and block for the struct ``Column`` of ``kernels/common.cuh``."""
    x = min(_power(inner), SIDE)
    y = min(_power(-(-n // ALONE)), THREADS // x)
    z = min(_power(outer), THREADS // (x * y), 64)
    return (-(-inner // x) * -(-outer // z), 1, 1), (x, y, z)


def flat(count: int) -> tuple[tuple, tuple]:
    """Grid and block of kernels that loop over elements."""
    return (min(-(-count // THREADS), BLOCKS), 1, 1), (THREADS, 1, 1)


def parts(n: int, blocks: int) -> int:
    """Into how many pieces long columns are cut where there are few of them."""
    if n < 16 * THREADS or blocks >= ENOUGH:
        return 1
    return min(-(-n // (8 * THREADS)), -(-ENOUGH // blocks))


def about(shape, axis: int) -> tuple[int, int, int]:
    """(outer, n, inner) about one axis."""
    axis = one_axis(axis, len(shape))
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])


def arranged(program, t, axes) -> tuple[int, tuple[int, int, int], tuple[int, ...] | None]:
    """A value that holds a tensor so that the axes stand together, and its (outer, n, inner).

    The third is the order of axes if they had to be moved, the given ones last.
    """
    long = [a for a in range(t.ndim) if t.shape[a] > 1]
    inside = [a for a in long if a in axes]
    n = math.prod(t.shape[a] for a in inside)
    if not inside:
        return program.whole(t), (t.spec.size, 1, 1), None
    between = [a for a in long if inside[0] <= a <= inside[-1]]
    if between == inside:
        outer = math.prod(t.shape[:inside[0]])
        return program.whole(t), (outer, n, t.spec.size // (outer * n)), None
    order = (*(a for a in range(t.ndim) if a not in axes), *axes)
    return turned(program, t, order), (t.spec.size // n, n, 1), order


def turned(program, t, order) -> int:
    """A new value with a tensor's axes in another order."""
    view = program.views[t]
    fresh = program.new(t.spec.like(*(t.shape[a] for a in order)))
    emit_copy(program, View(view.value, view.offset, tuple(view.shape[a] for a in order),
                            tuple(view.strides[a] for a in order)), fresh, t.dtype.name)
    return fresh.value


def turned_back(value: int, shape, order) -> View:
    """A tensor of a shape whose axes lie in a value in another order."""
    lying = tuple(shape[a] for a in order)
    strides = dict(zip(order, contiguous(lying)))
    return View(value, 0, tuple(shape), tuple(strides[a] for a in range(len(shape))))


def _power(n: int) -> int:
    """The next power of two."""
    return 1 << max(n - 1, 0).bit_length()
