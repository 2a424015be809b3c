"""One lab for all tests with real hosts. Where there can be none they are skipped; with `CI=true` they fail instead."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plane import Plane
from tests.hosts import adopting
from tests.hosts.keys import Key
from tests.hosts.lab import Lab, obstacle

INSTALL = Path(__file__).parent / "install.sh"
INSTALL_LIMIT_S = 300


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with nothing but its public network."""
    said = ""
    if "install.sh" in obstacle():
        done = subprocess.run([INSTALL], capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S)
        said = done.stderr.strip()
    if why := obstacle():
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"{why} {said}".strip())
    with Lab() as made:
        yield made


@pytest.fixture(scope="session")
def key(lab: Lab) -> Key:
    """The key that opens a host unless its test says otherwise."""
    return lab.key("ed25519")


@pytest.fixture(scope="session")
def first(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that may adopt hosts, with silences short enough to be waited for."""
    with adopting.control_plane(lab, tmp_path_factory.mktemp("first"), adopting.QUICK) as made:
        yield made


@pytest.fixture(scope="session")
def second(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Another control plane that may adopt the same hosts. Its silences are those that nobody set."""
    with adopting.control_plane(lab, tmp_path_factory.mktemp("second"), {}) as made:
        yield made


@pytest.fixture
def plane(first: Plane) -> Plane:
    """The control plane of tests that need one."""
    return first
