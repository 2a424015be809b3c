"""Where the embedded control plane keeps what it knows: `.tidepool/`, its owner's alone."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PARTS: Final = ("cloud", "pump", "control-plane")
"""The background processes, in the order in which they are stopped: no stream outlives the emulator."""

OWNER: Final = "owner"


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths under one root. Each root is a control plane of its own."""

    root: Path

    @property
    def state(self) -> Path:
        """The emulator's."""
        return self.root / "state"

    @property
    def machines(self) -> Path:
        """The local cloud's."""
        return self.root / "machines"

    @property
    def build(self) -> Path:
        """The package that was made last."""
        return self.root / "build"

    @property
    def env_file(self) -> Path:
        """What a client needs, as `NAME=value` lines."""
        return self.root / "local.env"

    def pid(self, part: str) -> Path:
        """The file that a background process holds locked."""
        return self.root / f"{part}.pid"

    def log(self, part: str) -> Path:
        """What a background process prints."""
        return self.root / "log" / f"{part}.log"

    def prepare(self) -> None:
        """Make the folders that are missing."""
        for path in (self.root, self.state, self.machines, self.build, self.root / "log"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second `up` or `down` of this folder waiting."""
        with (self.root / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def secret(self, name: str) -> str:
        """A random secret that is made on first use."""
        path = self.root / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def owner(self) -> str:
        """What marks machines as this folder's: every sandbox has its own, whatever accounts they share.

        It outlives `erase`: a machine that a provider has under this name is found as long as somebody bears it.
        """
        path = self.root / OWNER
        if not path.exists():
            write_private(path, f"tidepool-local-{secrets.token_hex(4)}")
        return path.read_text()

    def erase(self) -> None:
        """Remove everything but the owner's name."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != OWNER:
                path.unlink()

    def settings(self) -> dict[str, str]:
        """The settings that `up` was given, by name."""
        path = self.root / "settings.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def write_settings(self, settings: dict[str, str]) -> None:
        """Keep settings for the next `up`."""
        write_private(self.root / "settings.json", json.dumps(settings, indent=1, sort_keys=True))

    def client(self) -> dict[str, str]:
        """Read `local.env`; empty when there is none yet."""
        if not self.env_file.exists():
            return {}
        lines = (line.partition("=") for line in self.env_file.read_text().splitlines() if "=" in line)
        return {name: value for name, _, value in lines}

    def write_client(self, values: dict[str, str]) -> None:
        """Replace `local.env`."""
        write_private(self.env_file, "".join(f"{name}={value}\n" for name, value in values.items()))


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
