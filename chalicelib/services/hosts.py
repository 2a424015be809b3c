"""Servers that somebody owns, as a user handles them: added, listed, looked at without adopting, refreshed.

A request writes its intent first: the record of the host, which names the secret, is there before the secret is, and
both before the instance. What a crash leaves of it is found by `sweep`, which reconcile calls.
"""

import secrets as random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain import gpu_requirements, networks
from chalicelib.domain.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    LostRaceError,
    NotFoundError,
)
from chalicelib.domain.host_records import UNKNOWN, HostRecord, Step, differences, offer_of
from chalicelib.domain.lifecycle import COMING, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.domain.names import new_id, pleasant_name, require_own_name
from chalicelib.services import adoption, host_removal, jump_pins, pools
from chalicelib.services.adoption_claims import address_claim
from chalicelib.services.deps import Deps
from chalicelib.ssh.host_keys import keys_for, keys_for_jump
from chalicelib.ssh.keys import read_private_key
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store

NAME_TRIES: Final = 5
UNFINISHED: Final = timedelta(minutes=5)
"""How old a record without an instance must be to count as what a crash left."""


@dataclass(frozen=True, slots=True)
class Key:
    """An uploaded private key. Not even `repr` shows it."""

    private_key: str
    passphrase: str = ""

    def __repr__(self) -> str:
        return "Key(…)"


@dataclass(frozen=True, slots=True)
class Added:
    """An instance and its host."""

    instance: Instance
    record: HostRecord


def add(deps: Deps, project: str, pool: str, wanted: HostRecord, key: Key | None, *, request_id: str = "") -> Added:
    """Ask for a server to be adopted: its instance is there at once, `pending`, and the steps are on their way.

    `wanted` is a record without key and time. The same host again is answered by the instance that it is, if nothing
    contradicts. Raises `ConflictError` with `differences` where something does, `AlreadyExistsError` for a name that
    is taken (both with the `state` of an instance that is about to be gone), and
    `InvalidInputError` (`key-refused` for the key).
    """
    pools.require_open(pools.get(deps, project, pool))
    wanted = replace(_checked(wanted, key), pool=pool)
    if (known := _known(project, wanted)) is not None:
        return known
    record = replace(wanted, project=project, key=new_id("i", deps.now(), deps.rng), created_at=deps.now())
    record = _stored(deps, jump_pins.held(record), key)
    holder, former_key = _claim(deps, record)
    if holder != record.key:
        _withdraw(deps, record)
        if (known := _known(project, wanted)) is not None:
            return known
        raise LostRaceError(f"{wanted.destination} is being added by another request; ask again")
    try:
        row = _created(deps, record, request_id)
    except AlreadyExistsError as error:
        _withdraw(deps, record)
        if "made" in error.context:
            return get(deps, project, error.context["made"])
        raise
    record = store.change(record, name=row.name, former_key=former_key)
    if not record.from_here:
        adoption.start(deps, record)
    log.event("host-requested", instance=row.instance_id, name=row.name, pool=pool)
    return Added(row, record)


def begin_check(deps: Deps, project: str, wanted: HostRecord, key: Key | None) -> HostRecord:
    """Look at a host without adopting it: what adoption would find. The record is kept for an hour."""
    pools.require_project(deps, project)
    wanted = _checked(wanted, key)
    check_id = new_id("c", deps.now(), deps.rng)
    record = replace(wanted, project=project, pool="", key=check_id, created_at=deps.now(), is_check=True)
    record = _seen_before(record)
    record = _stored(deps, jump_pins.held(record), key)
    if not record.from_here:
        adoption.start(deps, record)
    return record


def get_check(deps: Deps, project: str, check_id: str) -> HostRecord:
    """Return a check with what it found so far. Raises `NotFoundError`."""
    record = store.check(project, check_id)
    if record is None:
        raise NotFoundError(f"check {check_id!r} is unknown")
    return record


def get(deps: Deps, project: str, name: str) -> Added:
    """Return a host by the name or id of its instance, ended ones included. Raises `NotFoundError`."""
    row = instance_store.find(project, name)
    record = store.get(project, row.instance_id)
    if record is None:
        raise NotFoundError(f"instance {name!r} is no host that was added")
    return Added(row, record)


def listed(deps: Deps, project: str) -> list[Added]:
    """Return the hosts of a project: the live ones, and those that have ended and are still to be cleaned."""
    found = []
    for record in store.list_hosts(project):
        row = instance_store.look_up(project, record.key)
        if row is not None and (row.state is not State.TERMINATED or record.owed_since is not None):
            found.append(Added(row, record))
    return found


def refresh(deps: Deps, project: str, name: str) -> Instance:
    """Have the agent of a host read its facts again, at its next sync, which is asked for now."""
    found = get(deps, project, name)
    if found.instance.state not in (State.IDLE, State.BUSY):
        raise ConflictError(
            f"instance {name!r} is {found.instance.state.value}; facts are read of a host that is ready"
        )
    store.change(found.record, refresh=True)
    deps.wake.send(found.instance.instance_id)
    return found.instance


def forget(deps: Deps, project: str, name: str) -> Instance:
    """Wait no longer for a host that was removed while it was away: it will not confirm that nothing is left on it.

    Another control plane has it, or it is no more. What is on it stays. Again changes nothing.
    """
    found = get(deps, project, name)
    if found.instance.state is not State.TERMINATED:
        raise ConflictError(
            f"instance {name!r} is {found.instance.state.value}; what has ended can be forgotten: remove it first"
        )
    host_removal.forgive(deps, found.record)
    return found.instance


def sweep(deps: Deps, project: str) -> int:
    """Clear away what crashes left: keys of adoptions that are over, records and claims without an instance.

    Returns how many hosts or checks had something. One of which something cannot be cleared away stops no other.
    """
    return sum(_cleared_if_possible(deps, record) for record in _all(project))


def _cleared_if_possible(deps: Deps, record: HostRecord) -> bool:
    try:
        return _cleared(deps, record)
    except Exception as error:  # noqa: BLE001 - whatever it was, the keys of the others are deleted
        log.error("host-sweep-failed", error, host=record.key)
        return False


def _all(project: str) -> Iterator[HostRecord]:
    yield from store.list_hosts(project)
    yield from store.list_checks(project)


def _cleared(deps: Deps, record: HostRecord) -> bool:
    """Whether something had to be cleared away for one host."""
    if record.is_check:
        is_live = not record.is_over and deps.now() - record.created_at < adoption.ENDS_WITHIN
        row = None
    else:
        row = instance_store.look_up(record.project, record.key)
        is_live = row is not None and row.state in COMING
    if is_live or deps.now() - record.created_at < UNFINISHED:
        return False
    is_unmade = row is None and not record.is_check and record.owed_since is None and record.removed_at is None
    if is_unmade:
        _withdraw(deps, record)
    elif record.is_check and not record.is_over:
        adoption.end_late(deps, record)
    elif record.secret:
        host_removal.forget_key(deps, record)
    else:
        return False
    log.event("left-behind", host=record.key)
    return True


def _checked(wanted: HostRecord, key: Key | None) -> HostRecord:
    """Refuse what cannot be, before anything is stored."""
    where = wanted.destination
    if wanted.name:
        require_own_name(wanted.name, "name")
    keys_for(wanted.host_key, where, wanted.jump)
    if wanted.jump is not None:
        keys_for_jump(wanted.host_key, wanted.jump)
    if wanted.gpu:
        gpu_requirements.parse(wanted.gpu, "gpu")
    if wanted.from_here and key is not None:
        raise InvalidInputError("private_key", "…", "none: with from_here the key stays where it is")
    if not wanted.from_here:
        if key is None:
            raise InvalidInputError("private_key", "", "a private key, or from_here")
        read_private_key(key.private_key, key.passphrase)
    return replace(wanted, network=networks.parse_network(wanted.network).compressed) if wanted.network else wanted


def _known(project: str, wanted: HostRecord) -> Added | None:
    """The live instance that has this address, if there is one. Raises `ConflictError` where something differs."""
    holder = store.holder_of(project, address_claim(wanted))
    row = instance_store.look_up(project, holder) if holder else None
    record = store.get(project, holder) if holder else None
    if row is None or record is None or not _is_held(row, record):
        return None
    if row.state is State.TERMINATING:
        raise ConflictError(
            f"{wanted.destination} is instance {row.name!r}, which is being removed; ask again",
            instance=row.name,
            state=row.state.value,
        )
    found = differences(record, wanted)
    if "host_key" in found and record.fingerprint:
        found["host_key"]["is"] = record.fingerprint
        given = keys_for(wanted.host_key, wanted.destination, wanted.jump)
        if given is None or record.fingerprint in given:
            del found["host_key"]
    if wanted.name and wanted.name != row.name:
        found["name"] = {"is": row.name, "asked": wanted.name}
    if found:
        raise ConflictError(_contradiction(wanted, row, found), instance=row.name, differences=found)
    return Added(row, record)


def _contradiction(wanted: HostRecord, row: Instance, found: Mapping[str, Mapping[str, str]]) -> str:
    """Say what the host is, what was asked for, and what to do: nothing of this is changed while it is adopted."""
    said = [
        f"Its {name} was {each['is'] or 'not named'} when it was added, and is {each['asked']} now."
        for name, each in found.items()
        if name != "host_key"
    ]
    if said:
        others = ", ".join(name for name in found if name != "host_key")
        said.append(f"Remove it first (tidepool pool rm {row.name}), or leave out: {others}.")
    if "host_key" in found:
        known = found["host_key"]["is"] or "another one that was given"
        said.append(f"Its host key is {known}, and not among those that are given now: compare it on the host.")
    return f"{wanted.destination} is instance {row.name} already. {' '.join(said)}"


def _is_held(row: Instance, record: HostRecord | None) -> bool:
    """Whether an instance still has its address: one that goes, and has left nothing on the host, has not."""
    is_going = row.state is State.TERMINATING and record is not None and record.is_untouched
    return row.state is not State.TERMINATED and not is_going


def _stored(deps: Deps, record: HostRecord, key: Key | None) -> HostRecord:
    """Write the record, which names the secret, and then the secret."""
    if key is not None:
        record = replace(record, secret=f"hosts/{record.project}/{record.key}/{random.token_hex(8)}")
    if record.is_check:
        kept_for = host_removal.SECRET_KEPT if record.secret else host_removal.CHECKS_KEPT
        record = replace(record, expires_at=deps.now() + kept_for)
    record = store.put(record)
    if key is not None:
        deps.secrets.put(record.secret, {"private_key": key.private_key, "passphrase": key.passphrase})
    return record


def _claim(deps: Deps, record: HostRecord) -> tuple[str, str]:
    """Take the address; one whose holder has ended, or never came to be, is taken over.

    Returns who has it now, and the host key of an ended instance that had it.
    """
    what = address_claim(record)
    holder = store.claim(record.project, what, record.key)
    if holder == record.key:
        return holder, ""
    row, before = instance_store.look_up(record.project, holder), store.get(record.project, holder)
    is_unfinished = row is None and before is not None and deps.now() - before.created_at < UNFINISHED
    if is_unfinished or (row is not None and _is_held(row, before)):
        return holder, ""
    holder = store.claim(record.project, what, record.key, instead_of=holder)
    return holder, before.fingerprint if before else ""


def _seen_before(record: HostRecord) -> HostRecord:
    """Hold a host that is looked at to the key of the live instance at its address, and tell it from an ended one's."""
    holder = store.holder_of(record.project, address_claim(record))
    before = store.get(record.project, holder) if holder else None
    if before is None or not before.fingerprint:
        return record
    if instance_store.is_live(record.project, holder):
        return replace(record, fingerprint=before.fingerprint, pinned=before.pinned, former_key=before.fingerprint)
    return replace(record, former_key=before.fingerprint)


def _created(deps: Deps, record: HostRecord, request_id: str) -> Instance:
    """Make the instance. A pleasant name that is taken is changed."""
    now = deps.now()
    row = Instance(
        project=record.project,
        pool=record.pool,
        instance_id=record.key,
        name=record.name or pleasant_name(deps.rng),
        state=State.PENDING,
        fence=1,
        reason=Reason.ADD_SSH,
        actor=record.actor,
        created_at=now,
        changed_at=now,
        offer=offer_of(record.region, UNKNOWN),
        detail=Step.PREFLIGHT.value,
    )
    for attempt in range(NAME_TRIES):
        try:
            return instance_store.create(
                row, {"api_url": record.api_url}, now + adoption.FIRST_LOOK, request_id=request_id
            )
        except AlreadyExistsError as error:
            is_own_choice = bool(record.name) or "made" in error.context or "name" not in error.context
            if is_own_choice or attempt == NAME_TRIES - 1:
                holder = instance_store.look_up(record.project, row.name)
                if holder is not None and holder.state is State.TERMINATING:
                    error.context["state"] = holder.state.value
                raise
            row = replace(row, name=pleasant_name(deps.rng))
    raise LostRaceError("no name is free; ask again")


def _withdraw(deps: Deps, record: HostRecord) -> None:
    """Take back what a request wrote before it had its instance."""
    host_removal.forget_key(deps, record)
    store.release(record.project, address_claim(record), record.key)
    store.forget(record)
