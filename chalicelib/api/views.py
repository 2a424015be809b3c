"""The nouns as they are on the wire. The types are the schemas of the answers in the OpenAPI document.

Names carry their units. Nothing here is a secret: a job's environment, a token's hash and a machine's user data have
no view.
"""

import json
from base64 import b64encode
from datetime import datetime
from typing import Any, NotRequired, cast, overload

from typing_extensions import TypedDict

from chalicelib.domain import model, policies, requirements
from chalicelib.services import instances, runs, uploads
from chalicelib.store import listing
from chalicelib.store.columns import stamp
from chalicelib.store.documents import offer_doc


class Health(TypedDict):
    """The API answers."""

    status: str
    stage: str
    version: str
    time: str


class Me(TypedDict):
    """Whose token this is. `project` `*` means every project."""

    name: str
    role: str
    project: str
    expires_at: str | None


class Token(TypedDict):
    """A token of a person or a program, without its secret."""

    token_id: str
    name: str
    role: str
    project: str
    created_at: str
    expires_at: str | None


class IssuedToken(Token):
    """A token that was just made. `token` is null when the answer is a replay."""

    token: str | None


class RevokedToken(TypedDict):
    """A token that is no more."""

    token_id: str
    revoked: bool


class Project(TypedDict):
    """A tenant."""

    name: str
    default_pool: str | None


class Pool(TypedDict):
    """A named set of instances. `available` counts the ones that could be taken now."""

    name: str
    is_default: bool
    total: int
    available: int
    created_at: str


class DeletedPool(TypedDict):
    """A pool that is gone, or (`deleted` false) that will be when its last instance is."""

    name: str
    deleted: bool


class Gpu(TypedDict):
    """`count` equal GPUs; `memory_mib` is nominal and per GPU."""

    name: str
    memory_mib: int
    count: int
    vendor: str


class Resources(TypedDict):
    """What a machine has."""

    cpus: int
    memory_mib: int
    disk_mib: int
    gpus: list[Gpu]


class Offer(TypedDict):
    """What a backend would rent. `price_micros` is micro-dollars an hour."""

    backend: str
    region: str
    zone: str
    instance_type: str
    resources: Resources
    spot: bool
    price_micros: int
    price_source: str
    priced_at: str | None
    availability: str


class Hold(TypedDict):
    """The lease on an instance, as the instance shows it."""

    lease_id: str
    holder: str
    fence: int
    acquired_at: str
    expires_at: str


class Instance(TypedDict):
    """A machine that is rented. The fields of the offer are null until one is chosen, `idle_limit_s` null is never."""

    instance_id: str
    name: str
    pool: str
    state: str
    reason: str
    detail: str
    actor: str
    created_at: str
    changed_at: str
    expires_at: str | None
    idle_limit_s: float | None
    backend: str | None
    region: str | None
    zone: str | None
    instance_type: str | None
    resources: Resources | None
    spot: bool | None
    price_micros: int | None
    price_source: str | None
    lease: Hold | None
    unreachable: bool
    cordoned: bool
    seen_at: str | None
    fence: int


class Attempt(TypedDict):
    """One try at launching one offer. `kind` is the class of a refusal, `detail` the provider's words."""

    number: int
    attempt_id: str
    offer: Offer
    state: str
    kind: str
    detail: str
    started_at: str
    ended_at: str | None


class Transition(TypedDict):
    """One step of an instance's history."""

    at: str
    fence: int
    source: str | None
    target: str
    reason: str
    actor: str
    detail: str


class InstanceDetail(Instance):
    """An instance with what happened to it. `spent_micros` is what its machines cost so far."""

    attempts: list[Attempt]
    history: list[Transition]
    facts: dict[str, Any]
    spent_micros: int


class Plan(TypedDict):
    """What a request would get. `filters` says why nothing is left, `warnings` what looks like a slip."""

    pool: str
    requirements: str
    policies: dict[str, Any]
    instances: list[Instance]
    offers: list[Offer]
    total_offers: int
    filters: list[str]
    warnings: list[str]


class Lease(TypedDict):
    """A hold with the instance it is on. After the release holder and times are null, and `released_at` is there."""

    lease_id: str
    holder: str | None
    fence: int
    acquired_at: str | None
    expires_at: str | None
    released_at: NotRequired[str]
    instance: Instance


class Upload(TypedDict):
    """Where to PUT an archive, with which headers; `url` is null when it is there already."""

    present: bool
    url: str | None
    headers: dict[str, str]
    expires_at: str | None


class RunInstance(TypedDict):
    """Where a run is placed."""

    instance_id: str
    name: str


class Run(TypedDict):
    """A user's work."""

    run_id: str
    name: str
    pool: str
    state: str
    reason: str
    detail: str
    actor: str
    created_at: str
    changed_at: str
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    argv: list[str]
    image: str
    instance: RunInstance | None
    lease_id: str
    placements: int


class RunDetail(Run):
    """A run with the attempts of its instance, while that is provisioned or when it failed to be."""

    attempts: list[Attempt]


class LogChunk(TypedDict):
    """Bytes `offset` to `next` of a run's output, base64. `complete`: the run is over and this was the rest."""

    run: Run
    offset: int
    data: str
    next: int
    complete: bool


@overload
def moment(at: datetime) -> str: ...
@overload
def moment(at: datetime | None) -> str | None: ...
def moment(at: datetime | None) -> str | None:
    """Write a moment as every moment is written: ISO 8601, UTC, milliseconds."""
    return None if at is None else stamp(at)


def text(view: Any) -> str:
    """Write a view as compact JSON."""
    return json.dumps(view, separators=(",", ":"))


def me(token: model.Token) -> Me:
    """Show a caller to itself."""
    return {
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "expires_at": moment(token.expires_at),
    }


def token(token: model.Token) -> Token:
    """Show a token of a person or a program."""
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
    }


def pool(pool: model.Pool) -> Pool:
    """Show a pool."""
    return {
        "name": pool.name,
        "is_default": pool.is_default,
        "total": pool.total,
        "available": pool.available,
        "created_at": moment(pool.created_at),
    }


def instance(row: model.Instance) -> Instance:
    """Show an instance, with the fields that a listing has."""
    return cast(Instance, listing.view(row))


def hold(lease: model.Lease) -> Hold:
    """Show the lease on an instance."""
    return cast(Hold, listing.lease_view(lease))


def attempt(attempt: model.Attempt) -> Attempt:
    """Show one try at launching."""
    return {
        "number": attempt.number,
        "attempt_id": attempt.attempt_id,
        "offer": offer(attempt.offer),
        "state": attempt.state.value,
        "kind": attempt.kind,
        "detail": attempt.detail,
        "started_at": moment(attempt.started_at),
        "ended_at": moment(attempt.ended_at),
    }


def offer(offer: model.Offer) -> Offer:
    """Show an offer."""
    return cast(Offer, offer_doc(offer))


def transition(step: model.Transition) -> Transition:
    """Show one step of a history."""
    return {
        "at": moment(step.at),
        "fence": step.fence,
        "source": step.source.value if step.source else None,
        "target": step.target.value,
        "reason": step.reason.value,
        "actor": step.actor,
        "detail": step.detail,
    }


def detail(found: instances.Detail) -> InstanceDetail:
    """Show everything about an instance."""
    return {
        **instance(found.instance),
        "attempts": [attempt(each) for each in found.attempts],
        "history": [transition(each) for each in found.history],
        "facts": found.facts,
        "spent_micros": found.spent,
    }


def plan(plan: instances.Plan, warnings: list[str]) -> Plan:
    """Show what a request would get."""
    return {
        "pool": plan.pool,
        "requirements": requirements.describe(plan.policies.requirements),
        "policies": policies.to_doc(plan.policies),
        "instances": [instance(each) for each in plan.instances],
        "offers": [offer(each) for each in plan.offers],
        "total_offers": plan.total_offers,
        "filters": plan.filters,
        "warnings": warnings,
    }


def lease(row: model.Instance) -> Lease:
    """Show the lease that `row` carries, with its instance."""
    assert row.lease is not None
    shown = hold(row.lease)
    return {
        "lease_id": shown["lease_id"],
        "holder": shown["holder"],
        "fence": shown["fence"],
        "acquired_at": shown["acquired_at"],
        "expires_at": shown["expires_at"],
        "instance": instance(row),
    }


def released(row: model.Instance, lease_id: str) -> Lease:
    """Show a lease that is over, with its instance as it is now."""
    return {
        "lease_id": lease_id,
        "holder": None,
        "fence": int(lease_id.rpartition(".")[2]),
        "acquired_at": None,
        "expires_at": None,
        "released_at": moment(row.changed_at),
        "instance": instance(row),
    }


def upload(upload: uploads.Upload) -> Upload:
    """Show where an archive goes. The URL is a capability for one object and lives minutes."""
    return {
        "present": upload.present,
        "url": upload.url,
        "headers": upload.headers,
        "expires_at": moment(upload.expires_at),
    }


def run(run: model.Run) -> Run:
    """Show a run, without the environment of its job."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "pool": run.pool,
        "state": run.state.value,
        "reason": run.reason.value,
        "detail": run.detail,
        "actor": run.actor,
        "created_at": moment(run.created_at),
        "changed_at": moment(run.changed_at),
        "started_at": moment(run.started_at),
        "ended_at": moment(run.ended_at),
        "exit_code": run.exit_code,
        "argv": list(run.spec.argv),
        "image": run.spec.image,
        "instance": {"instance_id": run.instance_id, "name": run.instance_name} if run.instance_id else None,
        "lease_id": run.lease_id,
        "placements": run.placements,
    }


def logs(logs: runs.Logs) -> LogChunk:
    """Show a piece of a run's output."""
    return {
        "run": run(logs.run),
        "offset": logs.offset,
        "data": b64encode(logs.data).decode(),
        "next": logs.next,
        "complete": logs.complete,
    }
