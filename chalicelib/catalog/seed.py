"""Offers that ship with the product, for plans before the first refresh. They say how old they are.

`seed.csv` holds prices that others published; `as_of` is the day of the publication, or, where a source has no date,
the earliest day that it can be of. GPU memory is nominal. Zones are not known: the driver leaves them to the provider.
Types that no driver offers either (other architectures, GPUs that its image has no driver for) are left out.

Sources: the skypilot-catalog repository, catalogs/v8/aws/vms.csv at 00148f2af3 (between 2025-10 and 2026-08; spot:
the cheapest zone) and catalogs/v6/azure/vms.csv at 098741e705 (between 2024-11 and 2026-08); a table of EC2 on-demand
prices in a FinOps blog of 2026-06-17; a table that at least three public repositories repeat (2025 or later).
"""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from chalicelib.catalog.codec import Catalog
from chalicelib.domain.model import Gpu, Offer, Resources
from chalicelib.domain.offer_index import OfferIndex
from chalicelib.domain.units import parse_price

PATH: Final = Path(__file__).with_name("seed.csv")
GIB: Final = 1024

DISK_GIB: Final = 100
"""The disk that the drivers make for a machine by default. What a type has besides is not what a job gets to see."""


@cache
def catalog(kind: str) -> Catalog | None:
    """The seed of one kind of provider, under that kind as its backend; None where there is none."""
    found = offers(kind)
    if not found:
        return None
    index = OfferIndex.of(found)
    return Catalog(index, min(each.priced_at for each in found if each.priced_at), "seed")


def offers(kind: str) -> Sequence[Offer]:
    """Read the offers of one kind of provider."""
    with PATH.open(newline="") as file:
        return [_offer(row) for row in csv.DictReader(file) if row["kind"] == kind]


def _offer(row: dict[str, str]) -> Offer:
    count = int(row["gpu_count"])
    gpu = Gpu(row["gpu_name"], int(row["gpu_memory_gib"] or 0) * GIB, count)
    return Offer(
        backend=row["kind"],
        region=row["region"],
        instance_type=row["instance_type"],
        resources=Resources(
            cpus=int(row["cpus"]),
            memory_mib=round(float(row["memory_gib"]) * GIB),
            disk_mib=DISK_GIB * GIB,
            gpus=(gpu,) if count else (),
        ),
        spot=row["spot"] == "true",
        price=parse_price(row["usd_an_hour"], "usd_an_hour"),
        price_source=f"seed ({row['source']})",
        priced_at=datetime.fromisoformat(row["as_of"]).replace(tzinfo=UTC),
    )
