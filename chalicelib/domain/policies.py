"""What a request accepts besides resources: where, what kind, at what price, for how long, what is retried."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from chalicelib.domain import requirements as needs
from chalicelib.domain import units
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.requirements import Requirements

KEYS: Final = (
    "requirements",
    "backends",
    "regions",
    "instance_types",
    "spot_policy",
    "max_price",
    "idle_duration",
    "retry",
    "allow_gpu",
    "max_duration",
)
"""The names on the wire. A request body may hold more; `parse` reads only these."""


class SpotPolicy(StrEnum):
    """Whether a machine may be one that the provider can take back. `AUTO` takes whichever is cheaper."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    AUTO = "auto"


class RetryEvent(StrEnum):
    """What a retry policy covers: nothing to be had, a machine taken back or lost, a job that failed."""

    NO_CAPACITY = "no-capacity"
    INTERRUPTION = "interruption"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which events are retried, and for how long after the first of them."""

    events: frozenset[RetryEvent]
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything that an offer or an instance is held against, and what becomes of the machine.

    Empty lists mean all. `max_price` is micro-dollars an hour. `idle_limit` None: not said, `units.NEVER`: off.
    `retry` None: not retried. `allow_gpu`: a request without GPU may take a machine that has some.
    `names_resources`: the request said something of its resources, be it just what holds by default, or that it wants
    no GPU machine. `max_duration`:
    how long a run may take in all, from the start of its first try; None: as long as it wants. `on_demand_first`:
    with `AUTO`, every on-demand offer ranks before every spot offer; `containers`: the work is an image. These two are
    nothing that a request says as such.
    """

    requirements: Requirements = needs.DEFAULT
    backends: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    spot: SpotPolicy = SpotPolicy.AUTO
    max_price: int | None = None
    idle_limit: timedelta | None = None
    retry: RetryPolicy | None = None
    allow_gpu: bool = False
    names_resources: bool = False
    max_duration: timedelta | None = None
    on_demand_first: bool = False
    containers: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a kind of request where it says nothing. `retry_for` is the duration of a bare `retry: true`.

    `runs`: it asks for work to be done, so that a limit for the work makes sense.
    """

    spot: SpotPolicy
    idle_limit: timedelta | None
    retry_for: timedelta
    runs: bool = False


LONGEST_RUN: Final = timedelta(days=366)
"""The longest `max_duration`: what is longer is no limit but a slip."""

POOL_ADD: Final = Defaults(SpotPolicy.ON_DEMAND, timedelta(hours=72), timedelta(hours=24))
RUN: Final = Defaults(SpotPolicy.AUTO, timedelta(minutes=5), timedelta(hours=1), runs=True)
LEASE: Final = Defaults(SpotPolicy.AUTO, None, timedelta(hours=1))


def parse(body: Mapping[str, Any], *, defaults: Defaults) -> tuple[Policies, list[str]]:
    """Read the policies of a request body, and say what looks like a slip. Null is the same as not said.

    Raises `InvalidInputError` that names the field at fault.
    """
    said = {key: body[key] for key in KEYS if body.get(key) is not None}
    requirements, slips = needs.parse(said.get("requirements", {}))
    return Policies(
        requirements=requirements,
        backends=_backends(said.get("backends", ())),
        regions=_texts(said.get("regions", ()), "regions"),
        instance_types=_texts(said.get("instance_types", ()), "instance_types"),
        spot=_spot(said["spot_policy"]) if "spot_policy" in said else defaults.spot,
        max_price=_max_price(said["max_price"]) if "max_price" in said else None,
        idle_limit=_idle_limit(said["idle_duration"]) if "idle_duration" in said else defaults.idle_limit,
        retry=_retry(said["retry"], defaults.retry_for) if "retry" in said else None,
        allow_gpu=_flag(said.get("allow_gpu", False), "allow_gpu"),
        names_resources=said.get("allow_gpu") is False
        or any(value is not None for value in said.get("requirements", {}).values()),
        max_duration=_max_duration(said["max_duration"], defaults) if "max_duration" in said else None,
    ), slips


def to_doc(policies: Policies) -> dict[str, Any]:
    """Return a JSON-able copy that `from_doc` reads back to an equal value.

    `idle_limit_s` is seconds, `"off"`, or null where nothing was said; prices are micro-dollars an hour.
    """
    retry = policies.retry
    return {
        "requirements": needs.to_doc(policies.requirements),
        "backends": list(policies.backends),
        "regions": list(policies.regions),
        "instance_types": list(policies.instance_types),
        "spot_policy": policies.spot.value,
        "max_price_micros": policies.max_price,
        "idle_limit_s": _limit_doc(policies.idle_limit),
        "retry": _retry_doc(retry) if retry else None,
        "allow_gpu": policies.allow_gpu,
        "names_resources": policies.names_resources,
        "max_duration_s": policies.max_duration.total_seconds() if policies.max_duration else None,
        "on_demand_first": policies.on_demand_first,
        "containers": policies.containers,
    }


def from_doc(doc: Mapping[str, Any]) -> Policies:
    """Read what `to_doc` wrote."""
    limit, retry, longest_s = doc["idle_limit_s"], doc["retry"], doc.get("max_duration_s")
    return Policies(
        requirements=needs.from_doc(doc["requirements"]),
        backends=tuple(doc["backends"]),
        regions=tuple(doc["regions"]),
        instance_types=tuple(doc["instance_types"]),
        spot=SpotPolicy(doc["spot_policy"]),
        max_price=doc["max_price_micros"],
        idle_limit=None if limit is None else units.parse_idle_duration(limit, "idle_limit_s"),
        retry=RetryPolicy(_events(retry["on_events"]), timedelta(seconds=retry["duration_s"])) if retry else None,
        allow_gpu=doc["allow_gpu"],
        names_resources=doc["names_resources"],
        max_duration=timedelta(seconds=longest_s) if longest_s else None,
        on_demand_first=doc.get("on_demand_first", False),
        containers=doc.get("containers", False),
    )


def _events(names: Iterable[str]) -> frozenset[RetryEvent]:
    return frozenset(RetryEvent(name) for name in names)


def _retry_doc(retry: RetryPolicy) -> dict[str, Any]:
    events = sorted(event.value for event in retry.events)
    return {"on_events": events, "duration_s": retry.duration.total_seconds()}


def _limit_doc(limit: timedelta | None) -> float | str | None:
    if limit is None:
        return None
    return "off" if limit == units.NEVER else limit.total_seconds()


def _texts(value: object, field: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError(field, value, "a list of names; an empty one means all")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise InvalidInputError(field, name, "a name that is not empty")
    return tuple(dict.fromkeys(name.strip() for name in value))


def _backends(value: object) -> tuple[str, ...]:
    """Backends are named by us, in lower case."""
    return tuple(dict.fromkeys(name.lower() for name in _texts(value, "backends")))


def _spot(value: object) -> SpotPolicy:
    if not isinstance(value, str) or value not in set(SpotPolicy):
        raise InvalidInputError("spot_policy", value, f"one of {', '.join(SpotPolicy)}")
    return SpotPolicy(value)


def _max_price(value: object) -> int:
    price = units.parse_price(value, "max_price")
    if price == 0:
        raise InvalidInputError("max_price", value, f"more than 0; {units.PRICE_FORM}")
    return price


def _idle_limit(value: object) -> timedelta:
    return units.parse_idle_duration(value, "idle_duration")


def _max_duration(value: object, defaults: Defaults) -> timedelta | None:
    if not defaults.runs:
        raise InvalidInputError("max_duration", value, "nothing: only a run has one")
    if value is False or value == "off":
        return None
    duration = units.parse_duration(value, "max_duration")
    if not timedelta() < duration <= LONGEST_RUN:
        raise InvalidInputError("max_duration", value, f"more than 0 and at most {LONGEST_RUN.days}d, or off")
    return duration


def _retry(value: object, retry_for: timedelta) -> RetryPolicy | None:
    every = frozenset(RetryEvent)
    if isinstance(value, bool):
        return RetryPolicy(every, retry_for) if value else None
    if not isinstance(value, Mapping) or set(value) - {"on_events", "duration"}:
        raise InvalidInputError("retry", value, "true, false, or an object with on_events and duration")
    events, duration = value.get("on_events"), value.get("duration")
    return RetryPolicy(
        every if events is None else _retry_events(events),
        retry_for if duration is None else _retry_duration(duration),
    )


def _retry_duration(value: object) -> timedelta:
    duration = units.parse_duration(value, "retry.duration")
    if not duration:
        raise InvalidInputError("retry.duration", value, "more than 0; not to retry, leave retry out")
    return duration


def _retry_events(value: object) -> frozenset[RetryEvent]:
    form = f"a list with at least one of {', '.join(RetryEvent)}"
    if not isinstance(value, list | tuple) or not value:
        raise InvalidInputError("retry.on_events", value, form)
    for name in value:
        if not isinstance(name, str) or name not in set(RetryEvent):
            raise InvalidInputError("retry.on_events", name, form)
    return _events(value)


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(field, value, "true or false")
    return value
