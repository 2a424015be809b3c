"""Hosts, and the claims by which one machine is one instance of a project.

Every write of a record is conditional on the very write that was read before it, so of two workers that drive one
adoption one loses and reads again. A claim is an entry of its own (`claim#<what>`), held by one instance.
"""

import secrets
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final

from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.host_records import Destination, HostRecord, Step, kept_short
from chalicelib.store import calls
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch, moment, stamp
from chalicelib.store.models import HostRow

HOST: Final = "host#"
CHECK: Final = "check#"
CLAIM: Final = "claim#"
MOMENTS: Final = ("created_at", "sent_at", "removed_at", "owed_since")
DESTINATIONS: Final = ("destination", "jump")
OWN_COLUMNS: Final = ("project", "key", "is_check", "write")


def put(record: HostRecord, *, ttl: datetime | None = None) -> HostRecord:
    """Store a new record; return it as stored. Raises `LostRaceError` when its key is taken."""
    new = kept_short(replace(record, write=calls.fresh_write()))
    try:
        calls.put(_encode(new, ttl), HostRow.entry.does_not_exist())
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != new.write:  # else our own, whose answer was lost
            raise LostRaceError(f"{record.key} exists", host=record.key) from error
    return new


def change(seen: HostRecord, *, ttl: datetime | None = None, **changes: Any) -> HostRecord:
    """Change a record, if nobody wrote it since it was read; return it as stored. Raises `LostRaceError`."""
    new = kept_short(replace(seen, **changes, write=calls.fresh_write()))
    try:
        calls.put(_encode(new, ttl), HostRow.write == seen.write)
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != new.write:
            raise LostRaceError(f"{seen.key} has moved on since it was read", host=seen.key) from error
    return new


def get(project: str, key: str) -> HostRecord | None:
    """Read the record of an instance's host, as of now."""
    return _read(project, HOST + key)


def check(project: str, key: str) -> HostRecord | None:
    """Read the record of a check, as of now."""
    return _read(project, CHECK + key)


def read_again(record: HostRecord) -> HostRecord | None:
    """Read a record as it is now, of whichever kind it is."""
    return _read(record.project, _entry(record))


def forget(record: HostRecord) -> None:
    """Delete a record; one that is gone is fine."""
    calls.delete(HostRow, record.project, _entry(record))


def list_hosts(project: str) -> list[HostRecord]:
    """Read the hosts of a project by the age of their instances, with those that have ended lately."""
    found = calls.query_all(HostRow, project, range_key_condition=HostRow.entry.startswith(HOST), consistent_read=True)
    return [_decode(item) for item in found]


def list_checks(project: str) -> list[HostRecord]:
    """Read the checks of a project that are kept."""
    found = calls.query_all(HostRow, project, range_key_condition=HostRow.entry.startswith(CHECK))
    return [_decode(item) for item in found]


def claim(project: str, what: str, holder: str, *, instead_of: str = "") -> str:
    """Take a claim and return who holds it now: `holder`, or whoever was first. Taking it again is fine.

    `instead_of` is a holder that has ended and is to be replaced.
    """
    free = HostRow.entry.does_not_exist() | (HostRow.holder == holder)
    if instead_of:
        free |= HostRow.holder == instead_of
    try:
        calls.put(HostRow(project, CLAIM + what, holder=holder, write=secrets.token_hex(8)), free)
    except calls.ConditionFailedError as error:
        return error.item["holder"]["S"] if error.item else ""
    return holder


def holder_of(project: str, what: str) -> str:
    """Say who holds a claim, or ""."""
    item = calls.get(HostRow, project, CLAIM + what, consistent=True)
    return item["holder"]["S"] if item else ""


def release(project: str, what: str, holder: str) -> None:
    """Let a claim go, if it is still this holder's."""
    try:
        calls.delete(HostRow, project, CLAIM + what, condition=HostRow.holder == holder)
    except calls.ConditionFailedError:
        return


def _read(project: str, entry: str) -> HostRecord | None:
    item = calls.get(HostRow, project, entry, consistent=True)
    return None if item is None else _decode(item)


def _entry(record: HostRecord) -> str:
    return (CHECK if record.is_check else HOST) + record.key


def _encode(record: HostRecord, ttl: datetime | None) -> HostRow:
    doc: dict[str, Any] = {}
    for field in fields(HostRecord):
        value = getattr(record, field.name)
        if field.name in OWN_COLUMNS or value == field.default:
            continue
        doc[field.name] = _written(field.name, value)
    return HostRow(
        record.project, _entry(record), doc=doc, write=record.write, ttl=epoch(ttl) if ttl is not None else None
    )


def _written(name: str, value: Any) -> Any:
    if name in MOMENTS:
        return stamp(value)
    if name in DESTINATIONS:
        return {"host": value.host, "user": value.user, "port": value.port}
    if name == "checks":
        return [dict(each) for each in value]
    return value.value if isinstance(value, Step) else value


def _decode(item: Image) -> HostRecord:
    row = HostRow.from_raw_data(item)
    kind, _, key = row.entry.partition("#")
    values: dict[str, Any] = {name: _value(name, value) for name, value in _known(row.doc).items()}
    return HostRecord(project=row.project, key=key, is_check=kind == "check", write=row.write, **values)


def _known(doc: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of a document: one that a newer version wrote may have more."""
    names = {field.name for field in fields(HostRecord)}
    return {name: value for name, value in doc.items() if name in names}


def _value(name: str, value: Any) -> Any:
    if name in MOMENTS:
        return moment(value)
    if name in DESTINATIONS:
        return Destination(value["host"], value["user"], value["port"])
    if name == "checks":
        return tuple(value)
    return Step(value) if name == "step" else value
