"""Rows in any state, put straight into the table, and looks at what came of them."""

from datetime import datetime

from chalicelib.domain.model import Instance, Offer
from chalicelib.domain.timers import SHARDS, Timer, minute_of, partition
from chalicelib.store import calls, instances, rows, timers
from chalicelib.store.columns import stamp
from chalicelib.store.models import InstanceRow, NameRow
from chalicelib.store.projection import UNSHAPED
from tests.builders import later, make_offer

DEADLINE = later(minutes=10)


def seed(instance: Instance) -> Instance:
    """Store an instance as it is, with its names; return it as stored."""
    row = rows.encode(instance, wrote="create", write=calls.fresh_write())
    calls.put(row)
    for name in (f"instance:{instance.name}", f"id:{instance.instance_id}"):
        calls.put(NameRow(instance.project, name, pool=instance.pool, holder=instance.instance_id))
    return rows.decode(row.serialize())


def claimables(offer: Offer | None = None) -> list[str]:
    """The ids in the index for the pool `main` and a shape (that of `make_offer()`)."""
    shape = (offer or make_offer()).shape
    return [candidate.instance_id for candidate in instances.claimable("acme", "main", shape, 100)]


def recount(project: str, pool: str) -> dict[str, tuple[int, int]]:
    """Total and available of each shape, counted from a pool's live rows."""
    counted: dict[str, tuple[int, int]] = {}
    for item in calls.query_all(InstanceRow, rows.part(project, pool), consistent_read=True):
        shape = item["shape"]["S"] if "shape" in item else UNSHAPED
        total, available = counted.get(shape, (0, 0))
        counted[shape] = (total + 1, available + ("claim_shape" in item))
    return counted


def filed(moment) -> list[Timer]:
    """The timers that are due in the minute of a moment, up to that moment."""
    minute = minute_of(moment)
    return [timer for shard in range(SHARDS) for timer in timers.due(partition(minute, shard), moment, 100)]


def ended(project: str, pool: str, since: datetime, limit: int) -> list[Instance]:
    """The instances that ended at or after a moment, the newest first."""
    answer = calls.query(
        InstanceRow,
        rows.ended_part(project, pool),
        range_key_condition=InstanceRow.instance_id >= stamp(since),
        scan_index_forward=False,
        limit=limit,
    )
    return [rows.decode(item) for item in answer["Items"]]
