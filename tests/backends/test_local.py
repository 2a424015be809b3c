"""The contract on the driver of the local cloud, against a real local cloud; and what only this provider does."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.backends.base import Phase
from chalicelib.backends.local import CAPABILITIES, LocalBackend
from chalicelib.domain import errors
from infra.local.cloud import processes
from tests.backends.contract import BackendContract, only, spec_for
from tests.infra_cloud.process import KEY, CloudProcess, eventually

FAULTS = {
    "no_capacity": "no-capacity",
    "quota": "quota",
    "auth": "auth",
    "throttled": "throttle",
    "balance": "balance",
    "invalid": "unknown-type",
    "transient": "unavailable",
    "unknown": "unforeseen",
}


class LocalRehearsal:
    """The switchboard of the local cloud. Faults name the region, so that they meet launches and no other call."""

    def __init__(self, cloud: CloudProcess) -> None:
        self._cloud = cloud

    def fail_next(self, kind: str) -> None:
        self._cloud.rehearse({"fault": FAULTS[kind], "region": "local-north", "count": 1})

    def lose_next_answer(self) -> None:
        self._cloud.rehearse({"fault": "lost-answer", "count": 1})

    def slow(self, seconds: float) -> None:
        self._cloud.rehearse({"fault": "slow", "value": seconds})

    def interrupt(self, ref: str) -> None:
        self._cloud.call("POST", f"/machines/{ref}/preempt", {"after_s": 60})

    def leftovers(self, ref: str) -> list[str]:
        folder = self._cloud.state / ref
        return [str(process) for process in processes.living(ref)] + [str(folder)] * folder.exists()

    def reset(self) -> None:
        self._cloud.call("DELETE", "/rehearsal")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    server = CloudProcess(tmp_path_factory.mktemp("cloud") / "state").start()
    yield server
    server.clear()
    server.stop()


def driver(cloud: CloudProcess, *, key: str = KEY, limit_s: float = 60) -> LocalBackend:
    return LocalBackend(cloud.url, key, capabilities=replace(CAPABILITIES, call_timeout=timedelta(seconds=limit_s)))


class TestLocal(BackendContract):
    @pytest.fixture
    def backend(self, cloud):
        return driver(cloud)

    @pytest.fixture
    def hasty(self, cloud):
        return driver(cloud, limit_s=self.hasty_limit_s)

    @pytest.fixture
    def locked_out(self, cloud):
        return driver(cloud, key="wrong")

    @pytest.fixture
    def rehearsal(self, cloud):
        return LocalRehearsal(cloud)

    def test_an_offer_that_is_no_longer_sold_is_an_invalid_request(self, backend, owner, spec):
        withdrawn = replace(spec.offer, instance_type="gpu-of-last-year")
        with pytest.raises(errors.InvalidRequestError, match="gpu-of-last-year"):
            backend.launch(spec_for(withdrawn, owner=owner))

    def test_a_name_taken_by_another_owner_is_never_handed_out(self, backend, spec):
        backend.launch(spec)
        with pytest.raises(errors.UnknownOutcomeError, match="taken"):
            backend.launch(replace(spec, owner="tidepool-somebody-else"))

    def test_a_provider_that_is_not_there_made_nothing(self, spec):
        with pytest.raises(errors.TransientError, match="cannot be reached"):
            LocalBackend("http://127.0.0.1:1", KEY).launch(spec)

    def test_a_launch_that_was_cut_off_may_still_happen_later_and_is_found_then(self, backend, hasty, rehearsal, spec):
        rehearsal.slow(4 * self.hasty_limit_s)
        with pytest.raises(errors.UnknownOutcomeError):
            hasty.launch(spec)
        rehearsal.reset()
        assert backend.find(spec.attempt_id, spec.owner) is None
        found = eventually(lambda: backend.find(spec.attempt_id, spec.owner))
        assert found.ref == only(backend.owned(spec.owner)).ref

    def test_an_end_that_the_provider_refuses_is_transient_and_works_later(self, cloud, backend, spec):
        ref = backend.launch(spec).ref
        cloud.rehearse({"fault": "terminate-fails", "count": 2})
        for _ in range(2):
            with pytest.raises(errors.TransientError):
                backend.terminate(ref)
        assert backend.describe(ref).phase in {Phase.STARTING, Phase.RUNNING}
        backend.terminate(ref)
        self.await_gone(backend, ref)

    def test_odd_references_are_gone_and_not_an_error(self, backend):
        for ref in ("", "../machines", "m-1/preempt", "ü", "x" * 200):
            assert backend.describe(ref).phase is Phase.GONE
            backend.terminate(ref)
