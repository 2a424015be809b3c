"""`tidepool run -- COMMAND`: ship the folder, run, follow."""

from __future__ import annotations

from tidepool.command import Command, UsageError
from tidepool.errors import InputError
from tidepool.follow import Follower, attend
from tidepool.options import (
    add_filters,
    add_lifetime,
    add_pool,
    add_resources,
    job_part,
    name,
    policies,
    seconds,
)
from tidepool.rows import end_text
from tidepool.text import clean, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session
    from tidepool.wire import Run as RunDoc
    from tidepool.wire import RunRequest

GRACE_S = 10.0
"""What the API takes for --kill-after when nothing is said."""


class Run(Command):
    """Run a command on an instance of a pool: takes an idle one that matches, else provisions the cheapest offer. Ships
    the current folder (what .gitignore leaves in), streams the output, and ends with the command's own exit code. Put
    the command after `--`."""

    takes_command = True

    def arguments(self, parser: ArgumentParser) -> None:
        parser.usage = f"{parser.prog} [options] -- COMMAND [ARG …]"
        add_pool(parser)
        parser.add_argument("-n", "--name", type=name, help="the run's name (default: one is made up)")
        parser.add_argument("-d", "--detach", action="store_true", help="print the run's name and return")
        parser.add_argument(
            "--reuse", action="store_true", help="never provision: an idle instance or none (exit code 6)"
        )
        parser.add_argument("--instance", type=name, metavar="NAME", help="only this instance")
        parser.add_argument("-e", "--env", action="append", metavar="K=V", help="set a variable; repeatable")
        parser.add_argument("--image", default="", help="run inside this container image")
        parser.add_argument("--no-code", action="store_true", help="do not ship the current folder")
        parser.add_argument(
            "--kill-after", type=seconds, metavar="DURATION", help="from SIGTERM to SIGKILL (default 10s)"
        )
        wait = parser.add_mutually_exclusive_group()
        wait.add_argument("--wait", dest="detach", action="store_false", help="follow it to its end (default)")
        wait.add_argument("--no-wait", dest="detach", action="store_true", help="the same as --detach")
        add_resources(parser)
        add_filters(parser, spot_default="auto")
        add_lifetime(parser, "5m for an instance that the run makes")

    def run(self, args: Namespace, session: Session) -> int:
        if not args.job:
            raise UsageError("what is to be run? Put it after `--`: tidepool run [options] -- COMMAND [ARG …]")
        request: RunRequest = {**policies(args), **job_part(args)}
        if not args.no_code:
            request["code"] = ship(session)
        run = submit(session, request)
        if args.detach:
            if args.json:
                session.out.json(run)
            else:
                session.out.line(run["name"])
            return 0
        return watch(args, session, run)


def submit(session: Session, request: RunRequest) -> RunDoc:
    """Submit it. An interrupt meanwhile leaves open whether there is a run, so that is said."""
    try:
        return session.client.runs.submit(request)
    except KeyboardInterrupt:
        session.out.note("\nthe run may have been submitted already: `tidepool ps` shows it, `tidepool stop` ends it")
        raise


def watch(args: Namespace, session: Session, run: RunDoc) -> int:
    """Follow a run of ours to its end."""
    where = f" on {run['instance']['name']}" if run["instance"] else ""
    session.out.note(f"run {run['name']}{where}")
    stream = session.out.stderr if args.json else session.out.stdout
    follower = Follower(session, run["run_id"], stream.buffer)
    grace_s = GRACE_S if args.kill_after is None else args.kill_after
    ended, code = attend(session, run, follower, grace_s=grace_s)
    if args.json:
        session.out.json(ended or session.client.runs.get(run["run_id"]))
    if ended and ended["state"] != "done":
        report_end(session, ended, follower)
    return code


def report_end(session: Session, run: RunDoc, follower: Follower) -> None:
    """Say how a run ended that did not end well, with the attempts not told yet when it never had a machine."""
    from tidepool.errors import TidepoolError
    from tidepool.failure import attempt_line

    session.out.note(end_text(run))
    if run["exit_code"] is None and not run["started_at"]:
        try:
            attempts = session.client.runs.get(run["run_id"]).get("attempts") or []
        except TidepoolError:
            return  # the end itself has been told
        for attempt in follower.untold(attempts):
            session.out.note(f"  {attempt_line(attempt)}")


def ship(session: Session) -> str:
    """Store the current folder's archive unless it is there already; answer its hash."""
    from tidepool.archive import pack, survey
    from tidepool.archive_cache import fingerprint, look_up, remember

    if not session.folder:
        raise InputError("the current folder was removed; --no-code runs without it")
    entries, left_out = survey(session.folder)
    for line in left_out:
        session.out.note(f"not shipped: {clean(line)}")
    key = fingerprint(entries, session.now())
    known = look_up(session.environ, key)
    if known and session.client.runs.is_stored(*known):
        return known[0]
    archive = pack(entries)
    with archive.file:
        if archive.size > 1 << 20:
            session.out.note(f"shipping {size_text(round(archive.size / (1 << 20), 1))} of code")
        session.client.runs.upload(archive.file, archive.sha256, archive.size)
    remember(session.environ, key, archive.sha256, archive.size)
    return archive.sha256
