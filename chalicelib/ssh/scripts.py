"""The scripts that change a host, and what they say: install and uninstall. Pure text on both sides.

Each is fed to `sh -s` as root, is complete in itself, and may be killed anywhere and repeated. They lock the host:
one at a time. What they share stands in `shell/traces.sh`, and what the probe shares with them in
`shell/telling.sh`. A refresh of a host's facts is `probe` once more.

An installation script holds a secret, the bootstrap token: it belongs into a pipe, and into no log.
"""

import base64
import gzip
import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from chalicelib.domain.errors import InvalidInputError
from chalicelib.ssh.errors import ScriptOutputError
from chalicelib.ssh.layout import INSTALLED, Layout
from chalicelib.ssh.probe import checked_url
from chalicelib.ssh.reading import SHOWN, read, understood

SHELL: Final = Path(__file__).parent / "shell"
INSTALL: Final = "tidepool-install"
UNINSTALL: Final = "tidepool-uninstall"
KEYS: Final = frozenset({"outcome", "step", "reason", "owner", "did", "agent", "boot"})

REFUSALS: Final = ("owner-foreign", "owner-other-instance")
"""Why a script leaves a host alone: codes of findings."""

PLAIN: Final = re.compile(r"[A-Za-z0-9._:/@+=-]{1,512}")
"""What ids, tokens and paths are made of. Nothing of it means anything to a shell, to JSON or to systemd."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """What the owner file says: whose the host is, in words of the control plane, and since when."""

    control_plane: str
    control_plane_url: str
    project: str
    instance_id: str
    since: datetime


class Outcome(StrEnum):
    """How a script ended. Only after `failed` is the same script worth another try."""

    INSTALLED = "installed"
    REMOVED = "removed"
    ABSENT = "absent"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What a script said. `reason` is a finding's code after `refused` (`owner-foreign`), words after `failed`.

    `owner` is the text of the owner file that was in the way. `agent` is the state of the service, `boot` what starts
    it where there is no systemd: `openrc`, `cron` or `none`. `did` are the steps that were made.
    """

    outcome: Outcome
    step: str = ""
    reason: str = ""
    owner: str = ""
    agent: str = ""
    boot: str = ""
    did: tuple[str, ...] = ()


def install(
    ownership: Ownership,
    *,
    api_url: str,
    token: str,
    python: str,
    program: bytes,
    take_over: bool = False,
    replaces: str = "",
    layout: Layout = INSTALLED,
) -> str:
    """Write the script that claims a host and starts the agent.

    `token` is the single-use bootstrap token, `python` the path of an interpreter that fits (`HostProbe.python`),
    `program` the agent. With `take_over` another owner's agent is removed first, with `replaces` that of
    this instance of the same control plane.

    Raises `InvalidInputError` for a value that could mean something to a shell.
    """
    packed = base64.b64encode(gzip.compress(program, mtime=0)).decode()
    owner_json = {
        "control_plane": _plain(ownership.control_plane, "control_plane"),
        "control_plane_url": checked_url(ownership.control_plane_url),
        "project": _plain(ownership.project, "project"),
        "instance_id": _plain(ownership.instance_id, "instance_id"),
        "since": ownership.since.isoformat(timespec="seconds"),
    }
    values = _paths(layout) | {
        "control_plane": ownership.control_plane,
        "instance_id": ownership.instance_id,
        "owner_json": json.dumps(owner_json),
        "take_over": "yes" if take_over else "no",
        "replaces": _plain(replaces, "replaces") if replaces else "",
        "url": checked_url(api_url),
        "token": _plain(token, "token"),
        "python": _plain(python, "python"),
        "agent_sha256": hashlib.sha256(program).hexdigest(),
        "agent_program": packed,
    }
    return _complete(values, "install.sh")


def uninstall(control_plane: str, instance_id: str, layout: Layout = INSTALLED) -> str:
    """Write the script that leaves nothing of us on a host, if the host is this instance of this control plane."""
    values = _paths(layout) | {
        "control_plane": _plain(control_plane, "control_plane"),
        "instance_id": _plain(instance_id, "instance_id"),
    }
    return _complete(values, "uninstall.sh")


def parse_install(output: str) -> Report:
    """Read what the installation printed. Raises `ScriptOutputError` where it is cut, or not its output."""
    return _report(output, INSTALL)


def parse_uninstall(output: str) -> Report:
    """Read what the removal printed. Raises `ScriptOutputError` where it is cut, or not its output."""
    return _report(output, UNINSTALL)


def _report(output: str, name: str) -> Report:
    lines = read(output, name, KEYS)
    with understood(name):
        outcome = Outcome(lines.one("outcome"))
    if outcome is Outcome.REFUSED and lines.one("reason") not in REFUSALS:
        reason = lines.one("reason")[:SHOWN]
        raise ScriptOutputError(f"{name} refuses for a reason that it does not have: {reason!r}", line=reason)
    return Report(
        outcome=outcome,
        step=lines.one("step"),
        reason=lines.one("reason"),
        owner="\n".join(lines.every("owner")),
        agent=lines.one("agent"),
        boot=lines.one("boot"),
        did=lines.every("did"),
    )


def _paths(layout: Layout) -> dict[str, str]:
    paths = {
        "etc": layout.etc, "home": layout.home, "owner": layout.owner, "unit": layout.unit, "boot": layout.boot,
    }  # fmt: skip
    return {name: _plain(path, name) for name, path in paths.items()}


def _plain(value: str, field: str) -> str:
    if not PLAIN.fullmatch(value):
        raise InvalidInputError(field, "…" if field == "token" else value, "letters, digits and ._:/@+=- only")
    return value


def _complete(values: dict[str, str], name: str) -> str:
    return _assigned(values) + _text("telling.sh") + _text("traces.sh") + _text(name)


def _assigned(values: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


@cache
def _text(name: str) -> str:
    return (SHELL / name).read_text()
