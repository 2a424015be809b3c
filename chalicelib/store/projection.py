"""From the stream of the instances' table: history, and the counts of each pool and shape.

One transaction a record. It puts an entry that is named after the very write, on the condition that it is not there
yet, and adds the difference that the write made to the counts; a record delivered twice therefore changes nothing, and
records of different instances may come in any order. Records of one instance come in order (DynamoDB's promise).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pynamodb.expressions.update import Action

from chalicelib.domain.errors import ThrottledError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Instance, Transition
from chalicelib.store import calls, journal, rows
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch
from chalicelib.store.documents import offer_doc
from chalicelib.store.models import JournalRow, PoolRow

UNSHAPED: Final = "none"
"""The shape under which instances without an offer are counted."""

KEEP_MARK: Final = timedelta(days=2)
"""How long a counted flag is remembered: longer than a stream keeps a record (24 hours)."""

PROJECTED: Final = frozenset({"create", "step", "flag"})
"""What a write must be to be projected. The stream's filter may leave out the rest (`touch`)."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one instance adds to its pool's counts, and under which shape."""

    shape: str
    total: int
    available: int


def apply(old: Image | None, new: Image | None) -> None:
    """Project one record of the instances' stream, given its raw images. Doing it again changes nothing.

    A removal says nothing new: the end of an instance is the row that is put among the ended ones.
    """
    if new is None or new["wrote"]["S"] not in PROJECTED:
        return
    instance = rows.decode(new)
    before, after = _before(instance, old), _count(new)
    writes = calls.Transaction()
    writes.put(_mark(instance, old, new), JournalRow.entry.does_not_exist())
    for shape, total, available in _differences(before, after):
        actions: list[Action] = [PoolRow.total.add(total), PoolRow.available.add(available)]
        if instance.offer and instance.offer.shape == shape:
            actions.append(PoolRow.offer.set(PoolRow.offer | offer_doc(instance.offer)))
        writes.update(PoolRow, instance.project, f"{instance.pool}#{shape}", actions)
    with suppress(calls.ConditionFailedError):  # the mark is there: the record was counted before
        writes.commit()
    # What follows is done for a repeated record too: the first run may have died here.
    if before.total and (before.shape, 1) != (after.shape, after.total):
        _drop_empty(instance.project, instance.pool, before.shape)
    if instance.state is State.TERMINATED:
        journal.expire(instance.instance_id, instance.changed_at + rows.KEEP_ENDED)


def _before(instance: Instance, old: Image | None) -> Count:
    """What the instance added before. An ended row is new under its key, but its instance was counted until then."""
    if old is not None:
        return _count(old)
    shape = instance.offer.shape if instance.offer else UNSHAPED
    return Count(shape, 1 if instance.state is State.TERMINATED else 0, 0)


def _count(item: Image) -> Count:
    shape = item.get("shape", {}).get("S", UNSHAPED)
    return Count(shape, int(item["state"]["S"] != State.TERMINATED), int("claim_shape" in item))


def _differences(before: Count, after: Count) -> list[tuple[str, int, int]]:
    """Return shape, change of total, change of available for each shape that changes."""
    changes: dict[str, tuple[int, int]] = {}
    for count, sign in ((before, -1), (after, 1)):
        total, available = changes.get(count.shape, (0, 0))
        changes[count.shape] = (total + sign * count.total, available + sign * count.available)
    return [(shape, total, available) for shape, (total, available) in changes.items() if total or available]


def _mark(instance: Instance, old: Image | None, new: Image) -> JournalRow:
    """The entry that stands for one write, and makes its projection happen once."""
    if new["wrote"]["S"] == "flag":
        body: dict[str, Any] = {"flagged_by": new["flagged_by"]["S"]}
        flips = int(new["flips"]["N"])
        return JournalRow(
            instance.instance_id, f"flag#{flips:08d}", body=body, ttl=epoch(instance.changed_at + KEEP_MARK)
        )
    source = State(old["state"]["S"]) if old else None
    if instance.state is State.TERMINATED:
        source = State.TERMINATING
    return journal.history_row(
        instance.instance_id,
        Transition(
            at=instance.changed_at,
            fence=instance.fence,
            source=source,
            target=instance.state,
            reason=Reason.CONFIRMED_GONE if instance.state is State.TERMINATED else instance.reason,
            actor=instance.actor,
            detail=instance.detail,
        ),
    )


def _drop_empty(project: str, pool: str, shape: str) -> None:
    """Take a shape out of the directory when no instance has it, so that old prices do not pile up there.

    A row that counts again meanwhile, or that another transaction holds, stays.
    """
    try:
        calls.delete(PoolRow, project, f"{pool}#{shape}", PoolRow.total == 0)
    except (calls.ConditionFailedError, ThrottledError):
        return
