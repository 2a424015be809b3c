"""Tables to write to: moto in this process for one thread, the emulator in a process of its own for many.

moto is not safe for threads (it copies whole tables in a transaction), so nothing that races runs on it.
"""

import signal
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from chalicelib.store import tables
from infra.local.deploy import Emulator
from tests import quick_moto
from tests.emulation import create_tables, dynamodb_at, running_emulator, set_keys

STAGES = count(1)

# A shell that starts the tests in the background has them ignore interrupts, and programs inherit that; those that
# are interrupted here must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

quick_moto.take_short_cuts()


SHARED = ("e2e", "hosts")
"""Folders whose tests share what takes long to start, so that one worker does them all."""
FIRST = (*SHARED, "ssh", "agent")
"""The folders with the longest work, which must not begin last, and those that mostly wait, while others compute."""


class ByFile(LoadScopeScheduling):
    """Gives each worker a file at a time, and the folders that share something as a whole.

    It reads the ids of the tests: pytest-xdist's own groups are lost on pytest 9.2, which keeps no id that was changed.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        return folder if folder in SHARED else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Let several workers share the work, in the order of the collection."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what would else be waited for at the end, when nothing else is left to do."""
    places = {folder: place for place, folder in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("/")[1], len(places)))


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
