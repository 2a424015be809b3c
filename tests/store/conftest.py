"""Tables with the project `acme` and its pool `main`."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.store import pools
from infra.local.deploy import Emulator
from tests.builders import NOW, make_pool
from tests.emulation import dynamodb_at
from tests.store import faults


@pytest.fixture
def dynamodb(dynamodb: None) -> Iterator[None]:
    """The same on moto, with project and pool."""
    _fill()
    yield
    faults.reset()


@pytest.fixture
def emulated(emulated: str, emulator: Emulator) -> Any:
    """The same on the emulator; the value is a plain client."""
    _fill()
    return dynamodb_at(emulator.url)


def _fill() -> None:
    pools.create_project("acme", NOW)
    pools.create(make_pool())
