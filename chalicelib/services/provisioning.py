"""Getting a machine: offer after offer, intent before launch, and never a second machine for a lost answer.

`advance` is level-triggered: it reads what is there and does one step, however often, late or concurrently it is
called. So a worker may be killed between any two lines: the next call finds the intent, looks the attempt up by its
id, and goes on from there. The workflow around it only waits and calls again. `launching` is the single launch.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Machine, Phase
from chalicelib.domain import attempts as rules
from chalicelib.domain.errors import BackendError, LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import COMING, Event, Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Instance
from chalicelib.domain.policies import Policies, from_doc
from chalicelib.domain.retry import backoff
from chalicelib.services import launching, offers, stock_outs, teardown
from chalicelib.services.deps import Deps
from chalicelib.services.launching import Step
from chalicelib.services.remarks import remark
from chalicelib.store import instances as store
from chalicelib.store import journal

ROUND_LIMIT: Final = timedelta(minutes=30)
"""How often the `provisioning` timer looks whether a request without a machine still has a workflow."""

HAND_OVER: Final = 1000
"""Steps after which a workflow hands over to a fresh one: an execution ends at 25,000 events and after a year (Step
Functions' limits). A step with its wait takes 11 events, and a wait is 10 minutes at most: an attempt's deadline."""

DRIVEN_FOR: Final = timedelta(hours=2)
"""How long past its deadline a request is driven again before it is given up."""

LOOK_UP_FOR: Final = timedelta(hours=1)
"""How long a provider is asked what became of a launch before the request is given up; its teardown asks on."""

PASSING: Final = timedelta(minutes=10)
"""How long a request without a retry policy waits for a backend that does not answer."""


def start(deps: Deps, instance: Instance, *, round_: int = 0, since: datetime | None = None, suffix: str = "") -> None:
    """Start the provision workflow of a request; under the same name once only. `since`: when its pass begins."""
    payload = {
        "project": instance.project,
        "pool": instance.pool,
        "instance_id": instance.instance_id,
        "round": round_,
        "since": (since or instance.created_at).isoformat(),
        "steps": 0,
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


def advance(deps: Deps, project: str, pool: str, instance_id: str, *, round_: int, since: str, steps: int) -> Step:
    """Do the next step of getting a machine for one instance."""
    here = Step("again", 0, round_, since, steps + 1)
    row = store.peek(project, pool, instance_id)
    if row is None or row.state not in COMING:
        return Step("end")
    if steps >= HAND_OVER:
        suffix = f"-{int(deps.now().timestamp())}"
        start(deps, row, round_=round_, since=datetime.fromisoformat(since), suffix=suffix)
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
        row = store.get(project, pool, instance_id)
        state, interrupted = row.state, row.interrupted
    except NotFoundError:
        state, interrupted = State.TERMINATED, False
    if state is not State.PROVISIONING or interrupted:
        deps.executions.succeed(callback, {"state": state.value})


def give_up(deps: Deps, project: str, pool: str, instance_id: str, detail: str) -> None:
    """End a request whose workflow cannot go on."""
    row = store.peek(project, pool, instance_id)
    if row is not None and row.state in COMING:
        _fail(deps, row, detail)


def _resume(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """Go on with an attempt that is open: launched, or with an outcome that is not known yet."""
    if attempt.state is not AttemptState.LAUNCHED:
        if deps.now() - attempt.started_at > LOOK_UP_FOR:
            _fail(deps, row, f"whether attempt {attempt.number} made a machine cannot be found out: {row.detail}")
            return Step("end")
        return launching.look_up(deps, row, attempt, here)
    if row.attempt < attempt.number:
        return launching.launched(deps, row, attempt, here)
    if row.state is State.PROVISIONING:
        machine = _described(deps, row.project, attempt)
        may_come = machine is None or (machine.phase is not Phase.GONE and not machine.failure)
        if may_come and not row.interrupted and deps.now() < attempt.deadline:
            return launching.await_agent(deps, row, attempt, here)
        _give_attempt_up(deps, row, attempt, machine)
    return _clean_up(deps, row, attempt, here)


def _give_attempt_up(deps: Deps, row: Instance, attempt: Attempt, machine: Machine | None) -> None:
    """Move the row back to `pending`: the machine of this attempt will not report any more."""
    reason, kind, detail = _why_failed(row, machine)
    journal.end_attempt(row.instance_id, attempt.number, AttemptState.LAUNCHED, kind=kind, detail=detail)
    stock_outs.note(deps, row.project, attempt.offer, kind)
    store.step(
        row,
        Event.ATTEMPT_FAILED,
        now=deps.now(),
        reason=reason,
        actor="provision",
        deadline=deps.now() + ROUND_LIMIT,
        detail=detail,
        ends_at=None,
    )
    log.event("attempt-failed", instance=row.instance_id, attempt=attempt.attempt_id, kind=kind)


def _why_failed(row: Instance, machine: Machine | None) -> tuple[Reason, str, str]:
    """Why an attempt failed after its launch: for the row, as a class for the rest of the pass, and in words."""
    if row.interrupted:
        return Reason.INTERRUPTED, Reason.INTERRUPTED.value, "the machine was taken back before its agent reported"
    if machine is not None and machine.failure:
        return Reason.LAUNCH_FAILED, machine.failure, machine.detail
    if machine is not None and machine.phase is Phase.GONE:
        return Reason.MACHINE_GONE, Reason.MACHINE_GONE.value, "the machine is gone"
    return Reason.PROVISIONING_DEADLINE, Reason.PROVISIONING_DEADLINE.value, "the agent did not report in time"


def _described(deps: Deps, project: str, attempt: Attempt) -> Machine | None:
    """What the provider says of the machine; None when it cannot say so now, which is no sign of anything."""
    try:
        return deps.backend(project, attempt.offer.backend).describe(attempt.machine_ref)
    except BackendError as error:
        log.error("describe-failed", attempt=attempt.attempt_id, kind=error.kind, detail=error.detail)
        return None


def _clean_up(deps: Deps, row: Instance, attempt: Attempt, here: Step) -> Step:
    """End the machine of a failed attempt; the next offer is tried only when it is gone."""
    failure = teardown.settle(deps, row, attempt)
    if failure is None:
        return here
    if failure:
        log.error("clean-up-failing", instance=row.instance_id, detail=failure)
    return here.wait(2 if not failure else 15)


def _next_offer(deps: Deps, row: Instance, attempts: list[Attempt], here: Step) -> Step:
    """Try the best offer that this pass has not tried; without one, wait for capacity or give up."""
    spec = journal.spec(row.instance_id) or {}
    policies = from_doc(spec["policies"])
    since = datetime.fromisoformat(here.since)
    tried = [attempt for attempt in attempts if attempt.started_at >= since]
    market = offers.market(deps, row.project, rules.preferring(policies, tried))
    if why := rules.too_silent(attempts):
        _fail(deps, row, why)
        return Step("end")
    offer = rules.next_offer(market.offers, tried)
    if offer is not None:
        number = attempts[-1].number + 1 if attempts else 1
        return launching.launch(deps, row, offer, number, spec, here)
    now = deps.now()
    if market.passing and now - row.created_at < PASSING:
        return here.wait(5)
    old = rules.foldable(attempts)
    folded = journal.fold(row.instance_id, old)
    kept = [attempt for attempt in attempts if attempt not in old]
    why = rules.summary(kept, [*market.failed, *market.filters], folded)
    if rules.may_wait(policies, tried, created_at=row.created_at, now=now):
        return _wait_for_capacity(deps, row, policies, why, here)
    _fail(deps, row, why)
    return Step("end")


def _wait_for_capacity(deps: Deps, row: Instance, policies: Policies, why: str, here: Step) -> Step:
    """Begin another pass later, and say on the row what is waited for, until when."""
    now = deps.now()
    pause = backoff(here.round, base=timedelta(seconds=5), cap=timedelta(minutes=5), rng=deps.rng)
    log.event("waiting-for-capacity", instance=row.instance_id, round=here.round)
    seconds = max(1, round(pause.total_seconds()))
    until = row.created_at + policies.retry.duration if policies.retry else now
    remark(row, f"waiting for capacity until {until:%Y-%m-%d %H:%M} UTC: {why}")
    return replace(here.wait(seconds), round=here.round + 1, since=now.isoformat())


def _fail(deps: Deps, row: Instance, detail: str) -> None:
    """Give up with the reason; the teardown makes sure that nothing is left of any attempt."""
    try:
        teardown.begin(deps, row, Event.FAILED, reason=Reason.PROVISIONING_FAILED, actor="provision", detail=detail)
    except LostRaceError:
        log.event("gave-up-too-late", instance=row.instance_id)
