"""The few rewrites that make the packaged template deployable to the emulator. Nothing else differs from AWS.

- The runtime is `provided.al2023` with a bootstrap that starts AWS's own `awslambdaric`, because the emulator's own
  Python worker gives every error the type `Runtime.HandlerError`, on which no workflow's Retry or Catch matches.
- Functions run on the packages of the local environment, so layers are dropped; so is `VpcConfig`.
- Stream mappings are made disabled: the pump (`infra.local.pump`) delivers in the emulator's place.
"""

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra import build

RUNTIME: Final = "provided.al2023"
DROPPED: Final = ("VpcConfig", "Layers", "Architectures")
TEMPLATE: Final = "local.json"
CODE: Final = "code.zip"
ARTIFACTS: Final = "tidepool-artifacts"
"""The emulator's bucket that the code is deployed from."""

SOURCES: Final = (
    *build.SHIPPED,
    "infra/asl",
    "infra/alarms.py",
    "infra/build.py",
    "infra/local/localise.py",
    "infra/resources.py",
)
"""Everything that what is deployed depends on."""


@dataclass(frozen=True, slots=True)
class Localised:
    """What is deployed: the template, the code it names, and the key it expects the code under."""

    template: Path
    code: Path
    key: str


def packaged(out: Path, stage: str, *, schedules: bool, say: Callable[[str], None]) -> Localised:
    """Package and localise the project, unless `out` holds just that already."""
    inputs = hashlib.sha256(f"{stage} {schedules} {sys.executable}".encode())
    for path in _sources():
        inputs.update(f"{path.relative_to(build.ROOT)}\0".encode() + path.read_bytes() + b"\0")
    made = out / "made-from"
    if made.exists() and made.read_text().partition(" ")[0] == inputs.hexdigest():
        return Localised(out / TEMPLATE, out / CODE, made.read_text().partition(" ")[2])
    say("packaging")
    made.unlink(missing_ok=True)
    package = localise(build.package(stage, out, settings={}, wheels=False), schedules=schedules)
    made.write_text(f"{inputs.hexdigest()} {package.key}")
    return package


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        path = build.ROOT / name
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (each for each in found if each.is_file() and each.suffix != ".pyc")


def localise(sam: Path, *, schedules: bool) -> Localised:
    """Write `local.json` and `code.zip` beside the packaged template.

    The code is named in the template as the object `<sha256>.zip` of `ARTIFACTS`. Without `schedules` the EventBridge
    rules are made disabled.
    """
    out = sam.parent
    template = json.loads(sam.read_text())
    functions = list(of_type(template, "AWS::Serverless::Function").values())
    code = _code(out / Path(functions[0]["CodeUri"]).name, out / CODE)
    key = f"{hashlib.sha256(code.read_bytes()).hexdigest()}.zip"
    for function in functions:
        function["Runtime"] = RUNTIME
        function["CodeUri"] = {"Bucket": ARTIFACTS, "Key": key}
        for name in DROPPED:
            function.pop(name, None)
        for event in function.get("Events", {}).values():
            if event["Type"] == "DynamoDB" or (event["Type"] == "Schedule" and not schedules):
                event["Properties"]["Enabled"] = False
    for name in of_type(template, "AWS::Serverless::LayerVersion"):
        del template["Resources"][name]
    path = out / TEMPLATE
    path.write_text(json.dumps(template))
    return Localised(path, code, key)


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of each resource of one type, by logical id."""
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def _code(deployment: Path, path: Path) -> Path:
    """Copy the packaged code and add the bootstrap, which starts a handler with this process's interpreter."""
    bootstrap = zipfile.ZipInfo("bootstrap", build.EPOCH)
    bootstrap.external_attr = 0o100755 << 16
    with zipfile.ZipFile(deployment) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            target.writestr(zipfile.ZipInfo(name, build.EPOCH), source.read(name))
        target.writestr(bootstrap, f'#!/bin/sh\nexec "{sys.executable}" -m awslambdaric "$_HANDLER"\n')
    return path
