"""Builders of domain values: a test names what matters to it, everything else is sensible and fixed.

A builder never hides a rule: `make_instance(state=BUSY)` gives a busy instance with a lease, because there is none
without, and every other consequence is left to the test.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import (
    Attempt,
    AttemptState,
    Gpu,
    Instance,
    JobSpec,
    Lease,
    Offer,
    Pool,
    Resources,
    Role,
    Run,
    RunReason,
    RunState,
    Token,
)
from chalicelib.domain.policies import POOL_ADD, Defaults, Policies, parse

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
GIB = 1024

REASONS = {
    State.PENDING: Reason.POOL_ADD,
    State.PROVISIONING: Reason.LAUNCHED,
    State.IDLE: Reason.AGENT_READY,
    State.BUSY: Reason.ACQUIRED,
    State.TERMINATING: Reason.USER_REMOVED,
    State.TERMINATED: Reason.CONFIRMED_GONE,
}


def ago(**duration: float) -> datetime:
    """A moment before `NOW`: `ago(minutes=5)`."""
    return NOW - timedelta(**duration)


def later(**duration: float) -> datetime:
    """A moment after `NOW`: `later(minutes=5)`."""
    return NOW + timedelta(**duration)


def make_gpu(*, name: str = "A100", memory_gib: float = 40, count: int = 1, vendor: str = "nvidia") -> Gpu:
    """One A100 with 40 GB, unless told otherwise."""
    return Gpu(name=name, memory_mib=int(memory_gib * GIB), count=count, vendor=vendor)


def make_resources(
    *, cpus: int = 4, memory_gib: float = 16, disk_gib: float = 100, gpus: tuple[Gpu, ...] | Gpu = ()
) -> Resources:
    """A machine without GPU that meets the default requirements."""
    return Resources(
        cpus=cpus,
        memory_mib=int(memory_gib * GIB),
        disk_mib=int(disk_gib * GIB),
        gpus=(gpus,) if isinstance(gpus, Gpu) else gpus,
    )


def make_offer(
    *,
    backend: str = "local",
    region: str = "bay",
    zone: str = "",
    instance_type: str = "small",
    resources: Resources | None = None,
    spot: bool = False,
    price: int = 100_000,
    price_source: str = "catalog",
    priced_at: datetime | None = NOW,
    availability: str = "available",
    **shape: Any,
) -> Offer:
    """An on-demand machine at $0.10. What `make_resources` takes can be given here: `make_offer(cpus=8)`."""
    return Offer(
        backend=backend,
        region=region,
        instance_type=instance_type,
        resources=resources or make_resources(**shape),
        spot=spot,
        price=price,
        zone=zone,
        price_source=price_source,
        priced_at=priced_at,
        availability=availability,
    )


def make_lease(
    *,
    pool: str = "main",
    instance_id: str = "i-1",
    fence: int = 4,
    holder: str = "test:holder",
    acquired_at: datetime = NOW,
    expires_at: datetime | None = None,
) -> Lease:
    """A lease of two minutes that began now."""
    expires = expires_at or acquired_at + timedelta(minutes=2)
    return Lease(f"{pool}.{instance_id}.{fence}", holder, fence, acquired_at, expires, expires - acquired_at)


def make_instance(
    *,
    project: str = "acme",
    pool: str = "main",
    instance_id: str = "i-1",
    name: str = "brave-otter-42",
    state: State = State.IDLE,
    fence: int = 4,
    changed_at: datetime = NOW,
    created_at: datetime | None = None,
    offer: Offer | None = None,
    seen_at: datetime | None = NOW,
    **rest: Any,
) -> Instance:
    """An idle, reachable instance; a busy one has a lease, and only a pending one has neither offer nor machine."""
    launched = state is not State.PENDING
    rest.setdefault("reason", REASONS[state])
    rest.setdefault("actor", "user:test")
    if launched:
        rest.setdefault("machine_ref", "m-1")
        rest.setdefault("attempt", 1)
        rest.setdefault("billed_from", created_at or changed_at)
    if state is State.BUSY:
        rest.setdefault("lease", make_lease(pool=pool, instance_id=instance_id, fence=fence, acquired_at=changed_at))
    return Instance(
        project=project,
        pool=pool,
        instance_id=instance_id,
        name=name,
        state=state,
        fence=fence,
        created_at=created_at or changed_at,
        changed_at=changed_at,
        offer=offer or (make_offer() if launched else None),
        seen_at=seen_at if launched else None,
        **rest,
    )


def make_attempt(
    *,
    attempt_id: str = "i-1-1",
    number: int = 1,
    offer: Offer | None = None,
    state: AttemptState = AttemptState.LAUNCHED,
    started_at: datetime = NOW,
    deadline: datetime | None = None,
    **rest: Any,
) -> Attempt:
    """One launched attempt with ten minutes to become ready."""
    return Attempt(
        attempt_id=attempt_id,
        number=number,
        offer=offer or make_offer(),
        state=state,
        started_at=started_at,
        deadline=deadline or started_at + timedelta(minutes=10),
        **rest,
    )


def make_pool(*, project: str = "acme", name: str = "main", created_at: datetime = NOW, **rest: Any) -> Pool:
    """An empty pool."""
    return Pool(project=project, name=name, created_at=created_at, **rest)


def make_spec(*, argv: tuple[str, ...] = ("true",), **rest: Any) -> JobSpec:
    """A job that does nothing, well."""
    return JobSpec(argv=argv, **rest)


def make_run(
    *,
    project: str = "acme",
    run_id: str = "run-1",
    name: str = "calm-heron-11",
    pool: str = "main",
    state: RunState = RunState.SUBMITTED,
    fence: int = 1,
    reason: RunReason = RunReason.SUBMITTED,
    actor: str = "user:test",
    created_at: datetime = NOW,
    changed_at: datetime | None = None,
    spec: JobSpec | None = None,
    **rest: Any,
) -> Run:
    """A run that was just submitted."""
    return Run(
        project=project,
        run_id=run_id,
        name=name,
        pool=pool,
        state=state,
        fence=fence,
        reason=reason,
        actor=actor,
        created_at=created_at,
        changed_at=changed_at or created_at,
        spec=spec or make_spec(),
        **rest,
    )


def make_token(
    *,
    token_id: str = "t-1",
    role: Role = Role.ADMIN,
    project: str = "acme",
    name: str = "test",
    created_at: datetime = NOW,
    secret_sha256: str = "0" * 64,
    **rest: Any,
) -> Token:
    """An admin's token that never expires. Its hash is that of no secret."""
    return Token(
        token_id=token_id,
        secret_sha256=secret_sha256,
        role=role,
        project=project,
        name=name,
        created_at=created_at,
        **rest,
    )


def make_policies(
    body: Mapping[str, Any] | None = None, *, defaults: Defaults = POOL_ADD, **requirements: Any
) -> Policies:
    """Policies as a request would say them: `make_policies({"max_price": 2}, gpu="A100:80GB")`."""
    return parse({"requirements": requirements, **(body or {})}, defaults=defaults)[0]
