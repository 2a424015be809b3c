"""What an Azure account is configured with: read, checked and normalised. No SDK, no network."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from chalicelib.domain.errors import InvalidInputError

DISK_GB: Final = 128
"""What the image needs and some room; also a size that Azure bills as such (E10). Source: managed disks, pricing."""

SMALLEST_DISK_GB: Final = 64
"""The GPU image has 64 GB. The default image alone would do with 30."""

LARGEST_DISK_GB: Final = 4095
"""Of an operating system disk. Source: managed disks, limits."""

GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
GROUP: Final = re.compile(r"[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]")
"""Source: naming rules of Azure resources, Microsoft.Resources."""

REGION: Final = re.compile(r"[a-z]+[a-z0-9]*")
SUBNET: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+", re.I
)
IMAGE_ID: Final = re.compile(
    r"/(?:subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute|CommunityGalleries|SharedGalleries)/.+",
    re.I,
)
IMAGE_NAME: Final = re.compile(r"[^:/\s]+:[^:/\s]+:[^:/\s]+:[^:/\s]+")

GUID_FORM: Final = "an id such as 01234567-89ab-cdef-0123-456789abcdef"
IMAGE_FORM: Final = "publisher:offer:sku:version, or the resource id of an image"


def parse(config: Mapping[str, Any], credentials: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration and the credentials of an account in one form, with the defaults filled in.

    `config`: `subscription_id`, `tenant_id`, `client_id`, `resource_group`, `regions`; optional `subnets` and `images`
    (by region) and `disk_gb`. `credentials`: `client_secret`. Raises `InvalidInputError` for the first that is wrong.
    """
    known = {"subscription_id", "tenant_id", "client_id", "resource_group", "regions", "subnets", "images", "disk_gb"}
    _only("config", config, known)
    _only("credentials", credentials, {"client_secret"})
    regions = _regions(config.get("regions"))
    parsed = {
        "subscription_id": _guid(config, "subscription_id"),
        "tenant_id": _guid(config, "tenant_id"),
        "client_id": _guid(config, "client_id"),
        "resource_group": _text(
            config.get("resource_group"), "resource_group", GROUP.fullmatch, "the name of a resource group"
        ),
        "regions": regions,
        "subnets": _by_region(config, "subnets", regions, SUBNET.fullmatch, "the resource id of a subnet"),
        "images": _by_region(config, "images", regions, is_image, IMAGE_FORM),
        "disk_gb": _disk(config.get("disk_gb", DISK_GB)),
    }
    secret = credentials.get("client_secret")
    if not isinstance(secret, str) or not secret.strip():
        # What was given stays out of the error: it is shown and logged.
        raise InvalidInputError("credentials.client_secret", "", "the client secret of the app registration")
    return parsed, {"client_secret": secret.strip()}


def identity(config: Mapping[str, Any], account: str) -> str:  # noqa: ARG001 - other kinds need what was found
    """Name the account: machines are looked for in one resource group of one subscription. Azure ignores case."""
    return f"{config['subscription_id']}/{config['resource_group']}".lower()


def is_image(text: str) -> bool:
    """Whether a text names an image, by its marketplace name or by its id."""
    return bool(IMAGE_NAME.fullmatch(text) or IMAGE_ID.fullmatch(text))


def _only(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidInputError(f"{where}.{unknown[0]}", unknown[0], "one of " + ", ".join(sorted(known)))


def _text(given: object, field: str, fits: Callable[[str], object], form: str) -> str:
    if not isinstance(given, str) or not fits(given.strip()):
        raise InvalidInputError(f"config.{field}", given, form)
    return given.strip()


def _guid(config: Mapping[str, Any], name: str) -> str:
    return _text(config.get(name), name, lambda text: GUID.fullmatch(text.lower()), GUID_FORM).lower()


def _regions(given: object) -> list[str]:
    names = given.split(",") if isinstance(given, str) else given
    form = "one or more region names such as westus3"
    if not isinstance(names, list | tuple) or not names:
        raise InvalidInputError("config.regions", given, form)
    regions = [name.strip().lower().replace(" ", "") if isinstance(name, str) else "" for name in names]
    for name, region in zip(names, regions, strict=True):
        if not REGION.fullmatch(region):
            raise InvalidInputError("config.regions", name, form)
    return list(dict.fromkeys(regions))


def _by_region(
    config: Mapping[str, Any], name: str, regions: list[str], fits: Callable[[str], object], form: str
) -> dict[str, str]:
    given = config.get(name) or {}
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"config.{name}", given, f"an object: region to {form}")
    for region in given:
        if region not in regions:
            raise InvalidInputError(f"config.{name}.{region}", region, "one of the regions " + ", ".join(regions))
    return {region: _text(given[region], f"{name}.{region}", fits, form) for region in sorted(given)}


def _disk(given: object) -> int:
    size = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given
    fits = isinstance(size, int) and not isinstance(size, bool) and SMALLEST_DISK_GB <= size <= LARGEST_DISK_GB
    if not isinstance(size, int) or not fits:
        form = f"a whole number of GB from {SMALLEST_DISK_GB} to {LARGEST_DISK_GB}"
        raise InvalidInputError("config.disk_gb", given, form)
    return size
