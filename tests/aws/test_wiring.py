"""What the Lambdas run with, and what importing it costs."""

import subprocess
import sys

import pytest

from chalicelib import wiring
from chalicelib.domain.errors import NotFoundError


@pytest.fixture
def deps(monkeypatch):
    monkeypatch.setenv("TIDEPOOL_STAGE", "test")
    monkeypatch.setenv("TIDEPOOL_LOCAL_CLOUD_URL", "http://127.0.0.1:9")
    wiring.deps.cache_clear()
    yield wiring.deps()
    wiring.deps.cache_clear()


def test_dependencies_are_made_once(deps):
    assert wiring.deps() is deps
    assert deps.now().tzinfo is not None


def test_configured_backends_are_there_and_others_are_not(deps, dynamodb):
    assert deps.backend_names("main") == ("local",)
    assert deps.backend("main", "local") is deps.backend("main", "local")
    with pytest.raises(NotFoundError):
        deps.backend("main", "moon")


def test_the_app_is_imported_without_any_sdk_connection_or_setting():
    """`chalice package` imports it without the functions' settings; each cold start pays for what it loads."""
    script = (
        "import app, gc, sys\n"
        "heavy = {'boto3', 'azure', 'paramiko', 'numpy', 'rich', 'chalice.test', 'chalice.local', 'chalice.cli'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from chalicelib import wiring\n"
        "assert wiring.deps.cache_info().currsize == 0\n"
        "assert gc.get_freeze_count() > 10_000\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60, env={"PYTHONPATH": "."})
