"""`tidepool rehearse list|set|reset`: failures of the local cloud, on purpose."""

from __future__ import annotations

import json

from tidepool.command import Command
from tidepool.errors import BadAnswerError, from_problem
from tidepool.output import cell
from tidepool.profile import local_cloud
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


def ask(session: Session, method: str, body: Any = None) -> list[dict[str, Any]]:
    """Call the local cloud's `/rehearsal`, which answers the faults in force."""
    url, key = local_cloud(session.environ, session.folder)
    transport = Transport(url)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = b"" if body is None else json.dumps(body).encode()
    target = transport.url.target.rstrip("/") + "/rehearsal"
    try:
        response = transport.exchange(method, target, headers, content, within_s=WITHIN_S)
    finally:
        transport.close()
    try:
        answer = json.loads(response.body or b"[]")
    except ValueError:
        answer = None
    if response.status >= 400:
        raise from_problem(response.status, answer if isinstance(answer, dict) else {})
    if not isinstance(answer, list):
        raise BadAnswerError("the answer is not a list of faults; is the URL that of the local cloud?")
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
