"""`tidepool pool add-ssh`: adopt servers that somebody owns."""

from __future__ import annotations

from tidepool.command import Command, UsageError
from tidepool.host_arguments import Asked, add_destinations
from tidepool.options import add_pool, label, name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class AddHosts(Command):
    """Adopt servers that you own into a pool. All checks are made first, and nothing is changed on a host that fails
    one. With -i the control plane connects, and deletes the key when the adoption has ended; with --from-here the
    system's ssh does, with all its options and configuration, and the key stays here. The same command again goes on
    where it stopped. Ends with 9 when a check failed, 5 on a conflict, 8 when a host or the control plane cannot be
    reached. For example: `tidepool pool add-ssh -i ~/.ssh/id_ed25519 ubuntu@54.73.155.119`, or `tidepool pool add-ssh
    --from-here -F ~/.ssh/config 'gpu-node-[1-8]'`."""

    is_mixed = True

    def arguments(self, parser: ArgumentParser) -> None:
        add_destinations(parser)
        host = parser.add_argument_group("instance")
        host.add_argument("--name", type=name, metavar="NAME", help="its name (default: the host's, if it can be one)")
        host.add_argument(
            "--network",
            type=label,
            metavar="CIDR",
            help="the network its neighbours reach it in; one run's nodes share one",
        )
        host.add_argument("--region", type=label, metavar="NAME", help="what to call where it is (default remote)")
        host.add_argument(
            "--take-over", action="store_true", help="also when it belongs to another control plane, which loses it"
        )
        add_pool(parser)
        wait = parser.add_mutually_exclusive_group()
        wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="until it is ready (default)")
        wait.add_argument("--no-wait", dest="wait", action="store_false", help="return as soon as its agent is awaited")

    def run(self, args: Namespace, session: Session) -> int:
        asked = Asked(args, session)
        if args.name and len(asked.destinations) > 1:
            raise UsageError("--name is for one host; several are called by their own names")
        from tidepool.commands.host_work import Adoption, carry_out

        return carry_out(Adoption(args, session, asked))
