"""The arrows of `docs/architecture.md`, and what a function may load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIRD_PARTY = (
    "boto3", "botocore", "chalice", "pydantic", "pynamodb", "paramiko", "cryptography", "azure", "numpy", "rich",
)  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after `statement`."""
    script = f"{statement}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT, env=environ
    )
    return set(done.stdout.split())


def test_the_arrows_hold():
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [linter, "--no-cache"], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    [
        *(f"chalicelib.domain.{path.stem}" for path in sorted((ROOT / "chalicelib/domain").glob("[a-z]*.py"))),
        "chalicelib.backends.base",
        *(f"chalicelib.ssh.{path.stem}" for path in sorted((ROOT / "chalicelib/ssh").glob("[a-z]*.py"))),
    ],
)
def test_the_pure_part_loads_no_third_party_package(module):
    assert not loaded_by(f"import {module}") & set(THIRD_PARTY)


@pytest.mark.parametrize(
    "module", ["app", "chalicelib.workflows.provision", "chalicelib.workflows.teardown", "chalicelib.workflows.adopt"]
)
def test_no_function_loads_a_cloud_sdk_or_paramiko_at_import(module):
    assert not loaded_by(f"import {module}") & {"azure", "paramiko", "numpy", "rich", "boto3"}


@pytest.mark.parametrize(
    "handler",
    [
        "chalicelib.workflows.provision.provision",
        "chalicelib.workflows.teardown.teardown",
        "chalicelib.workflows.adopt.adopt",
        "chalicelib.workflows.timers.on_timer",
        "chalicelib.workflows.timers.sweep",
        "chalicelib.workflows.projector.projector",
        "chalicelib.workflows.reconcile.reconcile",
        "chalicelib.workflows.machines.machine_events",
        "chalicelib.workflows.catalog.catalog",
        "chalicelib.api.auth.authorizer",
    ],
)
def test_each_worker_runs_without_the_app(handler):
    module, name = handler.rsplit(".", 1)
    script = f"import sys, {module}\nassert callable({module}.{name})\nassert 'app' not in sys.modules"
    assert "app" not in loaded_by(script)
