"""`tidepool version`."""

from __future__ import annotations

from tidepool import __version__
from tidepool.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from tidepool.command import Session


class ShowVersion(Command):
    """Show the version of this command line."""

    def run(self, args: Namespace, session: Session) -> int:
        if args.json:
            session.out.json({"version": __version__})
        else:
            session.out.line(f"tidepool {__version__}")
        return 0
