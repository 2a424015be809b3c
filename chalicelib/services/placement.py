"""Giving a run its machine: an idle one at once, else one that is bought for it and born held by it.

Every verb here may be repeated, and stands on the run's own row: a run that was placed, taken back or ended meanwhile
is left as it is.
"""

from dataclasses import replace
from functools import partial
from typing import Final

from chalicelib import log
from chalicelib.domain.errors import (
    AlreadyExistsError,
    LostRaceError,
    NoMatchError,
    NoOffersError,
    NotFoundError,
)
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunReason, RunState
from chalicelib.domain.policies import Policies, from_doc
from chalicelib.domain.retry import window_closes_at
from chalicelib.services import (
    assembly,
    gang_leftovers,
    instances,
    leases,
    node_ends,
    purchases,
    run_ends,
    teardown,
)
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as store

PLACEMENTS: Final = 3
"""How many machines a run is given before it fails because none of their agents took the job."""

LOOKED_THROUGH: Final = 100
OVER: Final = frozenset({State.TERMINATING, State.TERMINATED})
ON_MACHINE: Final = frozenset({RunState.STARTING, RunState.RUNNING, RunState.STOPPING})


def place(deps: Deps, run: Run) -> Run:
    """Give a submitted run an idle instance, or a new one of its own; any other is answered as it is.

    Raises `NoMatchError`, `NoOffersError` or `NotFoundError` (its pool, or the instance that it names) after writing
    that end into the run.
    """
    waits = run.tries.retry_at is not None and deps.now() < run.tries.retry_at
    if run.state is not RunState.SUBMITTED or waits:
        return run
    if run.jobs and run.tries.search is not None:
        gang_leftovers.clear(deps, run, everywhere=False, actor="placement")
    policies = from_doc(run.request["policies"])
    over = _why_over(deps, run, policies)
    if over is not None:
        reason, detail = over
        return run_ends.finish(deps, run, RunState.FAILED, reason, actor="placement", detail=detail)
    if run.jobs:
        return assembly.place(deps, run, policies)
    return _place_one(deps, run, policies)


def _place_one(deps: Deps, run: Run, policies: Policies) -> Run:
    try:
        taken = leases.acquire(
            deps,
            run.project,
            run.pool,
            policies,
            holder=run_ends.holder(run.run_id),
            instance=run.request["instance"],
            duration=deps.settings.lost_after,
        )
    except NoMatchError as error:
        held = _held(deps, run)
        if held is not None:
            return start_on(deps, run, held)
        if run.request["reuse"] or run.request["instance"]:
            return run_ends.refuse(deps, run, RunReason.NO_IDLE_INSTANCE, error)
        return _provision(deps, run, policies)
    except NotFoundError as error:
        return run_ends.refuse(deps, run, RunReason.NO_IDLE_INSTANCE, error)
    return start_on(deps, run, taken)


def _why_over(deps: Deps, run: Run, policies: Policies) -> tuple[RunReason, str] | None:
    """Say why a run is given no further machine, if it is not."""
    if run.placements - run.tries.placements >= PLACEMENTS:
        if run.reason is RunReason.NOT_PICKED_UP or not run.jobs:
            return RunReason.NOT_PICKED_UP, f"{PLACEMENTS} machines were given the job and none took it"
        return run.reason, f"{PLACEMENTS} times its machines were lost before its job began; {run.detail}"
    closes_at = window_closes_at(policies.retry, run.tries)
    if closes_at is None or deps.now() <= closes_at:
        return None
    missed = f"try {run.tries.number} had no machine within the time for tries"
    return RunReason.NO_CAPACITY, f"{run.tries.last_failure}; {missed}"


def place_again(deps: Deps, project: str, run_id: str) -> None:
    """Place a run whose try has just ended, if it may begin again at once. Its timer does the same, within a minute."""
    if not run_id:
        return
    try:
        place(deps, store.get(project, run_id))
    except (NotFoundError, NoMatchError, NoOffersError, LostRaceError) as error:
        log.event("not-placed", run=run_id, code=error.code, detail=error.detail)


def start_on(deps: Deps, run: Run, taken: Instance) -> Run:
    """Write down which instance holds the run and wake its agent. A run that moved on gives the instance back."""
    assert taken.lease is not None
    now = deps.now()
    try:
        placed = store.step(
            run,
            RunState.STARTING,
            now=now,
            reason=RunReason.REUSED,
            actor="placement",
            deadline=now + deps.settings.pickup_within,
            instance_id=taken.instance_id,
            instance_name=taken.name,
            lease_id=taken.lease.lease_id,
            placements=run.placements + 1,
        )
    except LostRaceError:
        found = store.get(run.project, run.run_id)
        if found.lease_id != taken.lease.lease_id:  # else the agent synced in between and noted it first
            leases.give_back(deps, taken, taken.lease.fence, reason=Reason.RELEASED, actor="placement")
        return found
    deps.wake.send(taken.instance_id)
    return placed


def drop_reserved(deps: Deps, run: Run, actor: str) -> None:
    """Remove the instance that was bought for a run which does not need it any more, or let go of its nodes."""
    if run.jobs:
        assembly.let_go(deps, run, actor)
        if run.tries.search is not None:  # no placement follows that would look at the clusters that were left
            gang_leftovers.clear(deps, run, everywhere=True, actor=actor)
        return
    try:
        row = instance_store.find(run.project, run.instance_id)
        if _is_its(run, row):
            still = partial(_is_its, run)
            teardown.remove(deps, row, force=True, reason=Reason.RUN_STOPPED, actor=actor, still=still)
    except (NotFoundError, LostRaceError):
        return


def _is_its(run: Run, row: Instance) -> bool:
    return run_ends.run_of(row) == run.run_id


def end_if_its_instance_did(deps: Deps, run: Run) -> Run:
    """End a run that waits for an instance which will not come any more: it may have failed before the run named it.

    And one that a host was silent for too long with, when whoever took the host from it died before saying so.
    """
    if run.jobs:
        return assembly.check(deps, run)
    if run.state in ON_MACHINE and run.lease_id:
        return _end_if_its_lease_did(deps, node_ends.stop_unseen(deps, run, actor="placement"))
    if run.state is not RunState.PROVISIONING:
        return run
    row = instance_store.look_up(run.project, run.instance_id)
    if row is not None and row.state not in OVER:
        return run
    detail = row.detail if row is not None else "its instance is gone"
    reason = RunReason.PROVISIONING_FAILED
    return run_ends.finish(deps, run, RunState.FAILED, reason, actor="placement", detail=detail)


def _end_if_its_lease_did(deps: Deps, run: Run) -> Run:
    row = instance_store.look_up(run.project, run.instance_id)
    if row is None or not is_host(row) or row.state in OVER:
        return run
    if row.lease is not None and row.lease.lease_id == run.lease_id:
        return run
    detail = f"host {row.name} was unreachable for too long"
    return run_ends.finish(deps, run, RunState.FAILED, RunReason.MACHINE_LOST, actor="placement", detail=detail)


def _held(deps: Deps, run: Run) -> Instance | None:
    """The instance that this very run took before its process died, if there is one."""
    holder = run_ends.holder(run.run_id)
    live, _ = instance_store.live(run.project, run.pool, limit=LOOKED_THROUGH, cursor=None)
    busy = (row for row in live if row.state is State.BUSY and not row.interrupted)
    return next((row for row in busy if row.lease is not None and row.lease.holder == holder), None)


def _provision(deps: Deps, run: Run, policies: Policies) -> Run:
    """Ask for an instance of the run's own. Its id follows from the run, so asking twice buys once."""
    policies, market = purchases.preferred(deps, run, policies)
    refusal = market.refusal("no idle instance and no offer fits")
    if refusal is not None and policies.retry is None:
        if purchases.may_pass(deps, run, market):
            return run
        return run_ends.refuse(deps, run, RunReason.NO_CAPACITY, refusal)
    number = run.placements + 1
    instance_id = f"i-{run.run_id.removeprefix('run-')}-{number}"
    row = instances.new_instance(
        deps, run.project, run.pool, policies, instance_id, Reason.RUN, f"run:{run.name}", reserved_for=run.run_id
    )
    try:
        row = instances.request(deps, row, policies, run.request["api_url"], named=False)
    except AlreadyExistsError:
        row = instance_store.find(run.project, instance_id)
    except NotFoundError as error:
        return run_ends.refuse(deps, run, RunReason.PROVISIONING_FAILED, error)
    try:
        waiting = store.step(
            run,
            RunState.PROVISIONING,
            now=deps.now(),
            reason=RunReason.NO_IDLE_INSTANCE,
            actor="placement",
            deadline=None,
            instance_id=row.instance_id,
            instance_name=row.name,
            placements=number,
        )
    except LostRaceError:
        run = store.get(run.project, run.run_id)
        if run.state in RUN_ENDS:
            drop_reserved(deps, replace(run, instance_id=row.instance_id), run.actor)
        return run
    return end_if_its_instance_did(deps, waiting)
