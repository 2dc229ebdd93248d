"""What each rank runs for the tests of the MPI communicator; prints one line if all is well."""
import pickle
import sys
from functools import reduce

import numpy as np

from gradatim.backend.distribute import launched, world
from gradatim.backend.errors import DistributedError

me = world()
assert me is world() and me.size == launched() == int(sys.argv[1]) and 0 <= me.rank < me.size
size, rank = me.size, me.rank
parts = np.random.default_rng(5).standard_normal((size, 3, 2))
for name, combine in [("sum", np.sum), ("max", np.max), ("min", np.min)]:
    for dtype in ("float32", "float64"):
        mine = parts[rank].astype(dtype)
        found = me.all_reduce(mine, name)
        assert found.dtype == dtype and np.array_equal(mine, parts[rank].astype(dtype))
        np.testing.assert_allclose(found, combine(parts.astype(dtype), axis=0), rtol=1e-5)
        assert len({f.tobytes() for f in me.gather(found)}) == 1      # the same bits everywhere
assert me.all_reduce(np.int64(rank + 1)).item() == size * (size + 1) // 2
assert me.all_reduce(np.zeros((0, 3), "f")).shape == (0, 3)
mine, out = parts[rank].copy(), np.empty((3, 2))
assert me.all_reduce(mine, out=out) is out and me.all_reduce(mine, out=mine) is mine
assert np.array_equal(mine, out) and np.array_equal(out, me.all_reduce(parts[rank]))
assert np.array_equal(me.all_reduce(parts[rank].T), me.all_reduce(parts[rank]).T)
for dtype in ("float32", "float64"):                   # in several pieces, by way of shared memory
    large = np.random.default_rng(rank).standard_normal((1100, 1001)).astype(dtype)
    every = [np.random.default_rng(r).standard_normal(large.shape).astype(dtype)
             for r in range(size)]
    for name, combine in [("sum", np.add), ("max", np.maximum)]:
        found, place = me.all_reduce(large, name), large.copy()
        assert me.all_reduce(place, name, out=place) is place and np.array_equal(found, place)
        assert np.allclose(found, reduce(combine, every), rtol=1e-5, atol=1e-6)
        assert len({f.tobytes() for f in me.gather(found)}) == 1
    assert np.array_equal(me.all_reduce(large.T), me.all_reduce(large).T)
    if size % 2 == 0:
        assert np.array_equal(me.swap(large, rank ^ 1), every[rank ^ 1])
    assert np.array_equal(large, every[rank])
row = np.full((1, 2), rank)
assert me.all_gather(row).tolist() == [[r, r] for r in range(size)]
assert me.all_gather(row, axis=1).tolist() == [[r for r in range(size) for _ in range(2)]]
assert me.broadcast_from(row, root=size - 1).tolist() == [[size - 1] * 2]
assert me.share({"rank": rank}) == {"rank": 0} and me.gather(rank) == list(range(size))
me.barrier()
if size % 2 == 0:
    assert me.swap(np.array([rank]), rank ^ 1).tolist() == [rank ^ 1]
    try:                                               # ranks that have lost each other
        me.all_reduce(np.zeros(2 + rank % 2))
    except DistributedError as error:
        assert str(error).startswith("the ranks have come to different exchanges at step 0\n"
                                     "  got  rank 0: all_reduce sum of float64[2]; "
                                     "rank 1: all_reduce sum of float64[3]")
    else:
        raise AssertionError("two lengths were added")
try:
    pickle.dumps(me)
except TypeError:
    pass
else:
    raise AssertionError("a communicator was pickled")
if rank == 0:
    print("all is well")
