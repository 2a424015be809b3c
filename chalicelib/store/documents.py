"""Values as JSON documents: offers, job specifications, and the public text of an instance's offer.

The public shapes are those of `docs/architecture.md`, section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib.domain.model import Gpu, JobSpec, Offer, Resources, Tries
from chalicelib.domain.nodes import Jobs, NodeJob, NodeState
from chalicelib.domain.searches import Search
from chalicelib.store.columns import compact, moment, stamp

NO_OFFER: Final = (
    '"backend":null,"region":null,"zone":null,"instance_type":null,"resources":null,"spot":null,"price_micros":null,'
    '"price_source":null'
)
"""The public fields of an instance for which no offer is chosen yet."""


def offer_fields(offer: Offer) -> dict[str, Any]:
    """The fields of an offer that an instance shows, in their public order."""
    return {
        "backend": offer.backend,
        "region": offer.region,
        "zone": offer.zone,
        "instance_type": offer.instance_type,
        "resources": resources_doc(offer.resources),
        "spot": offer.spot,
        "price_micros": offer.price,
        "price_source": offer.price_source,
    }


def offer_text(offer: Offer) -> str:
    """`offer_fields` as JSON without the outer braces, to be spliced into a larger object."""
    return compact(offer_fields(offer))[1:-1]


def offer_doc(offer: Offer) -> dict[str, Any]:
    """A whole offer; `offer_from` reads it back."""
    priced_at = stamp(offer.priced_at) if offer.priced_at else None
    return {**offer_fields(offer), "priced_at": priced_at, "availability": offer.availability}


def offer_from(doc: Mapping[str, Any]) -> Offer:
    """Read an offer from `offer_doc`."""
    return Offer(
        backend=doc["backend"],
        region=doc["region"],
        zone=doc["zone"],
        instance_type=doc["instance_type"],
        resources=resources_from(doc["resources"]),
        spot=doc["spot"],
        price=doc["price_micros"],
        price_source=doc["price_source"],
        priced_at=moment(doc["priced_at"]) if doc["priced_at"] else None,
        availability=doc["availability"],
    )


def resources_doc(resources: Resources) -> dict[str, Any]:
    """What a machine has, in its public shape."""
    return {
        "cpus": resources.cpus,
        "memory_mib": resources.memory_mib,
        "disk_mib": resources.disk_mib,
        "gpus": [
            {"name": gpu.name, "memory_mib": gpu.memory_mib, "count": gpu.count, "vendor": gpu.vendor}
            for gpu in resources.gpus
        ],
    }


def resources_from(doc: Mapping[str, Any]) -> Resources:
    """Read `resources_doc`."""
    gpus = tuple(Gpu(each["name"], each["memory_mib"], each["count"], each["vendor"]) for each in doc["gpus"])
    return Resources(doc["cpus"], doc["memory_mib"], doc["disk_mib"], gpus)


def job_doc(spec: JobSpec) -> dict[str, Any]:
    """A job's specification."""
    return {
        "argv": list(spec.argv),
        "image": spec.image,
        "env": dict(spec.env),
        "code": spec.code,
        "kill_after_s": spec.kill_after.total_seconds(),
    }


def job_from(doc: Mapping[str, Any]) -> JobSpec:
    """Read `job_doc`."""
    return JobSpec(tuple(doc["argv"]), doc["image"], doc["env"], doc["code"], timedelta(seconds=doc["kill_after_s"]))


def tries_doc(tries: Tries) -> dict[str, Any] | None:
    """How often a run was begun. None: once, and nothing ended that."""
    if tries == Tries():
        return None
    return {
        "number": tries.number,
        "began_at": _stamp(tries.began_at),
        "since": _stamp(tries.since),
        "failures": tries.failures,
        "interruptions": tries.interruptions,
        "last_failure": tries.last_failure,
        "retry_at": _stamp(tries.retry_at),
        "placements": tries.placements,
        **({"search": _search_doc(tries.search)} if tries.search else {}),
    }


def tries_from(doc: Mapping[str, Any] | None) -> Tries:
    """Read `tries_doc`."""
    if doc is None:
        return Tries()
    moments = {name: moment(doc[name]) if doc[name] else None for name in ("began_at", "since", "retry_at")}
    search = doc.get("search")
    return Tries(**{**doc, **moments, "search": _search_from(search) if search else None})


def _search_doc(search: Search) -> dict[str, Any]:
    return {
        "since": stamp(search.since),
        "round_at": stamp(search.round_at),
        "failed": [list(each) for each in search.failed],
        "rounds": search.rounds,
        "silent": search.silent,
    }


def _search_from(doc: Mapping[str, Any]) -> Search:
    failed = tuple((key, why, kind) for key, why, kind in doc["failed"])
    return Search(moment(doc["since"]), moment(doc["round_at"]), failed, int(doc["rounds"]), int(doc["silent"]))


def nodes_doc(jobs: Jobs) -> list[dict[str, Any]] | None:
    """The jobs of a run on several nodes, without what is as it is by default. None: it has none."""
    return [_node_doc(job) for job in jobs] or None


def _node_doc(job: NodeJob) -> dict[str, Any]:
    values = {field.name: getattr(job, field.name) for field in fields(NodeJob)}
    return {field.name: values[field.name] for field in fields(NodeJob) if values[field.name] != field.default}


def nodes_from(doc: Sequence[Mapping[str, Any]] | None) -> Jobs:
    """Read `nodes_doc`."""
    return tuple(NodeJob(**{**each, "state": NodeState(each.get("state", NodeState.WAITING))}) for each in doc or ())


def _stamp(at: datetime | None) -> str | None:
    return stamp(at) if at else None
