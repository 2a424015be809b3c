"""What the fake rents: real sizes in three regions, as Resource SKUs and as rows of the price list.

Prices are those of `catalog-facts`; the odd rows (Windows, Low Priority, another region's) are there to be left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra.local.cloud import catalog as local
from infra.local.cloud.catalog import GpuModel

T4: Final = GpuModel("T4", 16 * 1024, "Tesla T4", 15360)
A10: Final = GpuModel("A10", 24 * 1024, "NVIDIA A10", 23028)


@dataclass(frozen=True, slots=True)
class Size:
    """One size in one region. Prices are dollars an hour; no spot price means not sold as spot."""

    name: str
    region: str
    family: str
    cpus: int
    memory_gb: float
    price: float
    spot_price: float | None = None
    gpu: tuple[GpuModel, int] | None = None
    restrictions: tuple[dict[str, Any], ...] = ()
    architecture: str = "x64"
    generations: str = "V1,V2"


def closed(region: str) -> dict[str, Any]:
    """The restriction of a size that this subscription may not rent in a region."""
    return {
        "type": "Location",
        "values": [region],
        "restrictionInfo": {"locations": [region]},
        "reasonCode": "NotAvailableForSubscription",
    }


def closed_zones(region: str, *zones: str) -> dict[str, Any]:
    """The restriction of a size that some zones of a region do not have."""
    return {
        "type": "Zone",
        "values": [region],
        "restrictionInfo": {"locations": [region], "zones": list(zones)},
        "reasonCode": "NotAvailableForSubscription",
    }


A100: Final = ("standardNCADSA100v4Family", 24, 220.0)
B2: Final = ("standardBasv2Family", 2, 8.0)

SIZES: Final = (
    Size("Standard_B2as_v2", "westus3", *B2, 0.0752, 0.02068),
    Size("Standard_B2as_v2", "westus2", *B2, 0.0832),
    Size("Standard_NC24ads_A100_v4", "westus3", *A100, 3.673, 0.40403, (local.A100_80, 1)),
    Size("Standard_NC24ads_A100_v4", "westus2", *A100, 3.673, 0.615962, (local.A100_80, 1)),
    Size("Standard_NC24ads_A100_v4", "eastus", *A100, 3.673, None, (local.A100_80, 1), (closed("eastus"),)),
    Size(
        "Standard_NC4as_T4_v3",
        "eastus",
        "standardNCASv3_T4Family",
        4,
        28.0,
        0.526,
        0.062699,
        (T4, 1),
        (closed_zones("eastus", "3"),),
    ),
    Size("Standard_NV36ads_A10_v5", "eastus", "standardNVADSA10v5Family", 36, 440.0, 3.2, 0.8, (A10, 1)),
    Size("Standard_NC999_Unheard_v1", "westus3", "standardUnheardFamily", 8, 64.0, 9.9, None, (A10, 1)),
    Size("Standard_D2ps_v5", "westus3", "standardDPSv5Family", 2, 8.0, 0.077, None, architecture="Arm64"),
    Size("Standard_A1_v2", "westus3", "standardAv2Family", 1, 2.0, 0.043, None, generations="V1"),
    Size("Standard_M8ms", "westus3", "standardMSFamily", 8, 218.75, 2.0, None),
)

QUOTAS: Final = {"cores": 500, "lowPriorityCores": 100, "standardMSFamily": 0, "standardBasv2Family": -1}
"""CPUs by family; a family that is not named, or has -1, may use all of `cores`."""


def size_named(name: str, region: str) -> Size | None:
    """Look up what is for rent under `name` in `region`."""
    return next((size for size in SIZES if (size.name, size.region) == (name, region)), None)


def skus(region: str) -> list[dict[str, Any]]:
    """The rows of Resource Skus - List for one region, a disk among them."""
    rows = [_sku(size) for size in SIZES if size.region == region]
    return [*rows, {"resourceType": "disks", "name": "Premium_LRS", "locations": [region], "capabilities": []}]


def _sku(size: Size) -> dict[str, Any]:
    facts = {
        "vCPUs": str(size.cpus),
        "MemoryGB": f"{size.memory_gb:g}",
        "HyperVGenerations": size.generations,
        "CpuArchitectureType": size.architecture,
        "LowPriorityCapable": str(size.spot_price is not None),
    }
    if size.gpu:
        facts["GPUs"] = str(size.gpu[1])
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "family": size.family,
        "locations": [size.region],
        "locationInfo": [{"location": size.region, "zones": ["1", "2", "3"]}],
        "capabilities": [{"name": name, "value": value} for name, value in facts.items()],
        "restrictions": list(size.restrictions),
    }


def price_rows(region: str) -> list[dict[str, Any]]:
    """The rows of the price list of one region, those that a collector must leave out among them."""
    return [row for size in SIZES if size.region == region for row in _prices(size)]


def _prices(size: Size) -> Iterator[dict[str, Any]]:
    series = "Virtual Machines " + size.name.split("_")[1] + " Series"
    short = size.name.removeprefix("Standard_").replace("_", " ")
    yield _price(size, size.price, series, short)
    yield _price(size, size.price * 1.5, series + " Windows", short)
    yield _price(size, size.price / 9, series, short + " Low Priority")
    yield _price(size, size.price / 9, series, short, type="Reservation")
    if size.spot_price is not None:
        yield _price(size, size.spot_price, series, short + " Spot")
        yield _price(size, size.spot_price * 1.5, series + " Windows", short + " Spot")


def _price(size: Size, dollars: float, product: str, sku: str, **other: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "retailPrice": dollars,
        "unitPrice": dollars,
        "armRegionName": size.region,
        "effectiveStartDate": "2026-01-01T00:00:00Z",
        "meterName": sku,
        "productName": product,
        "skuName": sku,
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": size.name,
        **other,
    }
