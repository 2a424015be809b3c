"""One launch of one offer: intent before the call, three outcomes, and never a second machine for a lost answer.

A worker may be killed between any two lines: the next step finds the intent, looks the attempt up by its id, and goes
on from there.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from chalicelib import log
from chalicelib.backends.base import Backend, LaunchSpec, Machine, Phase
from chalicelib.domain import attempts as rules
from chalicelib.domain.errors import (
    BackendAuthError,
    BackendError,
    BackendThrottledError,
    BalanceError,
    LostRaceError,
    NotFoundError,
    TidepoolError,
    UnknownOutcomeError,
)
from chalicelib.domain.lifecycle import Event, Reason
from chalicelib.domain.model import Attempt, AttemptState, Instance, Offer
from chalicelib.services import backends, bootstrap, launch_limit, stock_outs, teardown
from chalicelib.services.deps import Deps
from chalicelib.services.remarks import remark
from chalicelib.store import instances as store
from chalicelib.store import journal, machines
from chalicelib.store import pools as pool_store

KEEP_WITHDRAWN: Final = timedelta(days=7)
"""As long as the rest of an ended instance's journal."""

DEADLINE_SLACK: Final = timedelta(minutes=2)
"""The workflow acts at the attempt's deadline; the timer is the net under it."""

LONGEST_LOOK_UP_PAUSE_S: Final = 300
PAUSE_S: Final = 2
"""Before an offer is tried again that was refused in passing."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the workflow does next: `await` the agent, call `again`, `wait` some seconds and call again, or `end`.

    `round` counts passes over the offers; `since` is when the present pass began; `steps` counts the calls of this
    very workflow, which may not have too many.
    """

    next: str
    seconds: int = 0
    round: int = 0
    since: str = ""
    steps: int = 0

    def wait(self, seconds: int) -> "Step":
        """The same place some time later."""
        return replace(self, next="wait", seconds=seconds)


def launch(deps: Deps, row: Instance, offer: Offer, number: int, spec: dict[str, Any], here: Step) -> Step:
    """Take a turn, write the intent, make sure that it still counts, then ask the provider and write what it said."""
    try:
        secret = backends.secret_of(deps, row.project, offer.backend)  # asked first, so the driver is never older
        backend = deps.backend(row.project, offer.backend)
    except (BackendError, NotFoundError) as error:
        return _not_to_be_had(deps, row, _attempt(deps, row, offer, number, timedelta()), error, here)
    if wait_s := launch_limit.wait_s(deps, backend, row, offer):
        return here.wait(wait_s)
    ready_within = deps.settings.ready_within or backend.capabilities.ready_within
    attempt = _attempt(deps, row, offer, number, ready_within)
    script = bootstrap.script(deps, row, attempt, spec["api_url"], backend.capabilities.notice)
    pool_store.note_shape(row.project, row.pool, offer)
    attempt = replace(attempt, started_at=deps.now())
    journal.put_attempt(row.instance_id, attempt)
    log.event("attempt", instance=row.instance_id, attempt=attempt.attempt_id, offer=offer.key)
    if why := _withdrawn(deps, row, attempt, secret):
        journal.end_attempt(
            row.instance_id, number, AttemptState.REFUSED, kind="transient", detail=why, ended_at=deps.now()
        )
        return here.wait(PAUSE_S)
    tags = {"tidepool-instance": row.instance_id, "tidepool-name": row.name, "tidepool-pool": row.pool}
    wanted = LaunchSpec(attempt.attempt_id, deps.settings.owner, offer, script, tags)
    return _ask(deps, backend, row, attempt, wanted, here)


def _attempt(deps: Deps, row: Instance, offer: Offer, number: int, ready_within: timedelta) -> Attempt:
    now = deps.now()
    attempt_id = f"{row.instance_id}-{number}"
    return Attempt(attempt_id, number, offer, AttemptState.INTENT, started_at=now, deadline=now + ready_within)


def _not_to_be_had(deps: Deps, row: Instance, attempt: Attempt, error: TidepoolError, here: Step) -> Step:
    """The backend went, or its credentials did, since the market was asked. Nothing was launched; others are tried."""
    kind = error.kind if isinstance(error, BackendError) else BackendAuthError.kind
    journal.put_attempt(row.instance_id, attempt)
    journal.end_attempt(
        row.instance_id, attempt.number, AttemptState.REFUSED, kind=kind, detail=error.detail, ended_at=deps.now()
    )
    log.error("backend-out", project=row.project, backend=attempt.offer.backend, kind=kind, detail=error.detail)
    return here.wait(PAUSE_S) if kind in rules.TRIES else here


def look_up(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Settle an attempt whose outcome is not known, by asking the provider for its id; nothing is bought meanwhile."""
    try:
        backend = deps.backend(row.project, attempt.offer.backend)
        machine = teardown.locate(deps, backend, attempt)
    except BackendError as error:
        log.error("look-up-failed", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
        remark(
            row, f"attempt {attempt.number} may have made a machine, and {attempt.offer.backend} cannot say: {error}"
        )
        return here.wait(_look_up_pause_s(deps, attempt))
    if machine is not None and machine.phase is not Phase.GONE:
        known = journal.end_attempt(
            row.instance_id,
            attempt.number,
            AttemptState.LAUNCHED,
            machine_ref=machine.ref,
            kind="",
            detail="found by its id after the launch gave no answer",
        )
        return launched(deps, row, known, here)
    if machine is None and deps.now() < teardown.settled_at(backend, attempt):
        return here.wait(PAUSE_S)
    journal.end_attempt(
        row.instance_id,
        attempt.number,
        AttemptState.REFUSED,
        kind=attempt.kind or "unknown",
        detail=attempt.detail or "no answer, and nothing was made",
        ended_at=deps.now(),
    )
    return here


def _look_up_pause_s(deps: Deps, attempt: Attempt) -> int:
    """How long to leave a provider alone that could not say what a launch made: longer the longer that goes on."""
    asked_for_s = (deps.now() - attempt.started_at).total_seconds()
    return round(min(LONGEST_LOOK_UP_PAUSE_S, max(5.0, asked_for_s / 4)))


def launched(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Move the row to `provisioning`. A row that was removed meanwhile is its teardown's, which knows the attempt.

    Whose the machine is is written first, for the events of its provider.
    """
    machines.note(row, attempt.offer, attempt.machine_ref, now=deps.now())
    try:
        store.step(
            row,
            Event.LAUNCHED,
            now=deps.now(),
            reason=Reason.LAUNCHED,
            actor="provision",
            deadline=attempt.deadline + DEADLINE_SLACK,
            offer=attempt.offer,
            machine_ref=attempt.machine_ref,
            attempt=attempt.number,
            billed_from=attempt.started_at,
        )
    except LostRaceError:
        return here
    log.event("launched", instance=row.instance_id, attempt=attempt.attempt_id, machine=attempt.machine_ref)
    stock_outs.forget(deps, row.project, attempt.offer)
    return await_agent(deps, row, attempt, here)


def await_agent(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Rest until the agent's first sync, the attempt's deadline, or the next look at a machine that may fail late."""
    left = attempt.deadline - deps.now()
    look_every = deps.backend(row.project, attempt.offer.backend).capabilities.look_every
    seconds = min(left, look_every or left).total_seconds()
    return replace(here, next="await", seconds=max(1, round(seconds)))


def _withdrawn(deps: Deps, row: Instance, attempt: Attempt, secret: str) -> str:
    """Say why an attempt that was just written must not be launched, or "".

    A removal writes its state before its teardown reads the attempts, and the attempt is written before the state is
    read here, so at least one of the two sees the other; a backend is removed in the same order. It may also have been
    replaced since the driver was made: the secret of that account is no longer its own. And a look-up believes that
    nothing was made once the launch must be over, so it must begin in time.
    """
    try:
        current = store.get(row.project, row.pool, row.instance_id)
    except NotFoundError:
        journal.expire(row.instance_id, deps.now() + KEEP_WITHDRAWN)
        return "the request was withdrawn"
    if current.fence != row.fence:
        return "the request moved on"
    if not backends.is_open(deps, row.project, attempt.offer.backend, secret):
        return f"backend {attempt.offer.backend} is being removed or was replaced"
    return "the store was too slow" if deps.now() - attempt.started_at > teardown.BEGINS_WITHIN else ""


def _ask(deps: Deps, backend: Backend, row: Instance, attempt: Attempt, wanted: LaunchSpec, here: Step) -> Step:
    try:
        machine = backend.launch(wanted)
    except UnknownOutcomeError as error:
        if code := error.context.get("provider_code"):
            log.error("answer-unmapped", backend=backend.name, code=code, detail=error.detail)
        return _unknown(deps, row, attempt, error.detail, here)
    except BackendError as error:
        _refused(deps, backend, row, attempt, error)
        return here.wait(PAUSE_S) if error.kind in rules.TRIES else here
    except Exception as error:  # noqa: BLE001 - a driver's fault may come after the machine was made
        log.error("driver-fault", attempt=attempt.attempt_id, error=repr(error))
        return _unknown(deps, row, attempt, f"the driver failed: {error!r}", here)
    return _made(deps, backend, row, attempt, machine, here)


def _refused(deps: Deps, backend: Backend, row: Instance, attempt: Attempt, error: BackendError) -> None:
    """Write down that nothing was made, and why; what others should know of it is shared with them."""
    journal.end_attempt(
        row.instance_id,
        attempt.number,
        AttemptState.REFUSED,
        kind=error.kind,
        detail=error.detail,
        ended_at=deps.now(),
    )
    log.event("attempt-refused", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
    if isinstance(error, BackendAuthError | BalanceError):
        log.error("backend-out", project=row.project, backend=backend.name, kind=error.kind, detail=error.detail)
    if isinstance(error, BackendThrottledError):
        launch_limit.slow_down(deps, backend, row, attempt.offer, error.context.get("retry_after_s"))
    stock_outs.note(deps, row.project, attempt.offer, error.kind)


def _unknown(deps: Deps, row: Instance, attempt: Attempt, detail: str, here: Step) -> Step:
    """The call may have worked: the next step looks the attempt up before anything else is bought."""
    journal.end_attempt(
        row.instance_id, attempt.number, AttemptState.UNKNOWN, kind="unknown", detail=detail, ended_at=deps.now()
    )
    log.error("attempt-unknown", attempt=attempt.attempt_id, detail=detail)
    return here


def _made(deps: Deps, backend: Backend, row: Instance, attempt: Attempt, machine: Machine, here: Step) -> Step:
    """Write down the machine; when the attempt was closed meanwhile, the machine is nobody's and ends at once."""
    try:
        known = journal.end_attempt(row.instance_id, attempt.number, AttemptState.LAUNCHED, machine_ref=machine.ref)
    except LostRaceError:
        backend.terminate(machine.ref)
        raise
    return launched(deps, row, known, here)
