"""`tidepool token create|list|revoke`."""

from __future__ import annotations

from tidepool.command import Command
from tidepool.errors import TidepoolError
from tidepool.options import duration, label, reference
from tidepool.output import cell
from tidepool.text import since_text, until_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session


class CreateToken(Command):
    """Create a token of the project. It is shown this once, alone on stdout."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=label, metavar="NAME", help="what or whom it is for")
        parser.add_argument(
            "--role", choices=("viewer", "user", "manager", "admin"), default="user", help="default: user"
        )
        parser.add_argument(
            "--expires-in", type=duration, metavar="DURATION", help="how long it lives: 30d (default 90d)"
        )

    def run(self, args: Namespace, session: Session) -> int:
        made = session.client.tokens.create(args.name, args.role, expires_in=args.expires_in or "")
        if args.json:
            session.out.json(made)
            return 0
        secret = made.get("token")
        if not secret:  # the answer was lost on its way, and a repeated one does not carry the secret again
            raise TidepoolError(f"the token's text was lost; revoke {made['token_id']} and create another one")
        session.out.note(f"token {made['token_id']} ({made['role']}); it is not shown again:")
        session.out.line(secret)
        return 0


class ListTokens(Command):
    """List the tokens of the project, without their secrets."""

    def run(self, args: Namespace, session: Session) -> int:
        tokens = session.client.tokens.list()
        if args.json:
            session.out.json(tokens)
            return 0
        now = session.now()
        rows = [
            (
                cell(token["token_id"]),
                cell(token["name"]),
                cell(token["role"]),
                since_text(token["created_at"], now) + " ago",
                until_text(token["expires_at"], now) if token["expires_at"] else "never",
            )
            for token in tokens
        ]
        session.out.table(("ID", "NAME", "ROLE", "CREATED", "EXPIRES IN"), rows)
        return 0


class RevokeToken(Command):
    """Revoke a token."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("token_id", type=reference, metavar="ID")

    def run(self, args: Namespace, session: Session) -> int:
        session.client.tokens.revoke(args.token_id)
        if args.json:
            session.out.json({"token_id": args.token_id, "revoked": True})
        else:
            session.out.line(f"token {args.token_id} revoked")
        return 0
