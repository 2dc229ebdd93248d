"""Drives the libraries' processes, so that rounds of different libraries alternate in one run."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .workloads import EVERY, FRESH_EPOCHS, Workload

ROOT = Path(__file__).parents[1]
ISA = {  # what holds libraries to an instruction set
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
             "OPENBLAS_CORETYPE": "Haswell", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}}


def environment(threads: int, isa: str | None = None) -> dict[str, str]:
    """The environment of every library's process."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
                           str(threads))
    held = dict(ISA.get(isa or "", {}))
    if "XLA_FLAGS" in held:
        held["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {held['XLA_FLAGS']}".strip()
    return {**os.environ, **counts, **held}


def say(*words) -> None:
    """Progress goes to the error stream, the table to the other."""
    print(*words, file=sys.stderr, flush=True)


class Library:
    """A library in a process of its own, which is stopped while others are asked.

    Threads of some libraries go on spinning when their work is done, and would take processors.
    """

    def __init__(self, name: str, python: str, threads: int, isa: str | None = None):
        self.name, self.variants, self.missing = name, [], None
        self.command = [python, "-m", "benchmarks.worker", name, "--threads", str(threads)]
        self.environment = environment(threads, isa)
        self.complaints = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints)
        hello = self._answer()
        self.missing = hello.get("missing") or hello.get("error")
        self.variants, self.version = hello.get("variants", []), hello.get("version", "")
        self.after_import = hello.get("most", 0)
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, **request) -> dict:
        """One request, one answer; a dead process answers with an error."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass                        # it has ended; reading finds that out and says why
        answer = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.complaints.seek(0)
        last = self.complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        return {"error": f"the process has ended: {' '.join(last)}"[:300]}

    def fresh(self, path: str, epochs: int) -> dict:
        """Seconds of a whole process that trains once."""
        begin = time.perf_counter()
        done = subprocess.run([*self.command, "--fresh", path, "--epochs", str(epochs)], cwd=ROOT,
                              env=self.environment, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        return {"error": done.stderr[-300:]} if done.returncode else {"seconds": seconds}

    def close(self) -> None:
        """End the process."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass                        # it ended before it took the last request
        self.process.wait()
        self.process.stdout.close()
        self.complaints.close()


def printed(python: str, *arguments: str, **variables: str):
    """What a process of its own prints last, as JSON; ``variables`` are of its environment."""
    done = subprocess.run([python, *arguments], cwd=ROOT, env={**os.environ, **variables},
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("".join(done.stderr.strip().splitlines()[-1:]))
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, libraries: list[Library], rounds: int, quick: bool,
            with_compile: bool) -> tuple[dict, dict]:
    """Milliseconds per step by (column, variant), and what else came to be known."""
    work = EVERY[name].small() if quick else EVERY[name]
    if work.kind == "fresh":
        return fresh_processes(work, libraries, rounds, quick)
    runs, facts = [], {}
    for library in libraries:
        for variant in library.variants:
            if variant == "compile" and not with_compile:
                continue
            told = library.ask(do="prepare", workload=name, variant=variant, quick=quick)
            if told.get("not_here"):
                continue
            if "error" in told:
                say(f"  {library.name} {variant}: {told['error']}")
                facts.setdefault("failed", {})[f"{library.name} {variant}".strip()] = told["error"]
                continue
            column = variant if work.kind == "solve" and variant else library.name
            runs.append((library, column, variant))
            facts[column] = {**facts.get(column, {}), **told}
    times: dict = {(column, variant): [] for _, column, variant in runs}
    for _ in range(rounds):
        for library, column, variant in runs:
            told = library.ask(do="run", workload=name, variant=variant)
            if "error" in told:
                facts.setdefault("failed", {})[column] = told["error"]
                continue
            times[column, variant].append(told.pop("seconds") * 1e3 / work.steps)
            facts[column].update(told)
    for library in libraries:
        library.ask(do="forget")
    return times, facts


def fresh_processes(work: Workload, libraries: list[Library], rounds: int,
                    quick: bool) -> tuple[dict, dict]:
    """Whole processes, one after another, after one each that fills the disk's cache."""
    from gradatim.datasets import load_digits
    data = load_digits()
    X, y = (data.images / 16).astype("float32").reshape(-1, *work.shape), data.target
    keep = 64 if quick else len(X)
    able = [b for b in libraries if b.name == "gradatim" or b.name in work.targets]
    times: dict = {(b.name, ""): [] for b in able}
    facts: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.npz")
        np.savez(path, X=X[:keep], y=y[:keep].astype("int64"))
        for number in range(rounds + (not quick)):
            for library in able:
                told = library.fresh(path, 1 if quick else FRESH_EPOCHS)
                if "error" in told:
                    facts.setdefault("failed", {})[library.name] = told["error"]
                elif quick or number:
                    times[library.name, ""].append(told["seconds"] * 1e3)
    return times, facts
