"""Tables to write to: moto in this process for one thread, the emulator in a process of its own for many.

moto is not safe for threads (it copies whole tables in a transaction), so nothing that races runs on it.
"""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from chalicelib.store import tables
from infra.local.deploy import Emulator
from tests import quick_moto
from tests.emulation import create_tables, dynamodb_at, running_emulator, set_keys

STAGES = count(1)

# A shell that starts the tests in the background has them ignore interrupts, and programs inherit that; those that
# are interrupted here must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

quick_moto.remember_what_never_changes()


SHARED = ("e2e", "hosts")
"""Folders whose tests share what takes long to start, so that one worker does them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let several workers share the work file by file, and the folders that share something as a whole."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(folder if folder in SHARED else str(item.path)))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that open nothing."""
    set_keys(monkeypatch)


@pytest.fixture
def dynamodb(aws: None) -> Iterator[None]:
    """Empty tables of the stage `test` on moto, of each test its own."""
    with quick_moto.empty_tables():
        yield


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator that takes any key, and serves many threads at once."""
    with running_emulator(tmp_path_factory.mktemp("emulator"), "--no-auth", has_functions=False) as found:
        yield found


@pytest.fixture
def emulated(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Empty tables on the emulator; the value is their stage, which no other test has."""
    set_keys(monkeypatch, emulator.url)
    stage = f"test{next(STAGES)}"
    tables.configure(stage)
    create_tables(stage, dynamodb_at(emulator.url))
    return stage
