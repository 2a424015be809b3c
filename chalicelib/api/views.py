"""The nouns as they are on the wire: from domain values to the types of `answers`.

A job's environment, a token's hash and a machine's user data have no view.
"""

import json
from base64 import b64encode
from datetime import datetime
from typing import Any, Final, cast, overload

from chalicelib.api import answers
from chalicelib.domain import model, policies, requirements
from chalicelib.domain.errors import NoMatchError
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.nodes import NodeJob
from chalicelib.services import instances, runs, uploads
from chalicelib.services.gang_plans import ClusterPlan
from chalicelib.store import listing
from chalicelib.store.columns import stamp
from chalicelib.store.documents import offer_doc

UNSAID: Final = frozenset({"names_resources", "on_demand_first", "containers"})
"""What policies hold besides what a request says."""


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


def me(token: model.Token) -> answers.Me:
    """Show a caller to itself."""
    return {
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "expires_at": moment(token.expires_at),
    }


def token(token: model.Token) -> answers.Token:
    """Show a token of a person or a program."""
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
    }


def pool(pool: model.Pool) -> answers.Pool:
    """Show a pool."""
    return {
        "name": pool.name,
        "is_default": pool.is_default,
        "total": pool.total,
        "available": pool.available,
        "created_at": moment(pool.created_at),
    }


def instance(row: model.Instance) -> answers.Instance:
    """Show an instance, with the fields that a listing has."""
    return cast(answers.Instance, listing.view(row))


def attempt(attempt: model.Attempt) -> answers.Attempt:
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


def offer(offer: model.Offer) -> answers.Offer:
    """Show an offer."""
    return cast(answers.Offer, offer_doc(offer))


def transition(step: model.Transition) -> answers.Transition:
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


def detail(found: instances.Detail) -> answers.InstanceDetail:
    """Show everything about an instance."""
    return {
        **instance(found.instance),
        "attempts": [attempt(each) for each in found.attempts],
        "history": [transition(each) for each in found.history],
        "facts": found.facts,
        "spent_micros": found.spent,
        "host": host(found.host) if found.host else None,
    }


def host(record: HostRecord) -> answers.HostFacts:
    """Show a host: everything but the key, of which not even the name is told."""
    return {
        "destination": str(record.destination),
        "jump": str(record.jump) if record.jump else "",
        "from_here": record.from_here,
        "step": record.step.value,
        "failure": record.failure or record.trouble,
        "host_key": record.fingerprint,
        "jump_host_key": record.jump_fingerprint,
        "network": record.zone or record.network,
        "address": record.address,
        "machine_id": record.machine_id,
        "checks": [cast(answers.HostCheckResult, dict(each)) for each in record.checks],
        "cleanup_pending_since": moment(record.owed_since),
    }


def plan(plan: instances.Plan, warnings: list[str]) -> answers.Plan:
    """Show what a request would get."""
    return {
        "pool": plan.pool,
        "requirements": requirements.describe(plan.policies.requirements),
        "policies": {key: value for key, value in policies.to_doc(plan.policies).items() if key not in UNSAID},
        "instances": [instance(each) for each in plan.instances],
        "offers": [offer(each) for each in plan.offers],
        "total_offers": plan.total_offers,
        "filters": plan.filters,
        "warnings": warnings,
        "notes": plan.notes,
        "nodes": plan.nodes,
        "clusters": [_cluster(each) for each in plan.clusters],
        "refusal": _refusal(plan.refusal) if plan.refusal else None,
    }


def _refusal(error: NoMatchError) -> answers.Refusal:
    return {"code": error.code, "detail": error.detail, "reasons": error.context["reasons"]}


def _cluster(plan: ClusterPlan) -> answers.ClusterPlan:
    return {
        "cluster": plan.key,
        "free": plan.free,
        "missing": plan.missing,
        "price_micros": plan.price,
        "total_micros": plan.total,
        "why": plan.why,
    }


def lease(row: model.Instance) -> answers.Lease:
    """Show the lease that `row` carries, with its instance."""
    shown = instance(row)
    hold = shown["lease"]
    assert hold is not None
    return {
        "lease_id": hold["lease_id"],
        "holder": hold["holder"],
        "fence": hold["fence"],
        "acquired_at": hold["acquired_at"],
        "expires_at": hold["expires_at"],
        "instance": shown,
    }


def gang(rows: list[model.Instance]) -> answers.Gang:
    """Show the leases that were taken together."""
    return {"leases": [lease(row) for row in rows]}


def released(row: model.Instance, lease_id: str) -> answers.Lease:
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


def upload(upload: uploads.Upload) -> answers.Upload:
    """Show where an archive goes. The URL is a capability for one object and lives minutes."""
    return {
        "present": upload.present,
        "url": upload.url,
        "headers": upload.headers,
        "expires_at": moment(upload.expires_at),
    }


def run(run: model.Run) -> answers.Run:
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
        "instance": _master(run),
        "lease_id": run.lease_id,
        "placements": run.placements,
        "tries": run.tries.number,
        "last_failure": run.tries.last_failure,
        "retry_at": moment(run.tries.retry_at) if run.state is model.RunState.SUBMITTED else None,
        "ends_by": moment(run.ends_by),
        "nodes": max(1, len(run.jobs)),
        "jobs": [_node(job) for job in run.jobs],
    }


def _master(run: model.Run) -> answers.RunInstance | None:
    """Where a run is; of one on several nodes the first."""
    if run.jobs:
        return _node(run.jobs[0])["instance"]
    return {"instance_id": run.instance_id, "name": run.instance_name} if run.instance_id else None


def _node(job: NodeJob) -> answers.NodeJob:
    named = job.instance_name or job.instance_id
    return {
        "rank": job.rank,
        "state": job.state.value,
        "instance": {"instance_id": job.instance_id, "name": named} if job.instance_id else None,
        "lease_id": job.lease_id,
        "cluster": job.cluster,
        "address": job.address,
        "gpus": job.gpus,
        "exit_code": job.exit_code,
        "reason": job.reason,
        "detail": job.detail,
    }


def logs(logs: runs.Logs) -> answers.LogChunk:
    """Show a piece of a run's output."""
    return {
        "run": run(logs.run),
        "offset": logs.offset,
        "data": b64encode(logs.data).decode(),
        "next": logs.next,
        "complete": logs.complete,
    }
