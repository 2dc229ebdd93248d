"""Losses of classes: cross-entropies, plain and focal, divergence, hinges, and overlap of masks."""
from __future__ import annotations

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError, ShapeError
from .arguments import flag, number
from .losses import LOSSES, SMALLEST_PROBABILITY, Loss, within

cast, clip, equal, log, log_softmax, maximum, power, square, where = (OPS[n] for n in (
    "cast", "clip", "equal", "log", "log_softmax", "maximum", "power", "square", "where"))


class CrossEntropy(Loss):
    """Base of the cross-entropies.

    Parameters
    ----------
    from_logits : bool
        Whether the net ends without softmax or sigmoid. With one, its input is used where it can
        be found, which is the same and loses no digits.
    label_smoothing : float
        Share of probability spread over all classes (Szegedy et al. 2016).

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    activation = "softmax"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        if not 0 <= label_smoothing < 1:
            raise ParameterError(f"label_smoothing must be in [0, 1), not {label_smoothing!r}")
        self.from_logits, self.label_smoothing = bool(from_logits), float(label_smoothing)

    def logits(self, y_pred: Tensor) -> Tensor:
        """What went into the activation, or logits with the same probabilities."""
        if self.from_logits:
            return y_pred
        node = y_pred.node
        if node.op.name == self.activation and node.settings.get("axis", -1) in (
                -1, y_pred.ndim - 1):
            return node.inputs[0]
        p = clip(y_pred, low=SMALLEST_PROBABILITY, high=1.0 - SMALLEST_PROBABILITY)
        return log(p) if self.activation == "softmax" else log(p) - log(1.0 - p)


class BinaryCrossentropy(CrossEntropy):
    """``-y log p - (1 - y) log(1 - p)`` for every output.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import BinaryCrossentropy
    >>> y, p = gt.constant([[0.0], [1.0]]), gt.constant([[0.5], [0.25]])
    >>> gt.run(BinaryCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    activation = "sigmoid"

    def values(self, y_true, y_pred):
        return OPS["sigmoid_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


class CategoricalCrossentropy(CrossEntropy):
    """``-sum(y log p)`` for targets that are probabilities of classes, such as one-hot rows.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import CategoricalCrossentropy
    >>> y, p = gt.constant([[1.0, 0.0], [0.0, 1.0]]), gt.constant([[0.5, 0.5], [0.75, 0.25]])
    >>> gt.run(CategoricalCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        return OPS["softmax_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


class SparseCategoricalCrossentropy(CrossEntropy):
    """``-log p[y]`` for targets that are class numbers.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import SparseCategoricalCrossentropy
    >>> y, p = gt.constant([0, 1]), gt.constant([[0.5, 0.5], [0.75, 0.25]])
    >>> gt.run(SparseCategoricalCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    integer_labels = class_axis = True

    def aligned(self, y_true, y_pred):
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = OPS["squeeze"](y_true, axis=-1)
        if y_true.shape != y_pred.shape[:-1]:
            raise ShapeError(f"{type(self).__name__}: class numbers and logits do not fit",
                             got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                             fix="pass one class number per row of logits")
        return cast(y_true, dtype="int64")

    def values(self, y_true, y_pred):
        return OPS["softmax_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


class Focal(CrossEntropy):
    """Base of the focal losses: a cross-entropy that easy samples hardly enter (Lin et al. 2017).

    Parameters
    ----------
    alpha : float
        Weight of the classes, from 0 to 1.
    gamma : float
        Power of ``1 - p``, from 0 on; 0 is the cross-entropy itself.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
                 label_smoothing: float = 0.0):
        super().__init__(from_logits, label_smoothing)
        self.alpha = number("alpha", alpha, at_least=0.0)
        if self.alpha > 1:
            raise ParameterError(f"alpha must be a number in [0, 1], not {alpha!r}")
        self.gamma = number("gamma", gamma, at_least=0.0)


def share(p):
    """A probability kept off 0 and 1, where powers of it have no slope."""
    return clip(p, low=SMALLEST_PROBABILITY, high=1.0 - SMALLEST_PROBABILITY)


class BinaryFocalCrossentropy(Focal):
    """``(1 - q)**gamma`` times the cross-entropy, where q is the probability of what is true.

    Parameters
    ----------
    apply_class_balancing : bool
        Whether label 1 weighs ``alpha`` and label 0 weighs ``1 - alpha``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import BinaryFocalCrossentropy
    >>> y, p = gt.constant([[1.0], [1.0]]), gt.constant([[0.5], [0.9]])
    >>> gt.run(BinaryFocalCrossentropy()(y, p)).round(4)
    array([0.1733, 0.0011], dtype=float32)
    """
    activation = "sigmoid"

    def __init__(self, apply_class_balancing: bool = False, alpha: float = 0.25,
                 gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(alpha, gamma, from_logits, label_smoothing)
        self.apply_class_balancing = flag("apply_class_balancing", apply_class_balancing)

    def values(self, y_true, y_pred):
        y = y_true * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        logits = self.logits(y_pred)
        p = share(OPS["sigmoid"](logits))
        result = power(y * (1.0 - p) + (1.0 - y) * p, self.gamma) * \
            OPS["sigmoid_cross_entropy"](logits, y)
        if not self.apply_class_balancing:
            return result
        return result * (y * self.alpha + (1.0 - y) * (1.0 - self.alpha))


class CategoricalFocalCrossentropy(Focal):
    """``-sum(alpha * (1 - p)**gamma * y * log(p))`` for targets that are probabilities of classes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import CategoricalFocalCrossentropy
    >>> y, p = gt.constant([[0.0, 1.0]]), gt.constant([[0.5, 0.5]])
    >>> gt.run(CategoricalFocalCrossentropy()(y, p)).round(4)
    array([0.0433], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        y = y_true * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        logits = self.logits(y_pred)
        factor = power(1.0 - share(OPS["softmax"](logits)), self.gamma) * self.alpha
        return -(y * factor * log_softmax(logits)).sum(axis=-1)


class KLDivergence(Loss):
    """``sum(y * log(y / p))`` of two distributions (Kullback and Leibler 1951).

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import KLDivergence
    >>> y, p = gt.constant([[0.5, 0.5]]), gt.constant([[0.25, 0.75]])
    >>> gt.run(KLDivergence()(y, p)).round(3)
    array([0.144], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        y, p = (clip(t, low=SMALLEST_PROBABILITY, high=1.0) for t in (y_true, y_pred))
        return (y * (log(y) - log(p))).sum(axis=-1)


class Hinge(Loss):
    """``max(1 - y * p, 0)`` for signs; a target of 0 counts as -1 (Rosasco et al. 2004).

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Hinge
    >>> y, p = gt.constant([[1.0], [-1.0], [0.0]]), gt.constant([[0.5], [0.5], [-2.0]])
    >>> gt.run(Hinge()(y, p))
    array([0.5, 1.5, 0. ], dtype=float32)
    """

    def values(self, y_true, y_pred):
        signs = where(equal(y_true, 0.0), -1.0, y_true)
        return maximum(1.0 - signs * y_pred, 0.0)


class SquaredHinge(Hinge):
    """The square of `Hinge`, whose slope has no jump.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import SquaredHinge
    >>> y, p = gt.constant([[1.0], [-1.0]]), gt.constant([[0.5], [0.5]])
    >>> gt.run(SquaredHinge()(y, p))
    array([0.25, 2.25], dtype=float32)
    """

    def values(self, y_true, y_pred):
        return square(super().values(y_true, y_pred))


class CategoricalHinge(Loss):
    """``max(1 + highest wrong score - right score, 0)`` for one-hot rows.

    It is the margin of Crammer and Singer (2001), with Keras's 0 for the right class.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import CategoricalHinge
    >>> y, p = gt.constant([[0.0, 1.0]]), gt.constant([[0.25, 0.5]])
    >>> gt.run(CategoricalHinge()(y, p))
    array([0.75], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        right = (y_true * y_pred).sum(axis=-1)
        wrong = OPS["max"]((1.0 - y_true) * y_pred, axis=-1)
        return maximum(wrong - right + 1.0, 0.0)


class Tversky(Loss):
    """``1 - TP / (TP + alpha FP + beta FN)`` of each sample, counted in probabilities.

    Salehi, Erdogmus and Gholipour, 2017: for masks of images in which one class is rare. Keras's,
    with all axes but the first summed for each sample.

    Parameters
    ----------
    alpha, beta : float
        What false positives and false negatives weigh, from 0 on; Keras 3.15 has them exchanged.

    Raises
    ------
    ParameterError
        If one of them is negative.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Tversky
    >>> y, p = gt.constant([[1.0, 1.0, 0.0, 0.0]]), gt.constant([[1.0, 0.0, 1.0, 0.0]])
    >>> gt.run(Tversky(alpha=0.0, beta=1.0)(y, p)).round(3)
    array([0.5], dtype=float32)
    """
    tiny = SMALLEST_PROBABILITY

    def __init__(self, alpha: float = 0.5, beta: float = 0.5):
        self.alpha = number("alpha", alpha, at_least=0.0)
        self.beta = number("beta", beta, at_least=0.0)

    def values(self, y_true, y_pred):
        axes = tuple(range(1, y_pred.ndim))
        both, predicted, actual = (t.sum(axis=axes) for t in (y_true * y_pred, y_pred, y_true))
        whole = both + (predicted - both) * self.alpha + (actual - both) * self.beta
        return 1.0 - both / (whole + self.tiny)

    def __call__(self, y_true, y_pred, lengths=None):
        y_true = self.aligned(y_true, y_pred)
        if lengths is not None and y_pred.ndim > 1:
            y_true, y_pred = within(y_true, lengths), within(y_pred, lengths)
        return self.values(y_true, y_pred)


class Dice(Tversky):
    """``1 - 2 |A B| / (|A| + |B|)`` of each sample, counted in probabilities (Milletari 2016).

    Keras's, with all axes but the first summed for each sample.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Dice
    >>> y, p = gt.constant([[1.0, 1.0, 0.0]]), gt.constant([[1.0, 0.0, 0.0]])
    >>> gt.run(Dice()(y, p)).round(3)
    array([0.333], dtype=float32)
    """
    tiny = 0.5 * SMALLEST_PROBABILITY

    def __init__(self):
        super().__init__()


LOSSES |= {"binary_crossentropy": BinaryCrossentropy, "bce": BinaryCrossentropy,
           "categorical_crossentropy": CategoricalCrossentropy,
           "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
           "binary_focal_crossentropy": BinaryFocalCrossentropy,
           "categorical_focal_crossentropy": CategoricalFocalCrossentropy,
           "kl_divergence": KLDivergence, "kld": KLDivergence,
           "hinge": Hinge, "squared_hinge": SquaredHinge,
           "categorical_hinge": CategoricalHinge, "tversky": Tversky, "dice": Dice}
