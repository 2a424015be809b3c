"""What Azure rents: the sizes of a region that this subscription may use, each with its price.

Source: Resource Skus - List. A restriction of kind `Location` means that a size is not sold to this subscription in
the region, one of kind `Zone` that some of the region's zones do not have it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from chalicelib.backends.azure import prices, sizes
from chalicelib.domain.model import Offer, Resources

GIB: Final = 1024
ARCHITECTURE: Final = "x64"
GENERATION: Final = "V2"
"""Of the images that the driver chooses."""


def of_region(
    backend: str,
    region: str,
    config: Mapping[str, Any],
    skus: Iterable[Mapping[str, Any]],
    priced: Mapping[tuple[str, bool], prices.Price],
    limits: Mapping[str, int],
) -> Iterator[Offer]:
    """Join the sizes of one region with their prices. `limits`: the quota of CPUs by family; `cores` is
    all on demand, `lowPriorityCores` all spot.

    Left out: what has no price, what the quota can never allow, and sizes with GPUs that nobody knows the model of.
    """
    for sku in skus:
        name, facts = str(sku["name"]), _facts(sku)
        resources = _resources(name, facts, config)
        if sku.get("resourceType") != "virtualMachines" or resources is None or not _fits(name, facts, region, config):
            continue
        for spot in (False, True):
            price = priced.get((name, spot))
            families = ("lowPriorityCores",) if spot else ("cores", str(sku.get("family", "")))
            sold = not spot or facts.get("LowPriorityCapable") == "True"
            if price is None or not sold or any(limits.get(each, resources.cpus) < resources.cpus for each in families):
                continue
            for zone in _zones(sku, region):
                yield Offer(
                    backend=backend,
                    region=region,
                    zone=zone,
                    instance_type=name,
                    resources=resources,
                    spot=spot,
                    price=price[0],
                    price_source=prices.SOURCE,
                    priced_at=price[1],
                )


def _facts(sku: Mapping[str, Any]) -> dict[str, str]:
    return {str(fact.get("name")): str(fact.get("value")) for fact in sku.get("capabilities") or []}


def _resources(name: str, facts: Mapping[str, str], config: Mapping[str, Any]) -> Resources | None:
    """What a machine of a size has; None for a size with a GPU that is not known, and for one that cannot be read."""
    gpus = sizes.gpus(name)
    if not gpus and facts.get("GPUs", "0") != "0":
        return None
    try:
        # `vCPUsAvailable` is less than `vCPUs` for the sizes with constrained cores.
        cpus = int(facts.get("vCPUsAvailable") or facts["vCPUs"])
        memory_mib = round(float(facts["MemoryGB"]) * GIB)
    except (KeyError, ValueError):
        return None
    return Resources(cpus, memory_mib, config["disk_gb"] * GIB, gpus)


def _fits(name: str, facts: Mapping[str, str], region: str, config: Mapping[str, Any]) -> bool:
    """Whether the image of a region starts on a size, and its GPU works then."""
    if facts.get("CpuArchitectureType", ARCHITECTURE) != ARCHITECTURE:
        return False
    if region in config["images"]:
        return True
    return GENERATION in facts.get("HyperVGenerations", GENERATION) and not sizes.needs_own_image(name)


def _zones(sku: Mapping[str, Any], region: str) -> list[str]:
    """Where in a region a size is sold: [""] for anywhere, [] for nowhere, or the zones that are left."""
    restricted: set[str] = set()
    for rule in sku.get("restrictions") or []:
        if rule.get("type") == "Location":
            return []
        if rule.get("type") == "Zone":
            restricted |= set((rule.get("restrictionInfo") or {}).get("zones") or [])
    places = [place for place in sku.get("locationInfo") or [] if str(place.get("location")).lower() == region]
    left = sorted({zone for place in places for zone in place.get("zones") or []} - restricted)
    return left if restricted and left else [""]
