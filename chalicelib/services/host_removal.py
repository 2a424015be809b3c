"""The end of a host: its agent uninstalls itself and says so, or it is owed, and done when the host comes back.

Nothing here ends a machine. Every verb may be called again, late and by several.
"""

from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.host_records import HostRecord, Step, is_host
from chalicelib.domain.lifecycle import Reason
from chalicelib.domain.model import Instance, Token
from chalicelib.services.adoption_claims import address_claim, machine_claim
from chalicelib.services.deps import Deps
from chalicelib.ssh import scripts
from chalicelib.store import hosts as store
from chalicelib.store import tokens as token_store
from chalicelib.store.rows import KEEP_ENDED

CONFIRMS_WITHIN: Final = timedelta(minutes=2)
"""How long a host that is removed may take to say that nothing is left on it. One that had been silent for that long
when it was removed is not waited for: it is told when it returns."""

OWED_FOR: Final = timedelta(days=90)
"""How long a host may stay away and is still cleaned when it returns."""

TRIES: Final = 5


def forget_key(deps: Deps, record: HostRecord) -> HostRecord:
    """Delete the uploaded key, if there is one. The record names it for as long as it may be there."""
    for _ in range(TRIES):
        if not record.secret:
            return record
        deps.secrets.delete(record.secret)
        try:
            return store.change(record, secret="")
        except LostRaceError:
            record = store.read_again(record) or record
    raise LostRaceError(f"host {record.key} keeps moving", host=record.key)


def forget_key_of(deps: Deps, row: Instance) -> None:
    """Delete the key of an instance that is on its way out, if its adoption left one."""
    record = store.get(row.project, row.instance_id)
    if record is not None:
        forget_key(deps, record)


def settle(deps: Deps, row: Instance) -> str | None:
    """Bring a host that is removed closer to its end. None: nothing is left, or it is owed; else why not yet."""
    record = store.get(row.project, row.instance_id)
    if record is None or record.is_untouched or record.removed_at is not None or record.owed_since is not None:
        return None
    limit = min(CONFIRMS_WITHIN, deps.settings.lost_after)
    was_silent = row.seen_at is not None and row.changed_at - row.seen_at >= limit
    if not was_silent and deps.now() - row.changed_at < limit:
        deps.wake.send(row.instance_id)
        return ""
    store.change(record, owed_since=deps.now())
    log.error("cleanup-pending", instance=row.instance_id, host=str(record.destination))
    return None


def script(deps: Deps, instance_id: str) -> str:
    """What the agent of a host runs at its end, detached from itself."""
    return scripts.uninstall(deps.settings.owner, instance_id)


def confirmed(deps: Deps, project: str, instance_id: str) -> None:
    """The host said that nothing is left on it."""
    for _ in range(TRIES):
        record = store.get(project, instance_id)
        if record is None or record.removed_at is not None:
            return
        is_owed = record.owed_since is not None
        ttl = deps.now() + KEEP_ENDED if is_owed else None
        try:
            store.change(record, removed_at=deps.now(), owed_since=None, ttl=ttl)
        except LostRaceError:
            continue
        log.event("host-cleaned", instance=instance_id, late=is_owed)
        return
    raise LostRaceError(f"host {instance_id} keeps moving", host=instance_id)


def after_the_end(deps: Deps, token: Token, *, uninstalled: bool) -> str | None:
    """What the agent of an instance that has ended is told: to uninstall, if that is owed. None: nothing; it is over.

    This is the one purpose that a host's token is still good for. Its confirmation ends it.
    """
    _, project, _, instance_id = token.instance.split("/")
    record = store.get(project, instance_id)
    if record is None or (record.owed_since is None and record.removed_at is None):
        return None
    if not uninstalled:
        return script(deps, instance_id)
    confirmed(deps, project, instance_id)
    _revoke(project, token.token_id)
    return ""


def _revoke(project: str, token_id: str) -> None:
    """End the token of an agent that is no more."""
    try:
        token_store.revoke(project, token_id)
    except NotFoundError:
        log.event("token-ended-already", token=token_id)


def keeps_token(row: Instance) -> bool:
    """Whether the agent of an instance that ends may still be needed: it has not confirmed that nothing is left."""
    record = store.get(row.project, row.instance_id) if is_host(row) else None
    return record is not None and record.owed_since is not None


def close(deps: Deps, row: Instance) -> Reason:
    """What belonged to a host goes before its row does: the key, the claims, and, if nothing is owed, the record.

    Returns how the host ended, for the history.
    """
    for _ in range(TRIES):
        record = store.get(row.project, row.instance_id)
        if record is None:
            return Reason.NOTHING_INSTALLED
        record = forget_key(deps, record)
        store.release(row.project, address_claim(record), record.key)
        if record.machine_id:
            store.release(row.project, machine_claim(record.machine_id), record.key)
        step = record.step if record.is_over else Step.FAILED
        try:
            store.change(record, step=step, ttl=deps.now() + (OWED_FOR if record.owed_since else KEEP_ENDED))
        except LostRaceError:
            continue
        if record.is_untouched:
            return Reason.NOTHING_INSTALLED
        return Reason.CLEANUP_PENDING if record.owed_since else Reason.UNINSTALLED
    raise LostRaceError(f"host {row.instance_id} keeps moving", host=row.instance_id)
