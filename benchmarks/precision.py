"""Prints what bfloat16 does to the time of a training step, and to accuracy on Fashion-MNIST.

``python -m benchmarks.precision lenet-128 mlp-128``; steps of both precisions alternate.
``--accuracy EPOCHS`` trains CNNClassifier in both, from the same seeds.
"""
from __future__ import annotations

import argparse
import os
import time

import numpy as np

from .workloads import WORKLOADS

TRAINED = [name for name, work in WORKLOADS.items() if work.kind == "train"]
PRECISIONS = ("float32", "bfloat16")


def step_times(workload: str, rounds: int, quick: bool = False) -> dict[str, np.ndarray]:
    """Seconds of compiled training steps, one of each precision after the other."""
    import gradatim as gt
    from gradatim.training.stepping import feeds_of

    from .gradatim_engine import batch_of, trainer_for
    from .workloads import training_data
    work = (WORKLOADS[workload].small() if quick else WORKLOADS[workload])._replace(steps=1)
    data = training_data(work)
    batch = batch_of(data, 0, work.batch)
    calls = {}
    for precision in PRECISIONS:
        trainer = trainer_for(work.net, work.shape, precision)
        trainer.prepare(data.X)
        calls[precision] = trainer.training_function(batch)[0]
        for note in calls[precision].plan().notes:
            print(note)
    feeds, times = feeds_of(batch), {precision: [] for precision in PRECISIONS}
    for _ in range(rounds):
        for precision, call in calls.items():
            begin = time.perf_counter()
            call(*feeds)
            times[precision].append(time.perf_counter() - begin)
    print(f"{workload:<18}" + "".join(f"{p} {np.median(t) * 1e3:8.3f} ms   "
                                      for p, t in times.items()), end="")
    print(f"{np.median(np.divide(*(times[p] for p in PRECISIONS))):.2f}x "
          f"on the backend {gt.get_backend().name}")
    return {p: np.array(t) for p, t in times.items()}


def accuracies(epochs: int, seeds: int = 3) -> None:
    """Test accuracy on Fashion-MNIST from the same first weights."""
    import gradatim as gt
    from gradatim import datasets
    data = datasets.load_fashion_mnist()
    for precision in PRECISIONS:
        found = [gt.CNNClassifier(epochs=epochs, precision=precision, random_state=seed).fit(
            data.X_train, data.y_train).score(data.X_test, data.y_test) for seed in range(seeds)]
        print(f"{precision:<10} {np.mean(found):.4f}  ({', '.join(f'{a:.4f}' for a in found)})")


def main(arguments: list[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", choices=[[], *TRAINED])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accuracy", type=int, metavar="EPOCHS", default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny batch")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)    # read when the native core is loaded
    for workload in options.workloads:
        step_times(workload, options.rounds, options.quick)
    if options.accuracy:
        accuracies(options.accuracy)


if __name__ == "__main__":
    main()
