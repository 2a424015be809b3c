"""`tidepool ps|logs|stop`."""

from __future__ import annotations

from tidepool.api.runs import ENDS
from tidepool.command import Command
from tidepool.options import rank, reference
from tidepool.rows import RUN_HEADER, RUN_STATUS, end_text, run_row, run_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session
    from tidepool.wire import LogChunk, Run

FIRST_LOOK_S = 0.2
LAST_LOOK_S = 2.0


class ListRuns(Command):
    """List the runs that are not over; with --all the ones that are, too, newest first."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="all runs that are still known")

    def run(self, args: Namespace, session: Session) -> int:
        pages = session.client.runs.pages(active=not args.all)
        if args.json:
            session.out.json_pages(pages)
            return 0
        now = session.now()
        rows = [run_row(run, now) for page in pages for run in page]
        session.out.table(
            RUN_HEADER, rows, shrink=(RUN_HEADER.index("COMMAND"), RUN_HEADER.index("INSTANCE")), status=RUN_STATUS
        )
        return 0


class Logs(Command):
    """Show the log of a run. With --follow until the run is over; it then ends with the run's exit code. Ctrl-C only
    ends the watching. With --json: a line for each piece, with its node, its bytes in base64."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=reference, metavar="RUN", help="a run's name or id")
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
        parser.add_argument(
            "--node",
            type=rank,
            metavar="RANK",
            help="this node's log as it is (default: all, each line behind a rank)",
        )

    def run(self, args: Namespace, session: Session) -> int:
        if args.json:
            return json_log(args, session)
        if not args.follow:
            return show_log(args, session)
        from tidepool.follow import INTERRUPTED, Follower, exit_code

        try:
            run = Follower(session, args.name, session.out.stdout.buffer, args.node).follow()
        except KeyboardInterrupt:
            session.out.note(f"run {args.name} goes on")
            return INTERRUPTED
        if run["state"] != "done":
            session.out.note(end_text(run))
        return exit_code(run)


def show_log(args: Namespace, session: Session) -> int:
    """Write what there is of a log so far."""
    from tidepool.node_output import Output

    def read(rank: int, after: int) -> tuple[bytes, LogChunk]:
        return session.client.runs.log_chunk(args.name, after, node=rank)

    output = Output(read, args.node)
    while True:
        data, _, is_complete = output.poll()
        session.out.stdout.buffer.write(data)
        if is_complete or not output.has_advanced:
            session.out.stdout.buffer.write(output.rest())
            session.out.stdout.flush()
            return 0


def json_log(args: Namespace, session: Session) -> int:
    """Write the log as JSON lines, each with its node, and the run itself as the last one."""
    from tidepool.follow import exit_code
    from tidepool.progress import Patience, Progress

    patience = Patience(session, Progress(session))
    after, look_s = {args.node or 0: 0}, FIRST_LOOK_S
    while True:
        has_news, is_complete = False, True
        for node in list(after):
            data, chunk = patience.call(session.client.runs.log_chunk, args.name, after[node], node=node)
            after[node] = chunk["next"]
            if data:
                piece = {"offset": chunk["offset"], "next": chunk["next"], "data": chunk["data"]}
                session.out.json({"node": node, **piece})
            has_news, is_complete = has_news or bool(data), is_complete and chunk["complete"] and not data
        run = chunk["run"]
        others = range(run["nodes"]) if args.node is None else ()
        if not set(others) <= after.keys():
            after |= {node: 0 for node in others if node not in after}
        elif has_news:
            look_s = FIRST_LOOK_S
        elif is_complete or not args.follow:
            session.out.json({"run": run})
            return exit_code(run) if args.follow else 0
        else:
            session.sleep(look_s)
            look_s = min(look_s * 1.3, LAST_LOOK_S)


class Stop(Command):
    """Stop a run: its job gets SIGTERM, and SIGKILL after its grace. Waits until it is over."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=reference, metavar="RUN", help="a run's name or id")
        parser.add_argument(
            "--force", action="store_true", help="SIGKILL at once; ends it on an unreachable machine, too"
        )
        wait = parser.add_mutually_exclusive_group()
        wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="until it is over (default)")
        wait.add_argument("--no-wait", dest="wait", action="store_false", help="return as soon as it is told to stop")

    def run(self, args: Namespace, session: Session) -> int:
        run = session.client.runs.stop(args.name, force=args.force)
        if args.wait:
            run = wait_until_over(session, run)
        if args.json:
            session.out.json(run)
        else:
            session.out.line(f"{run['name']} {run_status(run)}")
        return 0


def wait_until_over(session: Session, run: Run) -> Run:
    """Wait for the end of a run that was told to stop; an agent that is away delays it."""
    from tidepool.progress import Patience, Progress

    progress = Progress(session)
    patience = Patience(session, progress)
    look_s = FIRST_LOOK_S
    try:
        while run["state"] not in ENDS:
            progress.status(f"{run['name']}: {run['state']}" + (f", {run['detail']}" if run["detail"] else ""))
            session.sleep(look_s)
            look_s = min(look_s * 1.3, LAST_LOOK_S)
            run = patience.call(session.client.runs.get, run["run_id"])
        return run
    finally:
        progress.clear()
