"""One library in a process of its own, driven by lines of JSON on its standard input.

Requests name what to do: ``prepare`` a workload in one of the engine's variants, ``run`` so many
steps of one that is prepared, ``reach`` an accuracy, ``forget`` them all, ``memory``,
``ceilings``. Each is answered by one line. ``--fresh`` instead trains once and ends: the caller
times the whole process.
"""
import sys

# The project's own folders must not hide a library of the same name.
sys.path.append(sys.path.pop(0))

import argparse
import gc
import json
import os
import time
import traceback
from importlib import import_module

ENGINES = {  # name in the table: (module, what its constructor is told)
    "gradatim": ("gradatim_engine", ""),
    "PyTorch": ("torch_engine", ""),
    "PyTorch-compiled": ("torch_engine", "compiled"),
    "Keras-TensorFlow": ("keras_engine", "tensorflow"),
    "Keras-JAX": ("keras_engine", "jax"),
    "Keras-PyTorch": ("keras_engine", "torch"),
    "scikit-learn": ("sklearn_engine", ""),
    "onnxruntime": ("onnx_engine", ""),
}


def start(name: str, threads: int):
    """The engine, with its library imported and held to so many processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    module, setting = ENGINES[name]
    return import_module(f"benchmarks.{module}").Engine(setting, threads)


def resident(field: str) -> int:
    """Bytes this process holds (VmRSS), or held at most (VmHWM)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


class Session:
    """What is prepared, by workload and variant."""

    def __init__(self, engine):
        self.engine, self.prepared = engine, {}

    def prepare(self, workload: str, variant: str, quick: bool) -> dict:
        """Build, compile and warm up."""
        from benchmarks.workloads import EVERY
        work = EVERY[workload].small() if quick else EVERY[workload]
        runner, facts = self.engine.prepare(work, variant)
        self.prepared[workload, variant] = runner
        return facts

    def run(self, workload: str, variant: str) -> dict:
        """One round: seconds, unless the engine measures by itself, and what came out."""
        runner = self.prepared[workload, variant]
        begin = time.perf_counter()
        found = runner()
        return {"seconds": time.perf_counter() - begin, **(found or {})}

    def reach(self, path: str, variant: str, seed: int, batch: int, goal: float, most: int) -> dict:
        """Train until the test images are told with some accuracy: seconds, epochs, accuracy."""
        import numpy as np
        with np.load(path) as file:
            data = dict(file)
        begin = time.perf_counter()
        epoch, accuracy = self.engine.learner(data, variant, seed, batch)
        for number in range(1, most + 1):
            epoch()
            found = accuracy()
            if found >= goal:
                return {"seconds": time.perf_counter() - begin, "epochs": number,
                        "accuracy": float(found)}
        return {"error": f"an accuracy of {found:.4f} after {most} epochs"}

    def forget(self) -> dict:
        """Let everything prepared go."""
        self.prepared.clear()
        gc.collect()
        return {}

    def memory(self) -> dict:
        """Bytes resident now and at most."""
        return {"now": resident("VmRSS"), "most": resident("VmHWM")}

    def ceilings(self) -> dict:
        """What the machine can do at best."""
        return self.engine.ceilings()


def main() -> None:
    """Serve requests until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fresh", metavar="FILE", help="train on these samples and end")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    # Libraries write to standard output as they like; answers go to a copy of it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        engine = start(options.engine, options.threads)
    except ImportError as missing:
        print(json.dumps({"missing": str(missing)}), file=answers)
        return
    if options.fresh:
        engine.fresh(options.fresh, options.epochs)
        return
    session = Session(engine)
    print(json.dumps({"variants": engine.variants, "version": engine.version,
                      **session.memory()}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(session, request.pop("do"))(**request)
        except Exception as error:      # whatever a library raises is told, and the others go on
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
