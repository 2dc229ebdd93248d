"""The CUDA backend's stand-in with strategies: replicas, virtual shards, ranks, pickles, forks."""
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.cuda_device import CudaDevice
from gradatim.backend.distribute import local_communicators
from gradatim.backend.distribute.nccl import NCCLCommunicator
from gradatim.backend.errors import BackendError

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_calls import view  # noqa: E402
from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

HERE = Path(__file__).parent
TRAINING = runpy.run_path(str(HERE / "ranks_cuda.py"))
MPIEXEC = Path(sys.executable).parent / "mpiexec"
CUDA = CudaBackend(CpuDevice())


@pytest.mark.parametrize("case", TRAINING["NETS"])
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_learn_what_one_device_learns(workers, case):
    want = TRAINING["trained"](case, "single", "reference")
    found = TRAINING["trained"](case, gt.DataParallel(workers), CUDA)
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", TRAINING["NETS"])
def test_virtual_shards_learn_what_one_device_learns(case):
    want = TRAINING["trained"](case, "single", "reference")
    strategy = gt.DataParallel(deterministic=True, virtual_shards=4)
    first, second = (TRAINING["trained"](case, strategy, CUDA) for _ in range(2))
    for name, value in want.items():
        np.testing.assert_allclose(first[name], value, rtol=0, atol=1e-5, err_msg=name)
        assert first[name].tobytes() == second[name].tobytes()


@pytest.mark.skipif(not MPIEXEC.exists(), reason='needs mpiexec: pip install "gradatim[mpi]"')
def test_ranks_learn_what_one_process_learns(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRADATIM_CUDA": "stand-in"}
    digests = []
    for size in (1, 2, 4):
        done = subprocess.run([MPIEXEC, "-n", str(size), sys.executable, HERE / "ranks_cuda.py",
                               str(tmp_path / "found")], env=environment, capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        digests.append(done.stdout)
        for case in TRAINING["NETS"]:
            with np.load(tmp_path / f"found-{case}.npz") as found:
                for name, value in TRAINING["trained"](case, "single", "reference").items():
                    np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)
    assert digests[0] and digests == digests[:1] * 3         # bits with virtual shards


# ---- collectives in a GPU's stream -------------------------------------------------------------

class Alone(CpuDevice):
    """A GPU that no other thread of this process uses; its other stream has a number."""
    aside = SimpleNamespace(ptr=7)

    def here(self):
        return self._lock


def nccl(team):
    """An NCCL communicator whose library really sums what lies at addresses."""
    found = NCCLCommunicator.__new__(NCCLCommunicator)
    names = {"NCCL_FLOAT32": "f4", "NCCL_FLOAT64": "f8", "NCCL_INT32": "i4", "NCCL_INT64": "i8"}
    calls = []

    def all_reduce(source, target, count, kind, operation, stream):
        assert stream == 7
        calls.append(operation)
        view(target, (count,), kind)[...] = team.all_reduce(view(source, (count,), kind),
                                                            operation)

    def broadcast(source, target, count, kind, root, stream):
        assert stream == 7
        calls.append("broadcast")
        view(target, (count,), kind)[...] = team.broadcast_from(view(source, (count,), kind), root)

    found._team, found.rank, found.size, found.calls = team, team.rank, team.size, calls
    found._nccl = SimpleNamespace(NCCL_SUM="sum", NCCL_MAX="max", NCCL_MIN="min", **names)
    found._handle = SimpleNamespace(allReduce=all_reduce, broadcast=broadcast)
    return found


def test_what_nccl_takes_stops_no_program():
    def work(team):
        communicator = nccl(team)
        x, w = gt.placeholder((2, 3)), gt.variable(np.ones(3, "f"))
        total = gt.all_reduce((x * w).sum(axis=0), operation="sum")
        first = gt.broadcast_from(x, root=1)
        most = gt.all_reduce(x, operation="max")
        graph = gt.Graph([total, first, most], {w: w + total})
        program = CudaBackend(Alone()).compile(graph, "", communicator)
        state, found = [w.numpy()], []
        for step in range(4):                       # recorded graphs come with the third
            run = program.stretches(state, [np.full((2, 3), team.rank + 1 + step, "f")])
            with pytest.raises(StopIteration) as end:
                next(run)
            found.append(end.value.value)
        return found, np.asarray(state[0]), communicator.calls

    with ThreadPoolExecutor(2) as pool:
        ranks = list(pool.map(work, local_communicators(2)))
    weight = 1.0
    for step in range(4):
        total = 2 * weight * (3 + 2 * step)
        for found, _, _ in ranks:
            assert [float(a.flat[0]) for a in found[step]] == [total, step + 2, step + 2]
        weight += total
    for _, state, calls in ranks:
        np.testing.assert_array_equal(state, np.full(3, weight))
        assert sorted(calls) == sorted(["sum", "broadcast", "max"] * 4)


# ---- copies ------------------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((24, 4)).astype("f")


def test_a_pickle_holds_no_device():
    trainer = gt.Trainer(gt.Sequential([layers.Dense(1)]), backend=CUDA)
    trainer.fit(X, X[:, :1], epochs=1)
    for variable in trainer.model.variables().values():
        value = pickle.dumps(variable.memory())
        assert b"cuda" not in value
        np.testing.assert_array_equal(pickle.loads(value), variable.numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_is_refused_and_does_not_hang():
    device = CudaDevice.__new__(CudaDevice)
    device.name, device._process = "cuda:0", os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            device.allocate(8)
        except BackendError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == (
            "cuda:0 belongs to the process that this one was forked from\n"
            '  fix  start processes with the method "spawn", or joblib\'s "loky"')
