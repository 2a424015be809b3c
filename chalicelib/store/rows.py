"""An instance as a row: how the value lies in the table, which partition it is in, and when it is in the index.

Nothing is on the row that a listing does not show or a condition does not need, so that it stays below 1 KB and a
write costs one unit. Absent attributes stand for None, an empty text, 0 and False.
"""

import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Instance, Lease, Offer
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch, moment, stamp
from chalicelib.store.documents import offer_from, offer_text
from chalicelib.store.models import InstanceRow

ENDED: Final = "#ended"
KEEP_ENDED: Final = timedelta(days=7)
"""How long a terminated instance stays visible with its reason."""

OFFERS: Final = 256
"""How many offers are remembered as they were read: an instance is read several times in a row, with the same one."""

CHANGEABLE: Final = frozenset(
    {"offer", "lease", "machine_ref", "attempt", "billed_from", "spent", "idle_limit", "reserved_for", "seen_at"}
    | {"unreachable_since", "cordoned", "ends_at"}
)
"""What a step may change beside the state."""


def part(project: str, pool: str) -> str:
    """The partition of a pool's live instances."""
    return f"{project}/{pool}"


def ended_part(project: str, pool: str) -> str:
    """The partition of a pool's terminated instances, by the moment of their end."""
    return part(project, pool) + ENDED


def ended_key(instance: Instance) -> str:
    """The sort key of a terminated instance."""
    return f"{stamp(instance.changed_at)}#{instance.instance_id}"


def is_claimable(instance: Instance) -> bool:
    """Whether an instance belongs into the index `claimable`."""
    taken_out = instance.unreachable or instance.cordoned or instance.interrupted
    return instance.state is State.IDLE and not taken_out and bool(instance.offer)


def claim_shape(project: str, pool: str, shape: str) -> str:
    """The index partition of one shape in one pool."""
    return f"{part(project, pool)}/{shape}"


def fields(instance: Instance, names: frozenset[str]) -> dict[str, Any]:
    """Return the attributes that hold the named fields of an instance; None means: absent from the row."""
    written: dict[str, Any] = {}
    for name in names:
        if name == "offer":
            written |= _offer_fields(instance.offer)
        elif name == "lease":
            written |= lease_fields(instance.lease)
        elif name == "idle_limit":
            written["idle_limit_s"] = seconds(instance.idle_limit)
        else:
            written[name] = getattr(instance, name) or None
    return written


def lease_id(pool: str, instance_id: str, fence: int | str) -> str:
    """The public name of the lease that began with a fence. It says where the lease is to be found."""
    return f"{pool}.{instance_id}.{fence}"


def lease_fields(lease: Lease | None) -> dict[str, Any]:
    """Return the attributes that hold a lease. Its id is not among them: `lease_id` makes it from the rest."""
    if lease is None:
        return dict.fromkeys(("holder", "lease_fence", "acquired_at", "lease_expires", "lease_s"))
    return {
        "holder": lease.holder,
        "lease_fence": lease.fence,
        "acquired_at": lease.acquired_at,
        "lease_expires": lease.expires_at,
        "lease_s": seconds(lease.duration),
    }


def index_fields(instance: Instance) -> dict[str, Any]:
    """Return the attributes that put an instance into the index `claimable`, or take it out."""
    if not is_claimable(instance) or instance.offer is None:
        return {"claim_shape": None, "claim_order": None}
    return {
        "claim_shape": claim_shape(instance.project, instance.pool, instance.offer.shape),
        "claim_order": f"{stamp(instance.changed_at)}#{instance.instance_id}",
    }


def encode(instance: Instance, *, wrote: str, write: str, flips: int | None = None) -> InstanceRow:
    """Make the whole row of an instance. A terminated one is filed under its end, and expires."""
    hash_key, range_key = part(instance.project, instance.pool), instance.instance_id
    ttl = None
    if instance.state is State.TERMINATED:
        hash_key, range_key = ended_part(instance.project, instance.pool), ended_key(instance)
        ttl = epoch(instance.changed_at + KEEP_ENDED)
    return InstanceRow(
        hash_key,
        range_key,
        name=instance.name,
        state=instance.state.value,
        fence=instance.fence,
        reason=instance.reason.value,
        actor=instance.actor,
        created_at=instance.created_at,
        changed_at=instance.changed_at,
        wrote=wrote,
        write=write,
        flips=flips,
        ttl=ttl,
        **fields(instance, CHANGEABLE | {"detail", "deadline"}),
        **index_fields(instance),
    )


def decode(item: Image) -> Instance:
    """Read an instance from a raw item. By hand: PynamoDB takes four times as long to make a row of it first."""
    project, _, pool = item["part"]["S"].removesuffix(ENDED).partition("/")
    return Instance(
        project=project,
        pool=pool,
        instance_id=item["instance_id"]["S"].rpartition("#")[2],
        name=item["name"]["S"],
        state=State(item["state"]["S"]),
        fence=int(item["fence"]["N"]),
        reason=Reason(item["reason"]["S"]),
        actor=item["actor"]["S"],
        created_at=moment(item["created_at"]["S"]),
        changed_at=moment(item["changed_at"]["S"]),
        deadline=_moment(item, "deadline"),
        offer=_offer(item),
        idle_limit=timedelta(seconds=float(item["idle_limit_s"]["N"])) if "idle_limit_s" in item else None,
        reserved_for=_text(item, "reserved_for"),
        lease=_lease(item),
        machine_ref=_text(item, "machine_ref"),
        attempt=_whole(item, "attempt"),
        billed_from=_moment(item, "billed_from"),
        spent=_whole(item, "spent"),
        seen_at=_moment(item, "seen_at"),
        unreachable_since=_moment(item, "unreachable_since"),
        cordoned="cordoned" in item,
        ends_at=_moment(item, "ends_at"),
        detail=_text(item, "detail"),
    )


def _text(item: Image, name: str) -> str:
    return item[name]["S"] if name in item else ""


def _whole(item: Image, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _moment(item: Image, name: str) -> datetime | None:
    return moment(item[name]["S"]) if name in item else None


def _offer_fields(offer: Offer | None) -> dict[str, Any]:
    if offer is None:
        return {"doc": None, "quoted": None, "shape": None}
    quoted = f"{offer.availability}@{stamp(offer.priced_at) if offer.priced_at else ''}"
    return {"doc": offer_text(offer), "quoted": quoted, "shape": offer.shape}


def seconds(limit: timedelta | None) -> int | float | None:
    """An idle limit in seconds, whole ones as a whole number: its text is what a listing shows."""
    if limit is None:
        return None
    seconds = limit.total_seconds()
    return int(seconds) if seconds == int(seconds) else seconds


def _offer(item: Image) -> Offer | None:
    return _parsed(item["doc"]["S"], item["quoted"]["S"]) if "doc" in item else None


@lru_cache(OFFERS)
def _parsed(doc: str, quoted: str) -> Offer:
    availability, _, priced_at = quoted.partition("@")
    return offer_from({**json.loads(f"{{{doc}}}"), "priced_at": priced_at, "availability": availability})


def _lease(item: Image) -> Lease | None:
    if "lease_fence" not in item:
        return None
    fence = int(item["lease_fence"]["N"])
    name = lease_id(item["part"]["S"].partition("/")[2], item["instance_id"]["S"], fence)
    acquired_at, expires_at = moment(item["acquired_at"]["S"]), moment(item["lease_expires"]["S"])
    duration = timedelta(seconds=float(item["lease_s"]["N"]))
    return Lease(name, item["holder"]["S"], fence, acquired_at, expires_at, duration)
