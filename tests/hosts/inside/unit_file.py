"""Unit files of systemd, read from `/etc/systemd/system`, and the links that enable them."""

import contextlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

FOLDER = "/etc/systemd/system"
UNITS = {"s": 1.0, "sec": 1.0, "ms": 0.001, "min": 60.0, "m": 60.0, "h": 3600.0, "": 1.0}


@dataclass(frozen=True)
class Unit:
    """A unit's name and its settings in the order of the file, whatever the section."""

    name: str
    settings: tuple[tuple[str, str], ...]

    def all(self, key: str) -> list[str]:
        """Every value of a setting that may be repeated; an empty one forgets those before it."""
        values: list[str] = []
        for name, value in self.settings:
            if name == key:
                values = [*values, value] if value else []
        return values

    def one(self, key: str, default: str) -> str:
        return (self.all(key) or [default])[-1]

    def seconds(self, key: str, default: float) -> float:
        text = self.one(key, "")
        if text == "infinity":
            return 1e9
        parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
        return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else default


def load_all() -> dict[str, Unit]:
    """Read each service of the folder, as `daemon-reload` does."""
    names = [name for name in os.listdir(FOLDER) if name.endswith(".service")]
    return {name: _load(name) for name in names if os.path.isfile(f"{FOLDER}/{name}")}


def _load(name: str) -> Unit:
    with open(f"{FOLDER}/{name}") as file:
        text = re.sub(r"\\\n\s*", " ", file.read())
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", ";", "["))]
    return Unit(name, tuple((key.strip(), value.strip()) for key, value in pairs))


def words(command: str) -> list[str]:
    """Split a command line as systemd does, without its prefix characters."""
    return shlex.split(command.lstrip("-@:+!"))


def expand(command: str, environment: Mapping[str, str]) -> str:
    """Put in `${NAME}` and undo `%%`."""
    filled = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), command)
    return filled.replace("%%", "%")


def environment(unit: Unit) -> dict[str, str]:
    """What `Environment` and `EnvironmentFile` set; the file wins. A missing file is an error unless it is optional."""
    values: dict[str, str] = {}
    for line in unit.all("Environment"):
        values |= dict(word.split("=", 1) for word in shlex.split(line))
    for path in unit.all("EnvironmentFile"):
        try:
            with open(path.lstrip("-")) as file:
                lines = [line.strip() for line in file]
        except OSError:
            if path.startswith("-"):
                continue
            raise
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", ";"))]
        values |= {key.strip(): "".join(shlex.split(value)) for key, value in pairs}
    return values


def enabled() -> list[str]:
    folder = f"{FOLDER}/multi-user.target.wants"
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def is_enabled(name: str) -> bool:
    return os.path.lexists(f"{FOLDER}/multi-user.target.wants/{name}")


def enable(name: str) -> str:
    link = f"{FOLDER}/multi-user.target.wants/{name}"
    if os.path.lexists(link):
        return ""
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(f"{FOLDER}/{name}", link)
    return f"Created symlink {link} → {FOLDER}/{name}.\n"


def disable(name: str) -> str:
    link = f"{FOLDER}/multi-user.target.wants/{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
        return f'Removed "{link}".\n'
    return ""
