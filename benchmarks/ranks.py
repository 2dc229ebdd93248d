"""Processes that train together: two ranks beside one, start-up, and what equal bits cost.

``python -m benchmarks.ranks`` prints milliseconds of a LeNet's training step on one process and on
two that ``mpiexec`` starts, each with one thread, plain and with virtual shards (deterministic);
and the seconds that starting two processes takes beyond starting one. All run in alternating
rounds, each round in processes of its own; figures are medians over rounds, ratios of medians.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

import gradatim as gt
from benchmarks.gradatim_engine import build
from benchmarks.table import keep, machine
from benchmarks.workloads import LENET
from gradatim.layers import SparseCategoricalCrossentropy as CrossEntropy

BATCHES = 128, 256
ROUNDS, SECONDS = 5, 1.5
STRATEGIES = {"plain": "auto", "deterministic": gt.DataParallel(deterministic=True)}


def timed(seconds: float) -> None:
    """Print the milliseconds of a step of every case: what each rank does, the first prints."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2048, 28, 28, 1)).astype("f"), rng.integers(0, 10, 2048)
    found = {}
    for batch in BATCHES:
        for name, strategy in STRATEGIES.items():
            trainer = gt.Trainer(build(LENET, X.shape[1:]), CrossEntropy(from_logits=True),
                                 metrics=["accuracy"], strategy=strategy)
            trainer.fit(X, y, epochs=1, batch_size=batch)
            epochs, begin = 0, perf_counter()
            trainer.fit(X, y, epochs=1, batch_size=batch)
            epochs = max(1, round(seconds / (perf_counter() - begin)))
            if trainer.strategy.team() is not None:
                epochs = trainer.strategy.team().share(epochs)
            begin = perf_counter()
            trainer.fit(X, y, epochs=epochs, batch_size=batch)
            found[f"{name} {batch}"] = (perf_counter() - begin) / epochs / (2048 // batch) * 1e3
    team = trainer.strategy.team()
    if team is None or team.rank == 0:
        print(json.dumps(found))


def run(ranks: int, *arguments: str) -> str:
    """The output of this script, or another command, on so many single-threaded processes."""
    mpiexec = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([*mpiexec, sys.executable, *arguments], env=environment, check=True,
                          capture_output=True, text=True).stdout


def starting(ranks: int) -> float:
    """Seconds of a process, or of two, that imports gradatim and lets its ranks meet once."""
    begin = perf_counter()
    run(ranks, "-c", "import gradatim as gt, gradatim.estimators; from gradatim.backend.distribute "
        "import launched, world; launched() and world().barrier()")
    return perf_counter() - begin


def main() -> None:
    """Print a line per case, and the seconds of starting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", type=float, metavar="SECONDS", help="what each process does")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each case in a round")
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args()
    if options.worker:
        timed(options.worker)
        return
    rounds: dict = {1: [], 2: []}
    starts: dict = {1: [], 2: []}
    for _ in range(options.rounds):
        for ranks in rounds:
            text = run(ranks, "-m", "benchmarks.ranks", "--worker", str(options.seconds))
            rounds[ranks].append(json.loads(text))
            starts[ranks].append(starting(ranks))
    figures = {"machine": machine(), "load": os.getloadavg()}
    print("LeNet, batch           one process  two ranks  ratio")
    for case in rounds[1][0]:
        one, two = (median(r[case] for r in rounds[ranks]) for ranks in rounds)
        figures[case] = {"one ms": one, "two ms": two, "ratio": one / two}
        print(f"{case:<22} {one:>8.2f} ms {two:>7.2f} ms  {one / two:>5.2f}")
    for batch in BATCHES:
        plain, equal = (figures[f"{name} {batch}"] for name in STRATEGIES)
        print(f"equal bits, batch {batch}: " + ", ".join(
            f"{equal[k] / plain[k]:.2f} times the plain step on {k.split()[0]}"
            for k in ("one ms", "two ms")))
    figures["start"] = {ranks: median(times) for ranks, times in starts.items()}
    beyond = figures["start"][2] - figures["start"][1]
    print(f"two ranks take {beyond:.2f} s more to start than one process")
    keep(figures, options.json)


if __name__ == "__main__":
    main()
