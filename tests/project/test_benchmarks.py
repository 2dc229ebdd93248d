"""The benchmark scripts: they run at tiny sizes, and their tables say what the numbers say."""
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradatim as gt

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("benchmarks_table", ROOT / "benchmarks" / "table.py")
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

ROUNDS = {("gradatim", ""): [1.0, 2.0, 4.0],
          ("PyTorch", ""): [5.0, 6.0, 7.0],
          ("PyTorch", "channels_last"): [3.0, 5.0, 8.0],
          ("Keras-JAX", ""): [9.0, 9.0, 9.0],
          ("scikit-learn", ""): []}


def test_the_fastest_variant_and_the_median_of_ratios():
    row = table.summary(ROUNDS, {"fastest": 2.0})
    assert {n: found["ms"] for n, found in row["libraries"].items()} == {
        "gradatim": 2.0, "PyTorch": 5.0, "Keras-JAX": 9.0}
    assert row["libraries"]["PyTorch"]["variant"] == "channels_last"
    assert row["fastest"] == "PyTorch"
    assert row["ratios"] == {"PyTorch": 2.5, "Keras-JAX": 4.5}


@pytest.mark.parametrize("targets, words", [
    ({"fastest": 2.5}, "2.5x PyTorch, target 2.5x: met"),
    ({"fastest": 2.6}, "2.5x PyTorch, target 2.6x: SHORT"),
    ({"Keras-JAX": 4.0}, "4.5x Keras-JAX, target 4x: met"),
    ({"onnxruntime": 0.9}, "0.9x onnxruntime: not measured"),
    ({"limit": 2.0}, "at most 2 ms: met"),
    ({"limit": 1.9}, "at most 1.9 ms: SHORT"),
])
def test_verdicts(targets, words):
    row = table.summary(ROUNDS, targets)
    assert [table.verdict(v) for v in row["verdicts"]] == [words]


def test_a_peer_alone_is_no_verdict():
    row = table.summary({("PyTorch", ""): [1.0]}, {"fastest": 2.0, "limit": 1.0})
    assert [v["met"] for v in row["verdicts"]] == [None, None]
    assert "not measured" in table.text({"mlp-32": row})


@pytest.mark.parametrize("times, wanted", [([3.0], 0.0), ([1.0, 2.0, 3.0], 0.5), ([2.0] * 5, 0.0)])
def test_spread(times, wanted):
    assert table.spread(times) == wanted


def test_the_table_has_our_column_first_and_gaps_where_nothing_was_measured():
    rows = {"a": table.summary({("PyTorch", ""): [2.0], ("gradatim", ""): [1.0]}, {}),
            "b": table.summary({("gradatim", ""): [123.4]}, {}) | {"share_of_ceiling": 0.5}}
    head, first, second = table.text(rows).splitlines()
    assert head.split()[:3] == ["workload", "gradatim", "PyTorch"]
    assert first.split()[1::2][:2] == ["1", "2"]
    assert second.split()[:3] == ["b", "123", "±0%"]
    assert second.endswith("50% of the matmul ceiling")


def run(script, *arguments):
    return subprocess.run([sys.executable, "-m", f"benchmarks.{script}", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)


def test_compare_runs(tmp_path):
    path = tmp_path / "figures.json"
    done = run("compare", "--quick", "--threads", "1", "--json", str(path), "--libraries",
               "gradatim", "scikit-learn", "PyTorch", "--only", "mlp-32", "lstm-128-lengths",
               "least-squares", "predict-1", "one-row", "fresh-process")
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    results = record["results"]
    assert all("gradatim" in row["libraries"] and "failed" not in row for row in results.values())
    assert results["mlp-32"]["fastest"] in ("scikit-learn", "PyTorch")
    assert results["least-squares"]["results_agree"]
    assert {"LinearRegression", "Ridge"} <= set(results["least-squares"]["ratios"])
    assert 0 < results["mlp-32"]["losses"]["gradatim"] < 3
    assert ("PyTorch" in record["versions"]) != ("PyTorch" in record.get("left_out", {}))
    assert "fresh-process" in done.stdout
    for name in record.get("left_out", {}):
        assert f"{name} is left out" in done.stdout


@pytest.mark.skipif(not shutil.which("g++"), reason="the stand-in for a GPU needs a compiler")
def test_compare_runs_what_is_meant_for_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADATIM_CUDA", "stand-in")
    path = tmp_path / "figures.json"
    done = run("compare", "--backend", "cuda", "--quick", "--libraries", "gradatim", "--only",
               "cuda-mlp-128", "cuda-lenet-128", "cuda-lstm-512", "cuda-cross-entropy", "cuda-adam",
               "--json", str(path))
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text())["results"]
    assert all("gradatim" in row["libraries"] and "failed" not in row for row in results.values())
    assert done.stdout.count("2x PyTorch-compiled: not measured") == 1


def test_compare_refuses_what_it_does_not_know():
    done = run("compare", "--only", "no-such-workload")
    assert done.returncode == 2 and "no-such-workload" in done.stderr


@pytest.mark.skipif(gt.get_backend().name != "native", reason="only the native backend has steps")
def test_breakdown_runs(tmp_path):
    path = tmp_path / "steps.json"
    done = run("breakdown", "lenet-32", "--quick", "--runs", "2", "--threads", "1", "--most", "3",
               "--json", str(path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())
    assert abs(sum(row["share"] for row in rows) - 1) < 1e-9
    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
    assert sum("convolution" in row["name"] for row in rows) >= 5
    assert done.stdout.splitlines()[-1].endswith(f"{len(rows)} primitives")


def test_precision_runs():
    done = run("precision", "lenet-32", "mlp-32", "--quick", "--rounds", "2", "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("lenet", "mlp"))]
    assert [row[0] for row in rows] == ["lenet-32", "mlp-32"]
    assert all("float32" in row and "bfloat16" in row for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="resident sizes come from Linux's /proc")
def test_memory_runs():
    done = run("memory", "--quick", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "gradatim" in done.stdout and "MB beyond import" in done.stdout


def test_time_to_accuracy_runs(tmp_path):
    done = run("time_to_accuracy", "--quick", "--threads", "1", "--json", str(tmp_path / "f.json"))
    assert done.returncode == 0, done.stderr
    ours = json.loads((tmp_path / "f.json").read_text())["runs"][0]
    assert ours["epochs"] == 1 and ours["seconds"] > 0 and ours["accuracy"] > 0.3


def test_peers_that_are_here_agree_with_us():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    done = run("compare", "--quick", "--threads", "1", "--only", "predict-1", "--libraries",
               "gradatim", "onnxruntime")
    assert done.returncode == 0 and "RESULTS DIFFER" not in done.stdout, done.stdout


def test_search_runs():
    done = run("search", "--only", "gradatim")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seconds"] > 0 and found["accuracy"] > 0.6


def test_small_runs(tmp_path):
    path = tmp_path / "figures.json"
    done = run("small", "RNNTagger", "DNNRegressor", "LinearClassifier", "--rounds", "1",
               "--imports", "1", "--threads", "1", "--json", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert list(found["fits"]) == ["RNNTagger", "DNNRegressor", "LinearClassifier"]
    assert all(0 < seconds < 60 for times in found["fits"].values() for seconds in times)
    assert 0 < found["import"][0] < 10 and done.stdout.count("target") == 4
