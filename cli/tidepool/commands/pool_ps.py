"""`tidepool pool ps`."""

from __future__ import annotations

from tidepool.command import Command, UsageError
from tidepool.errors import NotFoundError
from tidepool.instance_table import instance_lines
from tidepool.options import add_pool
from tidepool.rows import instance_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import NoReturn

    from tidepool.command import Session
    from tidepool.wire import Instance

RECENT_S = 600
KEPT_S = 7 * 86_400
"""How long ended instances are kept at all."""
FAILURES = frozenset(
    {"provisioning-failed", "provisioning-deadline", "agent-silent", "job-not-picked-up", "machine-gone"}
)
"""Ends that nobody asked for: shown for a while, so that an instance never just vanishes."""
WATCH_EVERY_S = 2.0
HOME, CLEAR_REST, CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


class ListInstances(Command):
    """List the instances of a pool, and the ones that failed within the last ten minutes."""

    def arguments(self, parser: ArgumentParser) -> None:
        add_pool(parser)
        parser.add_argument("--all", action="store_true", help="all that ended within seven days, too")
        parser.add_argument("-w", "--watch", action="store_true", help="show it again and again, until Ctrl-C")
        parser.add_argument(
            "--interval", type=float, default=WATCH_EVERY_S, metavar="S", help="seconds between (default 2)"
        )

    def run(self, args: Namespace, session: Session) -> int:
        if not 0.1 <= args.interval <= 3600:
            raise UsageError("argument --interval: from 0.1 to 3600 seconds")
        if not args.watch:
            show(args, session)
            return 0
        try:
            watch(args, session)
        except KeyboardInterrupt:
            return 0


def show(args: Namespace, session: Session) -> None:
    """Show the list once."""
    pages = wanted(args, session)
    if args.json:
        session.out.json_pages(pages)
    else:
        session.out.line("\n".join(lines(pages, session)))


def wanted(args: Namespace, session: Session) -> Iterator[list[Instance]]:
    """The pages to show. A project without any pool has no instances, which is no error."""
    client = session.client
    try:
        pool = args.pool or client.pools.default()
    except NotFoundError:
        session.out.note("the project has no pool yet; `tidepool pool add` or `pool add-ssh` makes the first one")
        return
    for page in client.instances.pages(pool, ended_since_s=KEPT_S if args.all else RECENT_S):
        yield page if args.all else [one for one in page if one["state"] != "terminated" or one["reason"] in FAILURES]


def lines(pages: Iterator[list[Instance]], session: Session) -> list[str]:
    """The table. Each page becomes text at once: ten thousand instances as JSON objects would not be small."""
    now = session.now()
    rows = [instance_row(instance, now) for page in pages for instance in page]
    return instance_lines(session.out, rows)


def watch(args: Namespace, session: Session) -> NoReturn:
    """Show the list again and again: in place on a terminal, else one after the other."""
    from tidepool.progress import Patience, Progress

    patience = Patience(session, Progress(session))
    stdout = session.out.stdout
    if session.out.is_terminal and not args.json:
        stdout.write(HOME + CLEAR_REST)
    while True:
        if args.json:
            session.out.json(patience.call(flat, args, session))
        else:
            table = patience.call(lambda: lines(wanted(args, session), session))
            if session.out.is_terminal:
                stdout.write(HOME + "".join(line + CLEAR_LINE + "\n" for line in table[: height() - 1]) + CLEAR_REST)
            else:
                stdout.write("\n".join(table) + "\n\n")
            stdout.flush()
        session.sleep(args.interval)


def flat(args: Namespace, session: Session) -> list[Instance]:
    """The pages as one list."""
    return [instance for page in wanted(args, session) for instance in page]


def height() -> int:
    """Lines of the terminal."""
    import os

    try:
        return os.get_terminal_size(1).lines or 24
    except (OSError, ValueError):
        return 24
