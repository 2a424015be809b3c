"""`tidepool backend add`."""

from __future__ import annotations

import json
from pathlib import Path

from tidepool.command import Command, UsageError
from tidepool.commands.backend import show_checks
from tidepool.errors import ConflictError
from tidepool.options import label, name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from tidepool.command import Session
    from tidepool.wire import NewBackend

SECRET_VARIABLE = "TIDEPOOL_BACKEND_SECRET"
SECRETS = {"aws": "secret_access_key", "azure": "client_secret"}
"""Kind -> what its one secret is called among the credentials."""

OPTIONS = {
    "aws": {"role_arn": "config", "external_id": "config", "access_key_id": "credentials"},
    "azure": {
        "subscription_id": "config",
        "tenant_id": "config",
        "client_id": "config",
        "resource_group": "config",
    },
}
"""Kind -> its options as the API calls them, and which part of the account each belongs to."""


class AddBackend(Command):
    """Add an account at a provider, or replace its credentials. Its checks are made first, and nothing is stored while
    one fails. A secret is read from a file, the environment (TIDEPOOL_BACKEND_SECRET), or without echo; it is never an
    argument, which others on the machine could see. For example: `tidepool backend add aws --role-arn
    arn:aws:iam::123456789012:role/tidepool-machines --external-id 8f2c --region eu-central-1`, or `tidepool backend add
    azure --subscription ID --tenant ID --client-id ID --resource-group machines --region westeurope`."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", type=name, metavar="KIND", help="the provider: aws, azure")
        parser.add_argument("--name", type=name, metavar="NAME", help="what to call it (default: its kind)")
        parser.add_argument("-r", "--region", action="append", metavar="NAME", help="rent there; repeatable")
        parser.add_argument("--config", type=label, metavar="FILE", help="further settings: a JSON object")
        parser.add_argument(
            "--secret-file", type=label, metavar="FILE", help="the secret, or a JSON object of credentials; - is stdin"
        )
        parser.add_argument("--replace", action="store_true", help="give one that is there these settings instead")
        parser.add_argument("--no-check", dest="check", action="store_false", help="store it unchecked")
        aws = parser.add_argument_group("aws")
        aws.add_argument("--role-arn", metavar="ARN", help="the role to assume; its name begins with tidepool-")
        aws.add_argument("--external-id", metavar="ID", help="what the role's trust policy asks for")
        aws.add_argument("--access-key-id", metavar="ID", help="in place of a role: an access key")
        azure = parser.add_argument_group("azure")
        azure.add_argument("--subscription", dest="subscription_id", metavar="ID", help="where the machines are billed")
        azure.add_argument("--tenant", dest="tenant_id", metavar="ID", help="the directory of the app registration")
        azure.add_argument("--client-id", metavar="ID", help="the app registration")
        azure.add_argument("--resource-group", metavar="NAME", help="where everything is made")

    def run(self, args: Namespace, session: Session) -> int:
        try:
            added = session.client.backends.add(wanted(args, session))
        except ConflictError as error:
            if error.code == "already-exists":
                error.context["fix"] = "--replace gives it these settings and credentials"
            raise
        if args.json:
            session.out.json(added)
            return 0
        if added["checkup"]:
            show_checks(session.out, added["checkup"]["checks"])
        changed = "has new settings" if added["version"] > 1 else "added"
        session.out.line(f"backend {added['name']} {changed}" + ("" if added["checkup"] else ", unchecked"))
        return 0


def wanted(args: Namespace, session: Session) -> NewBackend:
    """The request that the options make."""
    parts: dict[str, dict[str, Any]] = {"config": {}, "credentials": {}}
    if args.config:
        parts["config"] = _object(args.config, Path(args.config).read_text(encoding="utf-8"))
    if args.region:
        parts["config"]["regions"] = args.region
    for kind, options in OPTIONS.items():
        for option, part in options.items():
            value = getattr(args, option)
            if value is None:
                continue
            if kind != args.kind:
                raise UsageError(f"{option.replace('_', ' ')} belongs to {kind}, not to {args.kind}")
            parts[part][option] = value
    if args.kind == "aws":
        _check_way_in(args, parts)
    parts["credentials"].update(_secrets(args, session, needed=_needs_secret(args.kind, parts)))
    request: NewBackend = {
        "kind": args.kind,
        "config": parts["config"],
        "credentials": parts["credentials"],
        "replace": args.replace,
        "check": args.check,
    }
    if args.name:
        request["name"] = args.name
    return request


def _check_way_in(args: Namespace, parts: dict[str, dict[str, Any]]) -> None:
    """Of the two ways into an account of AWS there must be one, which is said before a secret is asked for."""
    has_role, has_key = bool(parts["config"].get("role_arn")), bool(parts["credentials"])
    if has_role and has_key:
        raise UsageError("--role-arn and --access-key-id exclude each other: say how to get in, not both")
    if not has_role and not has_key and not args.secret_file:
        raise UsageError("say how to get in: --role-arn ARN with --external-id ID, or --access-key-id ID")


def _needs_secret(kind: str, parts: dict[str, dict[str, Any]]) -> bool:
    """Whether a secret must be asked for: a role of AWS has none."""
    return kind == "azure" or bool(parts["credentials"])


def _secrets(args: Namespace, session: Session, *, needed: bool) -> dict[str, Any]:
    """The secret from where it was said to be, else from the environment, else from whoever sits there."""
    text = ""
    if args.secret_file == "-":
        text = session.stdin.read()
    elif args.secret_file:
        text = Path(args.secret_file).read_text(encoding="utf-8")
    elif needed:
        text = session.environ.get(SECRET_VARIABLE) or _asked(args.kind, session)
    text = text.strip()
    if not text:
        if needed or args.secret_file:
            raise UsageError("the secret is empty")
        return {}
    if text.startswith("{"):
        return _object(args.secret_file or SECRET_VARIABLE, text)
    if args.kind not in SECRETS:
        raise UsageError(f"the credentials of {args.kind} must be a JSON object in --secret-file")
    return {SECRETS[args.kind]: text}


def _asked(kind: str, session: Session) -> str:
    if not session.stdin.isatty():
        raise UsageError(f"no secret: say --secret-file FILE, or set {SECRET_VARIABLE}")
    from getpass import getpass

    return getpass(f"{SECRETS[kind].replace('_', ' ').capitalize()}: ")


def _object(source: str, text: str) -> dict[str, Any]:
    """A JSON object from a file. What it holds may be secret, so no error repeats it."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{source} does not hold a JSON object")
    return found
