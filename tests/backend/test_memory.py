"""Memory: what is free, the error before a run that needs more, and runs that keep none."""
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import available, memory
from gradatim.backend.errors import MemoryLimitError

BACKENDS = [b for b in ("reference", "native") if b in available()]


def system(folder, **files):
    """A pretended file system; __ stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


MEMINFO = "MemTotal: 4000 kB\nMemAvailable:    1000 kB\nSwapFree: 24 kB\n"
STAT = "cache 10\ninactive_file 100\n"
GROUP_2 = {"proc__self__cgroup": "0::/slice/job\n",
           "sys__fs__cgroup__slice__memory.max": "5000\n",
           "sys__fs__cgroup__slice__memory.current": "4800\n",
           "sys__fs__cgroup__slice__memory.stat": STAT,
           "sys__fs__cgroup__slice__job__memory.max": "max\n",
           "sys__fs__cgroup__slice__job__memory.current": "700\n"}
GROUP_1 = {"proc__self__cgroup": "7:cpu:/\n4:memory:/job\n",
           "sys__fs__cgroup__memory__job__memory.limit_in_bytes": "900\n",
           "sys__fs__cgroup__memory__job__memory.usage_in_bytes": "1000\n"}


@pytest.mark.parametrize("files, free", [
    ({}, None),
    ({"proc__meminfo": MEMINFO}, 1024 * 1024),
    ({"proc__meminfo": MEMINFO} | GROUP_2, 300),
    (GROUP_1, 0),
    (GROUP_1 | {"sys__fs__cgroup__memory__job__memory.stat": "inactive_file 400\n"}, 300),
])
def test_free_bytes(files, free, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SYSTEM", system(tmp_path, **files))
    assert memory.free_bytes() == free


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell")
def test_free_bytes_of_this_machine():
    assert 2 ** 20 < memory.free_bytes() < 2 ** 48
    code = ("import resource, numpy\nfrom gradatim.backend import memory\n"
            "hard = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
            "resource.setrlimit(resource.RLIMIT_AS, (2 ** 40, hard))\n"
            "before = memory._address_space(); a = numpy.empty(2 ** 26)\n"
            "print(before < 2 ** 40, before - memory._address_space() >= 2 ** 29)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A machine with ten million free bytes."""
    monkeypatch.setattr(memory, "SYSTEM", system(tmp_path, proc__meminfo="MemAvailable: 9765 kB"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_cannot_be_had_names_its_largest_tensors(small, backend):
    x, y = gt.placeholder((3000, 5)), gt.placeholder((5, 2000))
    with pytest.raises(MemoryLimitError) as caught:
        gt.function([x, y], (x @ y).sum(), backend=backend)
    lines = str(caught.value).splitlines()
    needed = int(lines[0].split()[4].replace(",", ""))
    assert 24_000_000 <= needed < 25_000_000
    assert lines == [f"a run would take {needed:,} bytes of memory, and 9,999,360 are free",
                     "  largest  matmul float32[3000, 2000] of 24,000,000 bytes; "
                     "sum float32[] of 4 bytes",
                     "  fix      take a smaller batch_size, fewer units or shorter sequences"]
    assert isinstance(caught.value, MemoryError)
    gt.function([x, y], (x[:300] @ y).sum(), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_are_still_to_be_drawn_count(small, backend):
    w = gt.variable((1000, 2600), initializer=layers.initializer("glorot_uniform"))
    x = gt.placeholder((2, 1000))
    with pytest.raises(MemoryLimitError, match=r"a run would take 10,4\d\d,\d\d\d bytes"):
        gt.function([x], x @ w, backend=backend)
    assert not w.drawn
    w.assign(np.zeros(w.shape, "f"))                  # memory that was free before, not after
    gt.function([x], x @ w, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sizes_beyond_any_memory(backend):
    x = gt.placeholder((10 ** 12, 1))
    with pytest.raises(MemoryLimitError, match="one tensor would take 4,000,000,000,000,000,000,000"
                                               ",000 bytes of memory"):
        gt.function([x], (x @ gt.reshape(x, shape=(1, 10 ** 12))).sum(), backend=backend)


def test_huge_units_are_refused_before_training():
    X = np.zeros((300, 4), "f")
    model = gt.DNNRegressor(hidden_layer_sizes=(10 ** 7, 10 ** 7), batch_size=10)
    with pytest.raises(MemoryLimitError) as caught:
        model.fit(X, X[:, 0])
    assert caught.value.what.startswith("the weights would take 400,000,280,000,036") and \
        "dense_1/kernel float32[10000000, 10000000] of 400,000,000,000,000 bytes" in \
        caught.value.facts["largest"]
    assert not hasattr(model, "history_")


def test_a_huge_batch_is_computed_in_parts(small):
    X = np.random.default_rng(0).standard_normal((6000, 4)).astype("f")
    losses = []
    for batch_size in (6000, 100):
        model = gt.Sequential([layers.Dense(1000, "relu"), layers.Dropout(0.1), layers.Dense(1)])
        trainer = gt.Trainer(model, optimizer="sgd", metrics=["mae"])
        notes = trainer.plan(X, X[:, :1], batch_size=batch_size).notes
        losses.append(trainer.fit(X, X[:, :1], epochs=2, batch_size=batch_size).logs["loss"])
        assert bool(notes) == (batch_size == 6000)
        assert all(re.fullmatch("each step in (8|16) parts, so that it fits in memory", note)
                   for note in notes)
    memory.SYSTEM = Path("/nowhere")                   # as much as one likes
    model = gt.Sequential([layers.Dense(1000, "relu"), layers.Dropout(0.1), layers.Dense(1)])
    trainer = gt.Trainer(model, optimizer="sgd", metrics=["mae"])
    assert trainer.plan(X, X[:, :1], batch_size=6000).notes == ()
    whole = trainer.fit(X, X[:, :1], epochs=2, batch_size=6000).logs["loss"]
    assert losses[0] == pytest.approx(whole, rel=1e-5) != losses[1]


def test_a_huge_batch_whose_rows_meet_is_refused_before_training(small):
    model = gt.Sequential([layers.Dense(1000), layers.BatchNormalization(), layers.Dense(1)])
    trainer = gt.Trainer(model, optimizer="sgd")
    for method in (trainer.plan, trainer.fit):
        with pytest.raises(MemoryLimitError) as caught:
            method(np.zeros((6000, 4)), np.zeros((6000, 1)), batch_size=6000)
        assert caught.value.what.startswith("a run would take ")
        assert caught.value.facts["why"] == (
            "parts of a batch have other batch statistics or partners to be mixed with, so it is "
            "not cut")
        assert "float32[6000, 1000] of 24,000,000 bytes" in caught.value.facts["largest"]
    assert not trainer.history


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory by /proc")
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_steps_keep_no_memory(backend):
    """A short form of tests/backend/soak.py."""
    script = Path(__file__).with_name("soak.py")
    done = subprocess.run([sys.executable, script, "--steps", "2000", "--backend", backend],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
