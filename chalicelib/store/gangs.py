"""Several instances taken at once: one transaction, so that either all of them are held or none is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Instance, Lease
from chalicelib.store import calls, expressions, guarded, rows
from chalicelib.store.guarded import Candidate
from chalicelib.store.models import InstanceRow


def claim(candidates: Sequence[Candidate], leases: Sequence[Lease], *, now: datetime, actor: str) -> list[Instance]:
    """Take idle instances of one pool, all or none; return them as they are then, in the order given.

    `leases` belong to the candidates in their order. The timers are filed first: those of a claim that was lost are
    stale. Raises `LostRaceError` when one of them is not free any more, or changed so lately that it is not in the
    index; nothing is held then. A process that dies after the transaction holds them until the leases end.
    """
    before = _read(candidates)
    writes = calls.Transaction()
    for candidate, lease in zip(candidates, leases, strict=True):
        attributes = guarded.file_claim(
            candidate, now=now, actor=actor, deadline=lease.expires_at, lease=lease, reason=Reason.ACQUIRED
        )
        attributes |= {"wrote": "step", "write": calls.fresh_write()}
        part = rows.part(candidate.project, candidate.pool)
        writes.change(InstanceRow, part, candidate.instance_id, attributes, guarded.claimable(candidate))
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        raise guarded.moved(candidates[error.failed[0]]) from error
    common: dict[str, Any] = {"state": State.BUSY, "reason": Reason.ACQUIRED, "actor": actor, "changed_at": now}
    return [
        replace(row, **common, detail="", fence=lease.fence, deadline=lease.expires_at, lease=lease)
        for row, lease in zip(before, leases, strict=True)
    ]


def _read(candidates: Sequence[Candidate]) -> list[Instance]:
    """The rows before they are taken, so that nothing can fail between the transaction and the answer."""
    keys = [expressions.key(InstanceRow, rows.part(each.project, each.pool), each.instance_id) for each in candidates]
    stored = {row.instance_id: row for row in map(rows.decode, calls.get_many(InstanceRow, keys, consistent=True))}
    for each in candidates:
        row = stored.get(each.instance_id)
        if row is None or row.fence != each.fence:
            raise guarded.moved(each)
    return [stored[each.instance_id] for each in candidates]
