"""Schedules: tables against formulas, boundaries, warm-up, and the texts of errors."""
import math

import numpy as np
import pytest

from gradatim import training
from gradatim.backend.errors import ParameterError, UnknownNameError
from gradatim.training.schedules import schedule


def cosine(i, total, warmup=0.0, final=0.0):
    if i < warmup * total:
        return min(1.0, (i + 1) / (warmup * total))
    share = (i - warmup * total) / (total - warmup * total)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(i, total, peak=0.3, start=0.04, final=1e-4):
    if i < peak * total:
        return start + (1 - start) * (1 - math.cos(math.pi * i / (peak * total))) / 2
    share = (i - peak * total) / (total - peak * total)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


def restarts(i, total, cycles=3, growth=2.0, decay=1.0, final=0.0):
    lengths = np.array([growth ** n for n in range(cycles)])
    ends = total * np.cumsum(lengths) / lengths.sum()
    n = int(np.searchsorted(ends, i, side="right"))
    share = (i - (ends[n - 1] if n else 0.0)) / (total * lengths[n] / lengths.sum())
    return decay ** n * (final + (1 - final) * (1 + math.cos(math.pi * share)) / 2)


def cyclic(i, total, cycles=4, low=0.1, decay=1.0):
    n, share = divmod(i * cycles / total, 1.0)
    return low + (1 - low) * (1 - abs(2 * share - 1)) * decay ** n


CASES = [
    (training.Polynomial(), lambda i, n: 1 - i / n),
    (training.Polynomial(2.0, 0.1), lambda i, n: 0.9 * (1 - i / n) ** 2 + 0.1),
    (training.InverseTime(), lambda i, n: 1 / (1 + 9 * i / n)),
    (training.CosineRestarts(), restarts),
    (training.CosineRestarts(2, 1.0, 0.5, 0.2), lambda i, n: restarts(i, n, 2, 1.0, 0.5, 0.2)),
    (training.Cyclic(), cyclic),
    (training.Cyclic(3, 0.0, 0.5), lambda i, n: cyclic(i, n, 3, 0.0, 0.5)),
    (training.Constant(), lambda i, total: 1.0),
    (training.Exponential(), lambda i, total: 0.01 ** (i / total)),
    (training.Exponential(final=0.5), lambda i, total: 0.5 ** (i / total)),
    (training.Cosine(), cosine),
    (training.Cosine(final=0.1), lambda i, n: cosine(i, n, final=0.1)),
    (training.Cosine(warmup=0.25), lambda i, n: cosine(i, n, 0.25)),
    (training.Cosine(warmup=0.9, final=0.5), lambda i, n: cosine(i, n, 0.9, 0.5)),
    (training.OneCycle(), one_cycle),
    (training.OneCycle(peak=0.5, start=0.0, final=0.0), lambda i, n: one_cycle(i, n, 0.5, 0, 0)),
]


@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize("chosen, formula", CASES, ids=lambda c: repr(c) if callable(
    getattr(c, "table", None)) else "")
def test_tables(chosen, formula, total):
    table = chosen.table(total)
    assert table == pytest.approx([formula(i, total) for i in range(total)], rel=0, abs=1e-12)
    assert all(0.0 <= f <= 1.0 for f in table)


def test_boundaries():
    total = 1000
    assert training.Cosine().table(total)[0] == 1.0
    assert training.Cosine().table(total)[-1] < 1e-5
    warm = training.Cosine(warmup=0.1).table(total)
    assert np.allclose(warm[:100], np.arange(1, 101) / 100) and max(warm) == warm[99] == 1.0
    cycle = training.OneCycle().table(total)
    assert cycle[0] == pytest.approx(0.04) and int(np.argmax(cycle)) == 300
    assert np.all(np.diff(cycle[:301]) > 0) and np.all(np.diff(cycle[300:]) < 0)


def test_beyond_the_planned_steps_the_end_is_kept():
    from gradatim import constant, run
    for chosen, end in [(training.Cosine(final=0.25), 0.25),
                        (training.OneCycle(final=0.125), 0.125)]:
        factor = chosen.factor(constant(np.float64(25.0)), constant(np.float64(10.0)))
        assert float(run(factor)) == pytest.approx(end)


ERRORS = [
    (lambda: training.Exponential(0.0), "final must be larger than 0: exponential decay never "
     'reaches 0\n  fix  use schedule="cosine"'),
    (lambda: training.Exponential(1.0), "final must be a number in [0, 1), not 1.0"),
    (lambda: training.Cosine(warmup=1.5), "warmup must be a number in [0, 1), not 1.5"),
    (lambda: training.Cosine(final="low"), "final must be a number in [0, 1), not 'low'"),
    (lambda: training.OneCycle(peak=0.0),
     'peak must be larger than 0\n  fix  use schedule="cosine"'),
    (lambda: training.Polynomial(0.0),
     'power must be larger than 0\n  fix  use schedule="constant"'),
    (lambda: training.InverseTime(-1), "decay must be a finite number from 0 on, not -1"),
    (lambda: training.CosineRestarts(0), "cycles must be a whole number from 1 on, not 0"),
    (lambda: training.CosineRestarts(decay=2.0), "decay must be in (0, 1], not 2.0"),
    (lambda: training.Cyclic(decay=0), "decay must be in (0, 1], not 0"),
    (lambda: schedule(1), "a schedule is a name or a Schedule, not 1"),
]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:16] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


def test_names():
    assert schedule("one_cycle") == training.OneCycle()
    with pytest.raises(UnknownNameError, match='did you mean "cosine"'):
        schedule("cosin")
