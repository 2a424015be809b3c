"""What clients send: the body of a launch and of a preemption, checked field by field."""

from dataclasses import replace
from typing import Any, Final

from infra.local.cloud import catalog
from infra.local.cloud.fleet import Order
from infra.local.cloud.refusals import RefusedError
from infra.local.cloud.rehearsal import Rule

USER_DATA_LIMIT: Final = 65536
"""Characters. Azure's limit is 64 KB; EC2's is smaller."""

LONGEST_NAME: Final = 128
MOST_TAGS: Final = 50
LONGEST_NOTICE_S: Final = 3600

FIELDS: Final = {"name", "type", "region", "zone", "spot", "user_data", "tags"}


def parse(body: object) -> Order:
    """Read the body of `POST /machines`. Refuses with the name of the first field that is wrong."""
    row = _object(body, FIELDS)
    name = _text(row, "name", LONGEST_NAME)
    kind = catalog.type_named(_text(row, "type", LONGEST_NAME), _text(row, "region", LONGEST_NAME))
    if kind is None or row.get("zone", "") not in ("", kind.zone):
        raise RefusedError(422, "unknown-type", f"{row['type']!r} is not for rent in {row['region']!r}", field="type")
    spot = row.get("spot", False)
    if not isinstance(spot, bool):
        raise _wrong("spot", "true or false")
    if spot and kind.spot_price_micros is None:
        raise RefusedError(
            422, "unknown-type", f"{kind.name!r} is not for rent as spot in {kind.region!r}", field="spot"
        )
    return Order(
        name=name,
        kind=kind,
        spot=spot,
        user_data=_text(row, "user_data", USER_DATA_LIMIT),
        tags=_tags(row.get("tags", {})),
    )


def delayed(order: Order, *, boot_delay: Rule | None, silent: Rule | None) -> Order:
    """The order as a rehearsal bends it."""
    return replace(order, boot_delay_s=(boot_delay and boot_delay.value) or 0.0, silent=silent is not None)


def notice_s(body: object) -> float:
    """Read the body of a preemption: how many seconds the machine has left. Nothing said: the two minutes of EC2."""
    after_s = _object({} if body is None else body, {"after_s"}).get("after_s", 120)
    if not isinstance(after_s, int | float) or isinstance(after_s, bool) or not 0 <= after_s <= LONGEST_NOTICE_S:
        raise _wrong("after_s", f"seconds from 0 to {LONGEST_NOTICE_S}")
    return after_s


def _object(body: object, fields: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _wrong("body", "a JSON object")
    unknown = sorted(set(body) - fields)
    if unknown:
        raise _wrong(unknown[0], "one of the fields " + ", ".join(sorted(fields)))
    return body


def _text(row: dict[str, Any], field: str, longest: int) -> str:
    given = row.get(field)
    if not isinstance(given, str) or not 0 < len(given) <= longest:
        raise _wrong(field, f"a text of 1 to {longest} characters")
    return given


def _tags(given: object) -> dict[str, str]:
    fits = isinstance(given, dict) and len(given) <= MOST_TAGS
    if not isinstance(given, dict) or not fits or not all(isinstance(value, str) for value in given.values()):
        raise _wrong("tags", f"an object of at most {MOST_TAGS} texts")
    return dict(given)


def _wrong(field: str, expected: str) -> RefusedError:
    return RefusedError(422, "invalid-request", f"{field}: expected {expected}", field=field)
