"""Shows where the time of gradatim's compiled training step goes, primitive by primitive.

``python -m benchmarks.breakdown lenet-128``. Times are medians over runs in the step's own order,
so that caches are as in training.
"""
from __future__ import annotations

import argparse
import os

from .table import keep
from .workloads import WORKLOADS

TRAINED = [name for name, work in WORKLOADS.items() if work.kind == "train"]


def breakdown(workload: str, runs: int = 20, quick: bool = False) -> list[dict]:
    """Name, milliseconds, GFLOP/s and share of the sum of every primitive, the longest first."""
    from gradatim.training.stepping import feeds_of

    from .gradatim_engine import training_parts
    work = WORKLOADS[workload].small() if quick else WORKLOADS[workload]
    trainer, _, batches = training_parts(work._replace(steps=1))
    function = trainer.training_function(batches[0])[0]
    if not hasattr(function.program, "timed"):
        raise SystemExit(f"the backend {function.backend.name} has no steps to time; "
                         "`gradatim info` says why the native one is missing")
    state = [v.storage for v in function.graph.variables]
    steps = function.program.timed(state, feeds_of(batches[0]), runs)
    whole = sum(seconds for *_, seconds in steps)
    left = set(function.program.fall_backs)
    rows = [{"name": name, "ms": seconds * 1e3, "gflops": flops / max(seconds, 1e-9) / 1e9,
             "share": seconds / whole, "reference": name in left} for name, flops, seconds in steps]
    return sorted(rows, key=lambda row: -row["ms"])


def text(rows: list[dict], most: int | None = None) -> str:
    """The rows as a table, and their sum."""
    lines = [f"{'ms':>9}{'share':>8}{'GFLOP/s':>9}  primitive"]
    for row in rows[:most]:
        rate = f"{row['gflops']:.0f}" if row["gflops"] >= 1 else ""
        note = "  (left to the reference)" if row["reference"] else ""
        lines.append(f"{row['ms']:>9.3f}{row['share']:>8.1%}{rate:>9}  {row['name']}{note}")
    if most is not None and len(rows) > most:
        rest = rows[most:]
        lines.append(f"{sum(r['ms'] for r in rest):>9.3f}{sum(r['share'] for r in rest):>8.1%}"
                     f"{'':>9}  {len(rest)} more")
    lines.append(f"{sum(r['ms'] for r in rows):>9.3f}{1:>8.1%}{'':>9}  {len(rows)} primitives")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", choices=TRAINED)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--most", type=int, help="show only so many of the longest")
    parser.add_argument("--quick", action="store_true", help="a tiny batch")
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)    # read when the native core is loaded
    rows = breakdown(options.workload, options.runs, options.quick)
    print(text(rows, options.most))
    keep(rows, options.json)


if __name__ == "__main__":
    main()
