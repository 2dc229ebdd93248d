"""Turns times into medians, ratios and verdicts, prints them as a table and keeps figures."""
from __future__ import annotations

import json
import os
import platform
from statistics import median, quantiles

OURS = "gradatim"


def spread(times: list[float]) -> float:
    """The distance between the quartiles, as a fraction of the median."""
    if len(times) < 2:
        return 0.0
    first, middle, third = quantiles(times, n=4, method="inclusive")
    return (third - first) / middle if middle else 0.0


def best_variants(rounds: dict[tuple[str, str], list[float]]) -> dict[str, tuple[str, list]]:
    """For every library its fastest variant, by the median, and that one's times."""
    best: dict[str, tuple[str, list]] = {}
    for (library, variant), times in rounds.items():
        if times and (library not in best or median(times) < median(best[library][1])):
            best[library] = variant, times
    return best


def summary(rounds: dict[tuple[str, str], list[float]], targets: dict[str, float]) -> dict:
    """What a row of the table says.

    Parameters
    ----------
    rounds : dict
        Milliseconds per step by (library, variant), one per round; rounds of one number were
        run side by side.
    targets : dict
        As in `workloads.Workload`.

    Returns
    -------
    dict
        ``libraries``: median, spread, variant and rounds of each; ``ratios``: how many times as
        fast gradatim is, the median over rounds; ``fastest``: the fastest peer; ``verdicts``:
        for each target the reached value, the target and whether it is met (None where it could
        not be measured).
    """
    best = best_variants(rounds)
    libraries = {name: {"ms": median(times), "spread": spread(times), "variant": variant,
                        "rounds": times} for name, (variant, times) in best.items()}
    peers = [name for name in libraries if name != OURS]
    ratios, fastest = {}, None
    if OURS in best:
        ours = best[OURS][1]
        ratios = {p: median(b / a for a, b in zip(ours, best[p][1])) for p in peers}
        fastest = min(peers, key=lambda p: libraries[p]["ms"], default=None)
    verdicts = []
    for name, target in targets.items():
        peer = fastest if name == "fastest" else name
        if name == "limit":
            reached = libraries[OURS]["ms"] if OURS in libraries else None
            met = None if reached is None else reached <= target
        else:
            reached = ratios.get(peer)
            met = None if reached is None else reached >= target
        verdicts.append({"against": peer if name != "limit" else "limit", "reached": reached,
                         "target": target, "met": met})
    return {"libraries": libraries, "ratios": ratios, "fastest": fastest, "verdicts": verdicts}


def verdict(found: dict) -> str:
    """One target in words."""
    word = {True: "met", False: "SHORT", None: "not measured"}[found["met"]]
    if found["against"] == "limit":
        return f"at most {found['target']:g} ms: {word}"
    if found["reached"] is None:
        return f"{found['target']:g}x {found['against'] or 'the fastest peer'}: {word}"
    return f"{found['reached']:.4g}x {found['against']}, target {found['target']:g}x: {word}"


def milliseconds(value: float) -> str:
    """Three significant figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def text(results: dict[str, dict]) -> str:
    """The table: milliseconds per step and spread of each library, then ratios and verdicts."""
    names = dict.fromkeys(n for row in results.values() for n in row["libraries"])
    columns = [*([OURS] if OURS in names else []), *(n for n in names if n != OURS)]
    lines = [["workload", *columns, "gradatim is"]]
    for workload, row in results.items():
        cells = [workload]
        for name in columns:
            found = row["libraries"].get(name)
            cells.append("" if found is None else
                         f"{milliseconds(found['ms'])} ±{found['spread'] / 2:.0%}")
        share = row.get("share_of_ceiling")
        said = [verdict(v) for v in row["verdicts"]]
        if share is not None:
            said.append(f"{share:.0%} of the matmul ceiling")
        lines.append([*cells, "; ".join(said)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    return "\n".join("  ".join([line[0].ljust(widths[0]),
                                *(c.rjust(w) for c, w in zip(line[1:-1], widths[1:])), line[-1]])
                     for line in lines)


def keep(record, path: str | None) -> None:
    """Write figures to a file, if one is named."""
    if path:
        with open(path, "w") as file:
            json.dump(record, file, indent=1)
            file.write("\n")


def machine() -> str:
    """Processor, cores and Python."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":")[1].strip() for line in file
                          if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} processors, Python {platform.python_version()}"
