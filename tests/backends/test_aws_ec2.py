"""What only EC2 does, over HTTP: lag, tokens, zones, roles, spot requests, networks, images."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from chalicelib.backends.aws.driver import AwsBackend
from chalicelib.backends.base import LaunchSpec, Part, Phase
from chalicelib.domain import errors
from chalicelib.domain.model import Gpu, Offer
from tests.backends.aws_account import REGIONS, driver
from tests.backends.contract import only, spec_for
from tests.fakes.aws import catalog
from tests.fakes.aws.process import AwsProcess
from tests.fakes.aws.server import ODD
from tests.fakes.aws.world import KEY_ID, SECRET
from tests.infra_cloud.process import eventually

OWNER = "tidepool-ec2"
ROLE = "arn:aws:iam::123456789012:role/tidepool-machines"
OTHER_ROLE = "arn:aws:iam::210987654321:role/tidepool-x"


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the control plane signs with when it assumes a role; a function has them from Lambda."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACONTROLPLANE0000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40)


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProcess]:
    fake = AwsProcess().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def shared(aws: AwsProcess) -> AwsBackend:
    return driver(aws)


@pytest.fixture(scope="module")
def offers(shared: AwsBackend) -> list[Offer]:
    return list(shared.offers())


@pytest.fixture
def backend(aws: AwsProcess, shared: AwsBackend) -> Iterator[AwsBackend]:
    yield shared
    aws.reset()
    for machine in shared.owned(OWNER):
        shared.terminate(machine.ref)
    eventually(lambda: not list(shared.owned(OWNER)))


def pick(offers: list[Offer], type_: str, zone: str = "us-east-1a", *, spot: bool = False) -> Offer:
    return only(each for each in offers if (each.instance_type, each.zone, each.spot) == (type_, zone, spot))


@pytest.fixture
def spec(offers: list[Offer]) -> LaunchSpec:
    return spec_for(pick(offers, "t3.micro"), owner=OWNER)


class TestOffers:
    def test_a_part_is_one_region_and_ends_when_it_is_over(self, backend, offers):
        for region in REGIONS:
            found = backend.offers(Part(region, lambda: False))
            assert {each.key for each in found} == {each.key for each in offers if each.region == region}
        with pytest.raises(errors.TransientError, match="no time"):
            backend.offers(Part(REGIONS[0], lambda: True))

    def test_each_zone_is_an_offer_with_its_own_spot_price(self, offers):
        prices = {zone: pick(offers, "g5.xlarge", zone, spot=True).price for zone in catalog.ZONES["us-east-1"]}
        assert prices == {"us-east-1a": 301_800, "us-east-1b": 352_100}
        assert {pick(offers, "g5.xlarge", zone).price for zone in catalog.ZONES["us-east-1"]} == {1_006_000}

    def test_a_type_is_offered_only_where_it_is_sold(self, offers):
        zones = {offer.zone for offer in offers if offer.instance_type == "p4d.24xlarge"}
        assert zones == {"us-east-1a", "eu-central-1a"}

    def test_gpu_memory_is_what_is_sold_and_the_disk_what_is_configured(self, offers):
        a10g = pick(offers, "g5.xlarge").resources
        assert a10g.gpus == (Gpu("A10G", 24 * 1024, 1),)
        assert a10g.disk_mib == 100 * 1024

    def test_what_no_image_drives_and_parts_of_gpus_are_not_offered(self, offers):
        assert {offer.instance_type for offer in offers}.isdisjoint({"g6f.xlarge", "p3dn.24xlarge", "inf2.xlarge"})

    def test_a_price_says_where_it_is_from_and_when_it_was_asked(self, offers):
        assert {(offer.spot, offer.price_source) for offer in offers} == {
            (False, "aws-price-list"),
            (True, "aws-spot-market"),
        }
        assert all(abs(datetime.now(UTC) - offer.priced_at) < timedelta(minutes=5) for offer in offers)

    def test_small_pages_lose_nothing(self, aws, backend, offers):
        aws.set(page=2)
        assert {offer.key for offer in backend.offers()} == {offer.key for offer in offers}


class TestLaunch:
    def test_everything_that_is_made_carries_the_tags_and_dies_with_the_machine(self, aws, backend, offers):
        spec = spec_for(pick(offers, "g5.xlarge", spot=True), owner=OWNER)
        backend.launch(replace(spec, tags={"tidepool-name": "main-1"}))
        body = aws.launches()[-1]
        tags = {each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in marks(body)}
        assert tags.keys() == {"instance", "volume", "network-interface", "spot-instances-request"}
        wanted = {"tidepool-owner": OWNER, "tidepool-attempt": spec.attempt_id, "Name": "main-1"}
        assert all(wanted.items() <= each.items() for each in tags.values())
        assert [each["Ebs"] for each in body["BlockDeviceMappings"]] == [
            {"VolumeType": "gp3", "VolumeSize": 100, "DeleteOnTermination": True}
        ]
        assert body["NetworkInterfaces"][0]["DeleteOnTermination"] is True
        assert body["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert body["MetadataOptions"]["HttpTokens"] == "required"
        assert body["InstanceMarketOptions"]["SpotOptions"] == {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
        }

    @pytest.mark.parametrize(
        ("type_", "image"),
        [
            ("g5.xlarge", "ami-0d1a000000000001"),
            ("t3.micro", "ami-0cab000000000001"),
            ("m7g.large", "ami-0cab000000000002"),
        ],
    )
    def test_the_image_fits_the_type(self, aws, backend, offers, type_, image):
        backend.launch(spec_for(pick(offers, type_), owner=OWNER))
        assert aws.launches()[-1]["ImageId"] == image

    def test_an_account_may_choose_image_disk_and_subnets(self, aws, backend, spec):
        backend.launch(spec)
        subnet = aws.launches()[-1]["NetworkInterfaces"][0]["SubnetId"]
        own = driver(aws, image={"us-east-1": catalog.OWN_IMAGE[0]}, disk_gb=10, subnets={"us-east-1": [subnet]})
        assert {offer.zone for offer in own.offers() if offer.region == "us-east-1"} == {"us-east-1a"}
        own.launch(spec_for(spec.offer, owner=OWNER))
        body = aws.launches()[-1]
        assert body["ImageId"] == catalog.OWN_IMAGE[0]
        assert body["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 12, "the image needs more than was asked for"
        with pytest.raises(errors.InvalidRequestError, match="us-east-1b"):
            own.launch(spec_for(replace(spec.offer, zone="us-east-1b"), owner=OWNER))

    def test_an_offer_without_a_zone_leaves_it_to_ec2_and_is_one_launch(self, aws, backend, spec):
        anywhere = replace(spec, offer=replace(spec.offer, zone=""))
        assert backend.launch(anywhere).ref == backend.launch(anywhere).ref
        assert "SubnetId" not in aws.launches()[-1]["NetworkInterfaces"][0]

    def test_user_data_is_a_script_that_cloud_init_runs(self, aws, backend, spec):
        backend.launch(replace(spec, user_data="echo hello"))
        assert base64.b64decode(aws.launches()[-1]["UserData"]) == b"#!/bin/sh\necho hello"

    def test_user_data_that_is_too_long_is_refused_before_anything_is_asked(self, aws, backend, spec):
        before = len(aws.launches())
        with pytest.raises(errors.InvalidRequestError, match="16384"):
            backend.launch(replace(spec, user_data="x" * 16385))
        assert len(aws.launches()) == before

    def test_no_capacity_in_one_zone_and_market_is_capacity_in_another(self, aws, backend, offers):
        aws.set(capacity={"g5.xlarge/us-east-1a/spot": 0})
        with pytest.raises(errors.NoCapacityError):
            backend.launch(spec_for(pick(offers, "g5.xlarge", spot=True), owner=OWNER))
        backend.launch(spec_for(pick(offers, "g5.xlarge", "us-east-1b", spot=True), owner=OWNER))
        backend.launch(spec_for(pick(offers, "g5.xlarge"), owner=OWNER))

    def test_more_launches_than_ec2_takes_are_throttled(self, aws, backend, spec):
        aws.set(launches_per_s=1)

        def outcome(_number: int) -> str:
            try:
                return backend.launch(spec_for(spec.offer, owner=OWNER)).phase
            except errors.BackendError as error:
                return error.kind

        with ThreadPoolExecutor(8) as callers:
            assert "throttled" in set(callers.map(outcome, range(8)))

    def test_a_code_that_nobody_foresaw_leaves_the_launch_open(self, aws, backend, spec):
        aws.set(fail_next="SomethingNew:400")
        with pytest.raises(errors.UnknownOutcomeError, match="SomethingNew"):
            backend.launch(spec)

    @pytest.mark.parametrize("odd", ODD)
    def test_an_odd_answer_leaves_the_launch_open_and_its_machine_is_found(self, aws, backend, spec, odd):
        aws.set(odd_next=odd)
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(spec)
        assert backend.find(spec.attempt_id, OWNER).ref == backend.launch(spec).ref

    def test_what_is_asked_before_a_launch_and_fails_made_nothing(self, aws, spec):
        fresh = driver(aws, image={"us-east-1": "ami-0123456789abcdef0"})
        with pytest.raises(errors.InvalidRequestError, match="ami-0123456789abcdef0"):
            fresh.launch(spec)

    def test_a_launch_that_could_not_be_over_in_time_is_not_begun(self, aws, backend, spec):
        fresh = driver(aws, limit_s=1.5)
        aws.set(slow_s=0.3)
        with pytest.raises(errors.TransientError):
            fresh.launch(spec)
        aws.set(slow_s=0)
        assert backend.find(spec.attempt_id, OWNER) is None

    def test_a_group_that_was_deleted_meanwhile_is_looked_up_again(self, aws, backend, spec):
        aws.set(drop_group=True)
        with pytest.raises(errors.TransientError):
            backend.launch(spec)
        backend.launch(spec)

    def test_many_first_launches_at_once_make_one_group(self, aws, spec):
        others = [driver(aws) for _ in range(3)]
        fresh = replace(spec, owner="tidepool-first")
        with ThreadPoolExecutor(3) as callers:
            refs = {machine.ref for machine in callers.map(lambda each: each.launch(fresh), others)}
        groups = {
            tuple(body["NetworkInterfaces"][0]["Groups"]) for body in aws.launches() if owner_of(body) == fresh.owner
        }
        assert len(groups) == len(refs) == 1
        others[0].terminate(refs.pop())


class TestTokens:
    def test_another_body_under_the_same_attempt_is_the_machine_that_was_made(self, backend, spec):
        made = backend.launch(spec)
        again = backend.launch(replace(spec, user_data="echo something else"))
        assert again.ref == made.ref

    def test_another_body_while_the_machine_cannot_be_seen_is_an_unknown_outcome(self, aws, backend, spec):
        aws.set(lag_s=60)
        backend.launch(spec)
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(replace(spec, user_data="echo something else"))

    def test_an_attempt_whose_machine_ended_is_gone_and_launches_nothing(self, backend, spec):
        ref = backend.launch(spec).ref
        backend.terminate(ref)
        eventually(lambda: backend.describe(ref).phase is Phase.GONE)
        again = backend.launch(spec)
        assert (again.ref, again.phase) == (ref, Phase.GONE)
        assert list(backend.owned(OWNER)) == []


class TestLag:
    def test_a_machine_that_cannot_be_seen_yet_is_starting_for_its_maker(self, aws, backend, spec):
        aws.set(lag_s=4)
        ref = backend.launch(spec).ref
        assert backend.describe(ref).phase is Phase.STARTING
        with pytest.raises(errors.TransientError):
            backend.terminate(ref)
        eventually(lambda: backend.describe(ref).phase is Phase.RUNNING)
        backend.terminate(ref)

    def test_but_not_for_longer_than_ec2_may_lag(self, aws, spec):
        aws.set(lag_s=60)
        quick = driver(aws, settles_s=3)
        ref = quick.launch(replace(spec, owner="tidepool-lagging")).ref
        assert quick.describe(ref).phase is Phase.STARTING
        eventually(lambda: quick.describe(ref).phase is Phase.GONE)
        quick.terminate(ref)
        aws.reset()

    def test_a_lost_answer_is_found_once_the_machine_can_be_seen(self, aws, backend, spec):
        aws.set(lag_s=3, lose_next=True)
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(spec)
        assert backend.find(spec.attempt_id, OWNER) is None
        assert eventually(lambda: backend.find(spec.attempt_id, OWNER)).attempt_id == spec.attempt_id

    def test_a_machine_whose_tags_lag_is_found_by_its_token(self, aws, backend, spec):
        aws.set(tag_lag_s=60)
        ref = backend.launch(spec).ref
        assert backend.find(spec.attempt_id, OWNER).ref == ref
        backend.terminate(ref)


class TestMachines:
    def test_machines_of_all_regions_are_owned_and_found(self, backend, offers):
        specs = [spec_for(pick(offers, "t3.micro", zone), owner=OWNER) for zone in ("us-east-1b", "eu-central-1a")]
        refs = {backend.launch(each).ref for each in specs}
        assert {machine.ref for machine in backend.owned(OWNER)} == refs
        assert {backend.find(each.attempt_id, OWNER).ref for each in specs} == refs

    def test_small_pages_hide_no_machine(self, aws, backend, spec):
        refs = {backend.launch(spec_for(spec.offer, owner=OWNER)).ref for _ in range(5)}
        aws.set(page=2)
        assert {machine.ref for machine in backend.owned(OWNER)} == refs

    def test_a_machine_can_be_ended_in_a_region_that_is_no_longer_configured(self, aws, backend, offers):
        ref = backend.launch(spec_for(pick(offers, "t3.micro", "eu-central-1a"), owner=OWNER)).ref
        moved = driver(aws, regions=["us-east-1"])
        assert moved.describe(ref).phase is Phase.RUNNING
        moved.terminate(ref)
        assert moved.describe(ref).phase in {Phase.STOPPING, Phase.GONE}

    def test_a_machine_that_somebody_stopped_is_still_to_be_ended(self, aws, backend, spec):
        ref = backend.launch(spec).ref
        keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
        console = boto3.client("ec2", "us-east-1", endpoint_url=aws.url, **keys)
        console.stop_instances(InstanceIds=[ref.partition("/")[2]])
        assert backend.describe(ref).phase not in {Phase.STOPPING, Phase.GONE}
        assert only(backend.owned(OWNER)).ref == ref
        backend.terminate(ref)
        eventually(lambda: backend.describe(ref).phase is Phase.GONE)
        assert aws.leftovers(ref) == []

    @pytest.mark.parametrize("ref", ["", "i-0123456789abcdef0", "us-east-1/../x", "us-east-1/vol-01234567", "ü/" * 90])
    def test_odd_references_are_gone_and_not_an_error(self, backend, ref):
        assert backend.describe(ref).phase is Phase.GONE
        backend.terminate(ref)

    def test_a_spot_machine_that_was_taken_back_says_so_when_it_is_gone_too(self, aws, backend, offers):
        ref = backend.launch(spec_for(pick(offers, "g5.xlarge", spot=True), owner=OWNER)).ref
        assert not backend.describe(ref).interrupted
        aws.interrupt(ref, after_s=0.3)
        assert backend.describe(ref).interrupted
        eventually(lambda: backend.describe(ref).phase is Phase.GONE)
        assert backend.describe(ref).interrupted
        assert aws.leftovers(ref) == []

    def test_a_spot_machine_that_we_ended_was_not_taken_back(self, backend, offers):
        ref = backend.launch(spec_for(pick(offers, "g5.xlarge", spot=True), owner=OWNER)).ref
        backend.terminate(ref)
        assert not backend.describe(ref).interrupted


class TestAccounts:
    def test_a_role_is_assumed_once_for_many_calls(self, aws, backend, spec):
        by_role, before = driver(aws, keys=False, role_arn=ROLE), aws.sessions()
        ref = by_role.launch(spec).ref
        assert by_role.describe(ref).ref == backend.describe(ref).ref == ref
        assert len(aws.sessions()) == len(before) + 1

    def test_two_accounts_do_not_see_each_other(self, aws, backend, spec):
        other = driver(aws, keys=False, role_arn=OTHER_ROLE, external_id="xid")
        ref = other.launch(spec).ref
        assert list(backend.owned(OWNER)) == []
        assert backend.describe(ref).phase is Phase.GONE
        other.terminate(ref)

    @pytest.mark.parametrize("role", [{"role_arn": OTHER_ROLE}, {"role_arn": ROLE + "-of-nobody"}])
    def test_a_role_that_may_not_be_assumed_is_an_auth_error_and_a_failed_check(self, aws, spec, role):
        shut_out = driver(aws, keys=False, **role)
        with pytest.raises(errors.BackendAuthError):
            shut_out.launch(spec)
        check = only(iter(shut_out.check()))
        assert not check.ok
        assert "role" in check.fix

    def test_keys_that_are_revoked_are_an_auth_error_at_once_and_a_failed_check_about_keys(self, aws, backend, spec):
        aws.set(keys_revoked=True)
        with pytest.raises(errors.BackendAuthError):
            backend.launch(spec)
        check = only(iter(backend.check()))
        assert not check.ok
        assert "access key" in check.fix
        assert "role" not in check.fix

    def test_a_check_tells_whose_the_credentials_are(self, aws, backend):
        by_role = driver(aws, keys=False, role_arn=OTHER_ROLE, external_id="xid", regions=["us-east-1"])
        assert by_role.check()[0].account == "210987654321"
        assert backend.check()[0].account == "123456789012"

    def test_a_region_without_a_network_is_a_failed_check_with_the_command_that_makes_one(self, aws):
        aws.set(default_vpc=False)
        fresh = driver(aws, regions=["us-east-1"])
        found = {check.name: check for check in fresh.check()}
        assert not found["network us-east-1"].ok
        assert "create-default-vpc" in found["network us-east-1"].fix
        assert fresh.offers() == []
        aws.reset()

    def test_a_quota_of_nothing_is_a_failed_check(self, aws, backend):
        aws.set(quota=0)
        found = {check.name: check for check in backend.check()}
        assert not found["quota eu-central-1"].ok
        assert "Service Quotas" in found["quota eu-central-1"].fix

    def test_a_provider_that_is_not_there_made_nothing(self, spec):
        nowhere = AwsProcess()
        nowhere.url = "http://127.0.0.1:1"
        with pytest.raises(errors.TransientError):
            driver(nowhere).launch(spec)


def marks(body: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[dict[str, list[dict[str, str]]]]:
    return body["TagSpecifications"]


def owner_of(body: dict[str, list[dict[str, list[dict[str, str]]]]]) -> str:
    return only(tag["Value"] for tag in marks(body)[0]["Tags"] if tag["Key"] == "tidepool-owner")
