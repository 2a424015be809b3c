"""`tidepool login` and `tidepool config`."""

from __future__ import annotations

from tidepool.client import Client
from tidepool.command import Command, UsageError
from tidepool.control_plane import DEFAULT_PROJECT, config_path, load, write_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class Login(Command):
    """Store the URL and token of a control plane, after checking them. The token is asked for without echo, or read
    from standard input when that is no terminal; it is never an argument, which others on the machine could see."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", metavar="URL", help="the base of the API")

    def run(self, args: Namespace, session: Session) -> int:
        token = ask_token(session)
        with Client(args.url, token, sleep=session.sleep, environ=session.environ) as client:
            me = client.me()
        project = args.project or (me["project"] if me["project"] != "*" else DEFAULT_PROJECT)
        path = write_config(session.environ, {"url": args.url.rstrip("/"), "token": token, "project": project})
        if args.json:
            session.out.json({"url": args.url, "project": project, "me": me, "path": path})
        else:
            session.out.line(f"logged in as {me['name']} ({me['role']}), project {project}; stored in {path}")
        if session.environ.get("TIDEPOOL_URL") or session.environ.get("TIDEPOOL_TOKEN"):
            session.out.note("note: TIDEPOOL_URL or TIDEPOOL_TOKEN is set and wins over it")
        return 0


class ShowConfig(Command):
    """Show which control plane is used, as which project, and where each setting comes from. The token is not shown."""

    def run(self, args: Namespace, session: Session) -> int:
        found = load(session.environ, session.folder)
        project = args.project or found.project
        shown = f"{found.token[:4]}… ({len(found.token)} characters)" if found.token else None
        if args.json:
            session.out.json({"url": found.url, "project": project, "token": shown, "sources": found.sources})
            return 0
        rows = [("URL", found.url, "url"), ("Project", project, "project"), ("Token", shown or "none", "token")]
        session.out.table(
            ("SETTING", "VALUE", "FROM"),
            [(label, value, found.sources.get(key, "-")) for label, value, key in rows],
        )
        session.out.note(f"`tidepool login` stores them in {config_path(session.environ)}")
        return 0


def ask_token(session: Session) -> str:
    """Read the token."""
    if session.stdin.isatty():
        from getpass import getpass

        token = getpass("Token: ")
    else:
        token = session.stdin.readline()
    if not token.strip():
        raise UsageError("no token was given")
    if not token.strip().isascii() or any(char.isspace() for char in token.strip()):
        raise UsageError("that is no token: it has blanks or characters that no token has")
    return token.strip()
