"""A synthetic market and four requests to it: 80 % GPU machines, 6 providers, 30 regions, half of it spot.

The same for ours and for the peer. All of them have a type of their own, which no real catalog has so many of.
"""

from random import Random
from typing import Any, Final

from chalicelib.domain.model import Gpu, Offer, Resources
from chalicelib.domain.policies import RUN, Policies
from tests.builders import NOW, make_policies

PROVIDERS: Final = ("aws", "azure", "gcp", "lambdalabs", "oci", "runpod")
GPUS: Final = (
    ("T4", 16, 0.5), ("L4", 24, 0.8), ("A10", 24, 1.0), ("A10G", 24, 1.2), ("V100", 16, 2.0), ("V100", 32, 2.5),
    ("A100", 40, 2.9), ("A100", 80, 3.7), ("H100", 80, 9.0), ("L40S", 48, 1.9), ("A6000", 48, 0.9),
    ("RTX4090", 24, 0.5), ("P100", 16, 1.4), ("A40", 48, 0.6),
)  # fmt: skip
"""Name, memory in GB, and about how many dollars an hour one of it costs."""

DISK_MIB: Final = 100 * 1024


def offers(count: int) -> list[Offer]:
    """Make offers in no order; the same ones for the same count."""
    rng = Random(11)
    return [_offer(number, rng) for number in range(count)]


def _offer(number: int, rng: Random) -> Offer:
    spot, region = rng.random() < 0.5, f"region-{rng.randrange(30)}"
    scale = (0.4 if spot else 1) * rng.uniform(0.8, 1.3)
    if rng.random() < 0.2:
        cpus = rng.choice([2, 4, 8, 16, 32, 64])
        kind, resources, dollars = "cpu", Resources(cpus, cpus * 4 * 1024, DISK_MIB), cpus * 0.05
    else:
        name, memory, price = rng.choice(GPUS)
        gpus = rng.choice([1, 1, 1, 2, 4, 8])
        resources = Resources(12 * gpus, 100 * 1024 * gpus, DISK_MIB, (Gpu(name, memory * 1024, gpus),))
        kind, dollars = "gpu", price * gpus
    return Offer(
        backend=rng.choice(PROVIDERS),
        region=region,
        instance_type=f"{kind}-{number}",
        resources=resources,
        spot=spot,
        price=round(dollars * scale * 10_000) * 100,
        price_source="bench",
        priced_at=NOW,
    )


REQUESTS: Final[dict[str, tuple[Policies, dict[str, Any]]]] = {
    "any 80 GB GPU": (
        make_policies(defaults=RUN, cpu="1..", memory="1GB..", gpu="80GB..:1.."),
        {"min_gpu_memory": 80, "min_gpu_count": 1},
    ),
    "8 A100 as spot": (
        make_policies({"spot_policy": "spot"}, defaults=RUN, gpu="A100:8"),
        {"gpu_name": ["A100"], "min_gpu_count": 8, "max_gpu_count": 8, "spot": True},
    ),
    "8 CPUs, 32 GB, at most $4": (
        make_policies({"max_price": 4, "allow_gpu": True}, defaults=RUN, cpu="8..", memory="32GB.."),
        {"min_cpu": 8, "min_memory": 32, "max_price": 4.0},
    ),
    "8 H100 for a cent": (
        make_policies({"max_price": 0.01}, defaults=RUN, gpu="H100:8"),
        {"gpu_name": ["H100"], "min_gpu_count": 8, "max_price": 0.01},
    ),
}
"""Each request as our policies and as the filter of the peer's `Catalog.query`."""
