"""EC2 as moto has it, with what moto lacks: client tokens, capacity, lag, spot requests, machines that run.

moto keeps the networks, groups, volumes and interfaces; each override below is a rule of EC2's that drivers lean on.
"""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import InstanceState, StateReason
from moto.ec2.responses import EC2Response

from tests.fakes.aws import catalog
from tests.fakes.aws.world import SHUTS_DOWN_IN_S, Record, Refused, World

USER_DATA_LIMIT = 16384


def instance_of(record: Record) -> Any:
    """moto's own instance."""
    return ec2_backends[record.account][record.region].get_instance(record.instance_id)


def settle(world: World) -> None:
    """Let happen what is due: machines that powered off or were taken back end, and those that ended are gone."""
    now = time.monotonic()
    for record in [record for record in world.records.values() if not record.gone_at]:
        instance = instance_of(record)
        if instance.state == "shutting-down":
            busy = world.machines.left(record.instance_id) if world.machines else now < record.taken_at
            if not busy:
                instance._state = InstanceState("terminated", 48)
                record.gone_at = now
        elif record.notice and now >= record.taken_at:
            record.spot_status = "instance-terminated-no-capacity"
            end(world, record, "Server.SpotInstanceTermination")
        elif world.machines and not world.machines.alive(record.instance_id):
            end(world, record, "Client.InstanceInitiatedShutdown")


def end(world: World, record: Record, reason: str) -> None:
    """Begin the end of an instance: what is deleted with it goes at once, its processes in their time."""
    instance = instance_of(record)
    if instance.state in ("shutting-down", "terminated"):
        return
    instance.terminate()
    instance._state = InstanceState("shutting-down", 32)
    instance.state_reason = StateReason(reason, reason)
    record.taken_at = time.monotonic() + SHUTS_DOWN_IN_S
    if record.spot_request and not record.notice:
        record.spot_status = "instance-terminated-by-user"
    if world.machines:
        world.machines.stop(record.instance_id)


class Ec2(EC2Response):
    """The actions that differ from moto's. `world` is set by the server."""

    world: World

    def run_instances(self) -> ActionResult:
        world, body = self.world, dict(self.params)
        subnet = self._subnet(body)
        type_, market = body["InstanceType"], body.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        zone = subnet.availability_zone if subnet else self._best_zone(type_)
        if body.pop("DryRun", False):
            raise Refused(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        token = (self.current_account, self.region, zone if subnet else "", body.pop("ClientToken", uuid4().hex))
        signature = sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
        if token in world.tokens:
            return self._once_more(world.records[world.tokens[token]], signature)
        world.refuse_as_told()
        self._check(body, type_, zone)
        world.admit(type_, zone, market)
        made = super().run_instances()
        instance = made.result.instances[0]
        instance.client_token = token[-1]
        record = self._record(instance, token, signature, zone, market)
        if record.market == "spot":
            instance.spot_instance_request_id = record.spot_request
        world.launches.append({"region": self.region, "zone": zone, **body})
        if world.machines:
            env = {"TIDEPOOL_METADATA_URL": f"{world.url}/_metadata/{instance.id}"}
            script = base64.b64decode(body.get("UserData", "")).decode()
            world.machines.start(instance.id, script, env, catalog.gpu(type_))
        return made

    def describe_instances(self) -> ActionResult:
        wanted = {each["Name"]: each["Values"] for each in self._get_param("Filters", [])}
        tokens = wanted.pop("client-token", None)
        ids = self._get_param("InstanceIds", [])
        for instance_id in ids:
            if not self.world.is_visible(instance_id):
                message = f"The instance ID '{instance_id}' does not exist"
                raise Refused(400, "InvalidInstanceID.NotFound", message)
        by_tag = any(name.startswith("tag:") for name in wanted)
        found = [
            reservation
            for reservation in self.ec2_backend.describe_instances(filters=wanted)
            for instance in reservation.instances
            if (not ids or instance.id in ids)
            and (tokens is None or instance.client_token in tokens)
            and self.world.is_visible(instance.id)
            and (not by_tag or self.world.is_tagged(instance.id))
        ]
        return self._paged("Reservations", found)

    def terminate_instances(self) -> ActionResult:
        ids = self._get_param("InstanceIds", [])
        for instance_id in ids:
            if not self.world.is_visible(instance_id):
                message = f"The instance ID '{instance_id}' does not exist"
                raise Refused(400, "InvalidInstanceID.NotFound", message)
            end(self.world, self.world.records[instance_id], "Client.UserInitiatedShutdown")
        ended = [{"InstanceId": each, "CurrentState": {"Code": 32, "Name": "shutting-down"}} for each in ids]
        return ActionResult({"TerminatingInstances": ended})

    def describe_spot_instance_requests(self) -> ActionResult:
        wanted = self._get_param("SpotInstanceRequestIds", [])
        rows = [
            {
                "SpotInstanceRequestId": record.spot_request,
                "InstanceId": record.instance_id,
                "State": "active" if record.spot_status == "fulfilled" else "closed",
                "Status": {"Code": record.spot_status, "Message": ""},
            }
            for record in self.world.records.values()
            if record.spot_request in wanted and record.region == self.region
        ]
        if len(rows) < len(wanted):
            raise Refused(400, "InvalidSpotInstanceRequestID.NotFound")
        return ActionResult({"SpotInstanceRequests": rows})

    def describe_images(self) -> ActionResult:
        sizes = catalog.image_sizes()
        ids = self._get_param("ImageIds", [])
        for image in ids:
            if image not in sizes:
                raise Refused(400, "InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        rows = [
            {
                "ImageId": image,
                "CreationDate": datetime(2026, 11, 1, tzinfo=UTC),
                "RootDeviceName": "/dev/sda1",
                "BlockDeviceMappings": [
                    {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": sizes[image], "DeleteOnTermination": True}},
                    {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
                ],
            }
            for image in ids
        ]
        return ActionResult({"Images": rows})

    def describe_subnets(self) -> str | ActionResult:
        if not self.world.switches.default_vpc and not self._get_param("SubnetIds", []):
            return ActionResult({"Subnets": []})
        return super().describe_subnets()

    def describe_instance_types(self) -> ActionResult:
        return self._paged("InstanceTypes", list(catalog.types().values()))

    def describe_instance_type_offerings(self) -> ActionResult:
        rows = [
            {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}
            for name, zone in catalog.sold(self.region)
        ]
        return self._paged("InstanceTypeOfferings", rows)

    def describe_spot_price_history(self) -> ActionResult:
        rows = [
            {
                "InstanceType": name,
                "AvailabilityZone": zone,
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{catalog.spot_price(name, self.region, zone):.6f}",
                "Timestamp": datetime(2026, 11, 20, tzinfo=UTC),
            }
            for name, zone in catalog.sold(self.region)
        ]
        return self._paged("SpotPriceHistory", rows)

    def _paged(self, name: str, rows: list[Any]) -> ActionResult:
        """One page of rows, as large as asked for and as the fake gives at most."""
        start = int(self._get_param("NextToken") or 0)
        size = min(int(self._get_param("MaxResults") or 1000), self.world.switches.page)
        following = str(start + size) if start + size < len(rows) else None
        return ActionResult({name: rows[start : start + size], "NextToken": following})

    def _once_more(self, record: Record, signature: str) -> ActionResult:
        """Answer a launch whose token was used before."""
        if record.signature != signature:
            raise Refused(400, "IdempotentParameterMismatch", "Arguments are inconsistent with previous request(s).")
        instance = instance_of(record)
        if instance.state in ("shutting-down", "terminated"):
            raise Refused(400, "IdempotentInstanceTerminated", "The token is associated with a terminated instance.")
        found = (each for each in self.ec2_backend.reservations.values() if instance in each.instances)
        return ActionResult(next(found))

    def _best_zone(self, type_: str) -> str:
        """Where EC2 puts what names no zone: the last one that sells the type."""
        zones = catalog.ZONES[self.region]
        return max((zone for name, zone in catalog.sold(self.region) if name == type_), default=zones[0])

    def _subnet(self, body: dict[str, Any]) -> Any:
        """The subnet that a request names; None leaves the zone to EC2."""
        named = [each["SubnetId"] for each in body.get("NetworkInterfaces", []) if each.get("SubnetId")]
        return self.ec2_backend.get_subnet(named[0]) if named else None

    def _check(self, body: dict[str, Any], type_: str, zone: str) -> None:
        """Refuse what names something that is not there."""
        if self.world.switches.drop_group:
            self.world.switches.drop_group = False
            raise Refused(400, "InvalidGroup.NotFound", "The security group does not exist")
        if type_ not in catalog.DOLLARS:
            raise Refused(400, "InvalidInstanceType", f"{type_} is no instance type")
        if (type_, zone) not in catalog.sold(self.region):
            raise Refused(400, "Unsupported", f"{type_} is not supported in {zone}")
        if body["ImageId"] not in catalog.image_sizes():
            raise Refused(400, "InvalidAMIID.NotFound", f"The image id '[{body['ImageId']}]' does not exist")
        if len(base64.b64decode(body.get("UserData", ""))) > USER_DATA_LIMIT:
            raise Refused(400, "InvalidParameterValue", "User data is limited to 16384 bytes")

    def _record(self, instance: Any, token: tuple[str, ...], signature: str, zone: str, market: str) -> Record:
        now, switches = time.monotonic(), self.world.switches
        is_spot = market == "spot"
        record = Record(
            account=self.current_account,
            region=self.region,
            instance_id=instance.id,
            signature=signature,
            token=token,
            type=instance.instance_type,
            zone=zone,
            market=market,
            visible_at=now + switches.lag_s,
            tagged_at=now + max(switches.lag_s, switches.tag_lag_s),
            made=list(_things(instance)),
            spot_request=f"sir-{uuid4().hex[:8]}" if is_spot else "",
            spot_status="fulfilled" if is_spot else "",
        )
        self.world.records[instance.id] = record
        self.world.tokens[token] = instance.id
        return record


def _things(instance: Any) -> Iterator[str]:
    """What was made beside an instance."""
    yield from (device.volume_id for _, device in instance.get_block_device_mapping)
    yield from (nic.id for nic in instance.nics.values())


def leftovers(world: World, instance_id: str) -> list[str]:
    """What there still is of an instance."""
    record = world.records.get(instance_id)
    if record is None:
        return []
    backend = ec2_backends[record.account][record.region]
    there = {*backend.volumes, *backend.enis}
    left = [each for each in record.made if each in there]
    left += [instance_id] * (instance_of(record).state != "terminated")
    return left + (world.machines.left(instance_id) if world.machines else [])
