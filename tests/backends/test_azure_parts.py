"""The pieces of the Azure driver: bodies, readings, sizes, prices, tokens."""

import base64
import re
import struct
import time
from datetime import timedelta

import pytest

from chalicelib import config as settings
from chalicelib.backends import registry
from chalicelib.backends.azure import body, machines, offers, prices, sizes
from chalicelib.backends.azure.config import parse
from chalicelib.backends.azure.token import Tokens
from chalicelib.backends.base import Account, LaunchSpec, Phase
from chalicelib.domain.errors import InvalidRequestError, TransientError
from chalicelib.domain.model import Gpu, Offer, Resources
from tests.fakes.azure import catalog
from tests.fakes.azure.server import CONFIG, GROUP, SECRET, SUBSCRIPTION

ACCOUNT, CREDENTIALS = parse(CONFIG, {"client_secret": SECRET})
PLACE = machines.Place(SUBSCRIPTION, GROUP, "attempt-1")
PRICED = {(size.name, spot): (1_000_000, None) for size in catalog.SIZES for spot in (False, True)}


def spec(size: str = "Standard_B2as_v2", *, attempt: str = "i-1-1", script: str = "#!/bin/sh\n", gpus=()) -> LaunchSpec:
    offer = Offer("azure", "westus3", size, Resources(2, 8192, 131072, gpus), spot=False, price=1)
    return LaunchSpec(attempt, "owner", offer, script)


def row(state: str, *codes: str) -> dict:
    view = {"statuses": [{"code": code, "message": "words"} for code in codes]}
    return {
        "name": "attempt-1",
        "tags": {"tidepool-attempt": "attempt-1"},
        "properties": {
            "provisioningState": state,
            "instanceView": view,
            "timeCreated": "2026-01-01T00:00:00.1234567+00:00",
        },
    }


@pytest.mark.parametrize(
    ("state", "codes", "phase", "failure"),
    [
        ("Creating", [], Phase.STARTING, ""),
        ("Creating", ["ProvisioningState/creating"], Phase.STARTING, ""),
        ("Succeeded", ["ProvisioningState/succeeded", "PowerState/starting"], Phase.STARTING, ""),
        ("Succeeded", ["ProvisioningState/succeeded", "PowerState/running"], Phase.RUNNING, ""),
        ("Succeeded", ["PowerState/stopped"], Phase.RUNNING, ""),
        ("Succeeded", ["PowerState/deallocated"], Phase.RUNNING, ""),
        ("Updating", ["PowerState/running"], Phase.RUNNING, ""),
        ("Deleting", ["PowerState/running"], Phase.STOPPING, ""),
        ("Failed", ["ProvisioningState/failed/AllocationFailed"], Phase.STARTING, "no_capacity"),
        ("Failed", ["ProvisioningState/failed/SomethingNew"], Phase.STARTING, "unknown"),
        ("Failed", ["ProvisioningState/failed"], Phase.STARTING, "unknown"),
        ("Failed", ["ProvisioningState/failed/OSProvisioningTimedOut", "PowerState/running"], Phase.RUNNING, ""),
        ("Failed", [], Phase.RUNNING, ""),
    ],
)
def test_what_azure_says_of_a_machine_is_read(state, codes, phase, failure):
    machine = machines.machine(row(state, *codes), PLACE)
    assert (machine.phase, machine.failure) == (phase, failure)
    assert machine.launched_at.utcoffset() == timedelta()


def test_a_reference_leads_back_to_its_place_and_nothing_else_does():
    assert machines.place(PLACE.ref) == PLACE
    for other in (PLACE.ref + "/x", PLACE.ref.upper(), PLACE.ref.replace(SUBSCRIPTION, ".."), "attempt-1"):
        assert machines.place(other) is None


def test_a_name_is_the_attempt_or_follows_from_it_and_no_two_attempts_share_one():
    ids = ["i-0abc-1", "a" * 64, "a" * 65, "A", "a", "1-1", "ends-", "ü", "x_y", "x.y"]
    names = [body.machine_name(each) for each in ids]
    assert names[:2] == ids[:2]
    assert len(set(names)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,62}[a-z0-9]?", name) for name in names)
    assert names == [body.machine_name(each) for each in ids]


def test_user_data_arrive_as_a_script_whatever_they_begin_with():
    for script in ("exec sleep 1", "#!/bin/sh\nexec sleep 1"):
        sent = base64.b64decode(body.machine(spec(script=script), ACCOUNT)["properties"]["osProfile"]["customData"])
        assert sent == b"#!/bin/sh\nexec sleep 1"


def test_the_key_of_nobody_is_one_in_the_format_of_ssh():
    kind, blob, _ = body.nobodys_key("i-1-1").split()
    content = base64.b64decode(blob)
    assert content == struct.pack(">I", 11) + kind.encode() + struct.pack(">I", 32) + content[-32:]
    assert body.nobodys_key("i-1-2") != body.nobodys_key("i-1-1")


def test_a_machine_with_gpus_gets_an_image_with_their_driver_unless_the_account_has_its_own():
    gpu = (Gpu("A100", 81920, 1),)
    assert body.image(spec(), ACCOUNT)["offer"] == "ubuntu-24_04-lts"
    assert body.image(spec("Standard_NC24ads_A100_v4", gpus=gpu), ACCOUNT)["offer"] == "ubuntu-hpc"
    own = {**ACCOUNT, "images": {"westus3": "/CommunityGalleries/mine/Images/x/Versions/1.0.0"}}
    assert body.image(spec(gpus=gpu), own) == {"communityGalleryImageId": own["images"]["westus3"]}
    own = {**ACCOUNT, "images": {"westus3": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"}}
    assert body.image(spec(gpus=gpu), own) == {"id": own["images"]["westus3"]}


def test_a_size_whose_gpu_would_do_nothing_is_refused():
    with pytest.raises(InvalidRequestError, match=r"GRID driver: set images\.westus3"):
        body.machine(spec("Standard_NV36ads_A10_v5"), ACCOUNT)


def test_an_own_subnet_comes_without_our_security_group():
    own = {**ACCOUNT, "subnets": {"westus3": "/the/subnet"}}
    for account, chosen in ((ACCOUNT, False), (own, True)):
        nic = body.machine(spec(), account)["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]
        assert ("networkSecurityGroup" not in nic["properties"]) is chosen
        subnet = nic["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"]
        assert (subnet == "/the/subnet") is chosen


@pytest.mark.parametrize(
    ("size", "gpus"),
    [
        ("Standard_NC24ads_A100_v4", (Gpu("A100", 81920, 1),)),
        ("Standard_ND96asr_v4", (Gpu("A100", 40960, 8),)),
        ("Standard_ND96amsr_A100_v4", (Gpu("A100", 81920, 8),)),
        ("Standard_NC80adis_H100_v5", (Gpu("H100NVL", 96256, 2),)),
        ("Standard_ND96isr_H100_v5", (Gpu("H100", 81920, 8),)),
        ("Standard_NC64as_T4_v3", (Gpu("T4", 16384, 4),)),
        ("Standard_NC24rs_v3", (Gpu("V100", 16384, 4),)),
        ("Standard_NV12ads_A10_v5", (Gpu("A10", 8192, 1),)),
        ("Standard_NV72ads_A10_v5", (Gpu("A10", 24576, 2),)),
        ("Standard_NC5ads_A100_v4", ()),
        ("Standard_B2as_v2", ()),
    ],
)
def test_the_gpus_of_a_size_are_known_by_its_name(size, gpus):
    assert sizes.gpus(size) == gpus


def offered(region: str, account: dict = ACCOUNT, limits: dict | None = None, priced: dict = PRICED) -> set:
    found = offers.of_region("azure", region, account, catalog.skus(region), priced, limits or {})
    return {(offer.instance_type, offer.zone, offer.spot) for offer in found}


def test_what_cannot_be_rented_is_left_out():
    names = {name for name, _zone, _spot in offered("westus3")}
    assert names == {"Standard_B2as_v2", "Standard_NC24ads_A100_v4", "Standard_M8ms"}
    assert "Standard_M8ms" not in {name for name, *_ in offered("westus3", limits={"standardMSFamily": 0})}


def test_a_quota_of_all_cpus_on_demand_closes_what_is_larger_and_no_spot():
    found = offered("westus3", limits={"cores": 10})
    assert ("Standard_B2as_v2", "", False) in found
    assert ("Standard_NC24ads_A100_v4", "", False) not in found
    assert ("Standard_NC24ads_A100_v4", "", True) in found


def test_an_own_image_opens_the_sizes_that_need_one():
    own = {**ACCOUNT, "images": {"eastus": "a:b:c:d", "westus3": "a:b:c:d"}}
    assert ("Standard_NV36ads_A10_v5", "", False) in offered("eastus", own)
    assert ("Standard_A1_v2", "", False) in offered("westus3", own)
    assert not any(name == "Standard_D2ps_v5" for name, *_ in offered("westus3", own))


def test_a_size_is_offered_anywhere_in_its_region_or_in_the_zones_that_have_it():
    found = offered("eastus")
    assert {zone for name, zone, _ in found if name == "Standard_NC4as_T4_v3"} == {"1", "2"}
    assert not any(name == "Standard_NC24ads_A100_v4" for name, *_ in found), "not sold to this subscription there"


def test_a_quota_of_spot_cpus_closes_spot_alone():
    found = offered("westus3", limits={"lowPriorityCores": 10})
    assert ("Standard_NC24ads_A100_v4", "", False) in found
    assert ("Standard_NC24ads_A100_v4", "", True) not in found
    assert ("Standard_B2as_v2", "", True) in found


def test_a_row_that_cannot_be_read_costs_no_other():
    broken = {"resourceType": "virtualMachines", "name": "Standard_Broken", "capabilities": [{"name": "vCPUs"}]}
    rows = [broken, *catalog.skus("westus2")]
    assert list(offers.of_region("azure", "westus2", ACCOUNT, rows, PRICED, {}))


class Pages:
    """An endpoint with answers of its own."""

    def __init__(self, *bodies: object, status: int = 200) -> None:
        self._answers = list(bodies)
        self._status = status
        self.asked: list[str] = []

    def call(self, _method: str, path: str) -> object:
        self.asked.append(path)
        self._answers, given = self._answers[1:] or self._answers, self._answers[0]
        return type("Answer", (), {"status": self._status, "body": given, "text": "", "headers": {}})


def test_prices_are_those_of_linux_by_the_hour_on_demand_and_spot():
    page = {"Items": catalog.price_rows("westus3"), "NextPageLink": None}
    found = prices.of_region(Pages(page), "westus3")
    assert found["Standard_NC24ads_A100_v4", False][0] == 3_673_000
    assert found["Standard_NC24ads_A100_v4", True][0] == 404_030
    assert len(found) == sum(2 if size.spot_price else 1 for size in catalog.SIZES if size.region == "westus3")


def test_all_pages_of_prices_are_read_from_the_place_that_the_settings_name():
    rows = catalog.price_rows("westus3")
    link = "https://somewhere-else.example/api?$skip=1"
    pages = Pages({"Items": rows[:3], "NextPageLink": link}, {"Items": rows[3:], "NextPageLink": None})
    assert len(prices.of_region(pages, "westus3")) > 3
    assert pages.asked[1] == "?$skip=1"


@pytest.mark.parametrize("page", [None, [], {"Items": None}, {"Items": [], "NextPageLink": "nowhere"}])
def test_a_price_list_that_cannot_be_read_is_transient(page):
    with pytest.raises(TransientError):
        prices.of_region(Pages(page), "westus3")


def test_a_price_list_without_an_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(prices, "MOST_PAGES", 5)
    pages = Pages({"Items": [], "NextPageLink": "https://prices?$skip=1"})
    with pytest.raises(TransientError, match="more than 5 pages"):
        prices.of_region(pages, "westus3")
    assert len(pages.asked) == 5


def test_a_price_list_that_nobody_waits_for_any_more_is_not_read_on():
    pages = Pages({"Items": [], "NextPageLink": "https://prices?$skip=1"})
    with pytest.raises(TransientError, match="no time"):
        prices.of_region(pages, "westus3", lambda: len(pages.asked) == 2)
    assert len(pages.asked) == 2


def test_a_driver_without_an_endpoint_of_its_own_goes_to_azure_over_tls():
    account = Account("main", "mine", "azure", ACCOUNT, CREDENTIALS)
    backend = registry.driver(settings.load({}), account)
    urls = (backend._arm, backend._prices.url, backend._tokens._url)
    assert all(url.startswith("https://") for url in urls)
    assert SECRET not in repr(account)


def test_a_login_that_cannot_be_reached_leaves_nothing_open():
    with pytest.raises(TransientError):
        Tokens("http://127.0.0.1:1/token", "id", "secret").current(deadline=time.monotonic() + 1)
