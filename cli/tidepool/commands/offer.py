"""`tidepool offer`: a plan without a purchase."""

from __future__ import annotations

from tidepool.choices import gather
from tidepool.command import Command
from tidepool.commands.plans import explain_plan, is_empty, no_offers, show_idle, show_plan
from tidepool.options import add_files, add_filters, add_lifetime, add_max_offers, add_pool, add_resources, nodes

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
        parser.add_argument(
            "--nodes",
            type=nodes,
            default=1,
            metavar="N",
            help="for a run on N instances of one cluster (default 1)",
        )
        add_resources(parser)
        add_filters(parser)
        add_max_offers(parser)
        add_lifetime(parser, "72h, for a run 5m")
        add_files(parser, "none")

    def run(self, args: Namespace, session: Session) -> int:
        choices = gather(args, session)
        for_run = args.for_run or args.nodes > 1
        request = choices.plan_request(for_run=for_run, max_offers=args.max_offers, nodes=args.nodes)
        plan = choices.asked(session.client.instances.plan, request)
        if args.explain:
            explain_plan(args, session, choices, plan, for_run=for_run)
            return 0
        if args.json:
            session.out.json(plan)
        else:
            show_plan(session.out, plan)
            show_idle(session, plan)
        if is_empty(plan):
            raise no_offers(plan)
        return 0
