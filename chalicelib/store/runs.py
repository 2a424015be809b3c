"""Runs, newest first by id. One that is over leaves the sparse index `active`, frees its name, goes after 30 days.

The list of active runs reads that index, so it costs what is active and nothing for what was.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib.domain.errors import AlreadyExistsError, LostRaceError, NotFoundError
from chalicelib.domain.model import RUN_ENDS, Run, RunReason, RunState
from chalicelib.domain.nodes import Jobs
from chalicelib.domain.timers import Timer, TimerKind, run_target
from chalicelib.store import calls, cursors, requests, timers
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch
from chalicelib.store.documents import job_doc, job_from, nodes_doc, nodes_from, tries_doc, tries_from
from chalicelib.store.expressions import Guard
from chalicelib.store.models import NameRow, RunRow

KEEP: Final = timedelta(days=30)
PAGE: Final = 100
"""What one BatchGetItem reads at most."""

CHANGEABLE: Final = frozenset(
    {"instance_id", "instance_name", "lease_id", "placements", "started_at", "ended_at", "exit_code", "spec", "tries"}
    | {"jobs"}
)
"""What a step may change beside the state."""


def create(run: Run, deadline: datetime | None, *, request_id: str = "") -> Run:
    """Make a run and take its name among the live ones, all or nothing; return it as stored.

    `deadline` files a placement timer first. Raises `AlreadyExistsError` when a run that is not over has the name
    (its context has `name`), or when `request_id` has made one (`made`: which).
    """
    _file(run, deadline, now=run.changed_at)
    row = _encode(run, write=calls.fresh_write())
    writes = calls.Transaction()
    name = NameRow(run.project, f"run:{run.name}", holder=run.run_id)
    writes.put(name, NameRow.name.does_not_exist() | NameRow.ended.exists())
    writes.put(row, RunRow.run_id.does_not_exist())
    if request_id:
        requests.note(writes, run.project, request_id, run.run_id, run.created_at)
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        if made := requests.made(run.project, request_id):
            raise AlreadyExistsError(f"this request made run {made!r}", made=made) from error
        raise AlreadyExistsError(f"a run named {run.name!r} is not over", name=run.name) from error
    return _decode(row.serialize())


def get(project: str, run_id: str) -> Run:
    """Read a run by id. Raises `NotFoundError`."""
    item = calls.get(RunRow, project, run_id, consistent=True)
    if item is None:
        raise NotFoundError(f"run {run_id!r} does not exist", run=run_id)
    return _decode(item)


def find(project: str, name_or_id: str) -> Run:
    """Find a run by name (the live one, else the newest) or id. Raises `NotFoundError`."""
    held = calls.get(NameRow, project, f"run:{name_or_id}", consistent=True)
    if held is not None:
        item = calls.get(RunRow, project, held["holder"]["S"], consistent=True)
        if item is not None:
            return _decode(item)
    return get(project, name_or_id)


def page(project: str, limit: int, cursor: str | None = None, active: bool = False) -> tuple[list[Run], str | None]:
    """Read a page of runs, the newest first, and the cursor of the next one (None: this was the last).

    A page may be shorter than `limit` although more follow. With `active` only those that are not over.
    """
    kind, after = cursors.read(cursor, "a" if active else "r")
    start = {"project": {"S": project}, "run_id": {"S": after}} if after else None
    if not active:
        answer = calls.query(RunRow, project, scan_index_forward=False, limit=limit, exclusive_start_key=start)
        items = answer["Items"]
    else:
        if start:
            start["active_in"] = {"S": project}
        answer = calls.query(
            RunRow,
            project,
            index_name=RunRow.active.Meta.index_name,
            scan_index_forward=False,
            limit=min(limit, PAGE),
            exclusive_start_key=start,
        )
        keys = [{"project": item["project"], "run_id": item["run_id"]} for item in answer["Items"]]
        items = [item for item in calls.get_many(RunRow, keys, consistent=False) if "active_in" in item]
        items.sort(key=lambda item: item["run_id"]["S"], reverse=True)
    last = answer.get("LastEvaluatedKey")
    return [_decode(item) for item in items], cursors.write(kind, last["run_id"]["S"]) if last else None


def step(
    seen: Run,
    state: RunState,
    *,
    now: datetime,
    reason: RunReason,
    actor: str,
    deadline: datetime | None = None,
    detail: str = "",
    **changes: Any,
) -> Run:
    """Move a run, if it still is the row the decision was made on; return it as stored. The same state is allowed.

    `deadline` files a placement timer for the new fence first, and the start of what may not run for ever a
    `max-duration` timer. `changes` are fields of `Run` (`CHANGEABLE`). An end
    gives the name back and lets the row go after 30 days. Raises `LostRaceError` when the row moved or is gone. A step
    of jobs stands on the jobs that were seen, since `note` changes them without a new fence.
    """
    if unknown := changes.keys() - CHANGEABLE:
        raise TypeError(f"a step does not change {sorted(unknown)}")
    common: dict[str, Any] = {"state": state, "fence": seen.fence + 1, "reason": reason, "actor": actor}
    new = replace(seen, **common, detail=detail, changed_at=now, **changes)
    _file(new, deadline, now=now)
    written = {name: getattr(new, name) for name in (*common, "detail", "changed_at", *changes)}
    if "spec" in changes:
        written["spec"] = job_doc(new.spec)
    if "tries" in changes:
        written["tries"] = tries_doc(new.tries)
    if "jobs" in changes:
        written["jobs"] = nodes_doc(new.jobs)
    guard = _same(seen) | (_same_jobs(seen) if "jobs" in changes else {})
    token = calls.fresh_write()
    written |= {"write": token}
    if new.ends_by is not None and seen.ends_by is None:
        timers.put(Timer(TimerKind.MAX_DURATION, run_target(new.project, new.run_id), 0, new.ends_by))
    if state in RUN_ENDS:
        written |= {"active_in": None, "ttl": epoch(now + KEEP)}
    attributes = {name: None if value == "" else value for name, value in written.items()}
    if state in RUN_ENDS:
        return _end(seen, new, attributes, guard)
    try:
        item = calls.change(RunRow, seen.project, seen.run_id, attributes, guard)
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != token:
            raise _moved(seen) from error
        item = error.item
    return _decode(item)


def note(seen: Run, jobs: Jobs) -> Run:
    """Change what is known of a run's jobs, if it still has the jobs that were seen; return it as stored.

    Neither the state nor the fence changes, so its timers stay good. Raises `LostRaceError` when the row moved.
    """
    token = calls.fresh_write()
    attributes = {"jobs": nodes_doc(jobs), "write": token}
    try:
        item = calls.change(RunRow, seen.project, seen.run_id, attributes, _same(seen) | _same_jobs(seen))
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != token:
            raise _moved(seen) from error
        item = error.item
    return _decode(item)


def _end(seen: Run, new: Run, attributes: dict[str, Any], guard: Guard) -> Run:
    """The end of a run and of its hold on the name, all or nothing."""
    freed = {"ended": new.run_id, "ttl": epoch(new.changed_at + KEEP)}
    writes = calls.Transaction()
    writes.change(RunRow, seen.project, seen.run_id, attributes, guard)
    writes.change(NameRow, seen.project, f"run:{seen.name}", freed, {"holder": seen.run_id})
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        raise _moved(seen) from error
    return _decode(_encode(new, write="").serialize())


def _file(run: Run, deadline: datetime | None, *, now: datetime) -> None:
    """File the placement timer. One that is due already is filed under now, where the sweep still looks."""
    if deadline is not None:
        target = run_target(run.project, run.run_id)
        timers.put(Timer(TimerKind.PLACEMENT, target, run.fence, max(deadline, now)))


def _same(seen: Run) -> dict[str, Any]:
    return {"state": seen.state.value, "fence": seen.fence}


def _same_jobs(seen: Run) -> dict[str, Any]:
    return {"jobs": nodes_doc(seen.jobs)}


def _moved(seen: Run) -> LostRaceError:
    return LostRaceError(f"run {seen.name!r} has moved on since it was read", run=seen.name)


def _encode(run: Run, *, write: str) -> RunRow:
    over = run.state in RUN_ENDS
    return RunRow(
        run.project,
        run.run_id,
        name=run.name,
        pool=run.pool,
        state=run.state.value,
        fence=run.fence,
        reason=run.reason.value,
        actor=run.actor,
        detail=run.detail or None,
        created_at=run.created_at,
        changed_at=run.changed_at,
        spec=job_doc(run.spec),
        request=dict(run.request),
        instance_id=run.instance_id or None,
        instance_name=run.instance_name or None,
        lease_id=run.lease_id or None,
        placements=run.placements or None,
        started_at=run.started_at,
        ended_at=run.ended_at,
        exit_code=run.exit_code,
        tries=tries_doc(run.tries),
        jobs=nodes_doc(run.jobs),
        active_in=None if over else run.project,
        write=write,
        ttl=epoch(run.changed_at + KEEP) if over else None,
    )


def _decode(item: Image) -> Run:
    row = RunRow.from_raw_data(item)
    return Run(
        project=row.project,
        run_id=row.run_id,
        name=row.name,
        pool=row.pool,
        state=RunState(row.state),
        fence=int(row.fence),
        reason=RunReason(row.reason),
        actor=row.actor,
        created_at=row.created_at,
        changed_at=row.changed_at,
        spec=job_from(row.spec),
        request=row.request,
        instance_id=row.instance_id or "",
        instance_name=row.instance_name or "",
        lease_id=row.lease_id or "",
        placements=int(row.placements or 0),
        started_at=row.started_at,
        ended_at=row.ended_at,
        exit_code=None if row.exit_code is None else int(row.exit_code),
        detail=row.detail or "",
        tries=tries_from(row.tries),
        jobs=nodes_from(row.jobs),
    )
