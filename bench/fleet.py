"""Instances in bulk: realistic rows, and whole pools of them written straight into the tables."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zlib import crc32

from bench.stack import Stack
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance, Offer
from chalicelib.store import rows
from chalicelib.store.documents import offer_doc
from chalicelib.store.models import NameRow, PoolRow
from tests.builders import make_gpu, make_instance, make_offer

OFFER: Final = make_offer(
    backend="runpod",
    region="eu-central-1",
    zone="eu-central-1a",
    instance_type="p5.48xlarge",
    gpus=make_gpu(name="H100", memory_gib=80, count=8),
    price=98_320_000,
)
PROJECT: Final = "main"
LONG: Final = timedelta(hours=72)


def instance(number: int, *, now: datetime, pool: str, offer: Offer = OFFER, **rest: Any) -> Instance:
    """An idle instance whose row is about as long as rows get."""
    ordinary = {
        "project": PROJECT,
        "pool": pool,
        "instance_id": f"i-{crc32(pool.encode()) % 1_000_000:06d}{number:012d}",
        "name": f"{pool}-{number}",
        "fence": 1_234,
        "created_at": now,
        "changed_at": now,
        "seen_at": now,
        "offer": offer,
        "deadline": now + LONG,
        "idle_limit": LONG,
        "machine_ref": "i-0123456789abcdef0",
        "spent": 123_456_789,
        "actor": "user:jane.doe@example.com",
    }
    return make_instance(**{**ordinary, **rest})


def items(count: int, *, now: datetime, pool: str, wrote: str = "touch", **rest: Any) -> Iterator[dict[str, Any]]:
    """Rows as DynamoDB stores them. Rows that say they were touched are passed over by the projector."""
    for number in range(count):
        yield rows.encode(instance(number, now=now, pool=pool, **rest), wrote=wrote, write="seeded").serialize()


def dead_items(count: int, *, now: datetime, pool: str) -> Iterator[dict[str, Any]]:
    """Rows of instances that ended a minute ago."""
    ended = now - timedelta(minutes=1)
    for number in range(count):
        one = instance(
            number, now=ended, pool=pool, state=State.TERMINATED, deadline=None, instance_id=f"e-{pool}-{number:012d}"
        )
        yield rows.encode(one, wrote="touch", write="seeded").serialize()


def shape_item(pool: str, offer: Offer = OFFER) -> dict[str, Any]:
    """The entry that makes a shape known to a pool, as the projector would have written it."""
    row = PoolRow(PROJECT, f"{pool}#{offer.shape}", offer=offer_doc(offer), total=0, available=0)
    item: dict[str, Any] = row.serialize()
    return item


def name_item(one: Instance) -> dict[str, Any]:
    """The entry that leads from an instance's name to it."""
    row = NameRow(one.project, f"instance:{one.name}", pool=one.pool, holder=one.instance_id)
    item: dict[str, Any] = row.serialize()
    return item


def fill_pool(stack: Stack, pool: str, count: int) -> None:
    """Make a pool of the embedded control plane and fill it with idle instances; once."""
    known = {each["name"] for each in stack.must("GET", "pools")["items"]}
    if pool in known:
        return
    stack.must("POST", "pools", {"name": pool})
    stack.put_items("pools", [shape_item(pool)])
    stack.put_items("instances", items(count, now=datetime.now(UTC), pool=pool))
