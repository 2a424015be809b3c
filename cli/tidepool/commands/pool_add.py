"""`tidepool pool add`: plan, ask, buy, watch."""

from __future__ import annotations

from tidepool.choices import gather
from tidepool.command import Command
from tidepool.commands.plans import explain_plan, no_offers, show_plan
from tidepool.errors import ConflictError, ProvisioningFailedError
from tidepool.failure import next_steps
from tidepool.instance_table import show_instances
from tidepool.options import (
    add_files,
    add_filters,
    add_lifetime,
    add_max_offers,
    add_pool,
    add_resources,
    add_yes,
    name,
)
from tidepool.progress import Patience, Progress
from tidepool.rows import instance_row
from tidepool.text import clean, duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from tidepool.command import Session
    from tidepool.wire import Attempt, Instance, InstanceDetail

FIRST_LOOK_S = 0.2
LAST_LOOK_S = 2.0
READY = frozenset({"idle", "busy"})
OVER = frozenset({"terminating", "terminated"})
ASKED_FOR = frozenset({"user-removed", "pool-deleted"})


class AddInstance(Command):
    """Add an instance to a pool: shows the plan, asks, orders the cheapest offer, and waits until it is ready."""

    def arguments(self, parser: ArgumentParser) -> None:
        add_yes(parser)
        add_pool(parser)
        parser.add_argument("--name", type=name, help="its name (default: one is made up)")
        wait = parser.add_mutually_exclusive_group()
        wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="until it is ready (default)")
        wait.add_argument("--no-wait", dest="wait", action="store_false", help="return as soon as it is ordered")
        add_resources(parser)
        add_filters(parser)
        add_max_offers(parser)
        add_lifetime(parser, "72h")
        add_files(parser, "none")

    def run(self, args: Namespace, session: Session) -> int:
        if not args.explain:
            session.require_answer(yes=args.yes)
        choices = gather(args, session)
        plan = choices.asked(session.client.instances.plan, choices.plan_request(max_offers=args.max_offers))
        if args.explain:
            explain_plan(args, session, choices, plan)
            return 0
        show_plan(session.out, plan)
        if not plan["offers"] and not choices.get("retry"):
            raise no_offers(plan)
        if not plan["offers"]:
            session.out.note("no offer fits now; it will be tried again until one does")
        if not args.yes:
            session.confirm("Continue?")
        add = session.client.instances.add
        made = choices.asked(add, plan["pool"], choices.policies(), name=args.name or "")
        show_row(session, made)
        if args.wait:
            made = wait_until_ready(session, made)
            show_row(session, made)
        if args.json:
            session.out.json(made)
        return 0


def show_row(session: Session, instance: Instance) -> None:
    """Show one instance as `pool ps` does."""
    row = instance_row(instance, session.now())
    show_instances(session.out, [row])


def wait_until_ready(session: Session, instance: Instance) -> InstanceDetail:
    """Watch an instance come up. Raises `ProvisioningFailedError` with every attempt when it does not."""
    progress = Progress(session)
    patience = Patience(session, progress)
    started, look_s = session.monotonic(), FIRST_LOOK_S
    try:
        while True:
            seen = patience.call(session.client.instances.get, instance["instance_id"])
            if seen["state"] in READY:
                progress.failures(seen["attempts"])
                progress.note(f"{seen['name']} is ready after {duration_text(session.monotonic() - started)}")
                return seen
            if seen["state"] in OVER:
                raise failure(seen, seen["attempts"] if session.out.as_json else progress.untold(seen["attempts"]))
            progress.attempts(seen["attempts"], waiting_text(seen))
            session.sleep(look_s)
            look_s = min(look_s * 1.3, LAST_LOOK_S)
    except KeyboardInterrupt:
        progress.note(f"{instance['name']} goes on without being watched (tidepool pool rm {instance['name']})")
        raise
    finally:
        progress.clear()


def waiting_text(instance: Instance) -> str:
    """What an instance waits for that has no attempt under way."""
    if instance["reason"] == "attempt-failed":
        return f"{instance['name']}: looking for the next offer"
    return f"{instance['name']}: {instance['state']}"


def failure(instance: InstanceDetail, attempts: Sequence[Attempt]) -> Exception:
    """Say why an instance did not come up, and list the attempts that nobody was told of."""
    words = f": {clean(instance['detail'])}" if instance["detail"] else ""
    text = f"{instance['name']} is not coming up ({instance['reason']}){words}"
    if instance["reason"] in ASKED_FOR:
        return ConflictError(text)
    context = {"attempts": attempts, "instance": instance["name"], "next_steps": next_steps(instance["attempts"])}
    return ProvisioningFailedError(text, context=context)
