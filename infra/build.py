"""Package the project with `chalice package`: a CloudFormation template and the code of its functions.

    python -m infra.build --stage prod --out build/prod

The Lambda runtime is the version of the interpreter that packages, the architecture that of `.chalice/config.json`.
The wheels are downloaded for that target; a project for the emulator leaves them out and runs on the local packages.
"""

import argparse
import compileall
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from infra.resources import Vpc, template

ROOT: Final = Path(__file__).resolve().parent.parent
SHIPPED: Final = ("app.py", "chalicelib", ".chalice", "requirements.txt")
TEMPLATE: Final = "sam.json"
REGION: Final = "us-east-1"
"""Chalice wants a region even where, as in packaging, it calls none. The template has no region in it."""

TIMEOUT_S: Final = 600
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold; the same input gives the same bytes."""

LAMBDA_LIMIT_MIB: Final = 250
"""Unzipped size of all the code of one function. Source: Lambda quotas, deployment package."""

MIB: Final = 1024 * 1024
MACHINES: Final = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's names of architectures, and those in the names of compiled modules."""

UNUSED: Final = ("azure/mgmt/*/aio",)
"""Folders of dependencies that nothing here imports: the asynchronous half of Azure's SDK is a third of its code."""

STAGE: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")
"""What may be part of every name that follows from a stage, the bucket's and the queues' included."""


class PackagingError(Exception):
    """The package could not be made, or is not fit for Lambda. The message says what to do."""


def package(
    stage: str,
    out: Path,
    *,
    settings: dict[str, str],
    vpc: Vpc | None = None,
    wheels: bool = True,
    source: Path = ROOT,
) -> Path:
    """Package `source` for `stage` into `out` and return the template's path.

    `settings` are `TIDEPOOL_*` variables of the functions, `vpc` is where hosts are adopted from. Without `wheels` the
    code is the project's own alone: that takes a second and no network. Raises `PackagingError`.
    """
    if not STAGE.fullmatch(stage):
        raise PackagingError(f"a stage is 1 to 20 lower-case letters, digits and hyphens, not {stage!r}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tidepool-build-") as folder:
        project = Path(folder) / "project"
        _copy(source, project, wheels=wheels)
        merged = Path(folder) / "resources.json"
        merged.write_text(json.dumps(template(stage, settings, vpc)))
        _chalice(project, "package", "--stage", stage, "--merge-template", str(merged), str(out.resolve()))
    for path in out.glob("*deployment.zip"):
        _finish(path)
    return out / TEMPLATE


def _copy(source: Path, project: Path, *, wheels: bool) -> None:
    """Lay out what Chalice packages, and nothing else; its caches of earlier packages stay behind."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "deployments", "deployed")
    project.mkdir()
    for name in SHIPPED:
        origin = source / name
        if origin.is_dir():
            shutil.copytree(origin, project / name, ignore=ignored)
        else:
            shutil.copy2(origin, project / name)
    if not wheels:
        (project / "requirements.txt").write_text("")
        path = project / ".chalice" / "config.json"
        config = json.loads(path.read_text()) | {"automatic_layer": False}
        path.write_text(json.dumps(config))


def _finish(path: Path) -> None:
    """Leave out what is unused, and compile every module in a zip.

    In Lambda the code is read-only, so each cold start would compile it all anew. The bytecode is taken without a look
    at the source, whose time in an unpacked zip says nothing.
    """
    with tempfile.TemporaryDirectory(prefix="tidepool-build-") as folder:
        with zipfile.ZipFile(path) as code:
            code.extractall(folder)
        for each in [found for pattern in UNUSED for found in Path(folder).rglob(pattern)]:
            shutil.rmtree(each)
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        # Tracebacks name the paths in the function. What does not compile (a template) stays as it is.
        compileall.compile_dir(folder, quiet=2, force=True, stripdir=folder, invalidation_mode=unchecked)
        files = sorted(each for each in Path(folder).rglob("*") if each.is_file())
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as code:
            for each in files:
                entry = zipfile.ZipInfo(each.relative_to(folder).as_posix(), EPOCH)
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                code.writestr(entry, each.read_bytes())


def _chalice(project: Path, *arguments: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TIDEPOOL_"))}
    # Chalice loads the ordinary credentials for a call that packaging never makes.
    environ |= {"AWS_DEFAULT_REGION": REGION, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-c", "from chalice.cli import main; raise SystemExit(main())", *arguments]
    try:
        done = subprocess.run(
            command, cwd=project, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise PackagingError(f"chalice did not end within {TIMEOUT_S} s") from expired
    if done.returncode:
        raise PackagingError(f"chalice failed:\n{done.stdout}{done.stderr}".strip())


def verify(template_path: Path) -> list[str]:
    """Check a complete package and describe it, a line each. Raises `PackagingError` when Lambda would refuse it."""
    template = json.loads(template_path.read_text())
    function = next(each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function")
    runtime, machine = function["Properties"]["Runtime"], function["Properties"]["Architectures"][0]
    size, lines = 0, [f"runtime {runtime} on {machine}"]
    for path in sorted(template_path.parent.glob("*.zip")):
        with zipfile.ZipFile(path) as code:
            entries = code.infolist()
            _check_binaries(path, [entry.filename for entry in entries], runtime, machine)
        unzipped = sum(entry.file_size for entry in entries)
        size += unzipped
        lines.append(f"{path.name}: {path.stat().st_size / MIB:.1f} MiB, {unzipped / MIB:.1f} MiB unzipped")
    if size > LAMBDA_LIMIT_MIB * MIB:
        raise PackagingError(f"{size / MIB:.0f} MiB unzipped; Lambda takes {LAMBDA_LIMIT_MIB}")
    return lines


def _check_binaries(path: Path, names: list[str], runtime: str, machine: str) -> None:
    """Every compiled module must be for the runtime's version and machine, as the tag in its name says."""
    version = runtime.removeprefix("python").replace(".", "")
    for name in names:
        tag = name.partition(".cpython-")[2]
        if name.endswith(".so") and tag and tag != f"{version}-{MACHINES[machine]}-linux-gnu.so":
            raise PackagingError(f"{path.name}: {name} is not for {runtime} on {machine}")


def main() -> int:
    """Package, verify and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m infra.build", description=__doc__)
    parser.add_argument("--stage", required=True, help="names everything: tidepool-<stage>")
    parser.add_argument("--out", type=Path, required=True, help="folder of the template and the code")
    parser.add_argument("--set", action="append", default=[], metavar="TIDEPOOL_X=V", help="a setting of the functions")
    parser.add_argument("--subnets", default="", metavar="ID,…", help="of the function that adopts hosts over SSH")
    parser.add_argument("--security-groups", default="", metavar="ID,…", help="the same function's")
    given = parser.parse_args()
    settings = dict(text.split("=", 1) for text in given.set)
    subnets, groups = (tuple(filter(None, text.split(","))) for text in (given.subnets, given.security_groups))
    if bool(subnets) != bool(groups):
        parser.error("a function in a VPC needs both --subnets and --security-groups")
    try:
        vpc = Vpc(subnets, groups) if subnets else None
        path = package(given.stage, given.out, settings=settings, vpc=vpc)
        lines = verify(path)
    except PackagingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join([*lines, f"template: {path}"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
