"""Configured backends: one row a name, and every write conditional on the very write that was read before it.

A row says which secret its credentials are in, and which other secrets may exist (`spare`). A secret is entered as
spare before it is stored and becomes the record's own in one write, so that a crash never leaves a record without its
secret, nor a secret that no row knows of. A row without a record is such a rest, and nobody's backend.
"""

from dataclasses import replace
from typing import Any

from chalicelib.domain.accounts import BackendEntry, BackendRecord, Checkup
from chalicelib.domain.errors import LostRaceError
from chalicelib.store import calls
from chalicelib.store.calls import Image
from chalicelib.store.columns import moment, stamp
from chalicelib.store.models import BackendRow


def entry(project: str, name: str) -> BackendEntry:
    """Read what there is under a name, as of now."""
    item = calls.get(BackendRow, project, name, consistent=True)
    return BackendEntry(project, name) if item is None else _decode(item)


def list_records(project: str) -> list[BackendRecord]:
    """Read the configured backends of a project by name, as of now, the closed ones too."""
    rows = calls.query_all(BackendRow, project, consistent_read=True)
    return [found.record for found in map(_decode, rows) if found.record is not None]


def put(seen: BackendEntry, record: BackendRecord | None, spare: tuple[str, ...]) -> BackendEntry:
    """Replace an entry, if nobody wrote it since it was read; return it as stored. Raises `LostRaceError`."""
    new = replace(seen, record=record, spare=spare, write=calls.fresh_write())
    unchanged = BackendRow.write == seen.write if seen.write else BackendRow.name.does_not_exist()
    try:
        calls.put(_encode(new), unchanged)
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != new.write:  # else our own, whose answer was lost
            raise _moved(seen) from error
    return new


def forget(seen: BackendEntry) -> None:
    """Delete an entry, if nobody wrote it since it was read; one that is gone is fine. Raises `LostRaceError`."""
    try:
        unchanged = BackendRow.name.does_not_exist() | (BackendRow.write == seen.write)
        calls.delete(BackendRow, seen.project, seen.name, condition=unchanged)
    except calls.ConditionFailedError as error:
        raise _moved(seen) from error


def note_checkup(record: BackendRecord, checkup: Checkup) -> None:
    """Keep what the checks of a record said. Nothing is kept when its configuration changed meanwhile."""
    same = BackendRow.secret == record.secret
    try:
        calls.update(BackendRow, record.project, record.name, [BackendRow.checkup.set(_checkup_doc(checkup))], same)
    except calls.ConditionFailedError:
        return


def _encode(entry: BackendEntry) -> BackendRow:
    row = BackendRow(entry.project, entry.name, write=entry.write, spare=list(entry.spare) or None)
    record = entry.record
    if record is not None:
        row.kind = record.kind
        row.config = dict(record.config)
        row.secret = record.secret
        row.version = record.version
        row.created_at = record.created_at
        row.changed_at = record.changed_at
        row.actor = record.actor
        row.closed = record.closed or None
        row.checkup = _checkup_doc(record.checkup) if record.checkup else None
    return row


def _decode(item: Image) -> BackendEntry:
    row = BackendRow.from_raw_data(item)
    record = None
    if row.kind:
        record = BackendRecord(
            project=row.project,
            name=row.name,
            kind=row.kind,
            config=row.config,
            secret=row.secret or "",
            version=int(row.version or 0),
            created_at=row.created_at,
            changed_at=row.changed_at,
            actor=row.actor or "",
            closed=bool(row.closed),
            checkup=_checkup(row.checkup) if row.checkup else None,
        )
    return BackendEntry(row.project, row.name, record, tuple(row.spare or ()), row.write)


def _checkup_doc(checkup: Checkup) -> dict[str, Any]:
    checks = [dict(check) for check in checkup.checks]
    return {"at": stamp(checkup.at), "checks": checks, "account": checkup.account}


def _checkup(doc: dict[str, Any]) -> Checkup:
    return Checkup(moment(doc["at"]), tuple(doc["checks"]), doc.get("account", ""))


def _moved(seen: BackendEntry) -> LostRaceError:
    return LostRaceError(
        f"backend {seen.name!r} was changed by another request meanwhile; ask again", backend=seen.name
    )
