"""Compares the memory that training takes, beyond what importing the library takes.

``python -m benchmarks.memory --peers-python VENV/bin/python``. The figure is the largest resident
size of a process that trains a LeNet at batch 128, less that after its imports, data included.
"""
from __future__ import annotations

import argparse
import sys

from .rounds import Library, say
from .table import OURS, keep

TARGET = 0.5                    # of PyTorch's
PEER, WORKLOAD = "PyTorch", "lenet-128"


def peak(name: str, python: str, variant: str, threads: int, quick: bool) -> float | None:
    """Megabytes beyond import, in a process of its own; None where the library is missing."""
    library = Library(name, python, threads)
    if library.missing:
        say(f"{name} is left out: {library.missing}")
        library.close()
        return None
    told = library.ask(do="prepare", workload=WORKLOAD, variant=variant, quick=quick)
    if "error" not in told:
        told = library.ask(do="run", workload=WORKLOAD, variant=variant)
    most = library.ask(do="memory") if "error" not in told else told
    library.close()
    if "error" in most:
        raise RuntimeError(f"{name}: {most['error']}")
    return (most["most"] - library.after_import) / 1e6


def main(arguments: list[str] | None = None) -> dict:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable,
                        help="interpreter that has PyTorch installed; this one by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny batch")
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    options = parser.parse_args(arguments)
    found = {}
    for name, python, variants in ((OURS, sys.executable, ("",)),
                                   (PEER, options.peers_python, ("", "channels_last"))):
        peaks = [peak(name, python, v, options.threads, options.quick) for v in variants]
        found[name] = min((p for p in peaks if p is not None), default=None)
        if found[name] is not None:
            print(f"{name:<10}{found[name]:>8.0f} MB beyond import")
    if None not in found.values():
        share = found[OURS] / found[PEER]
        found |= {"share": share, "target": TARGET, "met": share <= TARGET}
        print(f"gradatim takes {share:.2f} of {PEER}'s, target at most {TARGET}: "
              f"{'met' if found['met'] else 'SHORT'}")
    keep(found, options.json)
    return found


if __name__ == "__main__":
    main()
