"""EmbedColumns: a learned vector for each category in some columns of a table of numbers."""
from __future__ import annotations

from itertools import groupby

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.elementwise import cast, maximum, minimum
from ..backend.ops.indexing import gather
from ..backend.ops.shape import concatenate
from .arguments import positive_int
from .base import Layer
from .initializers import RandomNormal


class EmbedColumns(Layer):
    """Replaces columns of codes by learned vectors, and passes the others on before them.

    Guo and Berkhahn, "Entity embeddings of categorical variables", arXiv:1604.06737, 2016. Input
    ``(batch, columns)``, output ``(batch, plain columns + sum of output_dims)``.

    Parameters
    ----------
    sizes : sequence of int
        For each column, how many codes from 0 on it holds; 0 for a column of numbers. Codes
        beyond are taken for the nearest there is.
    output_dims : sequence of int, optional
        The lengths of the vectors, one per column of codes; by default
        ``min(50, round(1.6 * size ** 0.56))``.
    embeddings_initializer : str or Initializer
        How the first vectors are drawn.

    Raises
    ------
    ParameterError
        If no column holds codes, or there are other lengths than such columns.
    ShapeError
        If the input has another number of columns.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.EmbedColumns((0, 5, 0), output_dims=(4,))(gt.placeholder((2, 3))).spec)
    float32[2, 6]
    """

    def __init__(self, sizes, output_dims=None, embeddings_initializer=RandomNormal(0.0, 0.3),
                 name: str | None = None):
        super().__init__(name)
        self.sizes = tuple(n if n == 0 else positive_int("sizes", n) for n in sizes)
        self.output_dims = None if output_dims is None else tuple(
            positive_int("output_dims", n) for n in output_dims)
        self.settle_weight("embeddings", embeddings_initializer)
        coded = [n for n in self.sizes if n]
        if not coded or output_dims is not None and len(self.output_dims) != len(coded):
            raise ParameterError("EmbedColumns needs columns of codes, and one length for each",
                                 got=f"sizes={self.sizes}, output_dims={self.output_dims}")

    def build(self, spec: Spec) -> None:
        if spec.shape != (len(self.sizes),):
            raise ShapeError(f"{self.label}: the input has other columns than sizes",
                             got=f"{list(spec.shape)} and {len(self.sizes)} sizes",
                             fix="give one size per column, 0 for numbers")
        coded = [j for j, n in enumerate(self.sizes) if n]
        dims = self.output_dims or [min(50, round(1.6 * self.sizes[j] ** 0.56)) for j in coded]
        self.tables = {j: self.add_weight(f"embeddings_{j}", (self.sizes[j], dim),
                                          **self.weight_settings("embeddings"))
                       for j, dim in zip(coded, dims)}

    def call(self, x: Tensor) -> Tensor:
        columns = range(len(self.sizes))
        runs = [list(run) for coded, run in groupby(columns, self.tables.__contains__) if not coded]
        parts = [x[:, run[0]:run[-1] + 1] for run in runs]
        for j, table in self.tables.items():
            codes = minimum(maximum(x[:, j], 0.0), float(self.sizes[j] - 1))      # (batch,)
            parts.append(gather(table, cast(codes, dtype="int64"), axis=0))      # (batch, dim)
        return concatenate(*parts, axis=-1)
