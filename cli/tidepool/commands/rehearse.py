"""`tidepool rehearse list|set|reset|preempt`: failures of the local cloud, on purpose."""

from __future__ import annotations

import json

from tidepool.command import Command
from tidepool.control_plane import local_cloud
from tidepool.errors import BadAnswerError, NotFoundError, from_problem
from tidepool.options import reference, seconds
from tidepool.output import cell
from tidepool.text import duration_text
from tidepool.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from tidepool.command import Session

WITHIN_S = 15.0
FAULTS = (
    "no-capacity, quota, balance, capacity (value: how many may live), boot-delay (value: seconds), silent, "
    "lost-answer, terminate-fails, throttle, auth, unavailable, unforeseen, slow (value: seconds)"
)


class ListFaults(Command):
    """List the faults that the local cloud is told to have."""

    def run(self, args: Namespace, session: Session) -> int:
        return show(args, session, ask(session, "GET"))


class SetFault(Command):
    """Tell the local cloud to have a fault, besides the ones it has, and see what `pool add` and `run` do about it."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("fault", metavar="FAULT", help=FAULTS)
        parser.add_argument("--type", metavar="NAME", help="only for this instance type")
        parser.add_argument("--region", metavar="NAME", help="only in this region")
        parser.add_argument("--count", type=int, metavar="N", help="only N times (default: until reset)")
        parser.add_argument("--value", type=float, metavar="X", help="seconds, or how many")
        parser.add_argument("--only", action="store_true", help="forget the other faults")

    def run(self, args: Namespace, session: Session) -> int:
        given = {key: getattr(args, key) for key in ("fault", "type", "region", "count", "value")}
        rule = {key: value for key, value in given.items() if value is not None}
        if "value" in rule and float(rule["value"]).is_integer():
            rule["value"] = int(rule["value"])
        before = [] if args.only else ask(session, "GET")
        return show(args, session, ask(session, "PUT", [*before, rule]))


class ResetFaults(Command):
    """End all scripted faults."""

    def run(self, args: Namespace, session: Session) -> int:
        return show(args, session, ask(session, "DELETE"))


class Preempt(Command):
    """Have the local cloud take a machine back, as providers do with spot machines: it is told, and ended some time
    later. Shows what becomes of the run on it."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=reference, metavar="NAME", help="an instance's name or id, or a machine's id")
        parser.add_argument(
            "--after", type=seconds, default=120.0, metavar="DURATION", help="from the notice to the end (default 2m)"
        )

    def run(self, args: Namespace, session: Session) -> int:
        machine = machine_of(session, args.name)
        told = call(session, "POST", f"/machines/{machine['id']}/preempt", {"after_s": args.after})
        if args.json:
            session.out.json(told)
        else:
            session.out.line(f"machine {cell(machine['id'])} of {args.name} ends in {duration_text(args.after)}")
        return 0


def machine_of(session: Session, name: str) -> dict[str, Any]:
    """Find a live machine by its id, or by the tags with which the control plane launched it."""
    answer = call(session, "GET", "/machines")
    if not isinstance(answer, dict):
        raise BadAnswerError("the answer is not a list of machines; is the URL that of the local cloud?")
    for machine in answer["machines"]:
        tags = machine["tags"]
        if name in (machine["id"], tags.get("tidepool-name"), tags.get("tidepool-instance")):
            found: dict[str, Any] = machine
            return found
    raise NotFoundError(f"the local cloud has no machine of {name}")


def ask(session: Session, method: str, body: Any = None) -> list[dict[str, Any]]:
    """Call the local cloud's `/rehearsal`, which answers the faults in force."""
    answer = call(session, method, "/rehearsal", body)
    if not isinstance(answer, list):
        raise BadAnswerError("the answer is not a list of faults; is the URL that of the local cloud?")
    return answer


def call(session: Session, method: str, path: str, body: Any = None) -> Any:
    """Call the local cloud, whose refusals are `{"error": {"code", "message", …}}`."""
    url, key = local_cloud(session.environ, session.folder)
    transport = Transport(url)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = b"" if body is None else json.dumps(body).encode()
    try:
        target = transport.url.target.rstrip("/") + path
        response = transport.exchange(method, target, headers, content, within_s=WITHIN_S)
    finally:
        transport.close()
    try:
        answer = json.loads(response.body or b"null")
    except ValueError:
        answer = None
    if response.status >= 400:
        refusal = answer.get("error") if isinstance(answer, dict) else None
        raise from_problem(response.status, refusal if isinstance(refusal, dict) else {})
    return answer


def show(args: Namespace, session: Session, faults: list[dict[str, Any]]) -> int:
    """Show the faults in force."""
    if args.json:
        session.out.json(faults)
        return 0
    if not faults:
        session.out.line("no faults")
        return 0
    header = ("FAULT", "TYPE", "REGION", "LEFT", "VALUE")
    rows = [
        (
            cell(fault["fault"]),
            cell(fault.get("type")),
            cell(fault.get("region")),
            "until reset" if fault.get("count") is None else cell(fault["count"]),
            cell(fault.get("value")),
        )
        for fault in faults
    ]
    session.out.table(header, rows)
    return 0
