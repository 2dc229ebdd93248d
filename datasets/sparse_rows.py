"""SparseRows: a sparse matrix that gives dense rows, a batch at a time and never the whole."""
from __future__ import annotations

import numpy as np


class SparseRows:
    """A sparse matrix or array that is indexed like a dense one; only rows asked for are dense.

    Parameters
    ----------
    matrix : sparse matrix or array of scipy (n, n_features)
        Of any format; kept as compressed rows.

    Attributes
    ----------
    shape : tuple of int
        ``(n, n_features)``.
    dtype : dtype
        Element type.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from gradatim.datasets import SparseRows
    >>> rows = SparseRows(sparse.eye_array(4))
    >>> rows[np.array([2, 0])].tolist(), len(rows.subset([1, 3]))
    ([[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]], 2)
    """
    ndim = 2

    def __init__(self, matrix):
        self.matrix = matrix.tocsr()
        self.shape, self.dtype = self.matrix.shape, self.matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            at = range(len(self))[rows]
            return self.matrix[at:at + 1].toarray()[0]
        return self.matrix[rows].toarray()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.matrix.toarray().astype(self.dtype if dtype is None else dtype, copy=False)

    def subset(self, rows) -> SparseRows:
        """Some of the rows, still sparse."""
        return SparseRows(self.matrix[rows])
