"""The backends of a project: added with their credentials, checked, listed, removed. The verbs of `tidepool backend`.

Credentials go into the secret store and from there into a driver, nowhere else: not into the table, an answer, a log
line or an error. Adding and removing are single writes on the backend's row (`store.backends`); what a crash leaves
behind is known to the row, and cleared away by whoever changes the name next.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final

from chalicelib import log
from chalicelib.backends.base import Account, Backend
from chalicelib.domain.accounts import BackendEntry, BackendRecord, Checkup
from chalicelib.domain.errors import (
    AlreadyExistsError,
    BackendAuthError,
    BackendCheckFailedError,
    ConflictError,
    InvalidInputError,
    LostRaceError,
    NotFoundError,
    TransientError,
    UnavailableError,
)
from chalicelib.domain.host_records import SSH
from chalicelib.domain.names import require_name
from chalicelib.services import backend_use, pools
from chalicelib.services.backend_use import Obstacle
from chalicelib.services.checkups import checkup, without
from chalicelib.services.deps import Deps
from chalicelib.store import backends as store
from chalicelib.store import calls

RESERVED: Final = frozenset({"local", SSH})
"""Names that have a meaning: of what the operator turns on, whether it is on or not, because a later setting must not
take over a project's own; and of the machines that nobody rents, because nobody ends those."""

READS: Final = 3
"""How often a record is read for its secret: a replacement in between takes the old one away."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants to have configured. `credentials` are never shown, not even by `repr`."""

    name: str
    kind: str
    config: Mapping[str, Any]
    credentials: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Wanted(name={self.name!r}, kind={self.kind!r})"


def add(
    deps: Deps, project: str, wanted: Wanted, *, replacing: bool = False, checking: bool = True, actor: str
) -> BackendRecord:
    """Configure a backend, or with `replacing` give one that is there another configuration and other credentials.

    Raises `InvalidInputError` for what the driver does not understand, `AlreadyExistsError` for a name that is taken,
    `ConflictError` when it is of another kind, `BackendInUseError` when machines that are rented could not be found
    any more, `BackendCheckFailedError` before anything is stored, and `LostRaceError` when another request changed the
    name meanwhile.
    """
    pools.require_project(deps, project)
    wanted = _parsed(deps, wanted)
    seen = store.entry(project, wanted.name)
    _refuse_taken(seen, wanted, replacing=replacing)
    found = None
    if checking:
        found = checkup(deps, _account(project, wanted))
        if not found.ok:
            raise _failed(wanted.name, found)
    with _while_free(deps, seen, wanted, found, actor) as entry:
        return _store(deps, entry, wanted, found, actor)


def get(deps: Deps, project: str, name: str) -> BackendRecord:
    """Return what is configured under a name, closed or not; a built-in one too. Raises `NotFoundError`."""
    if name in deps.drivers.built_in():
        return _built_in(deps, project, name)
    record = store.entry(project, name).record
    if record is None:
        raise NotFoundError(f"project {project!r} has no backend {name!r}", backend=name)
    return record


def account(deps: Deps, project: str, name: str) -> Account:
    """Return an account with its credentials, closed or not. Raises `NotFoundError`, and `BackendAuthError` or
    `TransientError` when its credentials are gone or cannot be read now.
    """
    return _open(deps, get(deps, project, name))


def secret_of(deps: Deps, project: str, name: str) -> str:
    """Name the credentials of a backend, as of now: no two accounts, and no two times, have the same name.

    Empty for a built-in one. Raises `NotFoundError`.
    """
    return get(deps, project, name).secret


def is_open(deps: Deps, project: str, name: str, secret: str) -> bool:
    """Whether machines may be rented on a backend with the credentials of this name, as of now."""
    if name in deps.drivers.built_in():
        return True
    record = store.entry(project, name).record
    return record is not None and not record.closed and record.secret == secret


def names(deps: Deps, project: str, *, closed: bool = False) -> tuple[str, ...]:
    """Name what a project may rent from; with `closed` also what is being removed."""
    return tuple(each.name for each in list_backends(deps, project) if closed or not each.closed)


def list_backends(deps: Deps, project: str) -> list[BackendRecord]:
    """Return the built-in backends, then a project's own by name."""
    built_in = deps.drivers.built_in()
    own = [record for record in store.list_records(project) if record.name not in built_in]
    return [*(_built_in(deps, project, name) for name in built_in), *own]


def test(deps: Deps, project: str, name: str) -> Checkup:
    """Make the checks of a backend now, keep what they say, and return it. Takes at most `checkups.LIMIT`."""
    record = get(deps, project, name)
    found = checkup(deps, _open(deps, record))
    found = replace(found, account=found.account or record.account)
    if record.secret:
        store.note_checkup(record, found)
    return found


def remove(deps: Deps, project: str, name: str, *, actor: str) -> None:
    """Remove a backend and its credentials. Removing goes on where an earlier call died.

    Raises `BackendInUseError` while something is rented, with the backend open again; `NotFoundError`; `LostRaceError`.
    """
    if name in deps.drivers.built_in():
        raise ConflictError(f"backend {name!r} is built in; the operator's settings turn it off", backend=name)
    seen = store.entry(project, name)
    if seen.record is None:
        _clear(deps, seen)
        raise NotFoundError(f"project {project!r} has no backend {name!r}", backend=name)
    obstacle = Obstacle(f"backend {name!r} has machines; remove them first")
    with backend_use.closed(deps, seen, seen.record, obstacle, actor=actor) as closed:
        gone = store.put(closed, None, (*closed.spare, seen.record.secret))
    _clear(deps, gone)
    log.event("backend-removed", project=project, backend=name, actor=actor)


KEPT_DRIVERS: Final = 8
"""Drivers that a process keeps, the longest unused go first. One of AWS with clients in 17 regions takes 23 MB."""


class DriverCache:
    """The drivers of configured accounts, one a secret: a rotation is seen at the next use, without a new import.

    A driver keeps its connections and its provider's token. The record is read each time, consistently. Threads may
    share it.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._made: OrderedDict[tuple[str, str], tuple[str, Backend]] = OrderedDict()

    def backend(self, deps: Deps, project: str, name: str) -> Backend:
        """Return the driver of one account. Raises what `account` does."""
        if name in deps.drivers.built_in():
            project = ""  # one for all projects: it is the operator's account
            secret = ""
        else:
            secret = secret_of(deps, project, name)
        with self._guard:
            known = self._made.get((project, name))
        if known is None or known[0] != secret:
            known = (secret, deps.drivers.make(account(deps, project, name)))
        with self._guard:
            self._made[project, name] = known
            self._made.move_to_end((project, name))
            while len(self._made) > KEPT_DRIVERS:
                self._made.popitem(last=False)
        return known[1]


def _parsed(deps: Deps, wanted: Wanted) -> Wanted:
    """Check a request by itself. What was wrong is named, but a credential is not repeated."""
    require_name(wanted.name, "name")
    if wanted.name in RESERVED or wanted.name in deps.drivers.built_in():
        raise InvalidInputError("name", wanted.name, "another name: this one has a meaning of its own")
    if wanted.kind not in deps.drivers.kinds():
        raise InvalidInputError("kind", wanted.kind, f"one of {', '.join(deps.drivers.kinds())}")
    try:
        config, credentials = deps.drivers.parse(wanted.kind, wanted.config, wanted.credentials)
    except InvalidInputError as error:
        wrong = InvalidInputError(error.field, _shown(error), without(error.expected, wanted.credentials))
    else:
        return replace(wanted, config=config, credentials=credentials)
    raise wrong  # out of the handler: the error as it was would go along as its context


def _shown(error: InvalidInputError) -> object:
    """What may be repeated of a refused value: a public setting that the driver knows, and nothing else."""
    secret = ("secret", "password", "token", "key", "credential")
    field = error.field.lower()
    return "(not shown)" if any(word in field for word in secret) else error.given


def _refuse_taken(seen: BackendEntry, wanted: Wanted, *, replacing: bool) -> None:
    record = seen.record
    if record is None:
        return
    if record.kind != wanted.kind:
        raise ConflictError(f"backend {wanted.name!r} is of kind {record.kind}; remove it first", backend=wanted.name)
    if not replacing:
        state = "is being removed" if record.closed else "exists"
        raise AlreadyExistsError(f"backend {wanted.name!r} {state}; replace gives it new credentials", name=wanted.name)


def _store(deps: Deps, seen: BackendEntry, wanted: Wanted, found: Checkup | None, actor: str) -> BackendRecord:
    """Enter the secret as spare, store it, then name it in the record; the one before becomes spare, and goes."""
    secret = f"backends/{seen.project}/{seen.name}/{calls.fresh_write()}"
    entered = store.put(seen, seen.record, (*seen.spare, secret))
    deps.secrets.put(secret, wanted.credentials)
    now, before = deps.now(), seen.record
    record = BackendRecord(
        project=seen.project,
        name=seen.name,
        kind=wanted.kind,
        config=wanted.config,
        secret=secret,
        version=before.version + 1 if before else 1,
        created_at=before.created_at if before else now,
        changed_at=now,
        actor=actor,
        checkup=found,
    )
    spare = (*seen.spare, before.secret) if before else seen.spare
    try:
        stored = store.put(entered, record, spare)
    except LostRaceError:
        deps.secrets.delete(secret)
        raise
    log.event("backend-added", project=seen.project, backend=seen.name, kind=wanted.kind, actor=actor)
    _clear_later(deps, stored)
    return record


def _clear_later(deps: Deps, stored: BackendEntry) -> None:
    """Delete what the record does not name any more. The work is done by now: what fails here waits for the next."""
    if not stored.spare:
        return
    try:
        _clear(deps, stored)
    except Exception as error:  # noqa: BLE001 - whatever it was, the row knows what is left
        log.error("backend-secrets-left", error, project=stored.project, backend=stored.name)


def _clear(deps: Deps, seen: BackendEntry) -> None:
    """Delete the spare secrets, then the row's memory of them, and the row itself when nothing is left of it."""
    for secret in seen.spare:
        deps.secrets.delete(secret)
    if seen.record is not None:
        store.put(seen, seen.record, ())
    elif seen.write:
        store.forget(seen)


def _while_free(
    deps: Deps, seen: BackendEntry, wanted: Wanted, found: Checkup | None, actor: str
) -> AbstractContextManager[BackendEntry]:
    """Keep a backend closed and without machines during its replacement, where it could lose sight of them."""
    record = seen.record
    if record is None:
        return nullcontext(seen)
    obstacle = _obstacle(deps, record, wanted, found)
    return backend_use.closed(deps, seen, record, obstacle, actor=actor) if obstacle else nullcontext(seen)


def _obstacle(deps: Deps, record: BackendRecord, wanted: Wanted, found: Checkup | None) -> Obstacle | None:
    """Which machines that are rented with a record could not be found with what is wanted in its place, if any.

    A driver looks into its own account, and in the regions that it is configured with.
    """
    old = deps.drivers.identity(record.kind, record.config, record.account)
    new = deps.drivers.identity(wanted.kind, wanted.config, found.account if found else "")
    backend = f"backend {wanted.name!r}"
    if not old:
        return Obstacle(f"until {backend} is tested, nobody knows in which account it has these machines")
    if not new:
        return Obstacle(f"without a check nobody knows whether this is the account in which {backend} has machines")
    if old != new:
        return Obstacle(f"this is not the account in which {backend} has machines; remove them first")
    before, after = record.config.get("regions", ()), wanted.config.get("regions", ())
    if after and not (before and set(before) <= set(after)):
        return Obstacle(f"{backend} has machines in regions that it would lose; remove them first", kept=after)
    return None


def _open(deps: Deps, record: BackendRecord) -> Account:
    """Put a record and its credentials together."""
    for _ in range(READS):
        if not record.secret:
            return Account(record.project, record.name, record.kind, record.config)
        try:
            credentials = deps.secrets.get(record.secret)
        except UnavailableError as error:  # to whoever wants the driver, this is a backend that fails in passing
            raise TransientError(
                f"the credentials of backend {record.name!r} cannot be read: {error.detail}"
            ) from error
        if credentials is not None:
            return Account(record.project, record.name, record.kind, record.config, credentials)
        record = get(deps, record.project, record.name)
    raise BackendAuthError(
        f"the credentials of backend {record.name!r} are gone; add them again with replace", backend=record.name
    )


def _account(project: str, wanted: Wanted) -> Account:
    return Account(project, wanted.name, wanted.kind, wanted.config, wanted.credentials)


def _built_in(deps: Deps, project: str, name: str) -> BackendRecord:
    """The record that a built-in backend would have."""
    now = deps.now()
    return BackendRecord(
        project, name, kind=name, config={}, secret="", version=0, created_at=now, changed_at=now, actor="operator"
    )


def _failed(name: str, found: Checkup) -> BackendCheckFailedError:
    failing = [str(check["name"]) for check in found.checks if not check["ok"]]
    return BackendCheckFailedError(
        f"backend {name!r} cannot rent machines yet: {', '.join(failing)}; nothing was stored",
        backend=name,
        checks=[dict(check) for check in found.checks],
    )
