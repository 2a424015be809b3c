"""An emulator of its own for these tests, started once: it asks who calls, as that of the control plane does."""

import os
from collections.abc import Iterator

import pytest

from infra.local.deploy import Emulator
from tests.emulation import running_emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    # What must not reach a function: credentials of the person who runs the tests.
    environ = dict(os.environ) | {"AWS_PROFILE": "personal", "AWS_SECRET_ACCESS_KEY": "personal", "GITHUB_TOKEN": "x"}
    with running_emulator(tmp_path_factory.mktemp("emulator"), environ=environ, has_functions=True) as found:
        yield found
