"""Encodings: how columns become numbers or codes, each a plan of plain values that files can keep.

A plan is learned once (``learn_...``) and applied to any table. Coded plans give a whole number
per row, with a bucket for what was rare, unseen or missing at the fit.
"""
from __future__ import annotations

from collections import Counter
from math import prod
from typing import Callable, NamedTuple
from zlib import crc32

import numpy as np

from ..backend.errors import DataError
from .columns import CATEGORY, DATE, MICROSECONDS, NUMBER, Column, category

DAY = 86_400e6                         # microseconds
CYCLES = {"year": 365.2425 * DAY, "week": 7 * DAY, "day": DAY}
OTHER, MISSING = "other", "missing"


# ---- numbers -----------------------------------------------------------------------------------

def learn_scale(column: Column, how: str) -> dict:
    """Centre and spread of what is there; the missing go to the centre and have an indicator."""
    values = as_numbers(column)
    there = values[~np.isnan(values)]
    centre, spread = 0.0, 1.0
    if len(there) and how == "standard":
        centre, spread = float(there.mean()), float(there.std())
        spread = spread if spread > 1e-12 * abs(centre) else 0.0
    elif len(there) and how == "minmax":
        centre, spread = float(there.min()), float(there.max() - there.min())
    return {"kind": "scale", "centre": centre, "spread": spread or 1.0,
            "fill": float(there.mean()) if len(there) else 0.0,
            "missing": len(there) < len(values)}


def apply_scale(plan: dict, column: Column) -> np.ndarray:
    """``(n, 1)``, or ``(n, 2)`` with the indicator of the missing."""
    values = as_numbers(column)
    missing = np.isnan(values)
    scaled = (np.where(missing, plan["fill"], values) - plan["centre"]) / plan["spread"]
    return np.stack([scaled, missing] if plan["missing"] else [scaled], axis=1).astype(np.float64)


def label_scale(plan: dict) -> list[str]:
    return ["", MISSING] if plan["missing"] else [""]


def as_numbers(column: Column) -> np.ndarray:
    """A column that must hold numbers."""
    if column.kind != NUMBER:
        word = next((v for v in column.values if v is not None), None)
        raise DataError("a column of numbers holds something else",
                        got=(f"{str(word)!r}" if column.kind == CATEGORY else "dates")
                        + f" in column {column.name!r}",
                        fix="convert the column, or let FeatureEncoder encode it")
    return column.values


# ---- dates -------------------------------------------------------------------------------------

def learn_date(column: Column) -> dict:
    """Days since the mean, and the phase of the cycles in which the dates differ."""
    values = as_dates(column)
    days = np.where(np.isnat(values), np.nan, values.astype(np.int64) / DAY)
    scale = learn_scale(Column(NUMBER, days), "standard")
    there = values[~np.isnat(values)].astype(np.int64)
    cycles = [name for name in CYCLES if name != "day" or len(np.unique(there % int(DAY))) > 1]
    return {"kind": "date", "scale": scale, "cycles": cycles}


def apply_date(plan: dict, column: Column) -> np.ndarray:
    """Scaled days, then sine and cosine per cycle; a missing date has neither."""
    values = as_dates(column)
    missing = np.isnat(values)
    moments = np.where(missing, 0, values.astype(np.int64)).astype(np.float64)
    days = Column(NUMBER, np.where(missing, np.nan, moments / DAY))
    found = [apply_scale(plan["scale"], days)]
    for name in plan["cycles"]:
        angle = 2 * np.pi * moments[:, None] / CYCLES[name]
        found.append(np.hstack([np.sin(angle), np.cos(angle)]) * ~missing[:, None])
    return np.hstack(found)


def label_date(plan: dict) -> list[str]:
    phases = [f"{name}_{part}" for name in plan["cycles"] for part in ("sin", "cos")]
    return ["days", *label_scale(plan["scale"])[1:], *phases]


def as_dates(column: Column) -> np.ndarray:
    """A column that must hold dates, or text that spells them in ISO 8601."""
    if column.kind == DATE:
        return column.values
    try:
        if column.kind == CATEGORY:
            return np.array([v if v is None else str(v) for v in column.values], MICROSECONDS)
        if np.isnan(column.values).all():
            return np.full(len(column.values), "NaT", MICROSECONDS)
    except ValueError:
        pass
    raise DataError("a column of dates holds something else",
                    got=f"a {column.kind} in column {column.name!r}",
                    fix="convert it to datetime64, or write dates as 2026-11-24")


# ---- codes -------------------------------------------------------------------------------------

def learn_values(column: Column, min_frequency: int = 1, most: int | None = None) -> dict:
    """The categories that are frequent enough, sorted; 0 stands for all others."""
    counts = Counter(as_categories(column))
    missing = counts.pop(None, 0) > 0
    frequent = [v for v, n in counts.items() if n >= min_frequency]
    frequent.sort(key=lambda v: (-counts[v], *in_order(v)))
    return {"kind": "values", "values": sorted(frequent[:most], key=in_order), "missing": missing}


def in_order(value) -> tuple:
    """Numbers before text."""
    return (1, value) if isinstance(value, str) else (0, value)


def apply_values(plan: dict, column: Column) -> np.ndarray:
    numbers = {v: i for i, v in enumerate(plan["values"], 1)}
    if plan["missing"]:
        numbers[None] = len(plan["values"]) + 1
    return np.array([numbers.get(v, 0) for v in as_categories(column)], np.int64)


def label_values(plan: dict) -> list[str]:
    return [OTHER, *map(str, plan["values"]), *([MISSING] if plan["missing"] else [])]


def as_categories(column: Column) -> list:
    """Any column as categories; None is missing."""
    if column.kind == CATEGORY:
        return column.values.tolist()
    if column.kind == DATE:
        return [None if np.isnat(v) else str(v) for v in column.values]
    return [None if v != v else int(v) if v.is_integer() else v for v in column.values.tolist()]


def apply_hash(plan: dict, column: Column) -> np.ndarray:
    """A bucket from 1 on by the text of the value, 0 for the missing."""
    return np.array([0 if v is None else 1 + crc32(str(v).encode()) % plan["size"]
                     for v in as_categories(column)], np.int64)


def label_hash(plan: dict) -> list[str]:
    return [MISSING, *(f"hash{i}" for i in range(plan["size"]))]


def learn_buckets(column: Column, buckets) -> dict:
    """Given edges, or those between so many quantiles."""
    if isinstance(buckets, (int, np.integer)):
        values = as_numbers(column)
        there = values[~np.isnan(values)]
        inner = np.linspace(0, 1, int(buckets) + 1)[1:-1]
        buckets = np.quantile(there, inner, method="inverted_cdf") if len(there) else []
    return {"kind": "buckets", "edges": [float(e) for e in np.unique(np.asarray(buckets, float))]}


def apply_buckets(plan: dict, column: Column) -> np.ndarray:
    """1 below the first edge, 2 from it on, and so forth; 0 for the missing."""
    values = as_numbers(column)
    codes = 1 + np.searchsorted(np.array(plan["edges"]), values, side="right")
    return np.where(np.isnan(values), 0, codes).astype(np.int64)


def label_buckets(plan: dict) -> list[str]:
    edges = [f"{e:g}" for e in plan["edges"]]
    if len(set(edges)) < len(edges):
        edges = [f"{e:.17g}" for e in plan["edges"]]
    inner = [f"[{low}, {high})" for low, high in zip(edges, edges[1:])]
    return [MISSING, *([f"below {edges[0]}", *inner, f"from {edges[-1]} on"] if edges else ["all"])]


# ---- crosses -----------------------------------------------------------------------------------

def learn_cross(parts: list[dict], columns: list[Column], size: int | None, **limits) -> dict:
    """Combinations of codes: a bucket for each that is frequent, or hashed to ``size`` buckets."""
    plan = {"kind": "cross", "parts": parts, "size": size, "values": []}
    if size is None:
        pairs = combined(plan, columns)
        plan["values"] = learn_values(Column(CATEGORY, pairs.astype(object)), **limits)["values"]
    return plan


def combined(plan: dict, columns: list[Column]) -> np.ndarray:
    """One number per combination of the parts' codes."""
    codes = [apply(part, column) for part, column in zip(plan["parts"], columns)]
    sizes = [len(labels(part)) for part in plan["parts"]]
    fits = prod(sizes) <= np.iinfo(np.int64).max
    number = np.zeros(len(codes[0]), np.int64 if fits else object)      # Python's have no limit
    for code, size in zip(codes, sizes):
        number = number * size + code
    return number


def apply_cross(plan: dict, columns: list[Column]) -> np.ndarray:
    numbers = combined(plan, columns)
    if plan["size"] is not None:
        return np.array([1 + crc32(str(n).encode()) % plan["size"] for n in numbers.tolist()],
                        np.int64)
    codes = {v: i for i, v in enumerate(plan["values"], 1)}
    return np.array([codes.get(n, 0) for n in numbers.tolist()], np.int64)


def label_cross(plan: dict) -> list[str]:
    if plan["size"] is not None:
        return [OTHER, *(f"hash{i}" for i in range(plan["size"]))]
    words = [labels(part) for part in plan["parts"]]
    found = []
    for number in plan["values"]:
        chosen = []
        for names in reversed(words):
            number, code = divmod(number, len(names))
            chosen.append(names[code])
        found.append(" & ".join(reversed(chosen)))
    return [OTHER, *found]


# ---- the table ---------------------------------------------------------------------------------

class Encoding(NamedTuple):
    """How a kind of plan is applied and what its columns are called."""
    apply: Callable
    labels: Callable
    coded: bool


ENCODINGS = {
    "scale": Encoding(apply_scale, label_scale, False),
    "date": Encoding(apply_date, label_date, False),
    "values": Encoding(apply_values, label_values, True),
    "hash": Encoding(apply_hash, label_hash, True),
    "buckets": Encoding(apply_buckets, label_buckets, True),
    "cross": Encoding(apply_cross, label_cross, True),
}


def apply(plan: dict, column) -> np.ndarray:
    """Numbers ``(n, k)``, or codes ``(n,)``."""
    return ENCODINGS[plan["kind"]].apply(plan, column)


def labels(plan: dict) -> list[str]:
    """A name per number, or per code."""
    return ENCODINGS[plan["kind"]].labels(plan)


def is_coded(plan: dict) -> bool:
    """Whether it gives codes."""
    return ENCODINGS[plan["kind"]].coded


def given_values(values) -> dict:
    """A plan for a vocabulary that the user gives."""
    found = list(dict.fromkeys(map(category, values)))
    return {"kind": "values", "values": [v for v in found if v is not None], "missing": True}
