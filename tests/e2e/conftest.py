"""One control plane for all stories, with limits short enough to be waited for."""

from collections.abc import Generator, Iterator

import pytest

from infra.local.control import Options
from tests.e2e import providers
from tests.e2e.plane import Plane
from tests.e2e.providers import RentedPlane

SETTINGS = {
    "TIDEPOOL_READY_S": "40",
    "TIDEPOOL_SYNC_S": "5",
    "TIDEPOOL_UNREACHABLE_S": "20",
    "TIDEPOOL_LOST_S": "60",
}

LINES = 150


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the fake providers answer, by kind."""
    state = tmp_path_factory.mktemp("fakes")
    with providers.fake("aws", state / "aws") as aws, providers.fake("azure", state / "azure") as azure:
        yield {"aws": aws, "azure": azure}


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, fakes: dict[str, str]) -> Iterator[Plane]:
    """A control plane that is up. TTL deletes at once, and the schedules run."""
    endpoints = {f"TIDEPOOL_{kind.upper()}_ENDPOINT_URL": url for kind, url in fakes.items()}
    plane = Plane(tmp_path_factory.mktemp("e2e"), Options(port=0, settings=SETTINGS | endpoints))
    plane.up()
    try:
        assert plane.request("POST", "/projects/main/pools", {"name": "default-pool"})[0] == 201
        yield plane
    finally:
        plane.down("--erase", "--force")


@pytest.fixture
def plane(running: Plane) -> Iterator[Plane]:
    """The control plane with an empty pool; after the test nothing may be left that bills."""
    running.empty()
    yield running
    running.empty()


@pytest.fixture(params=["local", *providers.KINDS])
def rented(running: Plane, fakes: dict[str, str], request: pytest.FixtureRequest) -> Iterator[RentedPlane]:
    """The same as a project sees it that rents from one provider: the local cloud, the fake AWS, the fake Azure."""
    yield from _of(running, fakes, request.param)


@pytest.fixture
def aws(running: Plane, fakes: dict[str, str]) -> Iterator[RentedPlane]:
    """The project that rents from the fake AWS."""
    yield from _of(running, fakes, "aws")


@pytest.fixture
def azure(running: Plane, fakes: dict[str, str]) -> Iterator[RentedPlane]:
    """The project that rents from the fake Azure."""
    yield from _of(running, fakes, "azure")


def _of(running: Plane, fakes: dict[str, str], kind: str) -> Iterator[RentedPlane]:
    plane = providers.local(running) if kind == "local" else getattr(providers, kind)(running, fakes[kind])
    plane.empty()
    yield plane
    plane.empty()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: waits for what passes meanwhile, so it lets the other tests go first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `last` at the end, and leave the order of the others."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the functions said last: the control plane is gone when one reads of it."""
    report = yield
    plane = next((value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Plane)), None)
    if report.failed and plane is not None:
        report.sections.append(("what the functions said", "\n".join(plane.said()[-LINES:])))
    return report
