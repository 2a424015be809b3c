"""Values as people read them. Pure; the moment is always an argument."""

from __future__ import annotations

from datetime import datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NOTHING = "-"
LONGEST_ECHO = 100
"""Characters of a given value that a message repeats; whoever typed it knows the rest."""


def size_text(mib: float) -> str:
    """Whole MiB as the unit that reads best: `512MB`, `80GB`, `1.5TB`."""
    if mib < 1024:
        return f"{mib:g}MB"
    if mib < 1024 * 1024:
        return f"{round(mib / 1024, 1):g}GB"
    return f"{round(mib / 1024 / 1024, 1):g}TB"


def resources_text(resources: Mapping[str, Any] | None) -> str:
    """`24xCPU, 220GB, 1xA100 (80GB), 100GB (disk)`. What has no processor is not known yet, or never was."""
    if not resources or not resources["cpus"]:
        return NOTHING
    parts = [f"{resources['cpus']}xCPU", size_text(resources["memory_mib"])]
    parts += [f"{gpu['count']}x{clean(gpu['name'])} ({size_text(gpu['memory_mib'])})" for gpu in resources["gpus"]]
    if resources["disk_mib"]:
        parts.append(f"{size_text(resources['disk_mib'])} (disk)")
    return ", ".join(parts)


def money_text(micros: int) -> str:
    """Micro-dollars as dollars: two decimals, up to four where they say something."""
    text = f"{micros / 1_000_000:.4f}"
    return "$" + text.rstrip("0").ljust(text.index(".") + 3, "0")


def price_text(micros: int | None, source: str | None, backend: str | None) -> str:
    """An hourly price; one that nobody bills says so."""
    if micros is None:
        return NOTHING
    simulated = backend == "local" or source == "simulated"
    return money_text(micros) + (" (simulated)" if simulated else "")


def yes_no(value: object) -> str:
    """`yes`, `no`, or a dash for what is not known yet."""
    return NOTHING if value is None else "yes" if value else "no"


def duration_text(seconds: float) -> str:
    """The two largest units: `45s`, `4m 10s`, `2h 5m`, `3d 4h`. Less than nothing is `0s`."""
    left = max(int(seconds), 0)
    if left < 60:
        return f"{left}s"
    for unit, size, below, part in (("m", 60, 3600, "s"), ("h", 3600, 86_400, "m"), ("d", 86_400, 1 << 62, "h")):
        if left < below:
            rest = left % size // {"s": 1, "m": 60, "h": 3600}[part]
            return f"{left // size}{unit} {rest}{part}" if rest else f"{left // size}{unit}"
    raise AssertionError("the last unit has no bound")


def moment(text: str) -> float:
    """Epoch seconds of an ISO 8601 time."""
    return datetime.fromisoformat(text).timestamp()


def since_text(text: str | None, now: float) -> str:
    """How long ago a time was."""
    return NOTHING if not text else duration_text(now - moment(text))


def until_text(text: str | None, now: float) -> str:
    """How long until a time; `now` once it has come."""
    if not text:
        return NOTHING
    left = moment(text) - now
    return duration_text(left) if left > 0 else "now"


def clean(text: str) -> str:
    """Make text from elsewhere safe to print on one line: control characters could steer the reader's terminal."""
    if text.isprintable():
        return text
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def quoted(text: str) -> str:
    """A given value as a message repeats it: in quotes, nothing that steers a terminal, and never at length."""
    return repr(clipped(text, LONGEST_ECHO))


def clipped(text: str, most: int) -> str:
    """At most that many characters of a text, and a sign that there were more."""
    return text if len(text) <= most else text[:most] + "…"
