"""CTC against the sum over all ways that a row of labels can be said, and in training."""
from itertools import groupby, product

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import available
from gradatim.backend.errors import ShapeError

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((4, 5, 3))
LABELS = np.array([[1, 2, 1], [2, 2, 0], [1, 0, 0], [0, 0, 0]])


def said(way):
    """What a way says: repeats count once, and 0 is nothing."""
    return [label for label, _ in groupby(way) if label]


def over_all_ways(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = [label for label in labels if label]
    return -np.log(sum(p[np.arange(len(p)), way].prod()
                       for way in product(range(p.shape[1]), repeat=len(p)) if said(way) == wanted))


def losses_and_slopes(logits, lengths=None, backend="auto"):
    p = gt.placeholder(logits.shape, logits.dtype)
    lengths = None if lengths is None else gt.constant(np.array(lengths))
    each = layers.CTC()(gt.constant(LABELS), p, lengths)
    (slope,) = gt.gradients(each.sum(), [p])
    return gt.function([p], [each, slope], backend=backend)(logits)


@pytest.mark.parametrize("lengths", [None, [5, 4, 2, 1]])
def test_all_ways_are_counted_and_no_other(lengths):
    found, slope = losses_and_slopes(LOGITS, lengths)
    want = [over_all_ways(x[:n], y) for x, y, n in zip(LOGITS, LABELS, lengths or [5] * 4)]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    direction, step = RNG.standard_normal(LOGITS.shape), 1e-6
    ahead, behind = (losses_and_slopes(LOGITS + s * direction, lengths)[0].sum()
                     for s in (step, -step))
    np.testing.assert_allclose((slope * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-6)
    for row, n in zip(slope, lengths or []):
        assert not row[n:].any()


@pytest.mark.skipif("native" not in available(), reason="needs the native backend")
def test_backends_agree():
    ours, theirs = (losses_and_slopes(LOGITS.astype("float32"), [5, 4, 2, 1], backend)
                    for backend in ("native", "reference"))
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_said_is_dear_and_teaches_nothing():
    found, slope = losses_and_slopes(LOGITS.astype("float32"), [3, 2, 1, 1])
    assert found[1] > 1e29 and np.isfinite(found).all() and np.isfinite(slope).all()
    np.testing.assert_allclose(found[0], over_all_ways(LOGITS[0, :3], LABELS[0]), rtol=1e-5)


def test_certain_logits_have_finite_losses_and_slopes():
    found, slope = losses_and_slopes(np.float32(1e4) * LOGITS.astype("float32"))
    assert np.isfinite(found).all() and np.isfinite(slope).all()


def test_a_net_finds_where_the_labels_are():
    """Steps of noise and of two signs; what is told is which signs came, and not when."""
    rng = np.random.default_rng(1)
    steps = rng.choice(3, (200, 8), p=[0.6, 0.2, 0.2])
    rows = [said(row) for row in steps]
    y = np.zeros((200, 8), int)
    for row, labels in zip(y, rows):
        row[:len(labels)] = labels
    X = np.eye(3)[steps] + 0.1 * rng.standard_normal((200, 8, 3))
    trainer = gt.Trainer(gt.Sequential([layers.Dense(3)]), "ctc", learning_rate=0.1)
    trainer.fit(X, y, epochs=20)
    best = trainer.predict(X).argmax(axis=2)
    assert np.mean([said(way) == labels for way, labels in zip(best, rows)]) > 0.95


@pytest.mark.parametrize("y, p", [((2,), (2, 5, 3)), ((2, 4), (2, 3))])
def test_shapes_are_checked(y, p):
    with pytest.raises(ShapeError) as caught:
        layers.CTC()(gt.placeholder(y, "int64"), gt.placeholder(p))
    assert str(caught.value).splitlines()[:2] == [
        "CTC needs (batch, most) labels and (batch, time, classes) logits",
        f"  got  {list(y)} and {list(p)}"]
