"""Two independent branches: on two thread groups at once, and on one device with all threads.

``python -m benchmarks.placement`` prints milliseconds of a training step of each and their ratio.
Threads of one that wait would disturb the other, so each is timed in a process of its own, in
alternating rounds; figures are medians over the rounds.
"""
from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from statistics import median
from time import perf_counter

import numpy as np

import gradatim as gt

DEPTH = 6                                    # products in each branch
CASES = [(16, 128), (64, 256), (256, 512)]   # batch, width
STEPS, ROUNDS = 40, 3


def step_of(batch: int, width: int, placed: bool):
    """A training step as a function of nothing: two towers of dense layers and their mean."""
    rng = np.random.default_rng(0)
    x, weights, towers = gt.placeholder((batch, width)), [], []
    for number in range(2):
        with gt.device(f"cpu:{number}") if placed else nullcontext():
            h = x
            for _ in range(DEPTH):
                weights.append(gt.variable(rng.standard_normal((width, width)) / width ** 0.5,
                                           "float32"))
                h = gt.tanh(h @ weights[-1])
            towers.append(gt.square(h).mean())
    loss = towers[0] + towers[1]
    slopes = gt.gradients(loss, weights)
    function = gt.function([x], loss, {w: w - 0.01 * g for w, g in zip(weights, slopes)},
                           backend="native")
    data = rng.standard_normal((batch, width)).astype("float32")
    return lambda: function(data)


def timed(placed: bool) -> None:
    """Print the median milliseconds of each case: what a process of the benchmark does."""
    for batch, width in CASES:
        step, times = step_of(batch, width, placed), []
        for _ in range(STEPS):
            begin = perf_counter()
            step()
            times.append(perf_counter() - begin)
        print(median(times[5:]) * 1e3)


def main() -> None:
    """Print a line per case."""
    found: dict[str, list[list[float]]] = {"one": [], "two": []}
    for _ in range(ROUNDS):
        for name, rounds in found.items():
            done = subprocess.run([sys.executable, "-m", "benchmarks.placement", name],
                                  capture_output=True, text=True, check=True)
            rounds.append([float(line) for line in done.stdout.split()])
    print("batch  width  one device   two groups  ratio")
    for i, (batch, width) in enumerate(CASES):
        one, two = (median(times[i] for times in rounds) for rounds in found.values())
        print(f"{batch:>5}  {width:>5}  {one:>7.3f} ms  {two:>8.3f} ms  {one / two:>5.2f}")


if __name__ == "__main__":
    if sys.argv[1:]:
        timed(placed=sys.argv[1] == "two")
    else:
        main()
