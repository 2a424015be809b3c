"""`tidepool run -- COMMAND`: ship the folder, run, follow."""

from __future__ import annotations

from tidepool.choices import gather
from tidepool.command import Command, UsageError
from tidepool.follow import Follower, attend
from tidepool.options import (
    add_files,
    add_filters,
    add_lifetime,
    add_pool,
    add_resources,
    add_run_policies,
    name,
    nodes,
    seconds,
)
from tidepool.output import cell
from tidepool.rows import end_text, nodes_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.choices import Choices
    from tidepool.command import Session
    from tidepool.job import Job
    from tidepool.wire import PlanRequest, RunRequest
    from tidepool.wire import Run as RunDoc

GRACE_S = 10.0
"""What the API takes for --kill-after when nothing is said."""


class Run(Command):
    """Run a command on an instance of a pool: takes an idle one that matches, else provisions the cheapest offer. Ships
    the current folder (what .gitignore leaves in), streams the output, and ends with the command's own exit code. Put
    the command after `--`; without one, that of the run file .tidepool.yml is run."""

    takes_command = True

    def arguments(self, parser: ArgumentParser) -> None:
        parser.usage = f"{parser.prog} [options] [-- COMMAND [ARG …]]"
        add_pool(parser)
        parser.add_argument("-n", "--name", type=name, help="the run's name (default: one is made up)")
        parser.add_argument("-d", "--detach", action="store_true", help="print the run's name and return")
        add_run_policies(parser)
        parser.add_argument(
            "-e", "--env", action="append", metavar="K=V", help="set a variable, or pass K of mine on; repeatable"
        )
        parser.add_argument(
            "--nodes", type=nodes, metavar="N", help="on N instances of one cluster at once, all or none (default 1)"
        )
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
        add_files(parser, ".tidepool.yml of the folder, when there is no COMMAND")

    def run(self, args: Namespace, session: Session) -> int:
        from tidepool.job import assemble

        choices = gather(args, session, of_folder=True)
        job = assemble(args, session.environ, choices.run_file)
        if not job.argv and not args.explain:
            without = f"{choices.run_file.shown} has no commands." if choices.run_file else "what is to be run?"
            raise UsageError(
                f"{without} Put it after `--` (tidepool run [options] -- COMMAND [ARG …]), or into a run file "
                "(`tidepool help run-file`)"
            )
        if args.explain:
            return explain(args, session, choices, job)
        request: RunRequest = {**choices.policies(for_run=True), **choices.placement(), **job.request()}  # type: ignore[typeddict-item]
        code = ship_code(args, session, choices)
        if code:
            request["code"] = code
        run = choices.asked(submit, session, request)
        for warning in run.get("warnings") or ():
            session.out.note(f"note: {cell(warning)}")
        if args.detach:
            if args.json:
                session.out.json(run)
            else:
                session.out.line(run["name"])
            return 0
        return watch(args, session, run, GRACE_S if job.kill_after_s is None else job.kill_after_s)


def ship_code(args: Namespace, session: Session, choices: Choices) -> str:
    """Store what travels; answer its hash, or nothing when nothing does."""
    if args.no_code and not (choices.run_file and choices.run_file.files):
        return ""
    from tidepool.shipping import ship

    return ship(session, choices.run_file, with_folder=not args.no_code)


def explain(args: Namespace, session: Session, choices: Choices, job: Job) -> int:
    """Show what would be asked for, and what is there for it."""
    from tidepool.commands.plans import explain_plan

    request: PlanRequest = {**choices.plan_request(for_run=True, nodes=job.nodes), **choices.placement()}  # type: ignore[typeddict-item]
    if "image" in job.said:
        request["image"] = str(job.said["image"].value)
    plan = choices.asked(session.client.instances.plan, request)
    explain_plan(args, session, choices, plan, for_run=True, job=job.said)
    return 0


def submit(session: Session, request: RunRequest) -> RunDoc:
    """Submit it. An interrupt meanwhile leaves open whether there is a run, so that is said."""
    try:
        return session.client.runs.submit(request)
    except KeyboardInterrupt:
        session.out.note("\nthe run may have been submitted already: `tidepool ps` shows it, `tidepool stop` ends it")
        raise


def watch(args: Namespace, session: Session, run: RunDoc, grace_s: float) -> int:
    """Follow a run of ours to its end. `grace_s` is what its job gets from SIGTERM to SIGKILL."""
    names = nodes_text(run) or (run["instance"]["name"] if run["instance"] else "")
    where = f" on {names}" if names else ""
    session.out.note(f"run {run['name']}{where}")
    stream = session.out.stderr if args.json else session.out.stdout
    follower = Follower(session, run["run_id"], stream.buffer)
    ended, code = attend(session, run, follower, grace_s=grace_s)
    if args.json:
        session.out.json(ended or session.client.runs.get(run["run_id"]))
    if ended and ended["state"] != "done":
        report_end(session, ended, follower)
    return code


def report_end(session: Session, run: RunDoc, follower: Follower) -> None:
    """Say how a run ended that did not end well, with the attempts not told yet when it never had a machine."""
    from tidepool.errors import TidepoolError
    from tidepool.failure import attempt_line, next_steps

    session.out.note(end_text(run))
    if run["exit_code"] is None and not run["started_at"]:
        try:
            attempts = session.client.runs.get(run["run_id"]).get("attempts") or []
        except TidepoolError:
            return  # the end itself has been told
        for attempt in follower.untold(attempts):
            session.out.note(f"  {attempt_line(attempt)}")
        for step in next_steps(attempts):
            session.out.note(f"  {step}")
