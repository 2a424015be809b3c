"""Package the project with `chalice package`: a CloudFormation template and the code of its functions.

    python -m infra.build --stage prod --out build/prod

The Lambda runtime is the version of the interpreter that packages, the architecture that of `.chalice/config.json`.
The wheels are downloaded for that target; a project for the emulator leaves them out and runs on the local packages.
"""

import compileall
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from infra.resources import template

ROOT: Final = Path(__file__).resolve().parent.parent
SHIPPED: Final = ("app.py", "chalicelib", ".chalice", "requirements.txt")
TEMPLATE: Final = "sam.json"
REGION: Final = "us-east-1"
"""Chalice wants a region even where, as in packaging, it calls none. The template has no region in it."""

TIMEOUT_S: Final = 600
LAMBDA_LIMIT_MIB: Final = 250
"""Unzipped size of all the code of one function. Source: Lambda quotas, deployment package."""

STAGE: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")
"""What may be part of every name that follows from a stage, the bucket's and the queues' included."""


class PackagingError(Exception):
    """The package could not be made, or is not fit for Lambda. The message says what to do."""


def package(stage: str, out: Path, *, settings: dict[str, str], wheels: bool = True, source: Path = ROOT) -> Path:
    """Package `source` for `stage` into `out` and return the template's path.

    `settings` are `TIDEPOOL_*` variables of the functions. Without `wheels` the code is the project's own alone: that
    takes a second and no network. Raises `PackagingError`.
    """
    if not STAGE.fullmatch(stage):
        raise PackagingError(f"a stage is 1 to 20 lower-case letters, digits and hyphens, not {stage!r}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tidepool-build-") as folder:
        project = Path(folder) / "project"
        _copy(source, project, wheels=wheels)
        merged = Path(folder) / "resources.json"
        merged.write_text(json.dumps(template(stage, settings)))
        _chalice(project, "package", "--stage", stage, "--merge-template", str(merged), str(out.resolve()))
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
    # Bytecode that is taken without a look at the source, whose time in an unpacked zip says nothing.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(project / "chalicelib", quiet=2, invalidation_mode=unchecked)


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
