"""Instances as a user handles them: plan, add, show, change, remove."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from chalicelib import log
from chalicelib.domain import matching
from chalicelib.domain.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    LostRaceError,
    NoMatchError,
    NotFoundError,
)
from chalicelib.domain.host_records import HostRecord, is_host
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Attempt, Instance, Offer, Transition
from chalicelib.domain.names import new_id, pleasant_name, require_own_name
from chalicelib.domain.policies import Policies, to_doc
from chalicelib.domain.units import NEVER, format_duration
from chalicelib.services import gang_plans, gangs, leases, offers, pools, provisioning, shapes, teardown
from chalicelib.services.deps import Deps
from chalicelib.services.gang_plans import ClusterPlan
from chalicelib.store import hosts as host_store
from chalicelib.store import instances as store
from chalicelib.store import journal

NAME_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request would get: idle instances first, then offers by price. Nothing is changed by making one.

    `filters` says what is missing and why, `notes` how far the prices of what is there can be believed. For several
    `nodes`, `clusters` says where they could come together, and instances and offers are of such clusters alone.
    `refusal` is what a run that buys nothing would be refused with.
    """

    pool: str
    policies: Policies
    instances: list[Instance]
    offers: list[Offer]
    total_offers: int
    filters: list[str]
    notes: list[str]
    nodes: int = 1
    clusters: list[ClusterPlan] = field(default_factory=list)
    refusal: NoMatchError | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything about one instance; `spent` is its cost so far in micro-dollars."""

    instance: Instance
    attempts: list[Attempt]
    history: list[Transition]
    facts: dict[str, Any]
    spent: int
    host: HostRecord | None = None


def plan(
    deps: Deps,
    project: str,
    pool: str | None,
    policies: Policies,
    *,
    max_offers: int,
    for_run: bool,
    nodes: int = 1,
    image: str = "",
    reuse: bool = False,
    instance: str = "",
) -> Plan:
    """Look without buying. Only a run may reuse, so only its plan lists idle instances, and has several nodes.

    `image`, `reuse` and `instance` are those of the run; raises for them as its submission does, but for a
    `NoMatchError`, which is the plan's `refusal`.
    """
    if not for_run:
        _require_no_run(nodes=nodes if nodes > 1 else None, image=image, reuse=reuse, instance=instance)
    if instance and nodes > 1:
        raise InvalidInputError("instance", instance, "none, where there are several nodes")
    where = pools.resolve(deps, project, pool).name
    policies = replace(policies, containers=bool(image))
    if instance:
        row, verdict = leases.named(deps, project, where, policies, instance)
        refusal = leases.named_is_not_free(instance, verdict) if verdict else None
        return Plan(where, policies, [] if verdict else [row], [], 0, [], [], refusal=refusal)
    if reuse:
        return _of_idle(deps, project, where, policies, nodes, max_offers)
    market = offers.market(deps, project, policies)
    if nodes > 1:
        gang = gang_plans.plan(deps, project, where, policies, market.offers, nodes=nodes, max_offers=max_offers)
        return Plan(
            where,
            policies,
            gang.instances,
            gang.offers,
            gang.total_offers,
            [*market.failed, *market.filters, *gang.refusals],
            market.notes,
            nodes,
            gang.clusters,
        )
    return Plan(
        where,
        policies,
        _idle(deps, project, where, policies, max_offers) if for_run else [],
        list(islice(market.offers, max_offers)),
        len(market.offers),
        [*market.failed, *market.filters],
        market.notes,
    )


def _require_no_run(**only_of_runs: object) -> None:
    """Refuse what only a run says where none is planned."""
    for name, given in only_of_runs.items():
        if given:
            raise InvalidInputError(name, given, "nothing, or `for_run` too: only a run has it")


def _of_idle(deps: Deps, project: str, pool: str, policies: Policies, nodes: int, most: int) -> Plan:
    """The plan of a run that buys nothing: no backend is asked."""
    if nodes > 1:
        gang = gang_plans.plan(deps, project, pool, policies, (), nodes=nodes, max_offers=0)
        refusal = None if gang.instances else gangs.no_match(deps, project, pool, policies, nodes)
        return Plan(pool, policies, gang.instances, [], 0, [], [], nodes, gang.clusters, refusal)
    idle = _idle(deps, project, pool, policies, max(most, 1))
    accepted = matching.reuse_passes(policies)[-1]
    refusal = None if idle else leases.no_match(deps, project, pool, accepted)
    return Plan(pool, policies, idle[:most], [], 0, [], [], refusal=refusal)


def _idle(deps: Deps, project: str, pool: str, policies: Policies, most: int) -> list[Instance]:
    """The idle instances that a run could take, in the order in which it does."""
    idle: dict[str, Instance] = {}
    for accepted in matching.reuse_passes(policies):
        for shape in shapes.matching_offers(deps, project, pool, accepted, fresh=True):
            for page in leases.free(deps, project, pool, shape.shape):
                new = [each.instance_id for each in page if each.instance_id not in idle]
                for instance_id in new[: most - len(idle)]:
                    idle[instance_id] = store.get(project, pool, instance_id, consistent=False)
                if len(idle) >= most:
                    return list(idle.values())
    return list(idle.values())


def add(
    deps: Deps,
    project: str,
    pool: str,
    policies: Policies,
    *,
    name: str,
    actor: str,
    api_url: str,
    request_id: str = "",
) -> Instance:
    """Ask for a new instance: its row is there at once, `pending`, and its workflow is on the way.

    The same `request_id` again (its process died before it answered) gets the instance that was made then.

    Raises `NoOffersError` when nothing is offered now and no retry policy lets it wait.
    """
    if policies.idle_limit == timedelta():
        raise InvalidInputError("idle_duration", "0s", "more than 0: nothing would ever run on the instance")
    pools.require_open(pools.get(deps, project, pool))
    market = offers.market(deps, project, policies)
    refusal = market.refusal("no configured backend offers anything that fits")
    if refusal is not None and policies.retry is None:
        raise refusal
    instance_id = new_id("i", deps.now(), deps.rng)
    row = new_instance(deps, project, pool, policies, instance_id, Reason.POOL_ADD, actor, name=name)
    return request(deps, row, policies, api_url, named=bool(name), request_id=request_id)


def new_instance(
    deps: Deps,
    project: str,
    pool: str,
    policies: Policies,
    instance_id: str,
    reason: Reason,
    actor: str,
    *,
    name: str = "",
    reserved_for: str = "",
) -> Instance:
    """Describe an instance that has no machine yet; without a name it gets a pleasant one."""
    now = deps.now()
    return Instance(
        project=project,
        pool=pool,
        instance_id=instance_id,
        name=require_own_name(name, "name") if name else pleasant_name(deps.rng),
        state=State.PENDING,
        fence=1,
        reason=reason,
        actor=actor,
        created_at=now,
        changed_at=now,
        deadline=now + provisioning.ROUND_LIMIT,
        idle_limit=None if policies.idle_limit == NEVER else policies.idle_limit,
        reserved_for=reserved_for,
    )


def request(
    deps: Deps, row: Instance, policies: Policies, api_url: str, *, named: bool, request_id: str = ""
) -> Instance:
    """Store a pending row and start its workflow. A crash between the two is repaired by the row's timer.

    A pleasant name that is taken is changed. Raises `AlreadyExistsError` when a given name, or the id, is taken.
    """
    spec = {"policies": to_doc(policies), "api_url": deps.settings.public_url or api_url}
    for attempt in range(NAME_TRIES):
        try:
            row = store.create(row, spec, row.deadline or deps.now(), request_id=request_id)
            break
        except AlreadyExistsError as error:
            if "made" in error.context:
                row = store.find(row.project, error.context["made"])
                break
            if named or "name" not in error.context or attempt == NAME_TRIES - 1:
                raise
            row = replace(row, name=pleasant_name(deps.rng))
    provisioning.start(deps, row)
    log.event("instance-requested", instance=row.instance_id, name=row.name, pool=row.pool)
    return row


def remove(deps: Deps, project: str, name: str, *, pool: str | None, force: bool, actor: str) -> Instance:
    """Remove an instance by name or id. Raises `BusyError` for a busy one without force, `NotFoundError`."""
    row = store.find(project, name, pool or "")
    if pool and row.pool != pool:
        raise NotFoundError(f"instance {name!r} is not in pool {pool!r}")
    return teardown.remove(deps, row, force=force, reason=Reason.USER_REMOVED, actor=actor)


def show(deps: Deps, project: str, name: str) -> Detail:
    """Return everything about one instance by name or id, ended ones included while they are kept."""
    row = store.find(project, name)
    entries = journal.everything(row.instance_id)
    history = list(entries.history)
    if not history or history[-1].fence < row.fence:
        history.append(Transition(row.changed_at, row.fence, None, row.state, row.reason, row.actor, row.detail))
    spent = teardown.cost(deps, entries.attempts)
    host = host_store.get(project, row.instance_id) if is_host(row) else None
    return Detail(row, entries.attempts, history, entries.facts or {}, spent, host)


def change(
    deps: Deps,
    project: str,
    name: str,
    *,
    idle_limit: timedelta | None = None,
    cordoned: bool | None = None,
    actor: str,
) -> Instance:
    """Set the idle limit (`NEVER` = off) or the cordon of a live instance. None leaves a value as it is."""
    for _ in range(5):
        row = store.find(project, name)
        if row.state is State.TERMINATED:
            raise NotFoundError(f"instance {name!r} has ended")
        if is_host(row) and idle_limit is not None and idle_limit != NEVER:
            given = format_duration(idle_limit)
            raise InvalidInputError("idle_duration", given, "off: no timer removes an adopted host")
        if row.state is State.TERMINATING:
            raise ConflictError(f"instance {name!r} is being terminated")
        changes: dict[str, Any] = {} if cordoned is None else {"cordoned": cordoned}
        if idle_limit is not None:
            changes["idle_limit"] = None if idle_limit == NEVER else idle_limit
        try:
            return store.flag(row, now=deps.now(), actor=actor, **changes)
        except LostRaceError:
            continue
    raise LostRaceError(f"instance {name!r} keeps moving; ask again")
