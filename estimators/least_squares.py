"""Exact least squares: one triangular factor of [1 X y], and everything that follows from it.

Every route ends in the same place, the upper triangular R with R'R = A'A for A = [1 X y] (rows
multiplied by the root of their weight). Because the column of ones comes first, R without its first
row is the factor of the *centred* data, so the intercept costs no digits. The routes, cheapest
first, each left when the condition number says that it would lose digits:

1. Cholesky of the Gram matrix, once or twice over (Fukaya et al., CholeskyQR2, 2014);
2. Householder QR by row blocks (Demmel et al., TSQR, 2012);
3. Cholesky in double-double arithmetic: for the polynomial fits where QR in float64 keeps five
   digits.
"""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
from scipy.linalg import blas, lapack, solve_triangular
from sklearn.utils.parallel import _get_threadpool_controller

from ..backend import OPS, get_backend
from .double_double import add, add_gram, cholesky, defect, two_product

EPSILON = np.finfo(np.float64).eps
CACHED_ELEMENTS = 1 << 19           # a block of rows that stays in cache
GRAM_ELEMENTS = 1 << 23             # a block of rows that keeps all processors busy: 64 MiB
BLOCK_ELEMENTS = 1 << 21            # a block of rows that LAPACK's QR factors at full speed: 16 MiB
ONE_PASS, TWO_PASSES = 32.0, 1e3    # hardness up to which Cholesky loses no digits that matter
TINY = 1e-280                       # squares below it have begun to underflow
DEFICIENT = 1e12                    # beyond it even double-double cannot tell small from zero
KEPT_ROWS = 1024                    # dependent rows up to which partial_fit keeps the rows
EXTENDED_COLUMNS = 256              # double-double Cholesky is O(columns) NumPy calls

_limiting = Lock()


@contextmanager
def one_thread(rows: Rows):
    """One thread for BLAS on small matrices after a tall Gram matrix.

    More gain nothing there, and they spin for a while afterwards, in the way of the next pass over
    data. The limit holds for the process, so one fit at a time may set and restore it.
    """
    if not rows.tall or rows.columns > EXTENDED_COLUMNS:
        yield
        return
    with _limiting, _get_threadpool_controller().limit(limits=1, user_api="blas"):
        yield


@dataclass(frozen=True)
class Rows:
    """The rows of [1 X y] as float64 blocks, with an earlier factor stacked on top of them."""

    X: object                       # (n, p), dense or CSR, any real dtype
    Y: np.ndarray                   # (n, t)
    root: np.ndarray | None         # (n,): roots of the weights
    keep: np.ndarray | None         # indices of the rows whose weight is not zero
    ones: int                       # 1 with an intercept, else 0
    earlier: tuple | None = None    # (high, low): the factor of the rows seen before

    @property
    def columns(self) -> int:
        return self.ones + self.X.shape[1] + self.Y.shape[1]

    @property
    def predictors(self) -> int:
        return self.ones + self.X.shape[1]

    @property
    def own(self) -> int:
        """Number of rows that are not from an earlier factor."""
        return len(self.Y) if self.keep is None else len(self.keep)

    def __len__(self) -> int:
        return self.own + (0 if self.earlier is None else len(self.earlier[0]))

    @property
    def tall(self) -> bool:
        """Whether a Gram matrix is worth trying: below, QR costs little."""
        return len(self) > max(2 * self.columns, 1024)

    def centre(self) -> np.ndarray:
        """A point near the mean: subtracting it is exact to rounding, whatever the point."""
        if not self.ones:
            return np.zeros(self.columns)
        if self.earlier is not None:
            high, _ = self.earlier
            mean = high[:, 0] @ high / (high[:, 0] @ high[:, 0])
            mean[0] = 0.0           # the ones are not centred
            return mean
        step = max(1, self.own // 1024)
        chosen = slice(None, None, step) if self.keep is None else self.keep[::step]
        with np.errstate(all="ignore"):     # what is not finite shows in the Gram matrix
            means = [part.mean(axis=0, dtype=np.float64)
                     for part in (dense(self.X[chosen]), self.Y[chosen])]
        return np.concatenate([[0.0], *means])

    def parts(self, size):
        """Blocks of at most so many own rows: those of X, of Y, and the roots of their weights."""
        for start in range(0, self.own, size):
            chosen = slice(start, start + size)
            if self.keep is not None:
                chosen = self.keep[chosen]
            root = None if self.root is None else self.root[chosen]
            yield dense(self.X[chosen]), self.Y[chosen], root

    def blocks(self, centre, elements=BLOCK_ELEMENTS):
        """Blocks sqrt(w) * ([1 X y] - centre) in C order; each is overwritten by the next."""
        if self.earlier is not None:
            yield self.earlier_block(centre)
        size = max(4 * self.columns, elements // self.columns)
        buffer = np.empty((min(size, self.own), self.columns))
        for X, Y, root in self.parts(size):
            block = buffer[:len(Y)]
            block[:, :self.ones] = 1.0
            inner = slice(self.ones, self.predictors)
            np.subtract(X, centre[inner], out=block[:, inner], dtype=np.float64, casting="unsafe")
            np.subtract(Y, centre[self.predictors:], out=block[:, self.predictors:])
            if root is not None:
                block *= root[:, None]
            yield block

    def earlier_block(self, centre):
        """The earlier factor, centred."""
        high, low = self.earlier
        if self.ones:
            high, low = add((high, low), two_product(high[:, :1], -centre))
        return high + low

    def gram(self, centre) -> np.ndarray:
        """The Gram matrix of all `blocks`, without making them."""
        run = get_backend().run
        total = np.zeros((self.columns, self.columns))
        with np.errstate(all="ignore"):
            if self.earlier is not None:
                block = self.earlier_block(centre)
                total += block.T @ block
            for X, Y, root in self.parts(max(4 * self.columns, GRAM_ELEMENTS // self.columns)):
                found = run(OPS["gram"], real(X), Y, centre[self.ones:], root)
                total += found[1 - self.ones:, 1 - self.ones:]
        return total

    def exact_stack(self):
        """All rows as one (high, low)."""
        parts = [(high.copy(), np.zeros_like(high) if low is None else low)
                 for high, low in self.exact_blocks()]
        return tuple(np.vstack(part) for part in zip(*parts))

    def exact_blocks(self):
        """Blocks of sqrt(w) [1 X y] as unevaluated sums (high, low), without any rounding."""
        if self.earlier is not None:
            yield self.earlier
        plain = Rows(self.X, self.Y, None, self.keep, self.ones)
        root = self.root if self.keep is None else self.root[self.keep]
        start = 0
        for block in plain.blocks(np.zeros(self.columns)):
            stop = start + len(block)
            yield (block, None) if root is None else two_product(block, root[start:stop, None])
            start = stop


def remembered(rows: Rows, factor):
    """What later rows are stacked on: the factor, or few or dependent rows as they are.

    Of dependent columns a factor in float64 keeps noise that later rows would bring to light.
    """
    centred = factor[0][rows.ones:rows.predictors, rows.ones:rows.predictors]
    dependent = condition_number(centred) >= DEFICIENT
    limit = max(2 * rows.columns, KEPT_ROWS if dependent else 0)
    return rows.exact_stack() if len(rows) < limit else factor


def dense(X) -> np.ndarray:
    """A plain array of a block of rows."""
    return X.toarray() if hasattr(X, "toarray") else X


def real(X) -> np.ndarray:
    """X where it is float32 or float64, which ops read as they are; else as float64."""
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def triangular_factor(rows: Rows, require_finite) -> tuple[np.ndarray, np.ndarray]:
    """The factor of the rows as an unevaluated sum (high, low), by the cheapest exact route.

    `require_finite` raises where X holds what is not finite. A Gram matrix shows that by itself,
    so where one of all rows is enough X is read only once.
    """
    factor = None
    if not rows.tall or rows.keep is not None:
        require_finite()
    if rows.tall:
        factor = cholesky_factor(rows)
        if factor is None and rows.keep is None:
            require_finite()
    if factor is None:
        factor = householder_factor(rows)
        centred = np.s_[rows.ones:rows.predictors]
        condition = condition_number(factor[0][centred, centred])
        if TWO_PASSES < condition < DEFICIENT and rows.columns <= EXTENDED_COLUMNS:
            factor = extended_factor(rows) or factor
    return factor


def cholesky_factor(rows: Rows):
    """Route 1; None where the condition number asks for another."""
    centre, factor = rows.centre(), None
    for limit in (TWO_PASSES, 16.0):        # the second pass starts from nearly orthogonal columns
        gram = rows.gram(centre) if factor is None else orthogonal_gram(rows, centre, factor)
        squares = np.diagonal(gram)
        if not ((squares > TINY).all() and np.isfinite(squares).all()):
            return None
        with one_thread(rows):
            scale = power_of_two(np.sqrt(squares))
            upper, failed = lapack.dpotrf(gram / np.outer(scale, scale), clean=1)
            hard = np.inf if failed else hardness(upper, rows.predictors)
        if hard > limit:
            return None
        factor = np.asfortranarray(upper * scale if factor is None else (upper * scale) @ factor)
        if hard <= ONE_PASS:
            return uncentred(factor, centre, rows.ones)
    return uncentred(factor, centre, rows.ones)


def orthogonal_gram(rows: Rows, centre, factor) -> np.ndarray:
    """The Gram matrix (upper triangle) of the rows times the inverse of a factor of theirs."""
    gram = np.zeros((rows.columns, rows.columns), order="F")
    for block in rows.blocks(centre, CACHED_ELEMENTS):
        block = blas.dtrsm(1.0, factor, block.T, trans_a=1, overwrite_b=1)  # as BLAS reads it
        gram = blas.dsyrk(1.0, block, 1.0, gram, overwrite_c=1)
    return gram


def hardness(factor, predictors) -> float:
    """How much Cholesky amplifies rounding: the condition number, or |y| over its residual."""
    whole = column_norms(factor[:, predictors:])
    rest = column_norms(factor[predictors:, predictors:])
    ratio = np.inf if not (rest > 0).all() else (whole / rest).max(initial=1.0)
    return max(condition_number(factor[:predictors, :predictors]), float(ratio))


def householder_factor(rows: Rows):
    """Route 2: each block is factored under the factor of those before it."""
    centre = rows.centre()
    factor = np.zeros((0, rows.columns))
    for block in rows.blocks(centre):
        stack = np.asfortranarray(np.concatenate([factor, block]))
        work, _ = lapack.dgeqrf_lwork(*stack.shape)
        packed, *_ = lapack.dgeqrf(stack, lwork=int(work), overwrite_a=1)
        factor = np.triu(packed[:rows.columns])
    return uncentred(factor, centre, rows.ones)


def uncentred(factor, centre, ones):
    """The factor of [1 X y] from that of [1 X y] - centre: only the first row differs."""
    signs = np.where(np.diagonal(factor) < 0, -1.0, 1.0)
    factor[:len(signs)] *= signs[:, None]
    low = np.zeros_like(factor)
    if ones:
        factor[0], low[0] = add(two_product(factor[0, 0], centre), (factor[0].copy(), 0.0))
    return factor, low


def extended_factor(rows: Rows):
    """Route 3; None where the columns are dependent to working accuracy."""
    scale = np.zeros(rows.columns)
    for high, _ in rows.exact_blocks():
        scale = np.maximum(scale, np.abs(high).max(axis=0))
    scale = power_of_two(scale)
    gram = np.zeros((rows.columns, rows.columns)), np.zeros((rows.columns, rows.columns))
    for high, low in rows.exact_blocks():
        gram = add_gram(gram, high / scale, None if low is None else low / scale)
    factor = cholesky(gram, rows.predictors, EPSILON ** 2, DEFICIENT ** -2)
    return factor and tuple(part * scale for part in factor)


@dataclass(frozen=True)
class Solution:
    """What the factor says about the regression; p predictors, t targets."""

    coefficients: np.ndarray        # (p, t)
    intercept: np.ndarray           # (t,)
    mean: np.ndarray                # (p,): weighted mean of X, zero without an intercept
    mean_variance: float            # 1 / sum of the weights, zero without an intercept
    map: np.ndarray                 # (p, k): coefficients = map @ data of unit variance
    residual: np.ndarray            # (t,): length of the residual
    parameters: float               # effective number of coefficients, without the intercept
    rank: int
    condition: float


def solve(factor, n_features: int, alpha: float, ones: int) -> Solution:
    """Coefficients of least norm among those that minimise |y - X b - c|^2 + alpha |b|^2."""
    high, low = factor
    predictors, targets = slice(ones, ones + n_features), slice(ones + n_features, None)
    R, z = high[predictors, predictors], high[predictors, targets]
    # A centred column no longer than the rounding of the column itself is a constant: no scale
    # may blow it up, so columns are measured before they are centred.
    length = column_norms(high[:, predictors])
    if alpha > 0:
        mapping, rank, condition = ridge_inverse(R, length, alpha)
    else:
        mapping, rank, condition = scaled_inverse(R, length)
    coefficients = mapping @ z
    if alpha == 0 and ONE_PASS < condition < np.inf and n_features <= EXTENDED_COLUMNS:
        exact = (R, low[predictors, predictors]), (z, low[predictors, targets])
        for _ in range(3):
            coefficients = coefficients + mapping @ defect(*exact, coefficients)
    mean, intercept, mean_variance = np.zeros(n_features), np.zeros(z.shape[1]), 0.0
    if ones:
        mean_variance = 1.0 / high[0, 0] ** 2
        mean = high[0, predictors] / high[0, 0]
        first = (high[:1, predictors], low[:1, predictors]), (high[:1, targets], low[:1, targets])
        intercept = defect(*first, coefficients)[0] / high[0, 0]
    missed = z - R @ coefficients
    if alpha == 0 and rank == n_features:
        missed = np.zeros_like(z)
    residual = np.hypot(column_norms(high[ones + n_features:, targets]), column_norms(missed))
    parameters = float(np.sum(R.T * mapping)) if alpha > 0 else float(rank)     # trace of the hat
    return Solution(coefficients, intercept, mean, mean_variance, mapping, residual,
                    parameters, rank, condition)


def ridge_inverse(R, length, alpha):
    """The map from R's right-hand side to the ridge solution, by QR of R over sqrt(alpha) I."""
    basis = None
    if len(R) < R.shape[1]:         # few rows: the answer lies in their span
        basis, small = np.linalg.qr(R.T)
        R, length = small.T, column_norms(small.T)
    penalised = np.vstack([R, np.sqrt(alpha) * np.eye(R.shape[1])])
    orthogonal, triangle = np.linalg.qr(penalised)
    inverse, rank, condition = scaled_inverse(triangle, np.maximum(length, np.sqrt(alpha)))
    mapping = inverse @ orthogonal[:len(R)].T
    return mapping if basis is None else basis @ mapping, rank, condition


def scaled_inverse(R, length):
    """The inverse of R, or its pseudo-inverse of the rank seen once columns have unit length."""
    rows, columns = R.shape
    tolerance = 16 * EPSILON * (columns + 1)
    length = power_of_two(length)
    scaled = R / length
    # 1 / (norm of the inverse) bounds the least singular value to a factor sqrt(columns).
    size = np.abs(scaled).sum(axis=0).max(initial=0.0)
    if rows == columns and size >= tolerance * columns * condition_number(scaled, unit=False):
        inverse = solve_triangular(scaled, np.eye(rows), check_finite=False) / length[:, None]
        return inverse, rows, condition_number(R)
    directions, small = np.linalg.qr(scaled.T)      # LAPACK's SVD of a wide matrix is slow
    left, values, right = np.linalg.svd(small.T)
    right = right @ directions.T
    rank = int(np.sum(values > tolerance))
    # Least norm is meant in the user's units: take a basis of R's row space there.
    basis, triangle = np.linalg.qr(length[:, None] * right[:rank].T)
    inverse = basis @ np.linalg.solve(triangle.T, (left[:, :rank] / values[:rank]).T)
    return inverse, rank, condition_number(R) if rank == columns else np.inf


def condition_number(R, unit=True) -> float:
    """Estimate of the 1-norm condition number of a triangle, its columns scaled to unit length."""
    if R.shape[0] < R.shape[1]:
        return np.inf
    if R.size == 0:
        return 1.0
    if unit:
        length = column_norms(R)
        if not (length > 0).all():
            return np.inf
        R = R / length
    reciprocal, _ = lapack.dtrcon(R)
    return 1.0 / reciprocal if reciprocal > 0 else np.inf


def column_norms(R) -> np.ndarray:
    """Euclidean lengths of the columns, safe from overflow."""
    scale = power_of_two(np.abs(R).max(axis=0, initial=0.0))
    return scale * np.sqrt(np.sum((R / scale) ** 2, axis=0))


def power_of_two(values) -> np.ndarray:
    """The powers of two just above the values (1 for 0): scaling by them rounds nothing."""
    return np.ldexp(1.0, np.frexp(values)[1])
