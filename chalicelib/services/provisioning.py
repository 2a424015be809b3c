"""Getting a machine: offer after offer, intent before launch, and never a second machine for a lost answer.

`advance` is level-triggered: it reads what is there and does one step, however often, late or concurrently it is
called. So a worker may be killed between any two lines: the next call finds the intent, looks the attempt up by its
id, and goes on from there. The workflow around it only waits and calls again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib import log
from chalicelib.backends.base import Backend, LaunchSpec, Machine, Phase
from chalicelib.domain import attempts as rules
from chalicelib.domain.errors import BackendError, LostRaceError, NotFoundError, UnknownOutcomeError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Instance, Offer
from chalicelib.domain.policies import from_doc
from chalicelib.domain.retry import backoff
from chalicelib.services import bootstrap, offers, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store

ROUND_LIMIT: Final = timedelta(minutes=30)
"""How often the `provisioning` timer looks whether a request without a machine still has a workflow."""

HAND_OVER: Final = 50
"""Passes after which a workflow hands over to a fresh one: an execution ends at 25,000 events (Step Functions' limit),
and a pass over 25 sold-out offers takes 180."""

DRIVEN_FOR: Final = timedelta(hours=2)
"""How long past its deadline a request is driven again before it is given up."""

PASSING: Final = timedelta(minutes=10)
"""How long a request without a retry policy waits for a backend that does not answer."""

KEEP_WITHDRAWN: Final = timedelta(days=7)
"""As long as the rest of an ended instance's journal."""

DEADLINE_SLACK: Final = timedelta(minutes=2)
"""The workflow acts at the attempt's deadline; the timer is the net under it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the workflow does next: `await` the agent, call `again`, `wait` some seconds and call again, or `end`.

    `round` counts passes over the offers; `since` is when the present pass began.
    """

    next: str
    seconds: int = 0
    round: int = 0
    since: str = ""


def start(deps: Deps, instance: Instance, *, round_: int = 0, since: datetime | None = None, suffix: str = "") -> None:
    """Start the provision workflow of a request; under the same name once only. `since`: when its pass begins."""
    payload = {
        "project": instance.project,
        "pool": instance.pool,
        "instance_id": instance.instance_id,
        "round": round_,
        "since": (since or instance.created_at).isoformat(),
    }
    name = f"up-{instance.instance_id}{suffix}"
    journal.put_execution(instance.instance_id, name)
    deps.executions.start(deps.settings.provision_arn, name, payload)


def drive(deps: Deps, row: Instance) -> bool:
    """Start another workflow for a request whose own is gone; returns whether it was.

    A provider of workflows that cannot say whether one runs must not keep a request from being driven: two workflows
    of one request do no harm.
    """
    name = journal.execution(row.instance_id)
    try:
        if name and deps.executions.running(deps.settings.provision_arn, name):
            return False
    except Exception as error:  # noqa: BLE001 - whatever it was, a request is not left alone for it
        log.error("execution-unknown", error, instance=row.instance_id)
    now = deps.now()
    start(deps, row, since=now, suffix=f"-{int(now.timestamp())}")
    return True


def given_up_at(row: Instance) -> datetime:
    """Until when a request whose workflow is gone is driven on."""
    policies = from_doc((journal.spec(row.instance_id) or {})["policies"])
    retry_for = policies.retry.duration if policies.retry else timedelta()
    return max(row.changed_at, row.created_at + retry_for) + DRIVEN_FOR


def advance(deps: Deps, project: str, pool: str, instance_id: str, *, round_: int, since: str) -> Step:
    """Do the next step of getting a machine for one instance."""
    here = Step("again", 0, round_, since)
    try:
        row = store.get(project, pool, instance_id)
    except NotFoundError:
        return Step("end")
    if row.state not in (State.PENDING, State.PROVISIONING):
        return Step("end")
    attempts = journal.attempts(instance_id)
    last = attempts[-1] if attempts else None
    if last is not None and last.state in teardown.OPEN_ATTEMPTS:
        return _resume(deps, row, last, here)
    return _next_offer(deps, row, attempts, here)


def await_agent(deps: Deps, project: str, pool: str, instance_id: str, callback: str) -> None:
    """Leave the workflow's callback for the agent's first sync, or complete it when that has already happened.

    The callback is written before the row is read and `agents.sync` moves the row before it reads the callback, so at
    least one of the two sees the other.
    """
    journal.put_callback(instance_id, callback)
    try:
        state = store.get(project, pool, instance_id).state
    except NotFoundError:
        state = State.TERMINATED
    if state is not State.PROVISIONING:
        deps.executions.succeed(callback, {"state": state.value})


def give_up(deps: Deps, project: str, pool: str, instance_id: str, detail: str) -> None:
    """End a request whose workflow cannot go on."""
    try:
        row = store.get(project, pool, instance_id)
    except NotFoundError:
        return
    if row.state in (State.PENDING, State.PROVISIONING):
        _fail(deps, row, detail)


def _resume(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Go on with an attempt that is open: launched, or with an outcome that is not known yet."""
    if attempt.state is not AttemptState.LAUNCHED:
        return _look_up(deps, row, attempt, here)
    if row.attempt < attempt.number:
        return _launched(deps, row, attempt, here)
    if row.state is State.PROVISIONING:
        gone = _is_gone(deps, row.project, attempt)
        left = (attempt.deadline - deps.now()).total_seconds()
        if not gone and left > 0:
            return Step("await", max(1, round(left)), here.round, here.since)
        reason = Reason.MACHINE_GONE if gone else Reason.PROVISIONING_DEADLINE
        detail = "the machine is gone" if gone else "the agent did not report in time"
        journal.end_attempt(row.instance_id, attempt.number, AttemptState.LAUNCHED, kind=reason.value, detail=detail)
        deadline = deps.now() + ROUND_LIMIT
        store.step(
            row,
            Event.ATTEMPT_FAILED,
            now=deps.now(),
            reason=reason,
            actor="provision",
            deadline=deadline,
            detail=detail,
        )
        log.event("attempt-failed", instance=row.instance_id, attempt=attempt.attempt_id, kind=reason.value)
    return _clean_up(deps, row, attempt, here)


def _is_gone(deps: Deps, project: str, attempt: Attempt) -> bool:
    """Whether the provider says that the machine is gone; a provider that cannot say so now does not count."""
    try:
        return deps.backend(project, attempt.offer.backend).describe(attempt.machine_ref).phase is Phase.GONE
    except BackendError as error:
        log.error("describe-failed", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
        return False


def _clean_up(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """End the machine of a failed attempt; the next offer is tried only when it is gone."""
    failure = teardown.settle(deps, row, attempt)
    if failure is None:
        return here
    if failure:
        log.error("clean-up-failing", instance=row.instance_id, detail=failure)
    return Step("wait", 2 if not failure else 15, here.round, here.since)


def _look_up(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Settle an attempt whose outcome is not known, by asking the provider for its id; nothing is bought meanwhile."""
    try:
        backend = deps.backend(row.project, attempt.offer.backend)
        machine = teardown.locate(deps, backend, attempt)
    except BackendError as error:
        log.error("look-up-failed", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
        return Step("wait", 5, here.round, here.since)
    if machine is not None and machine.phase is not Phase.GONE:
        known = journal.end_attempt(
            row.instance_id,
            attempt.number,
            AttemptState.LAUNCHED,
            machine_ref=machine.ref,
            kind="",
            detail="found by its id after the launch gave no answer",
        )
        return _launched(deps, row, known, here)
    if machine is None and deps.now() < teardown.settled_at(backend, attempt):
        return Step("wait", 2, here.round, here.since)
    journal.end_attempt(
        row.instance_id,
        attempt.number,
        AttemptState.REFUSED,
        kind=attempt.kind or "unknown",
        detail=attempt.detail or "no answer, and nothing was made",
        ended_at=deps.now(),
    )
    return here


def _next_offer(deps: Deps, row: Instance, attempts: list[Attempt], here: Step) -> Step:
    """Try the best offer that this pass has not tried; without one, wait for capacity or give up."""
    spec = journal.spec(row.instance_id) or {}
    policies = from_doc(spec["policies"])
    market = offers.market(deps, row.project, policies)
    since = datetime.fromisoformat(here.since)
    tried = [attempt for attempt in attempts if attempt.started_at >= since]
    offer = rules.next_offer(market.offers, tried)
    if offer is not None:
        return _launch(deps, row, offer, len(attempts) + 1, spec, here)
    now = deps.now()
    if market.passing and now - row.created_at < PASSING:
        return Step("wait", 5, here.round, here.since)
    if rules.may_wait(policies, attempts, created_at=row.created_at, now=now):
        pause = backoff(here.round, base=timedelta(seconds=5), cap=timedelta(minutes=5), rng=deps.rng)
        log.event("waiting-for-capacity", instance=row.instance_id, round=here.round)
        if (here.round + 1) % HAND_OVER == 0:
            start(deps, row, round_=here.round + 1, since=now, suffix=f"-{int(now.timestamp())}")
            return Step("end")
        return Step("wait", max(1, round(pause.total_seconds())), here.round + 1, now.isoformat())
    _fail(deps, row, rules.summary(attempts, [*market.failed, *market.filters]))
    return Step("end")


def _launch(deps: Deps, row: Instance, offer: Offer, number: int, spec: dict[str, Any], here: Step) -> Step:
    """Write the intent, make sure that it still counts, then ask the provider and write down what it said."""
    backend = deps.backend(row.project, offer.backend)
    ready_within = min(deps.settings.ready_within, backend.capabilities.ready_within)
    now = deps.now()
    attempt = Attempt(
        attempt_id=f"{row.instance_id}-{number}",
        number=number,
        offer=offer,
        state=AttemptState.INTENT,
        started_at=now,
        deadline=now + ready_within,
    )
    script = bootstrap.script(deps, row, attempt, spec["api_url"])
    pool_store.note_shape(row.project, row.pool, offer)
    attempt = replace(attempt, started_at=deps.now())
    journal.put_attempt(row.instance_id, attempt)
    log.event("attempt", instance=row.instance_id, attempt=attempt.attempt_id, offer=offer.key)
    if why := _withdrawn(deps, row, attempt):
        journal.end_attempt(
            row.instance_id, number, AttemptState.REFUSED, kind="transient", detail=why, ended_at=deps.now()
        )
        return Step("wait", 2, here.round, here.since)
    tags = {"tidepool-instance": row.instance_id, "tidepool-name": row.name, "tidepool-pool": row.pool}
    return _ask(
        deps, backend, row, attempt, LaunchSpec(attempt.attempt_id, deps.settings.owner, offer, script, tags), here
    )


def _withdrawn(deps: Deps, row: Instance, attempt: Attempt) -> str:
    """Say why an attempt that was just written must not be launched, or "".

    A removal writes its state before its teardown reads the attempts, and the attempt is written before the state is
    read here, so at least one of the two sees the other. And a look-up believes that nothing was made once the launch
    must be over, so it must begin in time.
    """
    try:
        current = store.get(row.project, row.pool, row.instance_id)
    except NotFoundError:
        journal.expire(row.instance_id, deps.now() + KEEP_WITHDRAWN)
        return "the request was withdrawn"
    if current.fence != row.fence:
        return "the request moved on"
    return "the store was too slow" if deps.now() - attempt.started_at > teardown.BEGINS_WITHIN else ""


def _ask(deps: Deps, backend: Backend, row: Instance, attempt: Attempt, launch: LaunchSpec, here: Step) -> Step:
    try:
        machine = backend.launch(launch)
    except UnknownOutcomeError as error:
        return _unknown(deps, row, attempt, error.detail, here)
    except BackendError as error:
        _refused(deps, row, attempt, error)
        log.event("attempt-refused", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
        return Step("wait", 2, here.round, here.since) if error.kind in rules.TRIES else here
    except Exception as error:  # noqa: BLE001 - a driver's fault may come after the machine was made
        log.error("driver-fault", attempt=attempt.attempt_id, error=repr(error))
        return _unknown(deps, row, attempt, f"the driver failed: {error!r}", here)
    return _made(deps, row, attempt, machine, here)


def _refused(deps: Deps, row: Instance, attempt: Attempt, error: BackendError) -> None:
    """Write down that nothing was made, and why."""
    journal.end_attempt(
        row.instance_id,
        attempt.number,
        AttemptState.REFUSED,
        kind=error.kind,
        detail=error.detail,
        ended_at=deps.now(),
    )


def _unknown(deps: Deps, row: Instance, attempt: Attempt, detail: str, here: Step) -> Step:
    """The call may have worked: the next step looks the attempt up before anything else is bought."""
    journal.end_attempt(
        row.instance_id, attempt.number, AttemptState.UNKNOWN, kind="unknown", detail=detail, ended_at=deps.now()
    )
    log.error("attempt-unknown", attempt=attempt.attempt_id, detail=detail)
    return here


def _made(deps: Deps, row: Instance, attempt: Attempt, machine: Machine, here: Step) -> Step:
    """Write down the machine; when the attempt was closed meanwhile, the machine is nobody's and ends at once."""
    try:
        known = journal.end_attempt(row.instance_id, attempt.number, AttemptState.LAUNCHED, machine_ref=machine.ref)
    except LostRaceError:
        deps.backend(row.project, attempt.offer.backend).terminate(machine.ref)
        raise
    return _launched(deps, row, known, here)


def _launched(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Move the row to `provisioning`. A row that was removed meanwhile is its teardown's, which knows the attempt."""
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
    left = (attempt.deadline - deps.now()).total_seconds()
    return Step("await", max(1, round(left)), here.round, here.since)


def _fail(deps: Deps, row: Instance, detail: str) -> None:
    """Give up with the reason; the teardown makes sure that nothing is left of any attempt."""
    try:
        teardown.begin(deps, row, Event.FAILED, reason=Reason.PROVISIONING_FAILED, actor="provision", detail=detail)
    except LostRaceError:
        log.event("gave-up-too-late", instance=row.instance_id)
