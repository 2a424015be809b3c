"""The body of the one PUT that makes a machine, with its network interface, public address and disk inside.

All three parts are deleted with the machine, and carry its tags so that one that is left behind is found.
Source: Virtual Machines - Create Or Update, API version 2026-04-01. `deleteOption` is Detach unless it is given.
"""

import base64
import hashlib
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

from chalicelib.backends.azure import network, sizes
from chalicelib.backends.base import LaunchSpec
from chalicelib.domain.errors import InvalidRequestError

OWNER_TAG: Final = "tidepool-owner"
ATTEMPT_TAG: Final = "tidepool-attempt"

IMAGE: Final = "Canonical:ubuntu-24_04-lts:server:latest"
GPU_IMAGE: Final = "microsoft-dsvm:ubuntu-hpc:2204:latest"
"""Ubuntu with the CUDA driver, Docker and NVIDIA's container toolkit. Both are of generation 2."""

USER_DATA_LIMIT: Final = 65_535
"""Bytes before base64. Source: osProfile.customData."""

USER: Final = "tidepool"

NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Of the names that Azure takes for a Linux machine, those that it takes as its host name too and never respells."""


def machine_name(attempt_id: str) -> str:
    """The name that an attempt's machine has, and no other attempt's: the attempt id, where Azure takes it."""
    if NAME.fullmatch(attempt_id):
        return attempt_id
    return "attempt-" + hashlib.blake2s(attempt_id.encode(), digest_size=16).hexdigest()


def machine(spec: LaunchSpec, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the body. `config` is what `config.parse` returns. Raises `InvalidRequestError` for what cannot work."""
    offer, name = spec.offer, machine_name(spec.attempt_id)
    tags = {**spec.tags, ATTEMPT_TAG: spec.attempt_id, OWNER_TAG: spec.owner}
    body: dict[str, Any] = {
        "location": offer.region,
        "tags": tags,
        "properties": {
            "hardwareProfile": {"vmSize": offer.instance_type},
            "storageProfile": {
                "imageReference": image(spec, config),
                "osDisk": {
                    "name": f"{name}-disk",
                    "createOption": "FromImage",
                    "deleteOption": "Delete",
                    "diskSizeGB": config["disk_gb"],
                    "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
                },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": USER,
                "customData": custom_data(spec.user_data),
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "ssh": {
                        "publicKeys": [
                            {"path": f"/home/{USER}/.ssh/authorized_keys", "keyData": nobodys_key(spec.attempt_id)}
                        ]
                    },
                },
            },
            "networkProfile": {
                "networkApiVersion": "2022-11-01",
                "networkInterfaceConfigurations": [_interface(name, offer.region, config, tags)],
            },
        },
    }
    if offer.zone:
        body["zones"] = [offer.zone]
    if offer.spot:
        # A price of -1: evicted for capacity alone, and billed at most as on demand.
        body["properties"] |= {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}
    return body


def _interface(name: str, region: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    address = {
        "name": f"{name}-ip",
        "sku": {"name": "Standard"},
        "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
        "tags": dict(tags),
    }
    properties: dict[str, Any] = {
        "primary": True,
        "deleteOption": "Delete",
        "ipConfigurations": [
            {
                "name": "main",
                "properties": {
                    "primary": True,
                    "subnet": {"id": config["subnets"].get(region) or network.subnet_id(config, region)},
                    "publicIPAddressConfiguration": address,
                },
            }
        ],
    }
    if region not in config["subnets"]:
        properties["networkSecurityGroup"] = {"id": network.security_group_id(config, region)}
    return {"name": f"{name}-nic", "properties": properties, "tags": dict(tags)}


def image(spec: LaunchSpec, config: Mapping[str, Any]) -> dict[str, str]:
    """The reference of the image: the account's own for the region, or one that fits the hardware."""
    size = spec.offer.instance_type
    chosen = config["images"].get(spec.offer.region)
    if chosen is None and sizes.needs_own_image(size):
        raise InvalidRequestError(f"{size} needs an image with NVIDIA's GRID driver: set images.{spec.offer.region}")
    chosen = chosen or (GPU_IMAGE if spec.offer.resources.gpus else IMAGE)
    if chosen.startswith("/"):
        kind = {"/communitygalleries": "communityGalleryImageId", "/sharedgalleries": "sharedGalleryImageId"}
        return {kind.get(chosen[: chosen.index("/", 1)].lower(), "id"): chosen}
    publisher, name, sku, version = chosen.split(":")
    return {"publisher": publisher, "offer": name, "sku": sku, "version": version}


def custom_data(script: str) -> str:
    """What cloud-init runs as root at the first boot. Raises `InvalidRequestError` for a script that is too long."""
    content = script.encode()
    if not content.startswith(b"#!"):
        content = b"#!/bin/sh\n" + content  # by this line cloud-init tells a script from its other formats
    if len(content) > USER_DATA_LIMIT:
        raise InvalidRequestError(f"the user data have {len(content)} bytes; Azure takes {USER_DATA_LIMIT}")
    return base64.b64encode(content).decode()


def nobodys_key(attempt_id: str) -> str:
    """An SSH key that nobody has: Azure insists on a login, and nobody is to log in.

    The 32 bytes of an ed25519 public key are a hash; no one knows a private key to them. RFC 8709 has the format.
    """
    kind, point = b"ssh-ed25519", hashlib.sha256(b"nobody:" + attempt_id.encode()).digest()
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind, point))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} nobody"
