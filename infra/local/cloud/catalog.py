"""What the local cloud rents: invented types with the shapes of real ones, at invented prices.

The shapes follow the common rental machines of 2026 (one to eight GPUs of the L4, A10G, A100 and H100 families); the
prices only keep their order. Nothing here is ever billed.
"""

from dataclasses import dataclass
from typing import Any, Final

GIB: Final = 1024


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One GPU model: `memory_mib` as sold, `product` and `reported_mib` as `nvidia-smi` prints them."""

    name: str
    memory_mib: int
    product: str
    reported_mib: int


@dataclass(frozen=True, slots=True)
class MachineType:
    """One thing for rent in one region. Prices are micro-dollars per hour; no spot price means no spot."""

    name: str
    region: str
    zone: str
    cpus: int
    memory_mib: int
    disk_mib: int
    price_micros: int
    spot_price_micros: int | None = None
    gpu: GpuModel | None = None
    gpu_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """The row of `GET /types`."""
        gpu = self.gpu and {"name": self.gpu.name, "memory_mib": self.gpu.memory_mib, "count": self.gpu_count}
        return {
            "name": self.name,
            "region": self.region,
            "zone": self.zone,
            "cpus": self.cpus,
            "memory_mib": self.memory_mib,
            "disk_mib": self.disk_mib,
            "gpu": gpu,
            "price_micros": self.price_micros,
            "spot_price_micros": self.spot_price_micros,
            "price_source": "simulated",
        }


L4: Final = GpuModel("L4", 24 * GIB, "NVIDIA L4", 23034)
A10G: Final = GpuModel("A10G", 24 * GIB, "NVIDIA A10G", 23028)
A100_40: Final = GpuModel("A100", 40 * GIB, "NVIDIA A100-SXM4-40GB", 40960)
A100_80: Final = GpuModel("A100", 80 * GIB, "NVIDIA A100-SXM4-80GB", 81920)
H100: Final = GpuModel("H100", 80 * GIB, "NVIDIA H100 80GB HBM3", 81559)


NORTH: Final = ("local-north", "local-north-a")
SOUTH: Final = ("local-south", "local-south-a")


def _row(
    place: tuple[str, str],
    name: str,
    size: tuple[int, int, int],
    dollars: tuple[float, float | None],
    gpu: tuple[GpuModel, int] | None = None,
) -> MachineType:
    """Build one row: `size` is CPUs, memory GiB, disk GiB; `dollars` is the hourly price and the spot price."""
    cpus, memory_gib, disk_gib = size
    price, spot = dollars
    return MachineType(
        name=name,
        region=place[0],
        zone=place[1],
        cpus=cpus,
        memory_mib=memory_gib * GIB,
        disk_mib=disk_gib * GIB,
        price_micros=round(price * 1_000_000),
        spot_price_micros=None if spot is None else round(spot * 1_000_000),
        gpu=gpu[0] if gpu else None,
        gpu_count=gpu[1] if gpu else 0,
    )


TYPES: Final = (
    _row(NORTH, "cpu-small", (2, 4, 40), (0.021, 0.006)),
    _row(SOUTH, "cpu-small", (2, 4, 40), (0.023, None)),
    _row(NORTH, "cpu-medium", (4, 16, 100), (0.084, 0.025)),
    _row(SOUTH, "cpu-medium", (4, 16, 100), (0.092, 0.027)),
    _row(NORTH, "cpu-large", (16, 64, 250), (0.602, 0.166)),
    _row(NORTH, "gpu-l4", (8, 32, 450), (0.978, 0.31), (L4, 1)),
    _row(SOUTH, "gpu-l4", (8, 32, 450), (1.05, 0.29), (L4, 1)),
    _row(NORTH, "gpu-a10g", (4, 16, 250), (1.006, None), (A10G, 1)),
    _row(SOUTH, "gpu-a10g-4x", (48, 192, 3800), (5.672, None), (A10G, 4)),
    _row(NORTH, "gpu-a100-40", (12, 85, 500), (1.39, 0.78), (A100_40, 1)),
    _row(NORTH, "gpu-a100-80", (24, 220, 900), (3.673, 0.616), (A100_80, 1)),
    _row(SOUTH, "gpu-a100-80", (24, 220, 900), (4.15, None), (A100_80, 1)),
    _row(NORTH, "gpu-h100", (40, 320, 1200), (6.98, 2.79), (H100, 1)),
    _row(NORTH, "gpu-h100-8x", (192, 2048, 30400), (55.04, None), (H100, 8)),
    _row(SOUTH, "gpu-h100-8x", (192, 2048, 30400), (58.9, 21.4), (H100, 8)),
)


def type_named(name: str, region: str) -> MachineType | None:
    """Look up what is for rent under `name` in `region`."""
    return next((kind for kind in TYPES if (kind.name, kind.region) == (name, region)), None)
