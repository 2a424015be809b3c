"""`tidepool offer`: a plan without a purchase."""

from __future__ import annotations

from tidepool.command import Command
from tidepool.commands.plans import no_offers, show_plan
from tidepool.instance_table import show_instances
from tidepool.options import add_filters, add_lifetime, add_max_offers, add_pool, add_resources, plan_request
from tidepool.rows import instance_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class ShowOffers(Command):
    """Show what adding an instance would choose from, cheapest first, without buying. --for-run plans a run instead."""

    def arguments(self, parser: ArgumentParser) -> None:
        add_pool(parser)
        parser.add_argument(
            "--for-run", action="store_true", help="with a run's defaults, and idle instances it could take"
        )
        add_resources(parser)
        add_filters(parser)
        add_max_offers(parser)
        add_lifetime(parser, "72h, for a run 5m")

    def run(self, args: Namespace, session: Session) -> int:
        plan = session.client.instances.plan(plan_request(args, for_run=args.for_run))
        if args.json:
            session.out.json(plan)
        else:
            show_plan(session.out, plan)
            if plan["instances"]:
                now = session.now()
                rows = [instance_row(instance, now) for instance in plan["instances"]]
                session.out.line("\nIdle instances that match:")
                show_instances(session.out, rows)
        if not plan["offers"] and not plan["instances"]:
            raise no_offers(plan)
        return 0
