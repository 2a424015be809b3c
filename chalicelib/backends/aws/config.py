"""What a project says of an AWS account: read, checked, made uniform. No SDK here: the API checks without one."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from chalicelib.domain.errors import InvalidInputError

DEFAULT_REGION: Final = "us-east-1"
DEFAULT_DISK_GB: Final = 100
"""The GPU image alone takes about 60 GB of it."""

DISK_LIMITS_GB: Final = (8, 16384)
"""From the smallest Ubuntu image to the largest gp3 volume."""

MOST_REGIONS: Final = 40

CONFIG: Final = ("role_arn", "external_id", "regions", "subnets", "image", "disk_gb")
CREDENTIALS: Final = ("access_key_id", "secret_access_key")

_ROLE: Final = re.compile(r"arn:aws(?:-cn|-us-gov)?:iam::[0-9]{12}:role/tidepool-[\w+=,.@-]{1,55}", re.ASCII)
"""Only such names: the control plane's own rights end at them, so it cannot be talked into another role."""

_EXTERNAL_ID: Final = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_SUBNET: Final = re.compile(r"subnet-[0-9a-f]{8,17}")
_IMAGE: Final = re.compile(r"ami-[0-9a-f]{8,17}")
_KEY_ID: Final = re.compile(r"AKIA[A-Z0-9]{12,124}")
_SECRET: Final = re.compile(r"[A-Za-z0-9/+=]{40,128}")


def parse(config: Mapping[str, Any], credentials: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Check both parts of an account and return them with every default filled in.

    Of the ways in there is exactly one: `config.role_arn`, or both of `credentials`. Lists may be texts with commas.
    Raises `InvalidInputError`, whose field is `config.<name>` or `credentials.<name>`; it never repeats a secret.
    """
    _refuse_unknown("config", config, CONFIG)
    _refuse_unknown("credentials", credentials, CREDENTIALS)
    role = _optional(config, "role_arn", _ROLE, "the ARN of a role whose name begins with tidepool-")
    secrets = _keys(credentials)
    if role and secrets:
        raise InvalidInputError("config.role_arn", role, "either a role or access keys, not both")
    if not role and not secrets:
        raise InvalidInputError("config.role_arn", None, "a role to assume, or access keys as credentials")
    regions = _regions(config.get("regions"))
    checked = {
        "role_arn": role,
        "external_id": _optional(config, "external_id", _EXTERNAL_ID, "2 to 1224 characters of A-Z a-z 0-9 +=,.@:/-_"),
        "regions": regions,
        "subnets": _by_region(config, "subnets", regions, _subnets),
        "image": _by_region(config, "image", regions, _image),
        "disk_gb": _disk_gb(config.get("disk_gb")),
    }
    if checked["external_id"] and not role:
        raise InvalidInputError("config.external_id", checked["external_id"], "a role_arn to use it with")
    return {name: value for name, value in checked.items() if value not in (None, {})}, secrets


def identity(config: Mapping[str, Any], account: str) -> str:
    """Name the account: a role's ARN has its number; of keys only AWS can say it, as `account`, when they are used."""
    role: str = config.get("role_arn", "")
    return role.split(":")[4] if role else account


def is_region(name: str) -> bool:
    """Whether a text has the form of a region's name; whether AWS has it is for AWS to say."""
    return _REGION.fullmatch(name) is not None


def _refuse_unknown(part: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidInputError(f"{part}.{name}", "an unknown field", "one of " + ", ".join(known))


def _optional(config: Mapping[str, Any], name: str, form: re.Pattern[str], expected: str) -> str | None:
    given = config.get(name)
    if given in (None, ""):
        return None
    if not isinstance(given, str) or not form.fullmatch(given):
        raise InvalidInputError(f"config.{name}", given, expected)
    return given


def _keys(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Both keys or none. What is wrong about a secret is said without it."""
    given = {name: value for name, value in credentials.items() if value not in (None, "")}
    if not given:
        return {}
    forms = {"access_key_id": (_KEY_ID, "AKIA and 16 or more"), "secret_access_key": (_SECRET, "40 or more")}
    for name, (form, length) in forms.items():
        value = given.get(name)
        if value is None:
            raise InvalidInputError(f"credentials.{name}", None, "both access_key_id and secret_access_key")
        if not isinstance(value, str) or not form.fullmatch(value):
            raise InvalidInputError(f"credentials.{name}", "(hidden)", f"a long-term key of {length} characters")
    return {name: str(given[name]) for name in CREDENTIALS}


def _regions(given: Any) -> list[str]:
    """The regions in the order they were named, each once."""
    regions = list(dict.fromkeys(_texts("config.regions", given or [DEFAULT_REGION], "names of regions")))
    for name in regions:
        if not is_region(name):
            raise InvalidInputError("config.regions", name, "a region such as eu-central-1")
    if not 0 < len(regions) <= MOST_REGIONS:
        raise InvalidInputError("config.regions", given, f"1 to {MOST_REGIONS} regions")
    return regions


def _by_region(
    config: Mapping[str, Any], name: str, regions: list[str], read: Callable[[str, Any], Any]
) -> dict[str, Any]:
    given = config.get(name) or {}
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"config.{name}", given, "one entry for a region, such as {us-east-1: ...}")
    for region in given:
        if region not in regions:
            raise InvalidInputError(f"config.{name}", region, "one of the regions " + ", ".join(regions))
    return {region: read(f"config.{name}.{region}", value) for region, value in given.items()}


def _subnets(field: str, given: Any) -> list[str]:
    subnets = sorted(set(_texts(field, given, "subnet ids")))
    for subnet in subnets or [""]:
        if not _SUBNET.fullmatch(subnet):
            raise InvalidInputError(field, subnet, "a subnet id such as subnet-0123456789abcdef0")
    return subnets


def _image(field: str, given: Any) -> str:
    if not isinstance(given, str) or not _IMAGE.fullmatch(given):
        raise InvalidInputError(field, given, "an image id such as ami-0123456789abcdef0")
    return given


def _texts(field: str, given: Any, what: str) -> list[str]:
    if isinstance(given, str):
        return [part.strip() for part in given.split(",")]
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise InvalidInputError(field, given, f"a list of {what}")
    return list(given)


def _disk_gb(given: Any) -> int:
    if given in (None, ""):
        return DEFAULT_DISK_GB
    least, most = DISK_LIMITS_GB
    size = int(given) if isinstance(given, str) and given.isdecimal() else given
    if not isinstance(size, int) or isinstance(size, bool) or not least <= size <= most:
        raise InvalidInputError("config.disk_gb", given, f"whole GB from {least} to {most}")
    return size
