"""Fits that start workers of their own: equal to others, and nothing is ever left of them."""
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.distribute import crew, launch, staging
from gradatim.backend.distribute.launch import mpiexec
from gradatim.backend.errors import DistributedError, ParameterError

SCRIPT = Path(__file__).with_name("mirrored_script.py")
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or
    not (Path(sys.executable).parent / "mpiexec").exists(),
    reason='needs mpi4py and mpiexec: pip install "gradatim[mpi]"')


def started(what, environment):
    return subprocess.Popen([sys.executable, SCRIPT, what], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment)


@needs_mpi
def test_workers_give_what_one_process_gives(traceless):
    process = started("equal", traceless)
    out, complaint = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), complaint) == (0, "epochs 5", "")


@needs_mpi
def test_workers_with_virtual_shards_learn_the_same_bits(traceless):
    process = started("bits", traceless)
    out, complaint = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), complaint) == (0, "epochs 4", "")


@needs_mpi
@pytest.mark.parametrize("what, said", [
    ("kill", r"DistributedError: the 2 workers ended with exit code 9\n  got  gradatim: rank 1 of "
             r"2 \(process \d+\) was killed, or ended without a word, at step \d+, "),
    ("raise", r"Error: in worker 1 of 2:\n(.*\n)+LookupError: this worker knows nothing"),
], ids=["kill", "raise"])
def test_a_worker_that_fails(what, said, traceless):
    process = started(what, traceless)
    out, complaint = process.communicate(timeout=60)
    assert process.returncode == 1 and "epochs" not in out
    assert re.search(said, complaint), complaint


@needs_mpi
def test_ctrl_c_ends_training_and_keeps_what_was_learned(traceless):
    with started("interrupt", traceless) as process:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        out, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    assert 3 <= int(out.split()[1]) < 100_000


@needs_mpi
def test_a_notebook(traceless):
    """A kernel as notebooks run it: cells define what workers need, and its stop button works."""
    pytest.importorskip("ipykernel", reason="needs a kernel: pip install ipykernel")
    from jupyter_client.manager import start_new_kernel
    manager, client = start_new_kernel(env=traceless)
    said: list = []

    def hear(message):
        said.append(message["content"].get("text", ""))
        if said[-1] == "training\n":
            manager.interrupt_kernel()

    try:
        for what in ("equal", "interrupt"):
            cell = f"import sys; sys.argv = ['', '{what}']\n{SCRIPT.read_text()}"
            reply = client.execute_interactive(cell, timeout=60, output_hook=hear)
            assert reply["content"]["status"] == "ok", (said, reply["content"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    words = "".join(said).split()
    assert words[:4] == ["epochs", "5", "training", "epochs"] and 3 <= int(words[4]) < 100_000


@needs_mpi
def test_workers_end_with_their_parent(traceless):
    with started("abandon", traceless) as process:
        assert process.stdout.readline() == "training\n"
        process.kill()
        process.stdout.close()
        process.stderr.close()


def test_what_is_staged_comes_back_without_copies(tmp_path):
    thing = {"x": np.arange(5.0), "y": [np.ones((3, 2), order="F"), np.zeros(0)], "f": lambda x: x}
    with staging.stage(thing, str(tmp_path)) as folder:
        found = staging.staged(f"{folder}/call")
        assert found["f"](3) == 3 and found["x"].tolist() == [0, 1, 2, 3, 4]
        assert [a.shape for a in found["y"]] == [(3, 2), (0,)]
        assert found["x"].ctypes.data % 64 == 0
        found["x"][0] = 7                                      # this process's own page from now on
        assert staging.staged(f"{folder}/call")["x"][0] == 0
    assert not list(tmp_path.iterdir())


def test_folders_of_killed_processes_are_taken_away(tmp_path):
    code = ("import os, signal, sys; from gradatim.backend.distribute.staging import stage\n"
            "with stage(1, sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -signal.SIGKILL
    left, = tmp_path.iterdir()
    with staging.stage(2, str(tmp_path)) as alive:
        for path, age in ((left, 0), (Path(alive), 3600), (left, 3600)):
            os.utime(path, (time.time() - age,) * 2)
            with staging.stage(3, str(tmp_path)):
                assert left.exists() == (path != left or not age)
        assert list(tmp_path.iterdir()) == [Path(alive)]       # its maker lives, old as it is


def test_what_cannot_be_pickled_leaves_no_folder(tmp_path):
    with pytest.raises(TypeError):
        with staging.stage((x for x in "abc"), str(tmp_path)):
            pass
    assert not list(tmp_path.iterdir())


def test_there_is_no_mpi(monkeypatch):
    model = gt.DNNRegressor(strategy="mirrored")
    monkeypatch.setattr(crew, "find_spec", lambda name: None)
    with pytest.raises(DistributedError, match="workers meet through MPI, and there is no mpi4py\n"
                                               r'  fix  pip install "gradatim\[mpi\]"'):
        model.fit([[1.0], [2.0]], [1.0, 2.0])
    assert not hasattr(model, "n_features_in_")
    monkeypatch.setattr(launch.shutil, "which", lambda name: None)
    monkeypatch.setattr(launch.os, "access", lambda path, mode: False)
    with pytest.raises(DistributedError, match="there is no mpiexec to start processes with"):
        mpiexec()


def test_mirrored_is_a_parameter():
    assert gt.Mirrored(2) == gt.Mirrored(workers=2) != gt.Mirrored(3)
    assert repr(gt.Mirrored(2)) == "Mirrored(workers=2)" and gt.Mirrored(2).starts == 2
    assert 1 <= gt.Mirrored().starts <= 8 and gt.DataParallel(2).starts == 0
    with pytest.raises(ParameterError, match="workers must be a whole number from 1 on"):
        gt.Mirrored(0)


@pytest.mark.parametrize("strategy", ["mirrored", gt.Mirrored(2)])
def test_a_trainer_starts_no_workers(strategy):
    trainer = gt.Trainer(gt.Sequential([gt.layers.Dense(1)]), strategy=strategy)
    with pytest.raises(ParameterError, match='only estimators start workers'):
        trainer.fit(np.ones((4, 2)), np.ones(4))
