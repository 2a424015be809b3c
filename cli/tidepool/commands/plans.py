"""A plan as it is shown before something is bought."""

from __future__ import annotations

from tidepool.errors import NoMatchError, NoOffersError
from tidepool.output import cell
from tidepool.rows import OFFER_HEADER, instance_row, offer_row
from tidepool.text import NOTHING, money_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from typing import Any

    from tidepool.choices import Choices
    from tidepool.command import Session
    from tidepool.keys import Said
    from tidepool.output import Output
    from tidepool.wire import ClusterPlan, Plan


CLUSTERS_SHOWN = 5
CLUSTER_HEADER = ("CLUSTER", "IDLE", "TO BUY", "EACH", "TOGETHER", "WHY NOT")


def show_plan(out: Output, plan: Plan) -> None:
    """Show the best offers, and what is to be known about them; for several nodes first where they come together."""
    if plan.get("clusters"):
        out.line(f"{plan['nodes']} nodes of one cluster, prices an hour:")
        possible = [each for each in plan["clusters"] if not each["why"]]
        shown = possible[:CLUSTERS_SHOWN] + [each for each in plan["clusters"] if each["why"]]
        out.table(CLUSTER_HEADER, [_cluster_row(each) for each in shown], shrink=(5,))
        if len(possible) > CLUSTERS_SHOWN:
            out.line(f"… and {len(possible) - CLUSTERS_SHOWN} more clusters, dearer")
        out.line()
    if plan["offers"]:
        out.table(OFFER_HEADER, [offer_row(offer) for offer in plan["offers"]], shrink=(2,))
    if plan["total_offers"] > len(plan["offers"]):
        out.line(f"… and {plan['total_offers'] - len(plan['offers'])} more")
    told: Mapping[str, Any] = plan
    for kind in ("notes", "warnings", "filters" if plan["offers"] else ""):
        for line in told.get(kind) or ():
            out.note(f"note: {cell(line)}")


def _cluster_row(plan: ClusterPlan) -> tuple[str, ...]:
    each, total = plan["price_micros"], plan["total_micros"]
    return (
        cell(plan["cluster"].replace("|", " ")),
        str(plan["free"]),
        NOTHING if plan["why"] else str(plan["missing"]),
        NOTHING if each is None else money_text(each),
        NOTHING if total is None else money_text(total),
        cell(plan["why"]) or NOTHING,
    )


def is_empty(plan: Plan) -> bool:
    """Whether a request would get nothing."""
    if plan.get("nodes", 1) > 1:
        return all(each["why"] for each in plan.get("clusters") or ())
    return not plan["offers"] and not plan["instances"]


def show_idle(session: Session, plan: Plan) -> None:
    """Show the idle instances that a run could take."""
    if plan["instances"]:
        from tidepool.instance_table import show_instances

        session.out.line("\nIdle instances that match:")
        now = session.now()
        show_instances(session.out, [instance_row(instance, now) for instance in plan["instances"]])


def explain_plan(
    args: Namespace,
    session: Session,
    choices: Choices,
    plan: Plan,
    *,
    for_run: bool = False,
    job: Mapping[str, Said] | None = None,
) -> None:
    """Show each value with its source, then the plan; when nothing fits, what removed the last candidates."""
    from tidepool.explain import HEADER, job_rows, rows, table

    entries = [*job_rows(job or {}), *rows(choices, plan, for_run=for_run)]
    if args.json:
        told = [{name: entry[name] for name in ("key", "value", "source")} for entry in entries]
        session.out.json({**plan, "explain": told, "explain_notes": choices.notes})
        return
    session.out.table(HEADER, table(entries))
    session.out.line(f"\nRequirements: {cell(plan['requirements'])}")
    session.out.line()
    only_idle = _only_idle(choices) if job is not None else ""
    if only_idle:
        session.out.line(f"{only_idle}; nothing is bought")
    show_plan(session.out, plan)
    show_idle(session, plan)
    if only_idle:
        _show_refusal(session.out, plan)
    elif is_empty(plan) if plan.get("nodes", 1) > 1 else not plan["offers"]:
        from tidepool.failure import cluster_text

        session.out.line(_refusal(plan))
        for line in plan["filters"]:
            session.out.line(f"  {cell(cluster_text(line))}")


def _only_idle(choices: Choices) -> str:
    """What counts for a run that may buy nothing, and who says so; empty where it may."""
    for name, counts in (("instance", "only instance {} counts"), ("reuse", "only idle instances count")):
        if choices.get(name):
            return f"{counts.format(cell(choices.get(name)))} ({choices.said[name].source})"
    return ""


def _show_refusal(out: Output, plan: Plan) -> None:
    """Say how the run would end that finds nothing it may take."""
    refusal = plan.get("refusal")
    if refusal:
        from tidepool.failure import reason_lines

        out.line(f"the run would be refused with exit code {NoMatchError.exit_code}: {cell(refusal['detail'])}")
        for line in reason_lines(refusal["reasons"]):
            out.line(f"  {line}")


def no_offers(plan: Plan) -> NoOffersError:
    """Say that nothing fits, and what removed the last candidates."""
    return NoOffersError(_refusal(plan), context={"filters": plan["filters"]})


def _refusal(plan: Plan) -> str:
    count = plan.get("nodes", 1)
    return f"no cluster can give {count} nodes" if count > 1 else "no offer fits these requirements"
