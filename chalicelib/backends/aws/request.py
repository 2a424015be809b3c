"""The body of `RunInstances`: a pure function of what is wanted and of what was looked up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from chalicelib.backends.aws.machines import tags
from chalicelib.backends.base import LaunchSpec
from chalicelib.domain.errors import InvalidRequestError

USER_DATA_LIMIT: Final = 16384
"""Bytes before base64. Source: "Run commands when you launch an EC2 instance" in the EC2 user guide."""

SHEBANG: Final = "#!/bin/sh\n"
"""cloud-init executes user data as a script only when it begins with `#!`."""

_ARM: Final = re.compile(r"[a-z]+[0-9]+[a-z]*g[a-z]*(?:-[a-z0-9]+)?\..+|[a-z0-9]+-gb[0-9]+\..+|a1\..+")


@dataclass(frozen=True, slots=True)
class Image:
    """A machine image. `root` is the name of its root device; `volumes` has the least size in GB of each volume."""

    image_id: str
    root: str
    volumes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a region a machine goes: the group without inbound rules, and a subnet, which fixes the zone.

    An empty `subnet` leaves the choice to EC2, an empty `group` takes the network's own, for a dry run.
    """

    subnet: str
    group: str


def architecture(instance_type: str) -> str:
    """`arm64` or `x86_64`, from the type's name: AWS marks its own processors with a `g` behind the generation.

    Source: "Amazon EC2 instance type naming conventions"; `a1` is older than them, `gb` is a GPU on AWS's processor's
    architecture.
    """
    return "arm64" if _ARM.fullmatch(instance_type) else "x86_64"


def client_token(attempt_id: str, owner: str) -> str:
    """What makes a repeated launch the same launch: 64 characters, AWS's limit, that only this attempt has.

    An attempt is one offer, so region, zone and type need not be part of it; and what was made can be looked up by it
    when nothing but the attempt's id is known.
    """
    return sha256(f"{owner}\n{attempt_id}".encode()).hexdigest()


def run_instances(spec: LaunchSpec, image: Image, place: Place, *, disk_gb: int) -> dict[str, Any]:
    """Write the request for the one machine of an attempt.

    Everything that it makes dies with the instance and carries the tags: volumes, network interface, public address,
    spot request. Its metadata, of which user data is a part, cannot be read from containers. Raises
    `InvalidRequestError` for user data that is too long.
    """
    marks = [{"Key": key, "Value": value} for key, value in tags(spec.owner, spec.attempt_id, spec.tags).items()]
    kinds = ["instance", "volume", "network-interface"] + ["spot-instances-request"] * spec.offer.spot
    request: dict[str, Any] = {
        "ImageId": image.image_id,
        "InstanceType": spec.offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": client_token(spec.attempt_id, spec.owner),
        "UserData": _user_data(spec.user_data),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {"DeviceName": device, "Ebs": _volume(max(least, disk_gb) if device == image.root else least)}
            for device, least in image.volumes.items()
        ],
        "NetworkInterfaces": [_interface(place)],
        "TagSpecifications": [{"ResourceType": kind, "Tags": marks} for kind in kinds],
    }
    if spec.offer.spot:
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    return request


def _interface(place: Place) -> dict[str, Any]:
    chosen: dict[str, Any] = {"SubnetId": place.subnet} if place.subnet else {}
    groups = {"Groups": [place.group]} if place.group else {}
    return {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "DeleteOnTermination": True, **chosen, **groups}


def _volume(size_gb: int) -> dict[str, Any]:
    return {"VolumeType": "gp3", "VolumeSize": size_gb, "DeleteOnTermination": True}


def _user_data(script: str) -> str:
    """The script as cloud-init takes it; boto3 encodes it."""
    text = script if script.startswith("#!") else SHEBANG + script
    if len(text.encode()) > USER_DATA_LIMIT:
        raise InvalidRequestError(f"aws: user data of {len(text.encode())} bytes; EC2 takes {USER_DATA_LIMIT}")
    return text
