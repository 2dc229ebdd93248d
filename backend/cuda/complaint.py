"""Complaint: what a kernel may find wrong in a tensor, and the error that says so."""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from ..tensor import Tensor

WORDS = 4            # of what a kernel tells: struct Complaint of kernels/common.cuh


class Complaint(NamedTuple):
    """The error's class and the first half of its text; ``about`` holds the wrong value."""
    kind: type[Exception]
    text: str
    about: Tensor

    def error(self, told: np.ndarray, inputs: Sequence[Tensor], rows=None, first: int = 0
              ) -> Exception:
        """The error, with the value and its place.

        Of several steps it names the one, and where the tensor is fed the sample that was taken.

        Parameters
        ----------
        told : array
            What the kernel wrote; the step counts from ``first``.
        inputs : sequence of Tensor
            What is fed.
        rows : array (steps, batch), optional
            Which samples each of several steps took.
        """
        _, value, place, step = map(int, told)
        at = [int(i) for i in np.unravel_index(place, self.about.shape)]
        text = f"{self.text}: {value} at {at}"
        if rows is not None:
            text += f" in step {first + step} of {len(rows)}"
            if self.about in inputs and at:
                text += f", of sample {rows[first + step - 1][at[0]]}"
        return self.kind(text)
