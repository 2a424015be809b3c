"""What the fake AWS sells: a handful of types as EC2 describes them (moto has the facts), in two regions."""

import json
from typing import Any, Final

from infra.local.cloud import catalog as local

ZONES: Final = {
    "us-east-1": ("us-east-1a", "us-east-1b"),
    "eu-central-1": ("eu-central-1a", "eu-central-1b"),
}

DOLLARS: Final = {
    "t3.micro": 0.0104,
    "r5.large": 0.126,
    "m8i.2xlarge": 0.42336,
    "m7g.large": 0.0816,
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g6.xlarge": 0.8048,
    "g6f.xlarge": 0.2024,  # an eighth of a GPU
    "p4d.24xlarge": 21.957642,
    "p3dn.24xlarge": 31.212,  # a GPU that the image's driver does not run
    "inf2.xlarge": 0.7582,
}
"""List prices of us-east-1; elsewhere they are a tenth higher."""

ELSEWHERE: Final = 1.1
ONLY_IN_FIRST_ZONE: Final = frozenset({"p4d.24xlarge"})

SPOT_SHARE: Final = {0: 0.30, 1: 0.35}
"""Of the list price, by the zone's place."""

_GPU: Final = "/aws/service/deeplearning/ami/{}/base-oss-nvidia-driver-gpu-ubuntu-{}/latest/ami-id"
_CPU: Final = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"

IMAGES: Final = {
    _GPU.format("x86_64", "24.04"): ("ami-0d1a000000000001", 60),
    _GPU.format("arm64", "22.04"): ("ami-0d1a000000000002", 60),
    _CPU.format("amd64"): ("ami-0cab000000000001", 8),
    _CPU.format("arm64"): ("ami-0cab000000000002", 8),
}
"""Public parameter -> image and the size of its root volume in GB."""

OWN_IMAGE: Final = ("ami-0beef00000000001", 12)
"""An image that an account made itself."""

T4: Final = local.GpuModel("T4", 16 * local.GIB, "Tesla T4", 15360)
GPUS: Final = {"T4": T4, "A10G": local.A10G, "L4": local.L4, "A100": local.A100_40}
"""What `nvidia-smi` of a rented machine shows."""


def types() -> dict[str, dict[str, Any]]:
    """The rows of `DescribeInstanceTypes` by name."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return {name: INSTANCE_TYPES[name] for name in DOLLARS}


def sold(region: str) -> list[tuple[str, str]]:
    """Which type is sold in which zone."""
    zones = ZONES[region]
    return [(name, zone) for name in DOLLARS for zone in (zones[:1] if name in ONLY_IN_FIRST_ZONE else zones)]


def list_price(name: str, region: str) -> float:
    """Dollars an hour."""
    return DOLLARS[name] * (1 if region == "us-east-1" else ELSEWHERE)


def spot_price(name: str, region: str, zone: str) -> float:
    """Dollars an hour in one zone."""
    return round(list_price(name, region) * SPOT_SHARE[ZONES[region].index(zone)], 6)


def gpu(name: str) -> tuple[local.GpuModel, int] | None:
    """The GPUs of one type, for the machine that stands in for it."""
    rows = types()[name].get("GpuInfo", {}).get("Gpus", [])
    return (GPUS[rows[0]["Name"]], rows[0]["Count"]) if rows and rows[0]["Name"] in GPUS else None


def image_sizes() -> dict[str, int]:
    """Every image by id, with the size of its root volume in GB."""
    return dict([*IMAGES.values(), OWN_IMAGE])


def products(region: str) -> list[str]:
    """The price list of one region, as `GetProducts` writes it; with products that no machine here is billed as."""
    rows = [_product(name, list_price(name, region), region) for name in DOLLARS]
    return [json.dumps(row) for row in [*rows, _product("g5.xlarge", 0.0, region)]]


def _product(name: str, dollars: float, region: str) -> dict[str, Any]:
    attributes = {
        "instanceType": name,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{dollars:.10f}"}, "description": f"${dollars} per hour"}
    return {
        "product": {"productFamily": "Compute Instance", "attributes": attributes, "sku": f"SKU{name}"},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}}}},
        "publicationDate": "2026-11-20T00:00:00Z",
    }
