"""What one region sells, zone by zone: types, where they are sold, list prices, the spot market's prices.

The four are separate interfaces of AWS, each in pages. A type that one of them does not know is not offered.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from chalicelib.backends.aws.clients import Clients, raised
from chalicelib.backends.aws.network import Network
from chalicelib.backends.aws.request import architecture
from chalicelib.domain import gpus
from chalicelib.domain.errors import TransientError
from chalicelib.domain.model import Gpu, Offer, Resources

PRICES_REGION: Final = "us-east-1"
"""The price list of all regions is served in a few of them only."""

PRODUCTS: Final[Mapping[str, str]] = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
"""The products that a plain on-demand machine is billed as."""

LIST_SOURCE: Final = "aws-price-list"
SPOT_SOURCE: Final = "aws-spot-market"

LEAST_CAPABILITY: Final = (7, 5)
"""The image's driver is made of NVIDIA's open kernel modules, which run Turing and newer. Source: their README."""

ACCELERATORS: Final = ("FpgaInfo", "InferenceAcceleratorInfo", "MediaAcceleratorInfo", "NeuronInfo")
"""Types that are rented for what no requirement can ask for and no image here drives."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a collector asks with, and for how long: `is_over` is asked after each page."""

    clients: Clients
    network: Network
    is_over: Callable[[], bool]

    def pages(self, client: Any, operation: str, **wanted: Any) -> Iterator[Mapping[str, Any]]:
        """Every page of an answer. Raises `TransientError` when it is over before the last."""
        pages: Iterable[Mapping[str, Any]] = client.get_paginator(operation).paginate(**wanted)
        for page in pages:
            if self.is_over():
                raise TransientError(f"aws: there was no time for all of {operation}")
            yield page


@dataclass(frozen=True, slots=True)
class Type:
    """One instance type: what it has, and how it may be rented."""

    resources: Resources
    markets: frozenset[str]


def collect(reach: Reach, backend: str, region: str, *, disk_gb: int) -> list[Offer]:
    """Every offer of one region. Prices are as of the moment at which AWS was asked, by AWS's own clock."""
    zones = {subnet.zone for subnet in reach.network.subnets(region)}
    if not zones:
        return []
    ec2 = reach.clients.of("ec2", region)
    types = _types(reach, ec2, disk_gb)
    now, sold = _sold(reach, ec2)
    listed = _list_prices(reach, region)
    spot = _spot_prices(reach, ec2, now)

    def offer(name: str, zone: str, price: int, *, is_spot: bool) -> Offer:
        return Offer(
            backend=backend,
            region=region,
            zone=zone,
            instance_type=name,
            resources=types[name].resources,
            spot=is_spot,
            price=price,
            price_source=SPOT_SOURCE if is_spot else LIST_SOURCE,
            priced_at=now,
        )

    there = [(name, zone) for name, zone in sorted(sold) if name in types and zone in zones]
    return [
        *(
            offer(name, zone, listed[name], is_spot=False)
            for name, zone in there
            if name in listed and "on-demand" in types[name].markets
        ),
        *(
            offer(name, zone, spot[name, zone], is_spot=True)
            for name, zone in there
            if (name, zone) in spot and "spot" in types[name].markets
        ),
    ]


def _types(reach: Reach, ec2: Any, disk_gb: int) -> dict[str, Type]:
    with raised():
        rows = [row for page in reach.pages(ec2, "describe_instance_types") for row in page["InstanceTypes"]]
        usable = (row for row in rows if _is_usable(row))
        read = {row["InstanceType"]: (_gpus(row), row) for row in usable}
        return {
            name: Type(
                Resources(
                    cpus=row["VCpuInfo"]["DefaultVCpus"],
                    memory_mib=row["MemoryInfo"]["SizeInMiB"],
                    disk_mib=disk_gb * 1024,
                    gpus=found,
                ),
                frozenset(row["SupportedUsageClasses"]),
            )
            for name, (found, row) in read.items()
            if found is not None
        }


def _is_usable(row: Mapping[str, Any]) -> bool:
    """Whether our images boot there within a launch's time, and the machine is more than its accelerator's host."""
    return (
        row.get("Hypervisor") == "nitro"
        and not row["BareMetal"]
        and "ebs" in row["SupportedRootDeviceTypes"]
        and not any(row.get(name) for name in ACCELERATORS)
        and architecture(row["InstanceType"]) in row["ProcessorInfo"]["SupportedArchitectures"]
    )


def _gpus(row: Mapping[str, Any]) -> tuple[Gpu, ...] | None:
    """The GPUs of one type; none is the empty tuple. None: GPUs that cannot be used here.

    A type with a part of a GPU counts 0 of them, which no requirement could ask for. What EC2 reports is what the
    driver shows, and that is less than what is sold (22,888 MiB for 24 GB).
    """
    rows = row.get("GpuInfo", {}).get("Gpus", ())
    if any(each["Count"] < 1 or each.get("Manufacturer") != "NVIDIA" or not _is_driven(each["Name"]) for each in rows):
        return None
    return tuple(Gpu(each["Name"], gpus.nominal_mib(each["MemoryInfo"]["SizeInMiB"]), each["Count"]) for each in rows)


def _is_driven(name: str) -> bool:
    """Whether the image's driver runs a model; one that is not known yet is newer than the driver's oldest."""
    capability = gpus.compute_capability(name)
    return capability is None or capability >= LEAST_CAPABILITY


def _sold(reach: Reach, ec2: Any) -> tuple[datetime, set[tuple[str, str]]]:
    """Which type is sold in which zone, and the moment at which that was so."""
    with raised():
        pages = list(reach.pages(ec2, "describe_instance_type_offerings", LocationType="availability-zone"))
        asked_at = parsedate_to_datetime(pages[0]["ResponseMetadata"]["HTTPHeaders"]["date"])
        rows = [row for page in pages for row in page["InstanceTypeOfferings"]]
        return asked_at, {(row["InstanceType"], row["Location"]) for row in rows}


def _list_prices(reach: Reach, region: str) -> dict[str, int]:
    """Micro-dollars an hour by type. Source of the form: "Reading the service price list file" in the billing guide."""
    wanted = {**PRODUCTS, "regionCode": region}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    with raised():
        pricing = reach.clients.of("pricing", PRICES_REGION)
        pages = reach.pages(pricing, "get_products", ServiceCode="AmazonEC2", FormatVersion="aws_v1", Filters=filters)
        products = [json.loads(text) for page in pages for text in page["PriceList"]]
        return {name: price for name, price in map(_price, products) if price}


def _price(product: Mapping[str, Any]) -> tuple[str, int]:
    """The type of one product and its price; 0 for what is not billed by the hour in dollars."""
    dimensions = [
        dimension
        for term in product["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension["unit"] == "Hrs"
    ]
    dollars = max((float(each["pricePerUnit"].get("USD", 0)) for each in dimensions), default=0.0)
    return product["product"]["attributes"]["instanceType"], _micros(dollars)


def _spot_prices(reach: Reach, ec2: Any, now: datetime) -> dict[tuple[str, str], int]:
    """Micro-dollars an hour by type and zone: the price that holds now, which is the last one before."""
    with raised():
        pages = reach.pages(
            ec2,
            "describe_spot_price_history",
            StartTime=now,
            EndTime=now,
            ProductDescriptions=["Linux/UNIX"],
        )
        rows = sorted((row for page in pages for row in page["SpotPriceHistory"]), key=lambda row: row["Timestamp"])
        prices = {(row["InstanceType"], row["AvailabilityZone"]): _micros(float(row["SpotPrice"])) for row in rows}
        return {sold: price for sold, price in prices.items() if price}


def _micros(dollars: float) -> int:
    return round(dollars * 1_000_000)
