"""The contract on the driver of Azure, against an ARM-shaped server; and what only this provider does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from chalicelib.backends.azure.config import parse
from chalicelib.backends.azure.driver import CAPABILITIES, AzureBackend
from chalicelib.backends.base import Account, Phase
from chalicelib.backends.http import Endpoint
from chalicelib.domain import errors
from tests.backends.contract import BackendContract, only, spec_for
from tests.fakes.azure.server import CONFIG, GROUP_ID, SECRET, THROTTLED_FOR_S, AzureServer
from tests.fakes.machines import Machines
from tests.infra_cloud.process import eventually


class AzureRehearsal:
    """The fake's switchboard, over HTTP as a test of the whole would use it."""

    def __init__(self, server: AzureServer) -> None:
        self._aside = Endpoint(server.url, {}, 10)

    def rehearse(self, *rules: dict[str, object]) -> None:
        answer = self._aside.call("PUT", "/_rehearsal", list(rules))
        assert answer.status == 200, answer.text

    def fail_next(self, kind: str) -> None:
        self.rehearse({"fault": kind.replace("_", "-"), "count": 1})

    def lose_next_answer(self) -> None:
        self.rehearse({"fault": "lost-answer", "count": 1})

    def slow(self, seconds: float) -> None:
        self.rehearse({"fault": "slow", "value": seconds})

    def interrupt(self, ref: str) -> None:
        self._aside.call("POST", "/_rehearsal/evict", {"name": ref.rpartition("/")[2], "after_s": 0})

    def expire_tokens(self) -> None:
        self._aside.call("POST", "/_rehearsal/expire-tokens")

    def leftovers(self, ref: str) -> list[str]:
        return self._aside.call("GET", "/_rehearsal/left/" + ref.rpartition("/")[2]).body

    def reset(self) -> None:
        self._aside.call("DELETE", "/_rehearsal")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    machines = Machines(tmp_path_factory.mktemp("azure"))
    server = AzureServer(machines=machines)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    assert all(check.ok for check in driver(server).check())
    yield server
    server.shutdown()
    server.server_close()
    machines.close()


def driver(
    server: AzureServer, *, limit_s: float = 60, secret: str = SECRET, url: str = "", **config: object
) -> AzureBackend:
    parsed, credentials = parse({**CONFIG, **config}, {"client_secret": secret})
    return AzureBackend(
        Account("main", "azure-main", "azure", parsed, credentials),
        owner="tidepool-test",
        endpoint_url=url or server.url,
        capabilities=replace(CAPABILITIES, call_timeout=timedelta(seconds=limit_s)),
    )


class TestAzure(BackendContract):
    unknown_ref = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachines/attempt-of-nobody"

    @pytest.fixture
    def backend(self, azure):
        return driver(azure)

    @pytest.fixture
    def hasty(self, azure):
        return driver(azure, limit_s=self.hasty_limit_s)

    @pytest.fixture
    def locked_out(self, azure):
        return driver(azure, secret="wrong")

    @pytest.fixture
    def rehearsal(self, azure):
        return AzureRehearsal(azure)

    def test_an_allocation_that_fails_later_says_so_and_is_cleaned_up_like_any_machine(
        self, backend, rehearsal, owner, spec
    ):
        rehearsal.rehearse({"fault": "allocation-failed", "count": 1})
        ref = backend.launch(spec).ref
        failed = eventually(lambda: (seen := backend.describe(ref)).failure and seen)
        assert failed.failure == errors.NoCapacityError.kind
        assert "OverconstrainedAllocationRequest" in failed.detail
        assert failed.phase is Phase.STARTING, "it costs until it is deleted, so it is neither gone nor on its way"
        assert backend.find(spec.attempt_id, owner) == failed
        assert len(rehearsal.leftovers(ref)) == 4, "the machine, its interface, its address, its disk"
        backend.terminate(ref)
        self.await_gone(backend, ref)
        assert rehearsal.leftovers(ref) == []

    def test_that_a_part_ends_with_its_machine_is_left_to_no_default(self, azure, backend, spec):
        ref = backend.launch(spec).ref
        vm = azure.cloud.get(ref)
        options = [
            vm["properties"]["storageProfile"]["osDisk"]["deleteOption"],
            *(nic["properties"]["deleteOption"] for nic in self.interfaces(vm)),
            *(
                each["properties"]["publicIPAddressConfiguration"]["properties"]["deleteOption"]
                for nic in self.interfaces(vm)
                for each in nic["properties"]["ipConfigurations"]
            ),
        ]
        assert options == ["Delete"] * 3

    def test_a_machine_and_all_its_parts_carry_owner_and_attempt(self, azure, backend, rehearsal, spec):
        ref = backend.launch(spec).ref
        for part in rehearsal.leftovers(ref):
            if part.startswith("/subscriptions/"):
                tags = azure.cloud.get(part)["tags"]
                assert tags["tidepool-owner"] == spec.owner
                assert tags["tidepool-attempt"] == spec.attempt_id
                assert tags["tidepool-pool"] == "main"

    def test_a_spot_machine_is_asked_for_as_one_that_is_deleted_when_it_is_taken_back(self, azure, backend, owner):
        offer = self.cheapest(backend, spot=True)
        vm = azure.cloud.get(backend.launch(spec_for(offer, owner=owner)).ref)["properties"]
        assert (vm["priority"], vm["evictionPolicy"], vm["billingProfile"]) == ("Spot", "Delete", {"maxPrice": -1})

    def test_a_zonal_offer_is_launched_in_its_zone_and_any_other_without_one(self, azure, backend, owner):
        offers = backend.offers()
        zonal = next(offer for offer in offers if offer.zone == "2")
        free = next(offer for offer in offers if not offer.zone)
        assert azure.cloud.get(backend.launch(spec_for(zonal, owner=owner)).ref)["zones"] == ["2"]
        assert "zones" not in azure.cloud.get(backend.launch(spec_for(free, owner=owner)).ref)

    def test_a_machine_runs_its_user_data(self, backend, owner, tmp_path):
        seen = tmp_path / "seen"
        offer = self.cheapest(backend)
        backend.launch(spec_for(offer, owner=owner, user_data=f"echo here > {seen}; exec sleep 600"))
        assert eventually(lambda: seen.exists() and seen.read_text()) == "here\n"

    def test_a_machine_that_powered_itself_off_still_costs_and_is_not_gone(self, azure, backend, owner):
        script = 'sh -c "$TIDEPOOL_POWEROFF"; exec sleep 600'
        ref = backend.launch(spec_for(self.cheapest(backend), owner=owner, user_data=script)).ref
        stopped = {"code": "PowerState/stopped", "level": "Info"}
        eventually(lambda: stopped in azure.cloud.get(ref, view=True)["properties"]["instanceView"]["statuses"])
        assert backend.describe(ref).phase is Phase.RUNNING

    def test_a_machine_that_is_taken_back_is_told_from_inside(self, azure, backend, owner):
        offer = self.cheapest(backend, spot=True)
        name = backend.launch(spec_for(offer, owner=owner)).ref.rpartition("/")[2]
        metadata = Endpoint(f"{azure.url}/_metadata/{name}", {"Metadata": "true"}, 5)
        assert metadata.call("GET", "/metadata/instance/compute/name?api-version=2021-02-01&format=text").text == name
        events = "/metadata/scheduledevents?api-version=2020-07-01"
        assert metadata.call("GET", events).body["Events"] == []
        Endpoint(azure.url, {}, 5).call("POST", "/_rehearsal/evict", {"name": name, "after_s": 30})
        event = only(iter(metadata.call("GET", events).body["Events"]))
        assert (event["EventType"], event["Resources"]) == ("Preempt", [name])

    def test_a_token_that_the_provider_refuses_is_replaced(self, backend, rehearsal, owner, spec):
        assert list(backend.owned(owner)) == []
        rehearsal.expire_tokens()
        ref = backend.launch(spec).ref
        assert only(backend.owned(owner)).ref == ref

    def test_one_token_serves_many_calls(self, azure, backend, owner):
        before = len(azure.tokens)
        for _ in range(3):
            assert list(backend.owned(owner)) == []
        assert len(azure.tokens) <= before + 1

    def test_a_throttled_launch_says_when_to_come_again(self, backend, rehearsal, spec):
        rehearsal.fail_next("throttled")
        with pytest.raises(errors.BackendThrottledError) as caught:
            backend.launch(spec)
        assert caught.value.context["retry_after_s"] == THROTTLED_FOR_S

    def test_a_launch_is_one_request_whatever_comes_back(self, azure, backend, rehearsal, spec):
        for kind in ("throttled", "transient", "unknown", "no_capacity"):
            rehearsal.fail_next(kind)
            azure.calls.clear()
            with pytest.raises(errors.BackendError):
                backend.launch(spec)
            assert [method for method, path in azure.calls if "/login/" not in path] == ["PUT"]

    def test_a_subscription_that_is_not_there_makes_no_machine_gone(self, azure):
        elsewhere = driver(azure, subscription_id="00000000-0000-0000-0000-000000000001")
        with pytest.raises(errors.BackendAuthError, match="SubscriptionNotFound"):
            elsewhere.describe(self.unknown_ref.replace(GROUP_ID.split("/")[2], "00000000-0000-0000-0000-000000000001"))

    def test_a_machine_is_described_under_its_own_subscription_and_group_after_the_account_moved(
        self, azure, backend, spec
    ):
        ref = backend.launch(spec).ref
        moved = driver(azure, subscription_id="00000000-0000-0000-0000-000000000001", resource_group="another-group")
        assert moved.describe(ref).attempt_id == spec.attempt_id

    def test_a_name_taken_by_another_owner_is_never_handed_out(self, backend, spec):
        backend.launch(spec)
        with pytest.raises(errors.UnknownOutcomeError, match="taken"):
            backend.launch(replace(spec, owner="tidepool-somebody-else"))

    def test_all_pages_of_machines_are_read(self, backend, owner, spec):
        refs = {backend.launch(spec_for(spec.offer, owner=owner)).ref for _ in range(7)}
        assert {machine.ref for machine in backend.owned(owner)} == refs

    def test_a_provider_that_is_not_there_made_nothing(self, azure, spec):
        with pytest.raises(errors.TransientError, match="cannot be reached"):
            driver(azure, url="http://127.0.0.1:1").launch(spec)

    def test_an_end_that_the_provider_refuses_is_transient_and_works_later(self, backend, rehearsal, spec):
        ref = backend.launch(spec).ref
        rehearsal.rehearse({"fault": "delete-refused", "count": 1})
        with pytest.raises(errors.TransientError):
            backend.terminate(ref)
        backend.terminate(ref)
        self.await_gone(backend, ref)

    def test_a_reading_that_the_provider_refuses_is_transient(self, backend, rehearsal, owner):
        rehearsal.rehearse({"fault": "read-refused"})
        for call in (lambda: backend.describe(self.unknown_ref), lambda: backend.find("attempt-1", owner)):
            with pytest.raises(errors.TransientError):
                call()

    def test_a_full_region_refuses_and_another_does_not(self, backend, rehearsal, owner):
        size = "Standard_NC24ads_A100_v4"
        rehearsal.rehearse({"fault": "capacity", "region": "westus3", "size": size, "value": 1})
        offers = [offer for offer in backend.offers() if offer.instance_type == size and not offer.spot]
        here, there = sorted(offers, key=lambda offer: offer.region, reverse=True)
        backend.launch(spec_for(here, owner=owner))
        with pytest.raises(errors.NoCapacityError):
            backend.launch(spec_for(here, owner=owner))
        backend.launch(spec_for(there, owner=owner))

    def test_odd_references_are_gone_and_not_an_error(self, backend):
        for ref in ("", "../x", "attempt-1", self.unknown_ref + "/extensions/x", "ü", "/subscriptions/x"):
            assert backend.describe(ref).phase is Phase.GONE
            backend.terminate(ref)

    def test_user_data_that_azure_would_not_take_are_refused_before_anything_is_asked(self, azure, backend, spec):
        azure.calls.clear()
        with pytest.raises(errors.InvalidRequestError, match="65535"):
            backend.launch(replace(spec, user_data="#" * 70_000))
        assert azure.calls == []

    @staticmethod
    def interfaces(vm: dict) -> list[dict]:
        return vm["properties"]["networkProfile"]["networkInterfaceConfigurations"]


class TestChecks:
    @pytest.fixture
    def fresh(self) -> Iterator[AzureServer]:
        """A subscription in which nothing was made yet."""
        server = AzureServer()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
        server.server_close()

    def test_a_network_is_made_once_and_then_left_alone(self, fresh):
        backend = driver(fresh, regions=["westus3"])
        assert [(check.name, check.ok) for check in backend.check()] == [
            ("credentials", True),
            ("resource-group", True),
            ("network/westus3", True),
            ("quota/westus3", True),
        ]
        assert [path.rpartition("/")[2] for method, path in fresh.calls if method == "PUT"] == ["tidepool-westus3"] * 2
        group = fresh.cloud.get(f"{GROUP_ID}/providers/Microsoft.Network/networkSecurityGroups/tidepool-westus3")
        assert group["properties"]["securityRules"] == []
        fresh.calls.clear()
        assert all(check.ok for check in backend.check())
        assert {method for method, path in fresh.calls if "/login/" not in path} == {"GET"}

    def test_a_launch_without_a_network_is_refused_and_leaves_nothing(self, fresh):
        backend = driver(fresh)
        spec = spec_for(backend.offers()[0], owner="o")
        with pytest.raises(errors.InvalidRequestError, match="InvalidResourceReference"):
            backend.launch(spec)
        assert list(backend.owned("o")) == []

    def test_a_wrong_secret_is_the_one_check_that_fails(self, azure):
        check = only(iter(driver(azure, secret="wrong").check()))
        assert not check.ok
        assert "AADSTS7000215" in check.detail
        assert "client secret" in check.fix

    def test_a_missing_resource_group_says_what_to_do(self, azure):
        checks = {check.name: check for check in driver(azure, resource_group="nowhere", regions=["westus3"]).check()}
        assert not checks["resource-group"].ok
        assert "nowhere" in checks["resource-group"].fix
        assert "network/westus3" not in checks
        assert checks["quota/westus3"].ok

    def test_a_subnet_that_is_not_there_is_named(self, azure):
        subnet = f"{GROUP_ID}/providers/Microsoft.Network/virtualNetworks/mine/subnets/none"
        checks = {
            check.name: check for check in driver(azure, regions=["westus3"], subnets={"westus3": subnet}).check()
        }
        assert not checks["network/westus3"].ok
        assert subnet in checks["network/westus3"].detail

    def test_a_login_that_does_not_answer_says_nothing_of_the_account(self, azure):
        with pytest.raises(errors.TransientError):
            driver(azure, url="http://127.0.0.1:1").check()


def test_the_fake_starts_by_itself_and_says_where(tmp_path: Path):
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fakes.azure", "--port", "0", "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            answer = Endpoint(url, {}, 60).call("GET", f"{GROUP_ID}?api-version=1")
            assert (answer.status, answer.body["error"]["code"]) == (401, "InvalidAuthenticationToken")
            assert json.loads(answer.text) == answer.body
        finally:
            process.terminate()
        assert process.wait(timeout=60) == 0
