"""The nouns as rows of a table."""

from __future__ import annotations

from tidepool.output import cell
from tidepool.script import command_text
from tidepool.text import (
    NOTHING,
    clean,
    duration_text,
    moment,
    price_text,
    resources_text,
    since_text,
    until_text,
    yes_no,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.wire import Attempt, Instance, Offer, Run, Transition

INSTANCE_HEADER = (
    "NAME", "BACKEND", "REGION", "RESOURCES", "SPOT", "PRICE", "STATUS", "IDLE FOR", "EXPIRES IN", "CREATED"
)  # fmt: skip
OFFER_HEADER = ("BACKEND", "REGION", "RESOURCES", "SPOT", "PRICE")
RUN_HEADER = ("NAME", "POOL", "INSTANCE", "STATUS", "CREATED", "COMMAND")
RUN_STATUS = 3
ATTEMPT_HEADER = ("ATTEMPT", "BACKEND", "REGION", "INSTANCE TYPE", "SPOT", "PRICE", "STATE", "DETAIL")
HISTORY_HEADER = ("AT", "FROM", "TO", "REASON", "ACTOR", "DETAIL")

HOST_BACKEND = "ssh"
"""What the API calls the backend of a server that somebody owns."""
EXPECTED = frozenset({"pool-add", "run", "add-ssh", "launched", "agent-ready", "acquired", "released"})
"""Reasons that say no more than the state does."""


def instance_row(instance: Instance, now: float) -> tuple[str, ...]:
    """One instance; `now` is epoch seconds."""
    idle = instance["state"] == "idle"
    return (
        instance["name"],
        instance["backend"] or NOTHING,
        instance["region"] or NOTHING,
        resources_text(instance["resources"]),
        yes_no(instance["spot"]),
        price_text(instance["price_micros"], instance["price_source"], instance["backend"]),
        status_text(instance, now),
        since_text(instance["changed_at"], now) if idle else NOTHING,
        expiry_text(instance, now) if idle else NOTHING,
        since_text(instance["created_at"], now) + " ago",
    )


def status_text(instance: Instance, now: float) -> str:
    """The state, with what a reader should know at once in parentheses; `instance show` has the provider's words."""
    notes = []
    lease = instance["lease"]
    if lease:
        notes.append(lease["holder"])
    if instance["reason"] not in EXPECTED and instance["state"] not in ("idle", "busy"):
        ending = instance["state"] == "terminating" and instance["detail"]
        notes.append(f"{instance['reason']}: {instance['detail']}" if ending else instance["reason"])
    if instance["backend"] == HOST_BACKEND and instance["state"] in ("pending", "provisioning") and instance["detail"]:
        notes.append(instance["detail"])  # the step of its adoption
    if instance["unreachable"]:
        notes.append("unreachable")
    if instance["cordoned"]:
        notes.append("cordoned")
    if instance["interrupted"] and "interrupted" not in notes:
        left = f": {duration_text(moment(instance['ends_at']) - now)} left" if instance["ends_at"] else ""
        notes.append(f"interrupted{left}")
    return clean(f"{instance['state']} ({', '.join(notes)})") if notes else instance["state"]


def expiry_text(instance: Instance, now: float) -> str:
    """When an idle instance goes: `never` when its idle time is off."""
    if instance["idle_limit_s"] is None and not instance["expires_at"]:
        return "never"
    return until_text(instance["expires_at"], now)


def offer_row(offer: Offer) -> tuple[str, ...]:
    """One offer. What was refused a moment ago is said: it ranks last, however little it costs."""
    sold_out = " (sold out a moment ago)" if offer["availability"] == "stocked-out" else ""
    return (
        cell(offer["backend"]),
        cell(offer["region"]),
        resources_text(offer["resources"]),
        yes_no(offer["spot"]),
        price_text(offer["price_micros"], offer["price_source"], offer["backend"]) + sold_out,
    )


def run_row(run: Run, now: float) -> tuple[str, ...]:
    """One run."""
    instance = run["instance"]
    return (
        run["name"],
        cell(run["pool"]),
        cell(nodes_text(run) or (instance["name"] if instance else None)),
        waiting_text(run, now) or run_status(run),
        since_text(run["created_at"], now) + " ago",
        cell(command_text(run["argv"])),
    )


def nodes_text(run: Run) -> str:
    """The instances of a run on several nodes, by rank, with what became of those that ended or are not there yet."""
    names = []
    for job in run.get("jobs") or ():
        name = job["instance"]["name"] if job["instance"] else NOTHING
        said = job["state"] if job["state"] in ("failed", "stopped") else ""
        if job["instance"] and job["state"] == "waiting":
            said = "on its way"
        names.append(f"{name} ({said})" if said else name)
    return clean(", ".join(names))


def waiting_text(run: Run, now: float) -> str:
    """When a run that waits for its next try has it, or ""."""
    if not run["retry_at"]:
        return ""
    left = moment(run["retry_at"]) - now
    return f"{run['state']} (try {run['tries']} {f'in {duration_text(left)}' if left >= 1 else 'now'})"


def run_status(run: Run) -> str:
    """The state; of a run that failed or was stopped also why, and what its job ended with unless that was 0."""
    if run["state"] not in ("failed", "stopped"):
        return run["state"]
    reason = run["reason"]
    if reason == "max-duration" and run["started_at"] and run["ends_by"]:
        reason += f" {duration_text(moment(run['ends_by']) - moment(run['started_at']))}"
    said = [] if reason == "exited-non-zero" else [reason]
    if run["exit_code"] or not said:
        said.append(f"exit code {run['exit_code']}")
    return clean(f"{run['state']} ({', '.join(said)})")


def end_text(run: Run) -> str:
    """A sentence about how a run ended, in the words of whoever ended it."""
    detail = f": {run['detail']}" if run["detail"] else ""
    return clean(f"run {run['name']} {run_status(run)}{detail}")


def attempt_row(attempt: Attempt) -> tuple[str, ...]:
    """One attempt at an offer."""
    offer = attempt["offer"]
    return (
        str(attempt["number"]),
        cell(offer["backend"]),
        cell(offer["region"]),
        cell(offer["instance_type"]),
        yes_no(offer["spot"]),
        price_text(offer["price_micros"], offer["price_source"], offer["backend"]),
        attempt["kind"] or attempt["state"],
        cell(attempt["detail"]),
    )


def transition_row(step: Transition) -> tuple[str, ...]:
    """One step of a history."""
    return (
        cell(step["at"]),
        cell(step["source"]),
        cell(step["target"]),
        cell(step["reason"]),
        cell(step["actor"]),
        cell(step["detail"]),
    )
