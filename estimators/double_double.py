"""Double-double arithmetic: numbers of 106 bits as unevaluated sums (high, low) of two float64.

Sums and products after Dekker, *A floating-point technique for extending the available precision*
(1971); exact matrix products by slices after Ozaki, Ogita, Oishi and Rump, *Error-free
transformations of matrix multiplication* (2012).
"""
from __future__ import annotations

import numpy as np

SLICE_BITS, SLICES = 21, 5      # 5 x 21 bits: a double-double
SLICE_ROWS = 1 << 11            # 2 x 21 bits of a product and 11 of a sum fill a float64: exact


def two_sum(a, b):
    """a + b without rounding, as (high, low)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a, b):
    """a * b without rounding, as (high, low)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def halves(a):
    """A float64 as two numbers of 26 bits."""
    shifted = 134217729.0 * a       # 2^27 + 1
    high = shifted - (shifted - a)
    return high, a - high


def add(a, b):
    """Sum of two double-doubles."""
    high, low = two_sum(a[0], b[0])
    return two_sum(high, low + (a[1] + b[1]))


def multiply(a, b):
    """Product of two double-doubles."""
    high, low = two_product(a[0], b[0])
    return two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def divide(a, b):
    """Quotient of two double-doubles."""
    first = a[0] / b[0]
    product = multiply((first, np.zeros_like(first)), b)
    rest = add(a, (-product[0], -product[1]))
    return two_sum(first, (rest[0] + rest[1]) / b[0])


def defect(matrix, right, solution) -> np.ndarray:
    """right - matrix @ solution in double-double, rounded once."""
    rows = []
    for row_high, row_low, wanted_high, wanted_low in zip(*matrix, *right):
        found = multiply((row_high[:, None], row_low[:, None]), (solution, 0.0))
        high, low = add((wanted_high, wanted_low), tuple(-part for part in tree_sum(found)))
        rows.append(high + low)
    return np.array(rows)


def tree_sum(terms):
    """Sum of double-doubles along the first axis, by halves."""
    high, low = terms
    while len(high) > 1:
        half = len(high) // 2
        first, second, rest = slice(half), slice(half, 2 * half), slice(2 * half, None)
        sums = add((high[first], low[first]), (high[second], low[second]))
        high, low = (np.concatenate([s, part[rest]]) for s, part in zip(sums, (high, low)))
    return high[0], low[0]


def add_gram(gram, high, low=None):
    """gram + A'A in double-double, for A = high + low with all |high| <= 1."""
    for start in range(0, len(high), SLICE_ROWS):
        part = high[start:start + SLICE_ROWS]
        slices = bit_slices(part)
        for i, left in enumerate(slices):
            for right in slices[:SLICES - i]:
                gram = add(gram, (left.T @ right, 0.0))
        if low is not None:
            cross = part.T @ low[start:start + SLICE_ROWS]
            gram = add(gram, (cross + cross.T, 0.0))
    return gram


def bit_slices(values) -> list[np.ndarray]:
    """Values in [-1, 1] as a sum of parts of 21 bits each, whose products are exact."""
    slices = []
    for k in range(1, SLICES + 1):
        anchor = 1.5 * 2.0 ** (52 - SLICE_BITS * k)     # ulp: 2^(-21 k)
        slices.append((values + anchor) - anchor)
        values = values - slices[-1]
        if not values.any():
            break
    return slices


def cholesky(gram, strict, negligible, dependent):
    """Upper Cholesky factor of a double-double matrix, row by row.

    None if one of the first `strict` columns keeps less than the share `dependent` of its square;
    a later column that keeps no more than `negligible` gets a row of zeros.
    """
    high, low = gram
    size, norms = len(high), np.diagonal(high).copy()
    root_high, root_low = np.zeros((size, size)), np.zeros((size, size))
    for j in range(size):
        pivot = high[j, j], low[j, j]
        if j < strict and not pivot[0] > norms[j] * dependent:
            return None
        if pivot[0] <= norms[j] * negligible:
            continue
        root = np.sqrt(pivot[0])
        square = two_product(root, root)
        root = two_sum(root, ((pivot[0] - square[0]) - square[1] + pivot[1]) / (2.0 * root))
        row = divide((high[j, j:], low[j, j:]), root)
        root_high[j, j:], root_low[j, j:] = row
        left, right = ((part[1:, None] for part in row), (part[None, 1:] for part in row))
        product = multiply(tuple(left), tuple(right))
        rest = np.s_[j + 1:, j + 1:]
        high[rest], low[rest] = add((high[rest], low[rest]), (-product[0], -product[1]))
    return root_high, root_low
