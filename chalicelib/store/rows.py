"""An instance as a row: how the value lies in the table, which partition it is in, and when it is in the index.

Nothing is on the row that a listing does not show or a condition does not need, so that it stays below 1 KB and a
write costs one unit. Absent attributes stand for None, an empty text, 0 and False.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pynamodb.expressions.update import Action

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Instance, Lease, Offer
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch, stamp
from chalicelib.store.documents import offer_from, offer_text
from chalicelib.store.models import InstanceRow

ENDED: Final = "#ended"
KEEP_ENDED: Final = timedelta(days=7)
"""How long a terminated instance stays visible with its reason."""

CHANGEABLE: Final = frozenset(
    {"offer", "lease", "machine_ref", "attempt", "billed_from", "spent", "idle_limit", "reserved_for", "seen_at"}
    | {"unreachable", "cordoned"}
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
    return instance.state is State.IDLE and not instance.unreachable and not instance.cordoned and bool(instance.offer)


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
        return dict.fromkeys(("holder", "lease_fence", "acquired_at", "lease_expires"))
    return {
        "holder": lease.holder,
        "lease_fence": lease.fence,
        "acquired_at": lease.acquired_at,
        "lease_expires": lease.expires_at,
    }


def index_fields(instance: Instance) -> dict[str, Any]:
    """Return the attributes that put an instance into the index `claimable`, or take it out."""
    if not is_claimable(instance) or instance.offer is None:
        return {"claim_shape": None, "claim_order": None}
    return {
        "claim_shape": claim_shape(instance.project, instance.pool, instance.offer.shape),
        "claim_order": f"{stamp(instance.changed_at)}#{instance.instance_id}",
    }


def actions(attributes: Mapping[str, Any]) -> list[Action]:
    """Return the update that sets attributes, and removes those that are None."""
    columns = InstanceRow.get_attributes()
    return [columns[name].remove() if value is None else columns[name].set(value) for name, value in attributes.items()]


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
    """Read an instance from a raw item."""
    row = InstanceRow.from_raw_data(item)
    project, _, pool = row.part.removesuffix(ENDED).partition("/")
    return Instance(
        project=project,
        pool=pool,
        instance_id=row.instance_id.rpartition("#")[2],
        name=row.name,
        state=State(row.state),
        fence=int(row.fence),
        reason=Reason(row.reason),
        actor=row.actor,
        created_at=row.created_at,
        changed_at=row.changed_at,
        deadline=row.deadline,
        offer=_offer(row),
        idle_limit=None if row.idle_limit_s is None else timedelta(seconds=row.idle_limit_s),
        reserved_for=row.reserved_for or "",
        lease=_lease(row),
        machine_ref=row.machine_ref or "",
        attempt=int(row.attempt or 0),
        billed_from=row.billed_from,
        spent=int(row.spent or 0),
        seen_at=row.seen_at,
        unreachable=bool(row.unreachable),
        cordoned=bool(row.cordoned),
        detail=row.detail or "",
    )


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


def _offer(row: InstanceRow) -> Offer | None:
    if not row.doc:
        return None
    availability, _, priced_at = (row.quoted or "unknown@").partition("@")
    return offer_from({**json.loads(f"{{{row.doc}}}"), "priced_at": priced_at, "availability": availability})


def _lease(row: InstanceRow) -> Lease | None:
    if not (row.lease_fence and row.acquired_at and row.lease_expires):
        return None
    fence = int(row.lease_fence)
    name = lease_id(row.part.partition("/")[2], row.instance_id, fence)
    return Lease(name, row.holder or "", fence, row.acquired_at, row.lease_expires)
