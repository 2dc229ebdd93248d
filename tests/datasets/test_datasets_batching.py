"""Batches: order, resume, padding, prefetching, sequences of unequal length."""
import signal
import threading
import time
import traceback

import numpy as np
import pytest

import gradatim.datasets as gd
from gradatim.backend.errors import DataError, ParameterError, ShapeError

X = np.arange(40).reshape(10, 4)
Y = np.arange(10)


def collected(batches):
    """Every batch as plain lists."""
    return [([part.tolist() for part in batch], n_valid) for batch, n_valid in batches]


def test_batches_are_the_order_of_the_epoch():
    order = gd.epoch_order(10, seed=3, epoch=5)
    batches = list(gd.Batches((X, Y), 4, seed=3, epoch=5, pad=False))
    assert [n for _, n in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([y for (_, y), _ in batches]), order)
    np.testing.assert_array_equal(np.concatenate([x for (x, _), _ in batches]), X[order])


def test_order_depends_on_seed_and_epoch_alone():
    np.random.seed(0)
    first = gd.epoch_order(1000, 1, 2)
    np.random.seed(1)
    np.testing.assert_array_equal(first, gd.epoch_order(1000, 1, 2))
    assert sorted(first) == list(range(1000))
    for other in ((1, 3), (2, 2), (2, 1), (1 << 63, 2)):
        assert (gd.epoch_order(1000, *other) != first).any()
    for wrong in ((-1, 0), (0, -1), (0, 1 << 64)):
        with pytest.raises(ParameterError):
            gd.epoch_order(10, *wrong)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 9])
def test_a_resumed_run_goes_on_exactly(prefetch, shuffle, start):
    def batches(**settings):
        return gd.Batches((X, Y), 4, shuffle=shuffle, seed=1, prefetch=prefetch, **settings)
    assert collected(batches(start=start)) == collected(batches())[start:]
    assert len(batches(start=start)) == max(0, 3 - start)
    twice = batches()
    assert collected(twice) == collected(twice)


def test_the_last_batch_is_padded_with_its_first_row():
    *_, ((x, y), n_valid) = gd.Batches((X, Y), 4, seed=7)
    assert n_valid == 2 and x.shape == (4, 4) and y[2] == y[3] == y[0]
    np.testing.assert_array_equal(x[:, 0] // 4, y)
    ((x, y), n_valid), = gd.Batches((X, Y), 16, shuffle=False)
    assert n_valid == 10 and y.tolist() == [*range(10)] + [0] * 6


def test_batches_of_files_and_sparse_matrices(tmp_path):
    import h5py
    from scipy import sparse
    np.save(tmp_path / "x.npy", X)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        arrays = (np.load(tmp_path / "x.npy", mmap_mode="r"), file.create_dataset("x", data=X),
                  sparse.csr_matrix(X), X.tolist())
        for shuffle in (True, False):
            for batch, _ in gd.Batches(arrays, 4, shuffle=shuffle, seed=2):
                memory, hdf5, matrix, plain = batch
                np.testing.assert_array_equal(memory, plain)
                np.testing.assert_array_equal(hdf5, plain)
                np.testing.assert_array_equal(matrix.toarray(), plain)


@pytest.mark.parametrize("arguments, settings, kind", [
    (((X, Y[:9]), 4), {}, ShapeError),
    (((), 4), {}, ShapeError),
    ((X, 4), {}, ParameterError),
    (((X,), 0), {}, ParameterError),
    (((X,), 4), {"start": -1}, ParameterError),
    (((X,), 4), {"prefetch": -1}, ParameterError),
    (((X,), 4), {"seed": -1}, ParameterError),
])
def test_wrong_arguments_of_batches(arguments, settings, kind):
    with pytest.raises(kind, match="\n  fix  "):
        gd.Batches(*arguments, **settings)


def threads():
    """The prefetch threads that live."""
    return [t for t in threading.enumerate() if t.name == "gradatim-prefetch"]


def leave_by(way):
    """Run a loop over prefetched batches and leave it in some way."""
    for number, _ in enumerate(gd.Batches((X, Y), 1, prefetch=2)):
        assert threads() or number  # near the end it has nothing left to do
        if way == "break":
            break
        if isinstance(way, BaseException):
            raise way


@pytest.mark.parametrize("way", ["end", "break", KeyError("mine"), KeyboardInterrupt()])
def test_no_thread_outlives_the_loop(way):
    if isinstance(way, BaseException):
        with pytest.raises(type(way)):
            leave_by(way)
    else:
        leave_by(way)
    assert not threads()


def test_no_thread_before_the_first_batch_and_none_without_prefetch():
    iterator = iter(gd.Batches((X,), 2))
    assert not threads()
    next(iterator)
    assert threads()
    iterator.close()
    assert not threads()
    for _ in gd.Batches((X,), 2, prefetch=0):
        assert not threads()


def test_errors_of_the_thread_arrive_with_their_traceback():
    def broken_reader():
        yield 1
        raise OSError("disk gone")
    items = gd.prefetched(broken_reader(), depth=1)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone") as caught:
        next(items)
    assert "broken_reader" in "".join(traceback.format_exception(caught.value))
    assert not threads()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_ctrl_c_while_waiting_for_the_thread():
    main = threading.main_thread()
    if threading.current_thread() is not main:
        pytest.skip("signals reach the main thread only")

    def slow_reader():
        time.sleep(0.05)  # by now the consumer waits
        signal.pthread_kill(main.ident, signal.SIGINT)
        time.sleep(0.05)  # the signal finds it still at work
        yield 1
    with pytest.raises(KeyboardInterrupt):
        next(gd.prefetched(slow_reader(), depth=1))
    assert not threads()


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_runs_ahead_by_its_depth_and_no_further(depth):
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number
    iterator = gd.prefetched(items(), depth)
    next(iterator)
    deadline = time.monotonic() + 5.0
    while len(made) < depth + 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)  # time to run too far, if it did
    assert len(made) == depth + 1
    assert list(iterator) == list(range(1, 20))


# Sequences

def test_pad_sequences():
    sequences = [np.full((n, 2), n) for n in (3, 1, 4)]
    padded, lengths = gd.pad_sequences(sequences, 5, "float64", indices=[2, 0])
    assert padded.shape == (2, 5, 2) and padded.dtype == np.float64
    assert lengths.tolist() == [4, 3] and lengths.dtype == np.int64
    assert padded[:, :, 1].tolist() == [[4, 4, 4, 4, 0], [3, 3, 3, 0, 0]]


@pytest.mark.parametrize("sequences, length, message", [
    ([np.zeros((3, 2)), np.zeros((3, 1))], None, "equally many features"),
    ([np.zeros((3, 2, 2))], None, "equally many features"),
    ([np.float64(3)], None, "equally many features"),
    ([], None, "equally many features"),
    ([np.zeros((3, 2)), np.zeros((6, 2))], 5, "6 steps in sequence 1"),
])
def test_sequences_that_cannot_be_padded(sequences, length, message):
    with pytest.raises(ShapeError, match=message):
        gd.pad_sequences(sequences, length)


@pytest.mark.parametrize("n, batch_size, sizes", [
    (1, 4, None), (7, 7, None), (1000, 32, None), (1000, 7, [10, 50]), (50, 64, [60]),
    (333, 16, [5, 7, 50, 80])])
def test_length_buckets_have_every_row_once(n, batch_size, sizes):
    lengths = np.random.default_rng(n).integers(1, 51, n)
    batches = gd.length_buckets(lengths, batch_size, seed=1, epoch=2, sizes=sizes)
    rows = np.concatenate([indices for indices, _ in batches])
    assert sorted(rows.tolist()) == list(range(n))
    assert sum(len(indices) < batch_size for indices, _ in batches) <= 1
    assert {time for _, time in batches} <= set(sizes or gd.bucket_sizes(lengths).tolist())
    assert len({time for _, time in batches}) <= 8
    for indices, padded_time in batches:
        assert lengths[indices].max() <= padded_time


def test_length_buckets_repeat_and_shuffle():
    lengths = np.random.default_rng(0).integers(1, 51, 500)
    one, same, other = (gd.length_buckets(lengths, 16, seed=1, epoch=e) for e in (0, 0, 1))
    assert [(i.tolist(), t) for i, t in one] == [(i.tolist(), t) for i, t in same]
    assert [(i.tolist(), t) for i, t in one] != [(i.tolist(), t) for i, t in other]
    assert [t for _, t in one] != sorted(t for _, t in one)
    waste = sum(t * len(i) for i, t in one) / lengths.sum()
    assert waste < 1.25 < 50 * 500 / lengths.sum()  # against padding all to the longest


@pytest.mark.parametrize("call, kind", [
    (lambda: gd.length_buckets([], 4), DataError),
    (lambda: gd.length_buckets([3, 0], 4), DataError),
    (lambda: gd.length_buckets([3, 5], 0), ParameterError),
    (lambda: gd.length_buckets([3, 5], 4, sizes=[4]), ParameterError),
    (lambda: gd.length_buckets([3, 5], 4, sizes=[]), ParameterError),
    (lambda: gd.bucket_sizes([3, 5], 0), ParameterError),
])
def test_wrong_arguments_of_buckets(call, kind):
    with pytest.raises(kind, match="\n  fix  "):
        call()
