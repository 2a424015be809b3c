"""Listings of instances: from DynamoDB's raw answer to JSON text, without an object for each row.

A row carries the public text of its offer (`doc`); the few fields that move are put around it as text. Decoding and
encoding each row would cost ten times as much. `view` makes the same JSON from a value, and a test holds them equal.
"""

import json
from datetime import datetime
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance, Lease
from chalicelib.store import calls, cursors, rows
from chalicelib.store.calls import Image
from chalicelib.store.columns import stamp
from chalicelib.store.documents import NO_OFFER, offer_fields
from chalicelib.store.models import InstanceRow

PAGE_BYTES: Final = 1_000_000
"""What the texts of one page come to at most: with commas and the envelope, a body of 1 MB (2**20)."""

LIVE: Final = "i"
ENDED: Final = "e"
EMPTY: Final = '""'
SHOWN: Final = [
    *("instance_id", "name", "state", "reason", "detail", "actor", "created_at", "changed_at", "deadline", "doc"),
    *("idle_limit_s", "holder", "lease_fence", "acquired_at", "lease_expires", "unreachable_since", "cordoned"),
    *("ends_at", "seen_at", "fence"),
]
"""What a listing needs of a row. The rest costs the same to read, but takes time to send and to parse."""

FIRST: Final = "~"
"""In a cursor: from the beginning of the key range."""

OFFER_FIELDS: Final = tuple(json.loads(f"{{{NO_OFFER}}}"))


def page(
    project: str, pool: str, *, limit: int, cursor: str | None, ended_since: datetime | None = None
) -> tuple[list[str], str | None]:
    """Read a page of a pool's instances by id: each one's public JSON as text, and the cursor of the next page.

    With `ended_since` the live ones are followed by those that ended at or after it, the newest first. The cursor is
    None on the last page. A page may be shorter than `limit` although more follow. Raises `InvalidInputError` for a
    cursor that is not from this list.
    """
    kind, after = cursors.read(cursor, LIVE + ENDED if ended_since else LIVE)
    texts: list[str] = []
    if kind == LIVE:
        part = rows.part(project, pool)
        answer = calls.query(
            InstanceRow, part, attributes_to_get=SHOWN, limit=limit, exclusive_start_key=_start(part, after)
        )
        last = _render(pool, answer, texts)
        if last or not ended_since:
            return texts, cursors.write(LIVE, last) if last else None
        after = FIRST
    if ended_since is None or (after != FIRST and after < stamp(ended_since)):
        return texts, None  # the window has moved past the cursor: DynamoDB refuses to start outside of the key range
    if len(texts) >= limit:
        return texts, cursors.write(ENDED, after)
    part = rows.ended_part(project, pool)
    answer = calls.query(
        InstanceRow,
        part,
        attributes_to_get=SHOWN,
        range_key_condition=InstanceRow.instance_id >= stamp(ended_since),
        scan_index_forward=False,
        limit=limit - len(texts),
        exclusive_start_key=_start(part, after),
    )
    last = _render(pool, answer, texts)
    return texts, cursors.write(ENDED, last) if last else None


def view(instance: Instance) -> dict[str, Any]:
    """The public JSON of one instance (`docs/architecture.md`, section 5)."""
    limit = rows.seconds(instance.idle_limit)
    idle = instance.state is State.IDLE
    return {
        "instance_id": instance.instance_id,
        "name": instance.name,
        "pool": instance.pool,
        "state": instance.state.value,
        "reason": instance.reason.value,
        "detail": instance.detail,
        "actor": instance.actor,
        "created_at": stamp(instance.created_at),
        "changed_at": stamp(instance.changed_at),
        "expires_at": _moment(instance.deadline) if idle else None,
        "idle_limit_s": limit,
        **(offer_fields(instance.offer) if instance.offer else dict.fromkeys(OFFER_FIELDS)),
        "lease": lease_view(instance.lease) if instance.lease else None,
        "unreachable": instance.unreachable,
        "cordoned": instance.cordoned,
        "interrupted": instance.interrupted,
        "ends_at": _moment(instance.ends_at),
        "seen_at": _moment(instance.seen_at),
        "fence": instance.fence,
    }


def lease_view(lease: Lease) -> dict[str, Any]:
    """The public JSON of a lease, without its instance."""
    return {
        "lease_id": lease.lease_id,
        "holder": lease.holder,
        "fence": lease.fence,
        "acquired_at": stamp(lease.acquired_at),
        "expires_at": stamp(lease.expires_at),
    }


def _start(part: str, after: str) -> Image | None:
    return {"part": {"S": part}, "instance_id": {"S": after}} if after and after != FIRST else None


def _moment(at: datetime | None) -> str | None:
    return stamp(at) if at else None


def _render(pool: str, answer: dict[str, Any], texts: list[str]) -> str | None:
    """Append the rows of an answer while they fit a page; return the sort key to go on after, or None when all fit."""
    room = PAGE_BYTES - sum(map(len, texts))
    last = FIRST
    for item in answer["Items"]:
        text = _text(pool, item)
        room -= len(text)
        if room < 0 and texts:
            return last
        texts.append(text)
        last = item["instance_id"]["S"]
    more: dict[str, dict[str, str]] | None = answer.get("LastEvaluatedKey")
    return more["instance_id"]["S"] if more else None


def _text(pool: str, item: Image) -> str:
    """One row as JSON text. Moments, ids and names need no escaping; what people or programs wrote does."""
    get = item.get
    state = item["state"]["S"]
    offer, limit, detail = get("doc"), get("idle_limit_s"), get("detail")
    deadline, seen_at = get("deadline") if state == "idle" else None, get("seen_at")
    return (
        f'{{"instance_id":"{item["instance_id"]["S"].rpartition("#")[2]}","name":{quote(item["name"]["S"])},'
        f'"pool":"{pool}","state":"{state}","reason":"{item["reason"]["S"]}",'
        f'"detail":{quote(detail["S"]) if detail else EMPTY},"actor":{quote(item["actor"]["S"])},'
        f'"created_at":"{item["created_at"]["S"]}","changed_at":"{item["changed_at"]["S"]}",'
        f'"expires_at":{_quoted(deadline)},"idle_limit_s":{limit["N"] if limit else "null"},'
        f'{offer["S"] if offer else NO_OFFER},"lease":{_lease_text(pool, item)},'
        f'"unreachable":{"true" if "unreachable_since" in item else "false"},'
        f'"cordoned":{"true" if "cordoned" in item else "false"},'
        f'"interrupted":{"true" if "ends_at" in item else "false"},"ends_at":{_quoted(get("ends_at"))},'
        f'"seen_at":{_quoted(seen_at)},"fence":{item["fence"]["N"]}}}'
    )


def _lease_text(pool: str, item: Image) -> str:
    if "lease_fence" not in item:
        return "null"
    fence = item["lease_fence"]["N"]
    name = rows.lease_id(pool, item["instance_id"]["S"], fence)
    return (
        f'{{"lease_id":"{name}","holder":{quote(item["holder"]["S"])},"fence":{fence},'
        f'"acquired_at":"{item["acquired_at"]["S"]}","expires_at":"{item["lease_expires"]["S"]}"}}'
    )


def _quoted(value: dict[str, str] | None) -> str:
    return f'"{value["S"]}"' if value else "null"
