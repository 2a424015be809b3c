"""`tidepool backend list|test|rm`."""

from __future__ import annotations

from tidepool.command import Command
from tidepool.errors import BackendCheckFailedError
from tidepool.options import add_yes, name
from tidepool.output import cell
from tidepool.text import clean, since_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from tidepool.command import Session
    from tidepool.output import Output
    from tidepool.wire import Backend, Check

ACCOUNT = ("role_arn", "subscription_id", "resource_group")
"""What of a configuration says whose account it is; --json has all of it."""


class ListBackends(Command):
    """List the backends of the project, the built-in ones first, without credentials. For example:
    `tidepool backend list`."""

    def run(self, args: Namespace, session: Session) -> int:
        backends = session.client.backends.list()
        if args.json:
            session.out.json(backends)
            return 0
        now = session.now()
        session.out.table(
            ("NAME", "KIND", "REGIONS", "ACCOUNT", "STATE", "CHECKED", "CATALOG"),
            [
                (
                    backend["name"],
                    backend["kind"],
                    cell(", ".join(backend["regions"])),
                    account_text(backend),
                    backend["state"],
                    checked_text(backend, now),
                    since_text(backend["catalog_at"], now) + " old" if backend["catalog_at"] else cell(""),
                )
                for backend in backends
            ],
            shrink=(3, 2),
        )
        return 0


class TestBackend(Command):
    """Find out whether machines can be rented on a backend: credentials, rights, what has to be set up once. Buys
    nothing. Ends with 8 when a check fails. For example: `tidepool backend test aws`."""

    __test__ = False

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=name, metavar="NAME")

    def run(self, args: Namespace, session: Session) -> int:
        found = session.client.backends.test(args.name)
        if args.json:
            session.out.json(found)
        else:
            show_checks(session.out, found["checks"])
        return 0 if found["ok"] else BackendCheckFailedError.exit_code


class RemoveBackends(Command):
    """Remove backends and their credentials. One that instances are on is refused. For example: `tidepool backend rm
    aws`."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", type=name, metavar="NAME")
        add_yes(parser)

    def run(self, args: Namespace, session: Session) -> int:
        names = list(dict.fromkeys(args.names))
        session.require_answer(yes=args.yes)
        if not args.yes:
            session.confirm(f"Remove {', '.join(names)} and the credentials?")
        for each in names:
            session.client.backends.remove(each)
            session.out.line(f"backend {each} removed")
        if args.json:
            session.out.json([{"name": each, "removed": True} for each in names])
        return 0


def show_checks(out: Output, checks: Sequence[Check]) -> None:
    """The checks as a table, and under it what to do about each that failed."""
    rows = [(cell(each["name"]), "ok" if each["ok"] else "failed", cell(each["detail"])) for each in checks]
    out.table(("CHECK", "RESULT", "DETAIL"), rows, shrink=(2,), status=1)
    for each in checks:
        if not each["ok"] and each["fix"]:
            out.line(f"fix {clean(each['name'])}: {clean(each['fix'])}")


def account_text(backend: Backend) -> str:
    """Whose account a backend is."""
    facts = [str(backend["config"][key]) for key in ACCOUNT if backend["config"].get(key)]
    return cell(", ".join(facts) or ("built in" if backend["built_in"] else ""))


def checked_text(backend: Backend, now: float) -> str:
    """What the last checks said, and when."""
    found = backend["checkup"]
    if not found:
        return cell("")
    return f"{'ok' if found['ok'] else 'failed'} {since_text(found['at'], now)} ago"
