"""CTC: the loss of a row of labels where no one says at which steps they are."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ShapeError
from .losses import LOSSES, Loss

cast, equal, exp, expand_dims, log, not_equal, pad, where = (OPS[n] for n in (
    "cast", "equal", "exp", "expand_dims", "log", "not_equal", "pad", "where"))
NEVER = -1e30               # the logarithm of no probability; its sums are still float32's


class CTC(Loss):
    """Minus the logarithm of the probability of all ways to say the labels (Graves et al. 2006).

    Connectionist temporal classification, for speech and handwriting: a net gives logits of classes
    at every step, class 0 being "nothing". A way is right if leaving out repeats and then nothings
    leaves the labels: ``cc0a0at`` says "caat". Targets are class numbers ``(batch, most)`` from 1
    on, rows filled up with 0 at their ends; logits are ``(batch, time, classes)``, and steps beyond
    a row's length do not count. Where a row has fewer steps than its labels need, the loss is about
    1e30, and the gradient teaches nothing.

    Raises
    ------
    ShapeError
        If targets or logits have other axes.

    Notes
    -----
    The sum over ways is equations 5 to 8 of the paper, in logarithms, one step of the graph after
    another: for some hundred steps, not for thousands.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim.layers import CTC
    >>> even = gt.constant(np.zeros((1, 3, 2), "float32"))        # each of 8 ways is as likely
    >>> gt.run(exp(-CTC()(gt.constant([[1]]), even))).round(3)    # 6 say one 1: 001, 010, 011, ...
    array([0.75], dtype=float32)
    """
    integer_labels = class_axis = True

    def aligned(self, y_true, y_pred):
        if y_true.ndim != 2 or y_pred.ndim != 3:
            raise ShapeError("CTC needs (batch, most) labels and (batch, time, classes) logits",
                             got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                             fix="fill rows of labels up with 0, and keep the time axis")
        return cast(y_true, dtype="int64")

    def __call__(self, y_true, y_pred, lengths=None):
        labels = self.aligned(y_true, y_pred)
        states = between_nothings(labels)                              # (batch, states)
        time, classes = y_pred.shape[1:]
        chosen = OPS["one_hot"](states, depth=classes, dtype=y_pred.dtype.name)
        each = OPS["matmul"](OPS["log_softmax"](y_pred), chosen, transpose_y=True)
        first, *rest = OPS["split"](each, sections=time, axis=1)       # (batch, 1, states)
        place = np.arange(states.shape[1])
        # A label follows another with nothing between them, but not one of its own kind.
        skips = not_equal(states, pad(states[:, :-2], widths=((0, 0), (2, 0)))) & (place % 2 == 1)
        ways = where(place < 2, first[:, 0], NEVER)
        counts = None if lengths is None else expand_dims(lengths, axis=1)
        for t, here in enumerate(rest, 1):
            one, two = (pad(ways[:, :-n], widths=((0, 0), (n, 0)), value=NEVER) for n in (1, 2))
            after = log_sum([ways, one, where(skips, two, NEVER)]) + here[:, 0]
            ways = after if counts is None else where(counts > t, after, ways)
        ends = 2 * expand_dims(cast(cast(labels > 0, dtype="float64").sum(axis=1), dtype="int64"),
                               axis=1)                                 # (batch, 1): last nothing
        last = [where(equal(ends - n, place), ways, NEVER) for n in (0, 1)]
        return -log_sum([OPS["max"](part, axis=1) for part in last])


def between_nothings(labels: Tensor) -> Tensor:
    """``(batch, 2 most + 1)``: nothing before, between and after the labels."""
    labels = expand_dims(labels, axis=2)
    pairs = pad(labels, widths=((0, 0), (0, 0), (1, 0)))
    return pad(pairs.reshape(-1, 2 * labels.shape[1]), widths=((0, 0), (0, 1)))


def log_sum(terms: list[Tensor]) -> Tensor:
    """The logarithm of the sum of the exponentials, which neither over- nor underflows."""
    largest = terms[0]
    for term in terms[1:]:
        largest = OPS["maximum"](largest, term)
    largest = OPS["stop_gradient"](largest)                # it cancels
    total = exp(terms[0] - largest)
    for term in terms[1:]:
        total = total + exp(term - largest)
    return largest + log(total)


LOSSES |= {"ctc": CTC}
