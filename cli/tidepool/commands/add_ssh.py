"""`tidepool pool add-ssh`: adopt servers that somebody owns."""

from __future__ import annotations

from tidepool.command import Command, UsageError
from tidepool.host_arguments import Asked, add_host_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class AddHosts(Command):
    """Adopt servers that you own into a pool. All checks are made first, and nothing is changed on a host that fails
    one. With -i the control plane connects, and deletes the key when the adoption has ended; with --from-here the
    system's ssh does, with all its options and configuration, and the key stays here. The same command again goes on
    where it stopped. Needs the role manager. Ends with 9 when a check failed, 5 on a conflict, 8 when a host or the
    control plane cannot be reached. For example: `tidepool pool add-ssh -i ~/.ssh/id_ed25519 ubuntu@54.73.155.119`, or
    `tidepool pool add-ssh --from-here -F ~/.ssh/config 'gpu-node-[1-8]'`."""

    is_mixed = True

    def arguments(self, parser: ArgumentParser) -> None:
        add_host_arguments(parser)

    def run(self, args: Namespace, session: Session) -> int:
        asked = Asked(args, session)
        if args.name and len(asked.destinations) > 1:
            raise UsageError("--name is for one host; several are called by their own names")
        from tidepool.commands.host_work import Adoption, carry_out

        return carry_out(Adoption(args, session, asked))
