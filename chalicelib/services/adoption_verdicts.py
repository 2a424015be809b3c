"""How what a host showed, or what kept us from it, is written down: checks as they are stored, and failures.

Only what the network does is tried again, and not for ever: what waiting does not cure ends soon.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from chalicelib import log
from chalicelib.domain import adoption
from chalicelib.domain.adoption import CheckResult, Connection
from chalicelib.domain.findings import FINDINGS, Status
from chalicelib.domain.host_records import HostRecord, Step
from chalicelib.services.deps import Deps
from chalicelib.ssh.errors import CommandTimeoutError, ScriptOutputError, SshError
from chalicelib.ssh.host_keys import keys_for
from chalicelib.store import hosts as store

SEEN_FOR: Final = timedelta(minutes=10)
"""How long a host that has answered is tried again when it does not any more: it may reboot."""

UNSEEN_FOR: Final = timedelta(minutes=5)
"""The same for one that has never answered: a machine of a cloud boots in one or two minutes, a server in five."""

REFUSED_FOR: Final = timedelta(minutes=2)
"""The same where the port is closed on first contact: the system runs, and its sshd comes soon or not at all."""

UNRESOLVED_TRIES: Final = 3
"""A name that does not resolve is a typing slip more often than a hiccup."""

SCRIPT_TRIES: Final = 3
"""How often a script that fails or hangs is sent."""

CHECK_TRIES: Final = 2
"""A look at a host is for somebody who waits for it: one hiccup is passed over, and then it says what it is."""

FIXES_SHOWN: Final = 3
TROUBLE_SHOWN: Final = 160

JUMP_PROBLEMS: Final[Mapping[str, str]] = {
    "auth-failed": "jump-auth-failed",
    "host-key-mismatch": "jump-host-key",
    "host-key-changed": "jump-host-key",
    "target-refused": "jump-refused",
}
"""What went wrong with a jump host -> the finding; everything else is `jump-unreachable`."""

Docs = tuple[Mapping[str, Any], ...]
"""Results of checks as they are stored."""


def docs(results: tuple[CheckResult, ...]) -> Docs:
    """Results of checks as they are stored."""
    return tuple({**asdict(each), "check": each.check.value, "status": each.status.value} for each in results)


def summary(results: tuple[CheckResult, ...]) -> str:
    """Name every check that failed, and for the first ones what was found."""
    failed = [each for each in results if each.status is Status.FAIL]
    shown = "; ".join(f"{each.code} ({each.found[:100]})" for each in failed[:FIXES_SHOWN])
    more = "".join(f", {each.code}" for each in failed[FIXES_SHOWN:])
    return f"{shown}{more}"


def connection(record: HostRecord, problem: str = "", detail: str = "", showed: str = "") -> Connection:
    """How connecting went. `showed` is the key that the host showed before it came to the `problem`."""
    where = record.destination
    fingerprint = record.fingerprint or showed
    if record.from_here:
        trust, fingerprint = "ssh of the client", fingerprint or "checked by the client's ssh"
    elif record.is_check and fingerprint and record.former_key == fingerprint:
        trust = "seen before"
    else:
        trust = "given" if keys_for(record.host_key, where, record.jump) else "first-use"
    jump = str(record.jump) if record.jump else ""
    return Connection(where.host, where.user, fingerprint, trust, problem, detail, where.port, jump)


def broke(deps: Deps, record: HostRecord, error: SshError) -> HostRecord:
    """Take in that the host could not be worked with: it is tried again, or undone, or that was it."""
    log.event("adoption-broke", host=record.key, step=record.step.value, code=error.code, tries=record.tries)
    if _is_worth_another_try(deps, record, error):
        return store.change(record, tries=record.tries + 1, trouble=trouble_of(error))
    if record.step is Step.UNINSTALL:
        return store.change(record, step=Step.FAILED)
    problem = _problem(error)
    showed = "" if error.context.get("hop") else str(error.context.get("host_key", ""))
    found = adoption.judge_connection(connection(record, problem, error.detail, showed))
    return store.change(
        record,
        step=Step.UNINSTALL if record.step is Step.INSTALL and error.retryable else Step.FAILED,
        tries=0,
        failure=f"{problem}: {error.detail}",
        fingerprint=record.fingerprint or showed,
        checks=_overruled(record.checks, docs(found)),
    )


def unreadable(record: HostRecord, error: ScriptOutputError) -> HostRecord:
    """The host answers with something else than our script's output: nothing more is tried."""
    failure = f"{error.code}: {error.detail}"
    found = docs(adoption.judge_connection(connection(record, error.code, error.detail)))
    step = Step.UNINSTALL if record.step is Step.INSTALL else Step.FAILED
    checks = _overruled(record.checks, found)
    return store.change(record, step=step, tries=0, failure=record.failure or failure, checks=checks)


def trouble_of(error: SshError) -> str:
    """Say in a few words why a try came to nothing."""
    return str(error.context.get("reason") or error.detail)[:TROUBLE_SHOWN]


def progress(record: HostRecord) -> str:
    """What a listing says of a host that is being adopted."""
    if not record.tries:
        return record.step.value
    return f"{record.step.value}, try {record.tries + 1}" + (f": {record.trouble}" if record.trouble else "")


def _is_worth_another_try(deps: Deps, record: HostRecord, error: SshError) -> bool:
    if not error.retryable:
        return False
    made, is_late = record.tries + 1, isinstance(error, CommandTimeoutError)
    if record.is_check:
        return made < CHECK_TRIES and not is_late
    cause = error.context.get("cause")
    if cause == "dns" or is_late:
        return made < (UNRESOLVED_TRIES if cause == "dns" else SCRIPT_TRIES)
    patience = SEEN_FOR if record.fingerprint else REFUSED_FOR if cause == "refused" else UNSEEN_FOR
    return deps.now() - record.created_at < patience


def _problem(error: SshError) -> str:
    """The finding that an error is."""
    if error.context.get("hop"):
        return JUMP_PROBLEMS.get(error.code, "jump-unreachable")
    return error.code if error.code in FINDINGS else "connection-lost"


def _overruled(before: Docs, found: Docs) -> Docs:
    """What was judged before, with the failure of now in its place: what passed then does not hold any more."""
    failed = {each["check"]: each for each in found if each["status"] == Status.FAIL.value}
    return tuple(failed.get(each["check"], each) for each in before) if before else found
