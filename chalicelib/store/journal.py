"""What belongs to one instance and is in no listing: specification, facts, callback, attempts, history.

One partition an instance, so that everything about it is one query. Attempts and history are separate entries: each is
written once, or changed under a condition, and none is ever lost to a writer that read an older version.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Transition
from chalicelib.store import calls
from chalicelib.store.columns import epoch, moment, stamp
from chalicelib.store.documents import offer_doc, offer_from
from chalicelib.store.models import JournalRow

SPEC: Final = "spec"
FACTS: Final = "facts"
CALLBACK: Final = "callback"
EXECUTION: Final = "execution"
ATTEMPT: Final = "attempt#"
HISTORY: Final = "history#"
FOLDED: Final = "folded"
"""How many attempts of each class are not kept any more."""
KEEP_HISTORY: Final = timedelta(days=90)

FOLLOWS: Final[Mapping[AttemptState, frozenset[AttemptState]]] = {
    AttemptState.LAUNCHED: frozenset({AttemptState.INTENT, AttemptState.UNKNOWN, AttemptState.LAUNCHED}),
    AttemptState.REFUSED: frozenset({AttemptState.INTENT, AttemptState.UNKNOWN, AttemptState.REFUSED}),
    AttemptState.UNKNOWN: frozenset({AttemptState.INTENT, AttemptState.UNKNOWN}),
    AttemptState.CLEANED: frozenset(AttemptState),
}
"""From which states an attempt may come to a state. Nothing comes after `cleaned`; a late answer changes nothing."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything about one instance, oldest first."""

    spec: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    callback: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    history: list[Transition] = field(default_factory=list)


def everything(instance_id: str) -> Journal:
    """Read all entries of one instance in one query."""
    journal = Journal()
    for item in calls.query_all(JournalRow, instance_id, consistent_read=True):
        row = JournalRow.from_raw_data(item)
        if row.entry.startswith(ATTEMPT):
            journal.attempts.append(_attempt(row))
        elif row.entry.startswith(HISTORY):
            journal.history.append(_transition(row))
        elif row.entry in {SPEC, FACTS, CALLBACK}:
            journal = replace(journal, **{row.entry: row.body})
    return journal


def spec(instance_id: str) -> dict[str, Any] | None:
    """Read what was asked for when the instance was made."""
    return cast(dict[str, Any] | None, _body(instance_id, SPEC))


def put_facts(instance_id: str, value: Mapping[str, Any]) -> None:
    """Replace the facts."""
    calls.put(JournalRow(instance_id, FACTS, body=dict(value)))


def facts(instance_id: str) -> dict[str, Any] | None:
    """Read what the agent said of its machine, or None."""
    return cast(dict[str, Any] | None, _body(instance_id, FACTS))


def callback(instance_id: str) -> str | None:
    """Read the task token of the workflow that waits for this instance's agent, or None."""
    return cast(str | None, _body(instance_id, CALLBACK))


def put_callback(instance_id: str, token: str) -> None:
    """Remember who waits. A newer wait replaces an older one, whose task timed out."""
    calls.put(JournalRow(instance_id, CALLBACK, body=token))


def execution(instance_id: str) -> str:
    """Read the name of the provision workflow that was started last, or ""."""
    return _body(instance_id, EXECUTION) or ""


def put_execution(instance_id: str, name: str) -> None:
    """Remember which provision workflow is started, before it is. The newest counts."""
    calls.put(JournalRow(instance_id, EXECUTION, body=name))


def put_attempt(instance_id: str, attempt: Attempt) -> None:
    """Write an attempt before its provider is called. The same write again (an answer was lost) is fine.

    Raises `LostRaceError` when the number is taken: by another worker, or by this one before it died. Whoever meets
    that looks the attempt up before it buys anything.
    """
    row = JournalRow(
        instance_id,
        _attempt_entry(attempt.number),
        state=attempt.state.value,
        body={
            "attempt_id": attempt.attempt_id,
            "number": attempt.number,
            "offer": offer_doc(attempt.offer),
            "started_at": stamp(attempt.started_at),
            "deadline": stamp(attempt.deadline),
        },
        machine_ref=attempt.machine_ref or None,
        kind=attempt.kind or None,
        detail=attempt.detail or None,
        ended_at=attempt.ended_at,
    )
    try:
        calls.put(row, JournalRow.entry.does_not_exist())
    except calls.ConditionFailedError as error:
        if error.item is None or _attempt(JournalRow.from_raw_data(error.item)) != _attempt(row):
            raise LostRaceError(f"attempt {attempt.number} exists", attempt=attempt.number) from error


def end_attempt(
    instance_id: str,
    number: int,
    state: AttemptState,
    *,
    machine_ref: str | None = None,
    kind: str | None = None,
    detail: str | None = None,
    ended_at: datetime | None = None,
) -> Attempt:
    """Note how an attempt went, if it may still go that way (`FOLLOWS`); return it as stored. Repeating it is fine.

    What is None stays as it was. Raises `LostRaceError` when the attempt is gone or went another way.
    """
    changes: dict[str, Any] = {"machine_ref": machine_ref, "kind": kind, "detail": detail, "ended_at": ended_at}
    columns = JournalRow.get_attributes()
    actions = [columns[name].set(value) for name, value in changes.items() if value is not None]
    actions.append(JournalRow.state.set(state.value))
    allowed = JournalRow.state.is_in(*sorted(each.value for each in FOLLOWS[state]))
    try:
        item = calls.update(JournalRow, instance_id, _attempt_entry(number), actions, allowed)
    except calls.ConditionFailedError as error:
        raise LostRaceError(f"attempt {number} went another way", attempt=number) from error
    return _attempt(JournalRow.from_raw_data(item))


def attempts(instance_id: str) -> list[Attempt]:
    """Read the attempts of an instance, the first one first."""
    found = calls.query_all(
        JournalRow, instance_id, range_key_condition=JournalRow.entry.startswith(ATTEMPT), consistent_read=True
    )
    return [_attempt(JournalRow.from_raw_data(item)) for item in found]


def history_row(instance_id: str, step: Transition) -> JournalRow:
    """Make the entry of one step."""
    return JournalRow(
        instance_id,
        f"{HISTORY}{step.fence:08d}",
        body={
            "at": stamp(step.at),
            "fence": step.fence,
            "source": step.source.value if step.source else None,
            "target": step.target.value,
            "reason": step.reason.value,
            "actor": step.actor,
            "detail": step.detail,
        },
        ttl=epoch(step.at + KEEP_HISTORY),
    )


def fold(instance_id: str, attempts: Sequence[Attempt]) -> dict[str, int]:
    """Forget attempts that made nothing, and count them by class; return the counts of all that were ever folded.

    Counted first: a crash in between counts some twice, which is a wrong figure in a text and nothing else.
    """
    counts = Counter(_body(instance_id, FOLDED) or {})
    if attempts:
        counts += Counter(attempt.kind or "unknown" for attempt in attempts)
        calls.put(JournalRow(instance_id, FOLDED, body=dict(counts)))
        keys = [{"instance_id": {"S": instance_id}, "entry": {"S": _attempt_entry(a.number)}} for a in attempts]
        calls.delete_many(JournalRow, keys)
    return dict(counts)


def expire(instance_id: str, at: datetime) -> None:
    """Let everything about an ended instance go at a moment, or earlier. Repeating it is fine."""
    sooner = JournalRow.ttl.does_not_exist() | (JournalRow.ttl > epoch(at))
    for item in calls.query_all(JournalRow, instance_id, attributes_to_get=["entry"]):
        try:
            calls.update(
                JournalRow,
                instance_id,
                item["entry"]["S"],
                [JournalRow.ttl.set(epoch(at))],
                JournalRow.entry.exists() & sooner,
            )
        except calls.ConditionFailedError:
            continue


def _attempt_entry(number: int) -> str:
    return f"{ATTEMPT}{number:06d}"


def _body(instance_id: str, entry: str) -> Any:
    item = calls.get(JournalRow, instance_id, entry, consistent=True)
    return None if item is None else JournalRow.from_raw_data(item).body


def _attempt(row: JournalRow) -> Attempt:
    doc = row.body
    return Attempt(
        attempt_id=doc["attempt_id"],
        number=doc["number"],
        offer=offer_from(doc["offer"]),
        state=AttemptState(row.state),
        started_at=moment(doc["started_at"]),
        deadline=moment(doc["deadline"]),
        machine_ref=row.machine_ref or "",
        kind=row.kind or "",
        detail=row.detail or "",
        ended_at=row.ended_at,
    )


def _transition(row: JournalRow) -> Transition:
    doc = row.body
    return Transition(
        at=moment(doc["at"]),
        fence=doc["fence"],
        source=State(doc["source"]) if doc["source"] else None,
        target=State(doc["target"]),
        reason=Reason(doc["reason"]),
        actor=doc["actor"],
        detail=doc["detail"],
    )
