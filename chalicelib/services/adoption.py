"""Making a server that somebody owns an instance: look, judge, claim, install, wait for its agent.

`advance` is level-triggered, as `provisioning.advance` is: it reads what is there and goes on from there, however
often, late or concurrently it is called. A worker may be killed between any two lines; every script is idempotent. A
client that adopts from where it runs asks for the same scripts (`next_step`) and hands in what they print (`answered`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.host_records import HostRecord, Step
from chalicelib.domain.lifecycle import COMING, Event, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.domain.retry import backoff
from chalicelib.services import adoption_steps as steps
from chalicelib.services import adoption_verdicts as verdicts
from chalicelib.services import host_removal, teardown
from chalicelib.services.adoption_steps import Done, Script
from chalicelib.services.deps import Deps, Shell
from chalicelib.ssh.client_words import what_went_wrong
from chalicelib.ssh.errors import ScriptOutputError, SshError
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store
from chalicelib.store import journal

ENDS_WITHIN: Final = timedelta(minutes=20)
"""What an adoption may take in all: ten minutes of an unreachable host, the scripts, and the wait for the agent."""

TOO_LONG: Final = "it took longer than it may"

RUN_FOR: Final = timedelta(seconds=270)
"""What one run may take of the 300 s of its function. A script that might not fit any more is left to the next."""

FIRST_LOOK: Final = timedelta(minutes=4)
"""When the row's timer looks whether the adoption still has a workflow."""

NOT_YET: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When what is only asked for was made."""

PAUSE: Final = timedelta(seconds=2)
LONGEST_PAUSE: Final = timedelta(seconds=45)
CLIENT_PAUSE_S: Final = 2.0
"""Between two looks of a client that waits for the agent."""

UNDONE_WITHIN: Final = steps.AGENT_WITHIN + steps.CLIENT_ENDS_WITHIN
"""When a client has had the time to wait for the agent, and to undo its installation."""

NO_AGENT: Final = "the agent did not report in time; look at journalctl -u tidepool-agent on the host"
TRIES: Final = 5
"""How often the agent's first sync is noted anew, because the record moved under it."""


@dataclass(frozen=True, slots=True)
class Next:
    """What the workflow does next: `await` the agent, `wait` some seconds and call again, or `end`."""

    next: str
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class ClientStep:
    """What a client does next. Without a script: look again after `pause_s`, or nothing any more when it `is_over`."""

    record: HostRecord
    script: Script | None
    pause_s: float = 0.0
    is_over: bool = False


def start(deps: Deps, record: HostRecord, suffix: str = "") -> None:
    """Start the workflow of an adoption or a check; under the same name once only."""
    payload = {
        "project": record.project,
        "pool": record.pool,
        "instance_id": record.key,
        "kind": "check" if record.is_check else "host",
    }
    name = f"adopt-{record.key}{suffix}"
    if not record.is_check:
        journal.put_execution(record.key, name)
    deps.executions.start(deps.settings.adopt_arn, name, payload)


def drive(deps: Deps, row: Instance) -> bool:
    """Start another workflow for an adoption whose own is gone, and after its time end it; returns whether it did."""
    record = store.get(row.project, row.instance_id)
    if record is None or deps.now() - row.created_at > ENDS_WITHIN:
        _end(deps, row, record, TOO_LONG)
        return True
    if record.from_here:
        is_late = row.state is State.PROVISIONING and deps.now() - row.changed_at >= UNDONE_WITHIN
        if is_late:  # there is no agent, and no client either
            _end(deps, row, record, NO_AGENT)
        return is_late
    name = journal.execution(row.instance_id)
    if name and deps.executions.running(deps.settings.adopt_arn, name):
        return False
    start(deps, record, suffix=f"-{int(deps.now().timestamp())}")
    return True


def advance(deps: Deps, project: str, pool: str, key: str, *, kind: str) -> Next:
    """Go as far as it goes now: to the wait for the agent, to a host that does not answer, or to the end."""
    record = store.check(project, key) if kind == "check" else store.get(project, key)
    if record is None:
        return Next("end")
    row = None if record.is_check else instance_store.peek(project, pool, key)
    if not record.is_check and (row is None or row.state not in COMING):
        _closed(deps, record, row)
        return Next("end")
    if not record.is_over and deps.now() - record.created_at > ENDS_WITHIN:
        record = _late(record)
    record = _caught_up(record, row)
    if record.step in (Step.PREFLIGHT, Step.INSTALL, Step.UNINSTALL):
        record = _carried(deps, record, row)
    return _after(deps, record, row)


def next_step(deps: Deps, record: HostRecord, fingerprint: str = "") -> ClientStep:
    """Say what a client that carries the scripts does next. Asking changes nothing that asking again would not.

    `fingerprint` is the host key that the client's ssh accepted, if it knows: only the pinned one gets a script.
    """
    if not record.is_over:
        record = _known(deps, record, fingerprint)
    row = None if record.is_check else instance_store.peek(record.project, record.pool, record.key)
    if not record.is_check and (row is None or row.state not in COMING):
        return ClientStep(_closed(deps, record, row), None, is_over=True)
    if not record.is_over and deps.now() - record.created_at > ENDS_WITHIN:
        record = _late(record)
    after = _after(deps, _caught_up(record, row), row)
    record = store.read_again(record) or record
    if after.next == "end":
        return ClientStep(record, None, is_over=True)
    record, script = steps.script(deps, record)
    pause_s = float(after.seconds) if after.next == "wait" and record.tries else 0.0
    return ClientStep(record, script, pause_s if script else CLIENT_PAUSE_S)


def answered(deps: Deps, record: HostRecord, step: Step, done: Done, fingerprint: str = "") -> ClientStep:
    """Take in what a client's ssh printed for a step, and say what comes next. The same again changes nothing."""
    if step is record.step and not record.is_over:
        record = _known(deps, record, fingerprint)
        record = _taken(deps, record, step, done)
        _show(deps, record)
    return next_step(deps, record)


def end_late(deps: Deps, record: HostRecord) -> None:
    """End a check whose time is over and whose workflow, or client, is gone. One that moves just now is not."""
    try:
        host_removal.forget_key(deps, _late(record))
    except LostRaceError:
        log.event("check-moves-on", host=record.key)


def agent_came(row: Instance) -> bool:
    """Take in the first sync of a host's agent; False where it comes too late: the installation is being undone.

    This write and the one that decides to undo it are conditional on the same record, so only one of the two is made.
    """
    for _ in range(TRIES):
        record = store.get(row.project, row.instance_id)
        if record is None or record.step is Step.DONE:
            return True
        if record.step in (Step.UNINSTALL, Step.FAILED):
            return False
        try:
            store.change(record, step=Step.DONE, tries=0, trouble="")
        except LostRaceError:
            continue
        return True
    raise LostRaceError(f"host {row.instance_id} keeps moving", host=row.instance_id)


def give_up(deps: Deps, project: str, pool: str, key: str, *, kind: str, detail: str) -> None:
    """End an adoption whose workflow cannot go on."""
    record = store.check(project, key) if kind == "check" else store.get(project, key)
    if kind == "check":
        if record is not None and not record.is_over:
            record = store.change(record, step=Step.FAILED, failure=detail)
        if record is not None:
            host_removal.forget_key(deps, record)
        return
    row = instance_store.peek(project, pool, key)
    if row is not None and row.state in COMING:
        _end(deps, row, record, detail)


def _late(record: HostRecord) -> HostRecord:
    return store.change(record, step=Step.FAILED, failure=record.failure or TOO_LONG)


def _carried(deps: Deps, record: HostRecord, row: Instance | None) -> HostRecord:
    """Connect once, and run one script after the other until there is none. What goes wrong is written down."""
    key: Mapping[str, str] | None = deps.secrets.get(record.secret) if record.secret else None
    if key is None:
        return store.change(record, step=Step.FAILED, failure=record.failure or "the private key is gone")
    try:
        began = deps.now()
        with deps.ssh(record, key) as shell:
            record = steps.through(record, shell.jump_key.line if shell.jump_key else "")
            record = steps.connected(record, shell.host_key.fingerprint, shell.host_key.line)
            return _scripts(deps, record, shell, row, until=began + RUN_FOR)
    except SshError as error:
        current = store.read_again(record) or record
        if isinstance(error, ScriptOutputError):
            return verdicts.unreadable(current, error)
        return verdicts.broke(deps, steps.through(current, str(error.context.get("jump_key", ""))), error)


def _scripts(deps: Deps, record: HostRecord, shell: Shell, row: Instance | None, *, until: datetime) -> HostRecord:
    while deps.now() + steps.LIMITS.get(record.step, PAUSE) <= until:
        record, script = steps.script(deps, record)
        if script is None:
            break
        if row is not None:
            row = instance_store.note(row, detail=verdicts.progress(record))
        done = shell.run(script.text, sudo=script.sudo, limit_s=script.limit.total_seconds())
        tried, before = record.tries, record.step
        record = steps.take(deps, record, script.step, Done(done.stdout, done.stderr, done.exit_code))
        if record.step is before and record.tries > tried:
            return record  # it is tried again, but not at once
    return record


def _caught_up(record: HostRecord, row: Instance | None) -> HostRecord:
    """Go on after a death between the row, which has moved, and the record."""
    if record.step is Step.INSTALL and row is not None and row.state is State.PROVISIONING:
        return steps.awaiting(record)
    return record


def _known(deps: Deps, record: HostRecord, fingerprint: str) -> HostRecord:
    """Pin the key that a client reports; another one than was given or pinned ends the adoption."""
    try:
        return steps.connected(record, fingerprint)
    except SshError as error:
        return verdicts.broke(deps, record, error)


def _taken(deps: Deps, record: HostRecord, step: Step, done: Done) -> HostRecord:
    """The same for a script that a client carried: its ssh may have failed instead of the script."""
    try:
        return steps.take(deps, record, step, done)
    except ScriptOutputError as error:
        failed = what_went_wrong(done.exit_code, done.stderr, str(record.destination))
        return verdicts.broke(deps, record, failed) if failed is not None else verdicts.unreadable(record, error)


def _after(deps: Deps, record: HostRecord, row: Instance | None) -> Next:
    """What comes after a step: the end is carried out, the agent is awaited, and everything else is tried again."""
    if record.step is Step.DONE and row is not None and row.state is State.PROVISIONING:
        return Next("wait", round(PAUSE.total_seconds()))  # the agent's first sync is about to move it
    if record.is_over:
        if row is not None and record.step is Step.FAILED:
            _end(deps, row, record, record.failure)
        host_removal.forget_key(deps, store.read_again(record) or record)
        return Next("end")
    if record.step is Step.AGENT and row is not None:
        row = instance_store.peek(record.project, record.pool, record.key) or row
        left = (row.changed_at + steps.AGENT_WITHIN - deps.now()).total_seconds()
        if row.state is State.PROVISIONING and left <= 0:
            store.change(record, step=Step.UNINSTALL, failure=NO_AGENT)
            return Next("wait", 1)
        return Next("await", max(1, round(left)))
    pause = backoff(max(0, record.tries - 1), base=PAUSE, cap=LONGEST_PAUSE, rng=deps.rng)
    _show(deps, record)
    return Next("wait", max(1, round(pause.total_seconds())))


def _show(deps: Deps, record: HostRecord) -> None:
    """Let the row say how far it is. It may have moved on, and then says that itself."""
    row = None if record.is_check else instance_store.peek(record.project, record.pool, record.key)
    if row is not None and row.state is State.PENDING and row.detail != verdicts.progress(record):
        try:
            instance_store.note(row, detail=verdicts.progress(record))
        except LostRaceError:
            log.event("progress-not-shown", host=record.key)


def _closed(deps: Deps, record: HostRecord, row: Instance | None) -> HostRecord:
    """The agent reported, or the instance is on its way out: the adoption is over, and the key has no use any more."""
    ready = row is not None and row.state in (State.IDLE, State.BUSY)
    if not record.is_over:
        words = "" if ready else record.failure or "it was removed meanwhile"
        record = store.change(record, step=Step.DONE if ready else Step.FAILED, failure=words)
    return host_removal.forget_key(deps, record)


def _end(deps: Deps, row: Instance, record: HostRecord | None, detail: str) -> None:
    """Give up with the reason; the key goes first, and the teardown sees to what is on the host."""
    if record is not None:
        if not record.is_over:
            record = store.change(record, step=Step.FAILED, failure=record.failure or detail)
        host_removal.forget_key(deps, record)
    try:
        row = instance_store.get(row.project, row.pool, row.instance_id)
        if row.state in COMING:
            teardown.begin(deps, row, Event.FAILED, reason=Reason.PROVISIONING_FAILED, actor="adopt", detail=detail)
    except (LostRaceError, NotFoundError):
        log.event("gave-up-too-late", instance=row.instance_id)
