"""What each step of an adoption sends to a host, and what it makes of the answer. Whoever carries the script.

`script` and `take` are all there is: the workflow carries scripts over Paramiko, a client with `--from-here` over its
own ssh. Both may be called again, late and by several: a step that is not the present one any more changes nothing,
and each step's effect is written down before the next one is begun.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain import adoption, gpu_requirements, hosts, networks
from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.findings import Check
from chalicelib.domain.host_records import HostRecord, Step, offer_of
from chalicelib.domain.hosts import HostProbe
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Instance
from chalicelib.domain.timers import instance_target
from chalicelib.services import bootstrap, host_removal, neighbours, tokens
from chalicelib.services.adoption_claims import claimed, holder_of, left_behind
from chalicelib.services.adoption_verdicts import SCRIPT_TRIES, TROUBLE_SHOWN, connection, docs, summary
from chalicelib.services.deps import Deps
from chalicelib.ssh import probe, scripts
from chalicelib.ssh.errors import HostKeyChangedError, HostKeyMismatchError, ScriptOutputError
from chalicelib.ssh.host_keys import keys_for, parse_host_keys, shown
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store

TOKEN_FOR: Final = timedelta(minutes=30)
AGENT_WITHIN: Final = timedelta(minutes=3)
"""From the start of the agent to its first sync; that it reaches the API was checked before."""

CLIENT_ENDS_WITHIN: Final = timedelta(minutes=2)
"""How long after that a client may take to undo its installation, before the host is left to itself."""

LIMITS: Final[Mapping[Step, timedelta]] = {
    Step.PREFLIGHT: timedelta(seconds=90),
    Step.INSTALL: timedelta(seconds=120),
    Step.UNINSTALL: timedelta(seconds=60),
}
"""What each script may take."""

TRIES: Final = 3
"""How often what a script printed is taken in anew, because the record moved under it."""

FIRST: Final = 1
"""The number of the one attempt that an adoption makes."""

STDERR_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Script:
    """A script for the host: to be fed to `sh -s`, as root with `sudo`. It may hold a secret."""

    step: Step
    text: str
    sudo: bool
    limit: timedelta

    def __repr__(self) -> str:
        return f"Script({self.step.value})"


@dataclass(frozen=True, slots=True)
class Done:
    """What a script printed, and its exit status."""

    stdout: str
    stderr: str
    exit_code: int


def script(deps: Deps, record: HostRecord) -> tuple[HostRecord, Script | None]:
    """Write the script of the present step; None where the host has nothing to do, or is not wanted any more.

    That an installation leaves this hand is written down first, and the record is returned as it is then.
    """
    text = ""
    if record.step is Step.PREFLIGHT:
        text = probe.script(record.api_url)
    elif record.step is Step.INSTALL:
        attempt = _attempt(record)
        if attempt is not None and record.sent_at is None and _pending(record) is not None:
            record = store.change(record, sent_at=deps.now())
        if attempt is not None and _pending(record) is not None:
            text = _installation(deps, record, attempt)
    elif record.step is Step.UNINSTALL:
        text = scripts.uninstall(deps.settings.owner, record.key)
    if not text:
        return record, None
    return record, Script(record.step, text, record.step is not Step.PREFLIGHT, LIMITS[record.step])


def take(deps: Deps, record: HostRecord, step: Step, done: Done) -> HostRecord:
    """Take in what the script of a step printed; return the record as it is then. Another step's changes nothing.

    The record may have moved while the script ran: the host's agent tells its facts, another worker took the same in.
    Raises `LostRaceError` when it keeps moving, and `ScriptOutputError` where it is no output of the step.
    """
    for _ in range(TRIES - 1):
        try:
            return _taken(deps, record, step, done)
        except LostRaceError:
            record = store.read_again(record) or record
    return _taken(deps, record, step, done)


def _taken(deps: Deps, record: HostRecord, step: Step, done: Done) -> HostRecord:
    if step is not record.step:
        return record
    try:
        if step is Step.PREFLIGHT:
            return _judged(deps, record, probe.parse(done.stdout))
        if step is Step.INSTALL:
            return _installed(deps, record, scripts.parse_install(done.stdout))
        if step is Step.UNINSTALL:
            report = scripts.parse_uninstall(done.stdout)
            # An installation removes what it replaces before it claims the host: where another one's claim stands,
            # there is nothing of this one.
            is_clean = report.outcome is not scripts.Outcome.FAILED
            return store.change(record, step=Step.FAILED, removed_at=deps.now() if is_clean else None)
    except ScriptOutputError as error:
        complaint = " ".join(done.stderr.split())[-STDERR_SHOWN:]
        if not complaint:
            raise
        raise ScriptOutputError(f"{error.detail}; what it says instead: {complaint}", **error.context) from error
    return record


def through(record: HostRecord, line: str) -> HostRecord:
    """Pin the key that the jump host showed first. That it is the given or the pinned one, the session has checked."""
    if not line or record.jump is None or record.jump_pinned:
        return record
    (fingerprint,) = parse_host_keys(line, record.jump.host, record.jump.port).prints
    return store.change(record, jump_fingerprint=fingerprint, jump_pinned=line)


def connected(record: HostRecord, fingerprint: str, pinned: str = "") -> HostRecord:
    """Pin the key that the host showed first. A client whose ssh does not say which it was reports "".

    Raises `HostKeyChangedError` for another key than the pinned one, and `HostKeyMismatchError` for the first where
    others were given: a session of ours has checked that, the report of a client has not been.
    """
    if not fingerprint or record.fingerprint == fingerprint:
        return record
    where = record.destination
    if record.fingerprint:
        words = f"{where} shows the host key {fingerprint}; pinned was {record.fingerprint}"
        raise HostKeyChangedError(words, host=str(where), expected=record.fingerprint, found=fingerprint)
    given = keys_for(record.host_key, where, record.jump)
    if given is not None and fingerprint not in given:
        expected = shown(given.prints)
        words = f"{where} shows the host key {fingerprint}; given was {expected}"
        raise HostKeyMismatchError(words, host=str(where), expected=expected, found=fingerprint)
    return store.change(record, fingerprint=fingerprint, pinned=pinned or fingerprint)


def _judged(deps: Deps, record: HostRecord, found: HostProbe) -> HostRecord:
    """Judge the host; one that may be adopted is claimed and gets its intent, before anything is changed on it."""
    replaces = left_behind(deps, found)
    wanted = adoption.Wanted(
        api_url=record.api_url,
        control_plane=deps.settings.owner,
        instance_id=record.key,
        gpu=gpu_requirements.parse(record.gpu, "gpu") if record.gpu else None,
        take_over=record.take_over or bool(replaces),
        network=networks.parse_network(record.network) if record.network else None,
        holder=holder_of(record, found),
        is_look=record.is_check,
    )
    results = adoption.judge_connection(connection(record)) + adoption.judge(found, wanted, deps.now())
    if adoption.is_adoptable(results) and not record.is_check:
        results = claimed(record, found, results)
        record = replace(record, machine_id=found.machine_id)  # stored however this ends, since the claim ends by it
    if record.former_key not in ("", record.fingerprint) and record.fingerprint and not record.host_key:
        new = adoption.judge_new_key(record.fingerprint, record.former_key)
        results = tuple(new if each.check is Check.HOST_KEY else each for each in results)
    placed = neighbours.placed(replace(record, machine_id=found.machine_id), found)
    if adoption.is_adoptable(results):
        placed, results = neighbours.settled(placed, results)
    checks = docs(results)
    if not adoption.is_adoptable(results):
        return store.change(record, step=Step.FAILED, failure=summary(results), checks=checks)
    if record.is_check:
        return store.change(record, step=Step.DONE, checks=checks)
    zone, has_docker = placed.zone if placed.address else "", bool(found.docker.daemon)
    offer = offer_of(record.region, hosts.resources(found), zone, has_docker=has_docker)
    now = deps.now()
    attempt = Attempt(f"{record.key}-{FIRST}", FIRST, offer, AttemptState.INTENT, now, now + TOKEN_FOR)
    try:
        journal.put_attempt(record.key, attempt)
    except LostRaceError:
        log.event("intent-is-there", host=record.key)
    return store.change(
        record,
        step=Step.INSTALL,
        tries=0,
        trouble="",
        checks=checks,
        machine_id=found.machine_id,
        zone=placed.zone,
        address=placed.address,
        python=found.python.path if found.python else "",
        replaces=replaces,
        replaces_in=found.owner.project if found.owner and replaces else "",
    )


def _pending(record: HostRecord) -> Instance | None:
    """The row of an adoption that is still wanted.

    A removal writes its state before its teardown reads the attempts, and the attempt was written before the state is
    read here, so at least one of the two sees the other.
    """
    row = instance_store.peek(record.project, record.pool, record.key)
    return row if row is not None and row.state is State.PENDING else None


def _attempt(record: HostRecord) -> Attempt | None:
    return next((each for each in journal.attempts(record.key) if each.number == FIRST), None)


def _installation(deps: Deps, record: HostRecord, attempt: Attempt) -> str:
    target = instance_target(record.project, record.pool, record.key)
    expires = deps.now() + TOKEN_FOR
    token = tokens.issue_bootstrap(
        deps, project=record.project, instance=target, attempt_id=attempt.attempt_id, expires_at=expires
    )
    ownership = scripts.Ownership(
        deps.settings.owner, record.api_url, record.project, record.key, since=attempt.started_at
    )
    return scripts.install(
        ownership,
        api_url=record.api_url,
        token=token,
        python=record.python,
        program=bootstrap.program()[0],
        take_over=record.take_over,
        replaces=record.replaces,
    )


def _installed(deps: Deps, record: HostRecord, report: scripts.Report) -> HostRecord:
    if report.outcome is scripts.Outcome.INSTALLED:
        return _launched(deps, record)
    if report.outcome is scripts.Outcome.REFUSED:
        clash = adoption.judge_refusal(report.reason, probe.read_owner(report.owner))
        checks = (*(each for each in record.checks if each["check"] != clash.check.value), *docs((clash,)))
        failure = summary((clash,))
        return store.change(record, step=Step.FAILED, failure=failure, checks=checks, removed_at=deps.now())
    if record.tries + 1 < SCRIPT_TRIES:
        trouble = f"{report.step}: {report.reason}"[:TROUBLE_SHOWN]
        return store.change(record, tries=record.tries + 1, trouble=trouble)
    failure = f"the installation failed at {report.step!r}: {report.reason}"
    return store.change(record, step=Step.UNINSTALL, tries=0, failure=failure)


def _launched(deps: Deps, record: HostRecord) -> HostRecord:
    """The agent was started: move the row to `provisioning`, unless it was removed meanwhile, and then the record."""
    now, row = deps.now(), _pending(record)
    host_removal.replaced(deps, record)
    if row is not None:
        known = journal.end_attempt(
            record.key, FIRST, AttemptState.LAUNCHED, machine_ref=record.machine_id or record.key
        )
        pool_store.note_shape(row.project, row.pool, known.offer)
        instance_store.step(
            row,
            Event.LAUNCHED,
            now=now,
            reason=Reason.LAUNCHED,
            actor="adopt",
            deadline=now + AGENT_WITHIN + CLIENT_ENDS_WITHIN,
            detail=Step.AGENT.value,
            offer=known.offer,
            machine_ref=known.machine_ref,
            attempt=FIRST,
            billed_from=now,
        )
        log.event("host-installed", instance=record.key)
    return awaiting(record)


def awaiting(record: HostRecord) -> HostRecord:
    """The row has moved: what is left is the wait for the agent."""
    return store.change(record, step=Step.AGENT, tries=0, trouble="")
