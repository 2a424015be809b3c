"""Which control plane is meant, and who asks.

First match wins: the environment (`TIDEPOOL_URL`, `TIDEPOOL_TOKEN`, `TIDEPOOL_PROJECT`), then what `tidepool login`
wrote, then `.tidepool/local.env` of the current folder or a parent, which the embedded control plane writes.

A token is only ever sent where it belongs: the one in the configuration goes to the URL beside it and nowhere else,
and `local.env` counts as a whole or not at all, because the folder one stands in may be somebody else's.
"""

from __future__ import annotations

import json
import os

from tidepool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PROJECT = "main"


class ControlPlane:
    """The settings of one command; `sources` says where each came from."""

    __slots__ = ("project", "sources", "token", "url")

    def __init__(self, url: str, token: str, project: str, sources: dict[str, str]) -> None:
        self.url = url
        self.token = token
        self.project = project
        self.sources = sources


def load(environ: Mapping[str, str], folder: str) -> ControlPlane:
    """Find the settings. Raises `InputError` when nothing names a control plane."""
    found: dict[str, str] = {name: _variable(environ, name) for name in ("url", "token", "project")}
    sources = {name: f"TIDEPOOL_{name.upper()}" for name, value in found.items() if value}
    stored = read_config(environ)
    if stored and found["url"] in ("", stored.get("url", "")):
        _fill(found, sources, stored, config_path(environ))
    if not found["url"] and not found["token"]:
        path = find_local_env(folder)
        if path:
            local = read_env_file(path)
            _fill(
                found, sources, {n: local.get(f"TIDEPOOL_{n.upper()}", "") for n in ("url", "token", "project")}, path
            )
    if not found["url"]:
        raise InputError(
            "no control plane is known: set TIDEPOOL_URL, or use `tidepool login`, or start one with `make up`"
        )
    if not found["project"]:
        found["project"] = DEFAULT_PROJECT
        sources["project"] = "default"
    return ControlPlane(found["url"].rstrip("/"), found["token"], found["project"], sources)


def current_folder() -> str:
    """The folder one stands in; empty when it was removed meanwhile, which only shipping it has to mind."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _variable(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(f"TIDEPOOL_{name.upper()}", "")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"the environment's TIDEPOOL_{name.upper()} is not UTF-8")
    return value


def _fill(found: dict[str, str], sources: dict[str, str], more: Mapping[str, str], source: str) -> None:
    for name in ("url", "token", "project"):
        if not found[name] and more.get(name):
            found[name] = more[name]
            sources[name] = source


def config_path(environ: Mapping[str, str]) -> str:
    """Where the user's configuration is kept."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(home, "tidepool", "config.json")


def read_config(environ: Mapping[str, str]) -> dict[str, str]:
    """Read the user's configuration; empty when there is none."""
    path = config_path(environ)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise InputError(f"{path} is not an object of texts")
    return content


def write_config(environ: Mapping[str, str], content: Mapping[str, str]) -> str:
    """Store the user's configuration so that only the user can read it, all of it or nothing. Answers the path."""
    path = config_path(environ)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(dict(content), file, indent=2)
        file.write("\n")
    os.replace(draft, path)
    return path


def find_local_env(folder: str) -> str:
    """Find `.tidepool/local.env` in `folder` or the nearest parent that has one; empty when none has."""
    while True:
        path = os.path.join(folder, ".tidepool", "local.env")
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return ""
        folder = parent


def read_env_file(path: str) -> dict[str, str]:
    """Read lines `NAME=value`; an `export ` before and quotes around are fine, other lines are not settings."""
    values = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, mark, value = line.strip().removeprefix("export ").partition("=")
                if mark and not name.startswith("#"):
                    values[name.strip()] = value.strip().strip("'\"")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    return values


def local_cloud(environ: Mapping[str, str], folder: str) -> tuple[str, str]:
    """The local cloud's URL and key, for rehearsals. Raises `InputError` when none is known."""
    names = ("TIDEPOOL_LOCAL_CLOUD_URL", "TIDEPOOL_LOCAL_CLOUD_KEY")
    values: Mapping[str, str] = environ
    if not environ.get(names[0]):
        path = find_local_env(folder)
        values = read_env_file(path) if path else {}
    url, key = values.get(names[0], ""), values.get(names[1], "")
    if not url:
        raise InputError("no local cloud is known: set TIDEPOOL_LOCAL_CLOUD_URL and _KEY, or start one with `make up`")
    return url.rstrip("/"), key
