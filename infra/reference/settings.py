"""`settings.md`: the environment of the functions, as `config.load` asks for it, and how they are configured."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from chalicelib.config import Settings, load
from infra.build import ROOT
from infra.reference.markdown import NONE, code, codes, table
from infra.reference.markdown import page as whole
from infra.reference.words import SETTINGS
from infra.resources import FUNCTIONS

PROBE = "7"
"""A value that is no default of any setting, and valid for all of them."""


class Asked(Mapping[str, str]):
    """An environment without variables that remembers which ones were asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def variables() -> dict[str, str]:
    """Return each variable that the functions read, in the order of its explanations, and its default as text."""
    asked = Asked()
    empty = load(asked)
    known = [*SETTINGS, *(name for name in asked.names if name not in SETTINGS)]
    return {name: _default(empty, load({name: PROBE})) for name in known if name in asked.names}


def page() -> str:
    """Make the page."""
    rows = [(code(name), default, SETTINGS[name]) for name, default in variables().items()]
    return whole("Settings", INTRO, table(("variable", "default", "meaning"), rows), FUNCTIONS_INTRO, _functions())


def _default(empty: Settings, probed: Settings) -> str:
    """The default of the variable that makes the two differ, from the first field that does."""
    name = next(each.name for each in fields(Settings) if getattr(empty, each.name) != getattr(probed, each.name))
    value = getattr(empty, name)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}"
    if isinstance(value, tuple):
        value = ",".join(value)
    return code(value) if value else NONE


def _functions() -> str:
    root = ROOT / ".chalice"
    config = json.loads((root / "config.json").read_text())
    stages = config.get("stages", {"": config}).values()
    configured: dict[str, Any] = next(iter(stages))["lambda_functions"]
    rows = []
    for name, options in configured.items():
        own = json.loads((root / options["iam_policy_file"]).read_text())
        rows.append(
            (
                code(_deployed(name)),
                f"{options['lambda_timeout']} s",
                f"{options['lambda_memory_size']} MB",
                str(options.get("reserved_concurrency", NONE)),
                codes(statement["Sid"] for statement in own["Statement"]),
            )
        )
    return table(("function", "time limit", "memory", "at once", "rights"), rows)


def _deployed(name: str) -> str:
    """What a function of `config.json` is called once deployed, after `tidepool-<stage>-`."""
    dashed = name.replace("_", "-")
    return dashed if dashed in FUNCTIONS.values() else "api"


INTRO = """\
What a deployment fixes, read once from the environment of each function by `chalicelib/config.py`. Durations
are seconds. The template sets the first four; the rest are given to `python -m infra.build --set NAME=VALUE`,
or, for the embedded control plane, to `python -m infra.local up --set NAME=VALUE`. The client's own variables
are in [cli.md](cli.md#environment)."""

FUNCTIONS_INTRO = """\
## Functions

From `.chalice/config.json`. Each function has a role of its own with the statements of
`.chalice/policy-<function>.json`, named here. Its full name is `tidepool-<stage>-<function>`."""
