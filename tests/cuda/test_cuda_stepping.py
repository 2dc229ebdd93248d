"""Several steps in one call on the CUDA stand-in: samples resident or staged, the same bits."""
import gc
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.errors import DTypeError, MemoryLimitError
from gradatim.backend.tables import Tables
from gradatim.datasets import OnDisk
from gradatim.training import stepping as training_stepping

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda import program, stepping  # noqa: E402
from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((301, 40)).astype("f"), RNG.integers(0, 3, 301)


class Counting(CpuDevice):
    """Counts the bytes that come from the host, and those that come ahead of the steps."""
    uploaded = ahead = 0

    def upload(self, address, array, ahead=False):
        self.uploaded += array.nbytes
        self.ahead += array.nbytes * ahead
        super().upload(address, array, ahead)


def trained(device, monkeypatch, seconds=60.0, X=X, **options):
    """Bits of all variables and history of a net with dropout after three epochs."""
    monkeypatch.setattr(training_stepping, "CALL_SECONDS", seconds)
    trainer = gt.Trainer(gt.Sequential([layers.Dense(9, "relu"), layers.Dropout(0.3),
                                        layers.Dense(3)]),
                         layers.SparseCategoricalCrossentropy(from_logits=True),
                         metrics=["accuracy"], backend=CudaBackend(device), **options)
    trainer.fit(X, Y, epochs=3, batch_size=10 // trainer.accumulate, X_val=X[:70], y_val=Y[:70])
    return {name: v.numpy().tobytes() for name, v in trainer.variables().items()}, trainer.history


def test_resident_staged_and_single_steps_give_the_same_bits(monkeypatch):
    resident = Counting()
    want = trained(resident, monkeypatch)
    assert not resident.ahead and resident.uploaded < 3 * X.nbytes      # of three epochs
    small = Counting(memory=90_000)
    assert trained(small, monkeypatch) == want
    assert small.ahead > 2 * X.nbytes
    assert trained(Counting(), monkeypatch, seconds=0.0) == want
    tiny = Counting(memory=45_000)                                      # of no use for staging
    monkeypatch.setattr(program.CudaProgram, "_steps_at_once", lambda self: 0)
    assert trained(tiny, monkeypatch) == want
    assert not tiny.ahead


def test_parts_of_a_step_take_their_rows_on_the_device(monkeypatch):
    device, whole = Counting(), trained(Counting(), monkeypatch)
    parts = trained(device, monkeypatch, accumulate=2)
    assert device.uploaded < 4 * X.nbytes                               # of three epochs
    for got, want in zip(parts[1], whole[1]):
        assert got == pytest.approx(want, rel=1e-5)
    assert trained(Counting(memory=45_000), monkeypatch, accumulate=2) == parts


class Rows(OnDisk):
    """Counts the rows that are read."""
    read = 0

    def _read(self, start, stop):
        self.read += stop - start
        return super()._read(start, stop)


def test_a_file_that_fits_is_read_once_and_one_that_does_not_batch_by_batch(monkeypatch):
    want = trained(Counting(), monkeypatch)
    small, large = Rows(X), Rows(X)
    assert trained(Counting(), monkeypatch, X=small) == want
    device = Counting(memory=90_000)
    assert trained(device, monkeypatch, X=large) == want
    assert small.read < 2 * len(X) < 3 * len(X) <= large.read         # of three epochs
    assert not device.ahead


TABLES = {"bytes": (np.uint8, (7,)), "one byte": (bool, ()), "words": (np.float32, (3,)),
          "sixteens": (np.float64, (2, 3)), "one long": (np.int64, ())}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("kept", [Tables, list])
@pytest.mark.parametrize("name", TABLES)
def test_every_size_of_a_row(name, kept, pieces, monkeypatch):
    monkeypatch.setattr(stepping, "PIECES", pieces)
    dtype, shape = TABLES[name]
    table = RNG.integers(0, 2, (50, *shape)).astype(dtype)
    x = gt.placeholder((6, *shape), np.dtype(dtype).name)
    f = gt.function([x], [x, gt.cast(x, dtype="float64").sum()], backend=CudaBackend(CpuDevice()))
    rows = RNG.integers(0, 50, (7, 6))
    found, sums = f.steps(kept([table]), rows)
    np.testing.assert_array_equal(found, table[rows])
    assert found.dtype == table.dtype and sums.tolist() == [float(table[r].sum()) for r in rows]


def test_tables_are_converted_and_kept_until_they_go(monkeypatch):
    device, table = Counting(), np.arange(1000)
    x = gt.placeholder((4,))
    f = gt.function([x], x * 2.0, backend=CudaBackend(device))
    tables, rows = Tables([table]), np.array([[999, 0, 5, 5]])
    before = len(device._taken)
    for _ in range(2):
        assert f.steps(tables, rows)[0].tolist() == [[1998, 0, 10, 10]]
    assert device.uploaded < 2 * 4000
    del tables
    gc.collect()
    assert len(device._taken) == before + 1        # the memory of the program
    table[0] = 3                                    # a list is read anew
    assert f.steps([table], rows)[0].tolist() == [[1998, 6, 10, 10]]


def test_held_weights_stay_as_they_are():
    w, x = gt.variable(np.float32([1, 2])), gt.placeholder((2,))
    f = gt.function([x], [w * 1.0], {w: w + x}, backend=CudaBackend(CpuDevice()))
    table, rows = [np.float32([1, 10, 100])], np.array([[0, 1], [2, 1]])
    held = []
    for _ in range(3):
        held.append(w.snapshot())
        f.steps(table, rows)
    held.append(w.snapshot())
    assert [np.asarray(h).tolist() for h in held] == [[1 + 101 * i, 2 + 20 * i] for i in range(4)]


def test_numbers_that_do_not_fit_are_refused():
    x = gt.placeholder((2,), "int32")
    f = gt.function([x], x + x, backend=CudaBackend(CpuDevice()))
    for tables in (Tables, list):
        with pytest.raises(DTypeError, match="is not a number of the type int32"):
            f.steps(tables([np.array([1, 2 ** 40])]), np.array([[0, 1]]))


def test_tables_give_way_to_what_needs_memory():
    device = CpuDevice(memory=100_000)
    x = gt.placeholder((2,), "int64")
    f = gt.function([x], x + x, backend=CudaBackend(device))
    tables = Tables([np.arange(5_000)])
    assert f.steps(tables, np.array([[7, 9]]))[0].tolist() == [[14, 18]]
    assert device._free_bytes() < 60_000 < 90_000 < device.free_bytes()
    with pytest.raises(MemoryLimitError) as caught:
        device.allocate(100_001)
    assert str(caught.value).startswith("cuda:0 has no 100,001 bytes left\n  got  100,000 free\n")
    device.allocate(90_000)
    assert f.steps(tables, np.array([[7, 9]]))[0].tolist() == [[14, 18]]    # staged


def test_memory_of_steps_goes_when_it_gives_way():
    device, x = CpuDevice(memory=50_000), gt.placeholder((1000,))
    f = gt.function([x], x.sum(), backend=CudaBackend(device))
    gc.disable()                                       # nothing waits for circles to be found
    try:
        f.steps([np.ones(2000, "f")], np.arange(1000)[None])
        assert device._free_bytes() < 47_000
        device.allocate(47_000)
    finally:
        gc.enable()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_program_takes_the_bytes_that_it_says(missing):
    def compiled(memory=None):
        x, w = gt.placeholder((64, 100)), gt.variable((100, 50))
        return gt.function([x], gt.relu(x @ w).sum(), {w: w + 1.0},
                           backend=CudaBackend(CpuDevice(memory=memory)))

    needed = compiled().plan().device_bytes
    if missing:
        with pytest.raises(MemoryLimitError, match="^a run on cuda:0 would take"):
            compiled(needed - 1)
    else:
        f = compiled(needed)
        assert float(f(np.ones((64, 100), "f"))) == 0.0
        found = f.steps([np.ones((70, 100), "f")], np.zeros((2, 64), int))
        assert found[0].tolist() == [320_000.0, 640_000.0]


def lookup(**options):
    """A row of a table for each index of a step, and a label for it."""
    x, y = gt.placeholder((3,), "int64"), gt.placeholder((3,), "int64")
    w = gt.variable(np.eye(4, dtype="f"))
    loss = gt.softmax_cross_entropy(gt.gather(w, x, axis=0), y).sum()
    return gt.function([x, y], loss, {w: w - gt.gradients(loss, [w])[0]},
                       backend=CudaBackend(CpuDevice(**options)))


@pytest.mark.parametrize("kept", [Tables, list])
def test_a_wrong_number_among_many_steps_is_named_with_its_step_and_sample(kept, monkeypatch):
    X, y = np.arange(40) % 4, np.arange(40) % 4
    rows = RNG.permutation(39).reshape(13, 3)
    step, place = np.argwhere(rows == 17)[0]
    for table, what in ((X, "an index is out of range for an axis of 4"),
                        (y, "a label is not below the number of classes, 4")):
        f = lookup()
        for at_once in (100, 5):                # one call of the stepper, and several
            monkeypatch.setattr(program.CudaProgram, "_steps_at_once", lambda self: at_once)
            before, table[17] = table[17], 9
            with pytest.raises(IndexError) as caught:
                f.steps(kept([X, y]), rows)
            table[17] = before
            assert str(caught.value) == \
                f"{what}: 9 at [{place}] in step {step + 1} of 13, of sample 17"
            assert len(f.steps(kept([X, y]), rows)[0]) == 13          # and it is forgotten


def test_a_wrong_number_of_one_step_is_named_with_its_place():
    f = lookup()
    with pytest.raises(IndexError) as caught:
        f(np.array([3, 0, -5]), np.array([1, 1, 1]))
    assert str(caught.value) == "an index is out of range for an axis of 4: -5 at [2]"
