"""What a benchmark says: figures with their spread, beside the goal and the peer's figure."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

COLUMNS: Final = ("", "NAME", "N", "P50", "P95", "P99", "UNIT", "GOAL", "ANCHOR")
MARKS: Final = {True: "ok", False: "MISSED", None: ""}
WIDEST: Final = 58


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to meet. `at` names which of p50, p95, p99 is held against `limit`; `at_least` turns it round."""

    limit: float
    text: str
    at: str = "p50"
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One line of `bench.json`. `anchor` is a peer's figure with its source; `meets` is None where there is no goal."""

    name: str
    n: int
    p50: float
    p95: float
    p99: float
    unit: str
    goal: float | None
    goal_text: str
    anchor: str
    meets: bool | None


def record(name: str, samples: Iterable[float], unit: str, goal: Goal | None = None, anchor: str = "") -> Record:
    """Sum up samples. With fewer than 20 of them p95 and p99 are the largest."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError(f"{name} has no samples")
    figures = {f"p{percent}": quantile(ordered, percent / 100) for percent in (50, 95, 99)}
    meets = None
    if goal is not None:
        figure = figures[goal.at]
        meets = figure >= goal.limit if goal.at_least else figure <= goal.limit
    return Record(
        name=name,
        n=len(ordered),
        **{key: _rounded(value) for key, value in figures.items()},
        unit=unit,
        goal=goal.limit if goal else None,
        goal_text=goal.text if goal else "",
        anchor=anchor,
        meets=meets,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all do not exceed; the median of an even number is the middle."""
    if share == 0.5 and len(ordered) % 2 == 0:
        return (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2
    return ordered[math.ceil(share * len(ordered)) - 1]


def store(path: Path, records: Sequence[Record]) -> None:
    """Write the records as JSON, in the place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(each) for each in records], indent=1) + "\n")
    fresh.replace(path)


def table(records: Sequence[Record]) -> list[str]:
    """The records as lines of plain columns. Long texts are cut: `bench.json` has them whole."""
    rows = [COLUMNS, *(_row(each) for each in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(each: Record) -> tuple[str, ...]:
    figures = (f"{each.p50:g}", f"{each.p95:g}", f"{each.p99:g}")
    return (MARKS[each.meets], each.name, str(each.n), *figures, each.unit, _cut(each.goal_text), _cut(each.anchor))


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
