"""Instances: every write is conditional on the row that the decision was made on (`state = seen AND fence = seen`).

State is for the reader, the fence against A-B-A: idle, busy and idle again between a read and its write. The flags and
the idle limit change without a new fence, so a write that depends on them (it enters the index, or computes a deadline
from the limit) has them in its condition too. Timers are filed before the row that needs them: a crash in between
leaves a harmless timer, never a state without a deadline.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Any, Final

from chalicelib.domain.errors import AlreadyExistsError, LeaseLostError, LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Event, Reason, State, next_state
from chalicelib.domain.model import Instance, Lease, Offer
from chalicelib.domain.names import is_id, is_name
from chalicelib.store import calls, cursors, guarded, requests, rows
from chalicelib.store.columns import epoch, moment
from chalicelib.store.expressions import PRESENT
from chalicelib.store.guarded import Candidate as Candidate  # noqa: PLC0414 - part of this module
from chalicelib.store.models import InstanceRow, JournalRow, NameRow, PoolRow

COMMON: Final = frozenset({"state", "fence", "reason", "actor", "detail", "changed_at", "deadline"})
"""What every step writes."""

PRESENCE: Final = "agent"
"""The actor that ends `unreachable`."""

LOOKS: Final = 2
"""How often a name is asked for the place of its row: an instance ends once."""

TOUCH_TRIES: Final = 4
"""A touch loses only to a change of flags, or of the fence while a lease is extended: rare, seldom twice in a row."""


def create(instance: Instance, spec: dict[str, Any], deadline: datetime, *, request_id: str = "") -> Instance:
    """Make a new instance with its name and its specification, all or nothing; return it as stored.

    `deadline` becomes the row's. Raises `AlreadyExistsError` when a live instance of the project has the name (its
    context has `name`), when the id is taken (`instance`), or when `request_id` has made one (`made`: which);
    `NotFoundError` when the pool does not exist or is being deleted.
    """
    instance = replace(instance, deadline=deadline)
    guarded.file_timer(instance, now=instance.changed_at)
    row = rows.encode(instance, wrote="create", write=calls.fresh_write())
    writes = calls.Transaction()
    writes.check(PoolRow, instance.project, instance.pool, PoolRow.name.exists() & PoolRow.deleting.does_not_exist())
    writes.put(_name_row(instance, f"instance:{instance.name}"), NameRow.name.does_not_exist() | NameRow.ended.exists())
    writes.put(_name_row(instance, f"id:{instance.instance_id}"), NameRow.name.does_not_exist())
    writes.put(row, InstanceRow.instance_id.does_not_exist())
    writes.put(JournalRow(instance.instance_id, "spec", body=spec))
    if request_id:
        requests.note(writes, instance.project, request_id, instance.instance_id, instance.created_at)
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        if made := requests.made(instance.project, request_id):
            raise AlreadyExistsError(f"this request made instance {made!r}", made=made) from error
        if 0 in error.failed:
            raise NotFoundError(
                f"pool {instance.pool!r} does not exist or is being deleted", pool=instance.pool
            ) from error
        if 1 not in error.failed:
            raise AlreadyExistsError(
                f"instance {instance.instance_id!r} exists", instance=instance.instance_id
            ) from error
        raise AlreadyExistsError(f"an instance named {instance.name!r} exists", name=instance.name) from error
    return rows.decode(row.serialize())


def get(project: str, pool: str, instance_id: str, *, consistent: bool = True) -> Instance:
    """Read a live instance. Raises `NotFoundError`."""
    row = peek(project, pool, instance_id, consistent=consistent)
    if row is None:
        raise NotFoundError(f"instance {instance_id!r} does not exist", instance=instance_id)
    return row


def peek(project: str, pool: str, instance_id: str, *, consistent: bool = True) -> Instance | None:
    """The same, or None where it has ended or never was."""
    item = calls.get(InstanceRow, rows.part(project, pool), instance_id, consistent=consistent)
    return None if item is None else rows.decode(item)


def find(project: str, name_or_id: str, pool: str = "") -> Instance:
    """Find an instance by name or id: the live one, else the newest that ended. Raises `NotFoundError`.

    With a pool to look in, the id of a live instance there leads straight to its row, before any name that looks like
    an id; everything else is looked up, and may be found in another pool.

    The row may move to the ended ones between the look at its name and the look at itself; then the name is asked
    again, which leads to its new place.
    """
    if is_name(pool) and is_id(name_or_id):
        live = peek(project, pool, name_or_id)
        if live is not None:
            return live
    for name in (f"instance:{name_or_id}", f"id:{name_or_id}"):
        for _ in range(LOOKS):
            item = calls.get(NameRow, project, name, consistent=True)
            if item is None:
                break
            found = calls.get(InstanceRow, *_place(NameRow.from_raw_data(item)), consistent=True)
            if found is not None:
                return rows.decode(found)
    raise NotFoundError(f"instance {name_or_id!r} does not exist", instance=name_or_id)


def look_up(project: str, name_or_id: str, pool: str = "") -> Instance | None:
    """The same, or None where there is none."""
    try:
        return find(project, name_or_id, pool)
    except NotFoundError:
        return None


def is_live(project: str, name_or_id: str) -> bool:
    """Whether there is such an instance, and it has not ended."""
    row = look_up(project, name_or_id)
    return row is not None and row.state is not State.TERMINATED


def _place(held: NameRow) -> tuple[str, str]:
    """The key of the row that a name leads to."""
    pool = held.pool or ""
    if held.ended:
        return rows.ended_part(held.project, pool), held.ended
    return rows.part(held.project, pool), held.holder


def step(
    seen: Instance,
    event: Event,
    *,
    now: datetime,
    reason: Reason,
    actor: str,
    deadline: datetime | None,
    detail: str = "",
    holding: str = "",
    **changes: Any,
) -> Instance:
    """Move one instance along the lifecycle, if it still is the row the decision was made on; return it as stored.

    `deadline` is when the new state is to be looked at: its timer is filed first. `changes` are fields of `Instance`
    (`rows.CHANGEABLE`) that change with it; `lease=None` ends the lease. `holding` names a field that moves without a
    new fence (`deadline`, `seen_at`) and on which the decision stands too: a heartbeat in between then wins.
    Raises `IllegalTransitionError` before any write, `LostRaceError` when another writer moved or removed the row
    since it was read.
    """
    if unknown := changes.keys() - rows.CHANGEABLE:
        raise TypeError(f"a step does not change {sorted(unknown)}")
    new = replace(
        seen,
        state=next_state(seen.state, event),
        fence=seen.fence + 1,
        reason=reason,
        actor=actor,
        detail=detail,
        changed_at=now,
        deadline=deadline,
        **changes,
    )
    guarded.file_timer(new, now=now)
    attributes = rows.fields(new, COMMON | changes.keys()) | rows.index_fields(new)
    guard = guarded.same_fence(seen)
    if new.state is State.IDLE:
        guard |= guarded.same_flags(seen)
    if holding:
        guard |= guarded.same(seen, holding)
    return guarded.write(seen, attributes, guard, wrote="step")


def postpone(seen: Instance, *, deadline: datetime, now: datetime) -> Instance:
    """Move the deadline of the present state, its timer first; return the instance as stored.

    Raises `LostRaceError` when the row has another state, fence or deadline than `seen`: who moved it filed a timer.
    """
    new = replace(seen, deadline=deadline)
    guarded.file_timer(new, now=now)
    guard = guarded.same_fence(seen) | guarded.same(seen, "deadline")
    return guarded.write(seen, {"deadline": deadline}, guard, wrote="touch")


def note(seen: Instance, *, detail: str) -> Instance:
    """Say how far the present state is, for a person; return the instance as stored. No step, and not in the history.

    Raises `LostRaceError` when the row has another state or fence than `seen`.
    """
    return guarded.write(seen, {"detail": detail or None}, guarded.same_fence(seen), wrote="touch")


def renew(seen: Instance, offer: Offer) -> Instance:
    """Give an instance the offer that its machine turned out to be; return it as stored. The fence stays.

    Raises `LostRaceError` when the row has another state, fence or flags than `seen`.
    """
    new = replace(seen, offer=offer)
    attributes = rows.fields(new, frozenset({"offer"})) | rows.index_fields(new) | {"flagged_by": PRESENCE}
    return guarded.write(seen, attributes, guarded.same_fence(seen) | guarded.same_flags(seen), wrote="flag")


def claim(
    candidate: Candidate,
    *,
    now: datetime,
    actor: str,
    deadline: datetime,
    lease: Lease,
    reason: Reason = Reason.ACQUIRED,
) -> Instance:
    """Take an idle instance straight from the index, without reading its row first; return it as stored.

    `lease.fence` must be `candidate.fence + 1`, the fence that the instance gets. Raises `LostRaceError` when the
    instance is not idle, reachable and not cordoned with the candidate's fence any more.
    """
    attributes = guarded.file_claim(candidate, now=now, actor=actor, deadline=deadline, lease=lease, reason=reason)
    return guarded.write(candidate, attributes, guarded.claimable(candidate), wrote="step")


def touch(
    seen: Instance, *, now: datetime, lease_expires: datetime | None = None, fence: int | None = None
) -> Instance:
    """Note that the agent was heard of: `seen_at`, and the end of `unreachable`; return the instance as stored.

    With `lease_expires` and `fence` the lease (and the deadline) is extended too, if the instance still has that fence;
    otherwise only the presence is noted, and the caller sees it from the answer's lease. A lease is never shortened.
    Raises `NotFoundError` when the row is gone.
    """
    for _ in range(TOUCH_TRIES):
        try:
            if seen.unreachable:
                seen = flag(seen, unreachable=False, now=now, actor=PRESENCE)
            return _note(seen, now, lease_expires, fence)
        except LostRaceError:
            seen = get(seen.project, seen.pool, seen.instance_id)
    raise LostRaceError(f"{seen.name!r} changes too fast", instance=seen.name)


def extend(seen: Instance, *, lease_expires: datetime, fence: int) -> Instance:
    """Prolong a lease for a holder that is not the agent; return the instance as stored. It is never shortened.

    Raises `LeaseLostError` when the instance does not have that fence any more.
    """
    lost = LeaseLostError(f"the lease on {seen.name!r} is over", instance=seen.name)
    for _ in range(TOUCH_TRIES):
        if seen.lease is None or not seen.lease.fence == fence == seen.fence:
            raise lost
        if lease_expires <= seen.lease.expires_at:
            return seen
        try:
            attributes = {"lease_expires": lease_expires, "deadline": lease_expires}
            guard = guarded.same_fence(seen) | guarded.same(seen, "deadline")
            return guarded.write(seen, attributes, guard, wrote="touch")
        except LostRaceError:
            try:
                seen = get(seen.project, seen.pool, seen.instance_id)
            except NotFoundError:
                raise lost from None
    raise LostRaceError(f"{seen.name!r} changes too fast", instance=seen.name)


def flag(
    seen: Instance,
    *,
    unreachable: bool | None = None,
    cordoned: bool | None = None,
    idle_limit: timedelta | EllipsisType | None = ...,
    ends_at: datetime | None = None,
    now: datetime,
    actor: str,
) -> Instance:
    """Change flags or the idle limit (None: never) and keep the fence; return the instance as stored.

    What is unreachable already stays so since the same moment. `ends_at` is when the machine will have been taken back;
    nothing unsays that. The index follows the flags, and an idle instance's deadline follows the limit, counted from
    when it became idle.
    Raises `LostRaceError` when the row has another state, fence or flags than `seen`.
    """
    changes: dict[str, Any] = {}
    if unreachable is not None:
        changes["unreachable_since"] = (seen.unreachable_since or now) if unreachable else None
    if cordoned is not None:
        changes["cordoned"] = cordoned
    if ends_at is not None:
        changes["ends_at"] = ends_at
    if not isinstance(idle_limit, EllipsisType):
        changes["idle_limit"] = idle_limit
        if seen.state is State.IDLE:
            changes["deadline"] = None if idle_limit is None else max(seen.changed_at + idle_limit, now)
    new = replace(seen, **changes)
    if "deadline" in changes:
        guarded.file_timer(new, now=now)
    attributes = rows.fields(new, frozenset(changes)) | rows.index_fields(new) | {"flagged_by": actor}
    return guarded.write(seen, attributes, guarded.same_fence(seen) | guarded.same_flags(seen), wrote="flag")


def claimable(project: str, pool: str, shape: str, limit: int) -> list[Candidate]:
    """Read up to `limit` instances of one shape that may be acquired, the longest idle first, from the index."""
    index, place = InstanceRow.claimable.Meta.index_name, rows.claim_shape(project, pool, shape)
    return [
        Candidate(
            project=project,
            pool=pool,
            instance_id=item["instance_id"]["S"],
            fence=int(item["fence"]["N"]),
            seen_at=moment(item["seen_at"]["S"]) if "seen_at" in item else None,
            name=item["name"]["S"],
        )
        for item in calls.front(InstanceRow, index, "claim_shape", place, limit)
    ]


def bury(
    seen: Instance,
    *,
    now: datetime,
    reason: Reason,
    actor: str,
    detail: str = "",
    how: Reason = Reason.CONFIRMED_GONE,
    kept_for: timedelta = rows.KEEP_ENDED,
) -> Instance:
    """End an instance of which nothing is left, and free its name; return it as it ended. `how` is for the history.

    The row leaves the live ones for the ended ones, where it stays for 7 days unless `kept_for` says otherwise, and its
    name leads there until another instance takes it. Raises `IllegalTransitionError` unless it is terminating,
    `LostRaceError` when the row moved.
    """
    state = next_state(seen.state, Event.CONFIRMED_GONE)
    new = replace(
        seen,
        state=state,
        fence=seen.fence + 1,
        reason=reason,
        actor=actor,
        detail=detail,
        changed_at=now,
        deadline=None,
        lease=None,
    )
    row = rows.encode(new, wrote="step", write=calls.fresh_write())
    row.ended_how = how.value
    row.ttl = epoch(now + kept_for)
    freed = {"ended": rows.ended_key(new), "ttl": epoch(now + kept_for)}
    writes = calls.Transaction()
    writes.drop(InstanceRow, rows.part(new.project, new.pool), new.instance_id, guarded.same_fence(seen))
    writes.put(row)
    for name in (f"instance:{new.name}", f"id:{new.instance_id}"):
        writes.change(NameRow, new.project, name, freed, {"holder": new.instance_id})
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        raise guarded.moved(seen) from error
    return rows.decode(row.serialize())


def any_live(project: str, pool: str) -> bool:
    """Whether a pool has an instance that is not terminated, as of now."""
    return bool(calls.query(InstanceRow, rows.part(project, pool), consistent_read=True, limit=1)["Items"])


def live(project: str, pool: str, limit: int, cursor: str | None = None) -> tuple[list[Instance], str | None]:
    """Read a page of a pool's live instances by id, and the cursor of the next one (None: this was the last)."""
    _, after = cursors.read(cursor, "i")
    part = rows.part(project, pool)
    start = {"part": {"S": part}, "instance_id": {"S": after}} if after else None
    answer = calls.query(InstanceRow, part, consistent_read=True, limit=limit, exclusive_start_key=start)
    last = answer.get("LastEvaluatedKey")
    return [rows.decode(item) for item in answer["Items"]], cursors.write(
        "i", last["instance_id"]["S"]
    ) if last else None


def with_prefix(project: str, pool: str, prefix: str) -> list[Instance]:
    """Read a pool's live instances whose ids begin with `prefix`, by id: those that were bought for one run."""
    wanted = InstanceRow.instance_id.startswith(prefix)
    part = rows.part(project, pool)
    return [
        rows.decode(item)
        for item in calls.query_all(InstanceRow, part, range_key_condition=wanted, consistent_read=True)
    ]


def _note(seen: Instance, now: datetime, lease_expires: datetime | None, fence: int | None) -> Instance:
    present = {"instance_id": PRESENT, "unreachable_since": None}
    held = seen.lease
    if held and lease_expires and held.fence == fence == seen.fence and lease_expires > held.expires_at:
        extended = {"seen_at": now, "lease_expires": lease_expires, "deadline": lease_expires}
        return guarded.write(seen, extended, present | guarded.same_fence(seen), wrote="touch")
    return guarded.write(seen, {"seen_at": now}, present, wrote="touch")


def _name_row(instance: Instance, name: str) -> NameRow:
    return NameRow(instance.project, name, pool=instance.pool, holder=instance.instance_id)
