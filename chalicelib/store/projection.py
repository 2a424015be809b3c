"""From the stream of the instances' table: history, and the counts of each pool and shape.

One transaction a record. It puts an entry that is named after the very write, on the condition that it is not there
yet, and adds the difference that the write made to the counts; a record delivered twice therefore changes nothing, and
records of different instances may come in any order. Records of one row come in order (DynamoDB's promise); that of
an ended row may overtake those of the live one. Records that come after their pool was deleted are history alone.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.domain.errors import ThrottledError
from chalicelib.domain.lifecycle import ENDED_BY, Reason, State
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


Change = tuple[str, int, int]
"""A shape, and what is added to its total and available."""


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
    _write(instance, _mark(instance, old, new), _differences(before, after))
    # What follows is done for a repeated record too: the first run may have died here.
    if before.total and (before.shape, 1) != (after.shape, after.total):
        _drop_empty(instance.project, instance.pool, before.shape)
    if instance.state is State.TERMINATED:
        journal.expire(instance.instance_id, instance.changed_at + rows.KEEP_ENDED)


def _write(instance: Instance, mark: JournalRow, changes: list[Change]) -> None:
    """Put the mark, once, and add the changes to the counts of the pool that the instance was made in.

    A row of counts is made only while that pool is there: after its deletion the counts went with it, and what is then
    taken from nothing, or added, would stay for the next pool of the name. The pool is asked only where a row has to
    be made: whoever makes an instance asks for it too, and transactions over one row make each other fail.
    """
    for counted in (_existing, _new, _uncounted):
        writes = calls.Transaction()
        writes.put(mark, JournalRow.entry.does_not_exist())
        counted(writes, instance, changes)
        try:
            writes.commit()
        except calls.ConditionFailedError as error:
            if 0 not in error.failed:
                continue
        return  # done now, or before: the mark was there


def _existing(writes: calls.Transaction, instance: Instance, changes: list[Change]) -> None:
    """Add to rows that count already."""
    for change in changes:
        _add(writes, instance, change, PoolRow.total.exists())


def _new(writes: calls.Transaction, instance: Instance, changes: list[Change]) -> None:
    """Add to rows that may be missing, in a pool that is not younger than its instance."""
    writes.check(PoolRow, instance.project, instance.pool, PoolRow.created_at <= instance.created_at)
    for change in changes:
        _add(writes, instance, change)


def _uncounted(writes: calls.Transaction, instance: Instance, changes: list[Change]) -> None:
    """Add nothing: the pool is gone."""


def _add(writes: calls.Transaction, instance: Instance, change: Change, condition: Condition | None = None) -> None:
    shape, total, available = change
    actions: list[Action] = [PoolRow.total.add(total), PoolRow.available.add(available)]
    if instance.offer and instance.offer.shape == shape:
        actions.append(PoolRow.offer.set(PoolRow.offer | offer_doc(instance.offer)))
    writes.update(PoolRow, instance.project, f"{instance.pool}#{shape}", actions, condition)


def _before(instance: Instance, old: Image | None) -> Count:
    """What the instance added before. An ended row is new under its key, but its instance was counted until then."""
    if old is not None:
        return _count(old)
    shape = instance.offer.shape if instance.offer else UNSHAPED
    return Count(shape, 1 if instance.state is State.TERMINATED else 0, 0)


def _count(item: Image) -> Count:
    shape = item.get("shape", {}).get("S", UNSHAPED)
    return Count(shape, int(item["state"]["S"] != State.TERMINATED), int("claim_shape" in item))


def _differences(before: Count, after: Count) -> list[Change]:
    """Return the change for each shape that changes."""
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
    step = Transition(
        at=instance.changed_at,
        fence=instance.fence,
        source=State(old["state"]["S"]) if old else None,
        target=instance.state,
        reason=instance.reason,
        actor=instance.actor,
        detail=instance.detail,
    )
    if instance.state is State.TERMINATED:
        how = Reason(new["ended_how"]["S"]) if "ended_how" in new else Reason.CONFIRMED_GONE
        step = replace(step, source=State.TERMINATING, reason=how, actor=ENDED_BY[how], detail="")
    return journal.history_row(instance.instance_id, step)


def _drop_empty(project: str, pool: str, shape: str) -> None:
    """Take a shape out of the directory when no instance has it, so that old prices do not pile up there.

    A row that counts again meanwhile, or that another transaction holds, stays.
    """
    try:
        calls.delete(PoolRow, project, f"{pool}#{shape}", PoolRow.total == 0)
    except (calls.ConditionFailedError, ThrottledError):
        return
