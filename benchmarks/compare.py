"""Compares gradatim with its peers, side by side, and prints every ratio beside its target.

``python -m benchmarks.compare --peers-python VENV/bin/python`` runs everything; ``--only`` some
workloads. Each library lives in a process of its own and rounds of different libraries alternate,
because machines drift: only ratios count. Close everything else before a run that is to be quoted.
"""
from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np

from .rounds import ISA, Library, measure, say
from .table import OURS, keep, machine, summary, text, verdict
from .worker import ENGINES
from .workloads import EVERY, TABLES

OUTPUTS_AGREE = 1e-4            # largest difference of logits
COEFFICIENTS_AGREE = 1e-9       # largest relative difference
RESNET_SHARE = 0.65             # of the matmul ceiling


def main(arguments: list[str] | None = None) -> dict:
    """Run, print, and return what ``--json`` keeps."""
    options = parsed(arguments)
    record = {"machine": machine(), "load_before": os.getloadavg(), "options": vars(options)}
    libraries = []
    for name in options.libraries:
        python = sys.executable if name == OURS else options.peers_python
        library = Library(name, python, options.threads, options.isa)
        if library.missing:
            say(f"{name} is left out: {library.missing}")
            record.setdefault("left_out", {})[name] = library.missing
            library.close()
        else:
            libraries.append(library)
    record["versions"] = {b.name: b.version for b in libraries}
    ceilings = {}
    if any(b.name == OURS for b in libraries) and not options.quick and options.backend == "cpu":
        ceilings = next(b for b in libraries if b.name == OURS).ask(do="ceilings")
    record["ceilings"], results = ceilings, {}
    for name in options.only or TABLES[options.backend]:
        begin = time.perf_counter()
        say(f"{name} ...")
        times, facts = measure(name, libraries, 1 if options.quick else options.rounds,
                               options.quick, options.compile)
        row = results[name] = summary(times, EVERY[name].targets)
        add_facts(row, facts, ceilings)
        if name == "resnet20-128" and "share_of_ceiling" in row:
            row["share_met"] = row["share_of_ceiling"] >= RESNET_SHARE
        keep(record | {"results": results}, options.json)       # a run that is cut short counts
        said = "; ".join(verdict(v) for v in row["verdicts"])
        say(f"  {said} ({time.perf_counter() - begin:.0f} s)")
    for library in libraries:
        library.close()
    record |= {"results": results, "load_after": os.getloadavg()}
    show(record)
    keep(record, options.json)
    return record


def parsed(arguments) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable,
                        help="interpreter that has the peers installed; this one by default")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help=", ".join(EVERY))
    parser.add_argument("--libraries", nargs="+", choices=ENGINES, default=list(ENGINES),
                        metavar="LIBRARY", help=", ".join(ENGINES))
    parser.add_argument("--backend", choices=TABLES, default="cpu",
                        help="which workloads: those of the processor, or of a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=ISA, help="hold every library to these instructions")
    parser.add_argument("--compile", action="store_true",
                        help="count torch.compile as one of PyTorch's variants")
    parser.add_argument("--quick", action="store_true",
                        help="one round of tiny sizes, to see that everything runs")
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    options = parser.parse_args(arguments)
    unknown = set(options.only or ()) - set(EVERY)
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return options


def add_facts(row: dict, facts: dict, ceilings: dict) -> None:
    """What is known besides times: work, fall-backs, losses, and whether results agree."""
    ours = facts.get(OURS, {})
    row["losses"] = {name: found["loss"] for name, found in facts.items() if "loss" in found}
    row["fall_backs"] = ours.get("fall_backs", [])
    if facts.get("failed"):
        row["failed"] = facts["failed"]
    if "flops" in ours and OURS in row["libraries"]:
        row["gflops"] = ours["flops"] / row["libraries"][OURS]["ms"] / 1e6
        if "matmul_gflops" in ceilings:
            row["share_of_ceiling"] = row["gflops"] / ceilings["matmul_gflops"]
    for key, allowed, relative in (("output", OUTPUTS_AGREE, False),
                                   ("coefficients", COEFFICIENTS_AGREE, True)):
        known = {name: np.array(found[key]) for name, found in facts.items() if key in found}
        if OURS in known and len(known) > 1:
            scale = np.abs(known[OURS]) if relative else 1.0
            row["differences"] = {name: float(np.max(np.abs(a - known[OURS]) / scale))
                                  for name, a in known.items() if name != OURS}
            row["results_agree"] = max(row["differences"].values()) <= allowed


def show(record: dict) -> None:
    """The table, with what it was measured on."""
    results, ceilings = record["results"], record["ceilings"]
    print(f"{record['machine']}; load {record['load_before'][0]:.1f} before, "
          f"{record['load_after'][0]:.1f} after; {record['options']['threads']} threads"
          + (f"; {record['options']['isa']} only" if record["options"]["isa"] else ""))
    print(", ".join(f"{name} {version}" for name, version in record["versions"].items()))
    if ceilings.get("matmul_gflops"):
        print(f"ceilings: matmul {ceilings['matmul_gflops']:.0f} GFLOP/s, "
              f"copy {ceilings['copy_gb']:.1f} GB/s")
    print("milliseconds per step, median ± half the distance of the quartiles\n")
    print(text(results))
    for name, row in results.items():
        for library, found in row["libraries"].items():
            if found["variant"] and found["variant"] != library:
                print(f"{name}: {library} was fastest as {found['variant']}")
        if row["fall_backs"]:
            print(f"{name}: left to the reference: {', '.join(row['fall_backs'])}")
        if "share_met" in row:
            print(f"{name}: share of the matmul ceiling {row['share_of_ceiling']:.0%}, target "
                  f"{RESNET_SHARE:.0%}: {'met' if row['share_met'] else 'SHORT'}")
        if not row.get("results_agree", True):
            print(f"{name}: RESULTS DIFFER by {row['differences']}")
        for library, error in row.get("failed", {}).items():
            print(f"{name}: {library} failed: {error}")
    for name, why in record.get("left_out", {}).items():
        print(f"{name} is left out: {why}")


if __name__ == "__main__":
    main()
