"""The command line, run as a user runs it: a process of its own, its text and its exit code."""
import os
import platform
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest

import gradatim
from gradatim.__main__ import main
from gradatim.backend import registry
from gradatim.backend.errors import BackendError
from gradatim.info import info

# One thread for the linear algebra library: two of them in each of several test processes that
# share two cores wait for each other most of the time.
ENVIRONMENT = os.environ | {"PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1",
                            "OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-u", "-m", "gradatim"]


def command(*arguments, **environment):
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=300,
                          encoding="utf-8", env=ENVIRONMENT | environment)


def test_version():
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gradatim {gradatim.__version__}\n",
                                                           "")


def test_help_names_every_verb():
    done = command("--help")
    assert done.returncode == 0
    for verb in ("quickstart", "info", "doctor", "launch"):
        assert re.search(rf"^ +{verb}\b", done.stdout, flags=re.MULTILINE)


def test_info():
    done = command("info", GRADATIM_DATA="a/folder")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    rows: dict[str, list[str]] = {}
    for line in lines:
        label, rest = line.split(maxsplit=1)
        assert line.index(rest) == 14, "the second column is aligned"
        rows.setdefault(label, []).append(rest)
    assert rows["gradatim"] == [gradatim.__version__]
    assert rows["Python"][0].startswith(sys.version.split()[0])
    for package in ("numpy", "scikit-learn", "h5py", "tqdm"):
        assert rows[package] == [version(package)]
    for library in ("NVRTC", "cublasLt", "cuDNN"):
        assert re.fullmatch(r"[\d.]+|not installed as a wheel", rows[library][0])
    assert any(row.startswith("reference: cpu:0") for row in rows["backend"])
    assert sum('(backend="auto" takes it)' in row for row in rows["backend"]) == 1
    assert re.fullmatch(r"\d+ processors; .+", rows["threads"][0])
    assert rows["data"] == ["a/folder"]


@pytest.fixture
def without_core(monkeypatch):
    """This process as it is where the native backend was not compiled."""
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_missing", {})
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delitem(sys.modules, "gradatim.backend.native", raising=False)
    monkeypatch.setitem(sys.modules, "gradatim.backend.native._core", None)


def native_row():
    return next(line for line in info().splitlines() if re.match(r"backend +native: ", line))


def test_info_says_why_there_is_no_native_backend_and_how_to_get_it(without_core):
    assert native_row() == (
        "backend       native: not here, the compiled core of the native backend is not built; "
        "install a C++ compiler and Python's headers, then install gradatim again")
    assert "reference: cpu:0 (backend=\"auto\" takes it)" in info()
    assert gradatim.get_backend("auto").name == "reference"
    with pytest.raises(BackendError, match="fix  install a C\\+\\+ compiler"):
        gradatim.get_backend("native")


def test_info_says_that_onednn_is_missing(without_core, monkeypatch):
    def open_onednn(path):
        raise RuntimeError("libdnnl.so.3: cannot open shared object file")

    core = SimpleNamespace(open_onednn=open_onednn, has_sse41=lambda: True)
    monkeypatch.setitem(sys.modules, "gradatim.backend.native._core", core)
    assert native_row() == (
        "backend       native: not here, oneDNN cannot be used; libdnnl.so.3: cannot open shared "
        "object file; pip install onednn-cpu-gomp")


def test_info_on_another_kind_of_machine(without_core, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "not here, the native backend runs on Linux x86-64 only; use backend=" in native_row()


def test_info_on_an_old_processor(without_core, monkeypatch):
    core = SimpleNamespace(has_sse41=lambda: False)
    monkeypatch.setitem(sys.modules, "gradatim.backend.native._core", core)
    assert native_row() == (
        "backend       native: not here, the native backend needs a processor with SSE4.1; "
        'use backend="auto", which takes the reference here')
    model = gradatim.DNNRegressor(epochs=1).fit([[1.0], [2.0]], [1.0, 2.0])
    assert model.predict([[1.0]]).shape == (1,) and model.backend == "auto"


def test_info_where_the_core_was_built_for_another_python(without_core, monkeypatch):
    class Broken:
        """What the import system finds, and cannot load."""
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "gradatim.backend.native._core":
                raise ImportError("undefined symbol: PyUnicode_AsUTF9")

    monkeypatch.delitem(sys.modules, "gradatim.backend.native._core")
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    assert native_row() == (
        "backend       native: not here, the compiled core of the native backend cannot be loaded; "
        "undefined symbol: PyUnicode_AsUTF9; install a C++ compiler and Python's headers, then "
        "install gradatim again")


def test_info_tells_the_version_of_cudnn(tmp_path, monkeypatch):
    (tmp_path / "nvidia_cudnn_cu13-9.10.2.dist-info").mkdir()
    (tmp_path / "nvidia_cudnn_cu13-9.10.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nvidia-cudnn-cu13\nVersion: 9.10.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "\ncuDNN         9.10.2\n" in info()


def test_info_says_that_no_folder_of_data_is_named():
    assert command("info", GRADATIM_DATA="").stdout.endswith("GRADATIM_DATA is not set\n")


@pytest.mark.parametrize("arguments, complaint", [
    (["dance"], "invalid choice: 'dance'"),
    ([], "the following arguments are required: verb"),
    (["info", "--loud"], "unrecognized arguments: --loud"),
    (["launch", "-n", "0", "x.py"], "argument -n: must be a whole number from 1 on, not 0"),
    (["launch", "-n", "two", "x.py"], "argument -n: must be a whole number from 1 on, not two"),
    (["launch", "-n", "2", "--restarts", "-1", "x.py"], "must be a whole number from 0 on, not -1"),
    (["launch", "-n", "2", "x.py"], "argument script: there is no file x.py"),
    (["launch", __file__], "the following arguments are required: -n"),
])
def test_wrong_arguments(arguments, complaint):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr and done.stderr.startswith("usage: gradatim")


def test_an_error_is_told_without_its_traceback(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    assert main(["launch", "-n", "2", __file__]) == 1
    assert capsys.readouterr().err == (
        "gradatim: there is no mpiexec to start processes with\n"
        '  fix  pip install "gradatim[mpi]"\n')


def test_quickstart():
    done = command("quickstart", "--quiet", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    pattern = r"^   ([^\d]+) (\d\.\d{3})   \(.*: (\d\.\d{3})\)$"
    found = re.findall(pattern, done.stdout, flags=re.MULTILINE)
    scores = {what: (float(score), float(naive)) for what, score, naive in found}
    assert set(scores) == {"R?", "test accuracy", "nats per character"}
    assert scores["R?"][0] > 0.5 > scores["R?"][1]
    assert scores["test accuracy"][0] > 0.9 > 0.2 > scores["test accuracy"][1]
    assert scores["nats per character"][0] < 0.85 * scores["nats per character"][1]
    assert "the same predictions, bit for bit" in done.stdout
    assert re.search(r"^   it writes: The \S.{60,}$", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^All of it took \d+ s\.", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize("delay", [0.05, 0.3])            # while it compiles, and while it trains
def test_ctrl_c_ends_the_quickstart_in_the_middle_of_a_fit(delay):
    with subprocess.Popen([*PROGRAM, "quickstart", "--quiet"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, encoding="utf-8",
                          env=ENVIRONMENT) as process:
        for line in process.stdout:
            if line.startswith("2. "):
                break
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint == "stopped\n"
    assert "3. " not in rest and "accuracy" not in rest


def test_a_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["info"]) == 0


def test_a_reader_that_goes_away_is_no_error():
    with subprocess.Popen([*PROGRAM, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=ENVIRONMENT) as process:
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 1 and "Traceback" not in complaint
