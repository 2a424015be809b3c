"""`tidepool pool rm`."""

from __future__ import annotations

from time import localtime, strftime

from tidepool.command import Command
from tidepool.errors import BusyError, ConflictError, NotFoundError, TidepoolError
from tidepool.instance_table import show_instances
from tidepool.options import add_pool, add_yes, reference
from tidepool.progress import Patience, Progress
from tidepool.rows import HOST_BACKEND, instance_row
from tidepool.text import duration_text, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

    from tidepool.command import Session
    from tidepool.wire import HostFacts, Instance

FIRST_LOOK_S = 0.2
LAST_LOOK_S = 2.0
SILENT_S = 60
"""An agent of a host that has not been heard of for so long has missed a sync, or is already busy uninstalling."""
CONFIRMS_WITHIN_S = 120
"""How long the control plane waits for the confirmation of a host's agent (docs/adoption.md). One that had been silent
for that long when it was removed is not waited for."""


class RemoveInstances(Command):
    """Remove instances. A busy one is refused without --force; what is refused keeps no other that was named. Waits
    until the provider confirms that it is gone. From a server of yours the agent and all that it brought is
    uninstalled; one that cannot be reached is cleaned as soon as it returns, and listed by `tidepool host list` until
    then."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", type=reference, metavar="NAME", help="names or ids")
        add_pool(parser)
        parser.add_argument("--force", action="store_true", help="busy ones too; what runs there ends")
        add_yes(parser)
        wait = parser.add_mutually_exclusive_group()
        wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="until it is gone (default)")
        wait.add_argument("--no-wait", dest="wait", action="store_false", help="return as soon as its end has begun")

    def run(self, args: Namespace, session: Session) -> int:
        session.require_answer(yes=args.yes)
        client = session.client
        meant = [(name, args.pool or "") for name in args.names]
        if not args.yes:
            found = [client.instances.get(name) for name in dict.fromkeys(args.names)]
            refuse_busy(found, force=args.force)
            now = session.now()
            rows = [instance_row(instance, now) for instance in found]
            show_instances(session.out, rows)
            for each in found:
                if each["backend"] == HOST_BACKEND:
                    session.out.note(f"{each['name']} is your server: the agent is uninstalled, the server stays on")
            session.confirm("Remove?")
            # What was shown is what goes, whoever has its name by now; and an id with its pool needs no look-up.
            meant = [(instance["instance_id"], args.pool or instance["pool"]) for instance in found]
        begun, refused = begin(session, list(dict.fromkeys(meant)), force=args.force)
        ended = [wait_until_gone(session, instance) for instance in begun] if args.wait else begun
        if args.json and (ended or not refused):
            session.out.json(ended)
        for instance in () if args.json else ended:
            session.out.line(f"{instance['name']} {instance['state']}{owed_text(instance)}")
        if not refused:
            return 0
        *others, last = refused.values()
        for error in () if args.json else others:
            session.out.note(error.detail)
        last.context["refused"] = {name: error.code for name, error in refused.items()}
        raise last


def begin(
    session: Session, meant: list[tuple[str, str]], *, force: bool
) -> tuple[list[Instance], dict[str, TidepoolError]]:
    """Begin the end of each; return those that end, and why each of the others does not, by what it was asked for as.

    One that is unknown or busy keeps no other: what was to go would bill on. What refuses all of them is raised, and
    whoever asked is told what goes on ending.
    """
    begun: list[Instance] = []
    refused: dict[str, TidepoolError] = {}
    try:
        for name, pool in meant:
            try:
                begun.append(session.client.instances.remove(name, pool=pool, force=force))
            except (NotFoundError, ConflictError) as error:
                refused[name] = error
    except TidepoolError as error:
        if begun:
            error.context["begun"] = [each["name"] for each in begun]
        for each in () if session.out.as_json else begun:
            session.out.note(f"{each['name']} goes on terminating (tidepool instance show {each['name']})")
        raise
    return begun, refused


def owed_text(instance: Instance) -> str:
    """What is still to be done on a server that gave no word; only an instance that was looked at again tells."""
    host: HostFacts | None = dict(instance).get("host")  # type: ignore[assignment]
    if not host or not host["cleanup_pending_since"]:
        return ""
    return ", cleanup pending: it could not be reached, and is cleaned as soon as it returns (tidepool host list)"


def ending_text(instance: Instance, now: float) -> str:
    """What the end of an instance waits for; a server's agent is waited for until a moment that is told."""
    detail = f" ({instance['detail']})" if instance["detail"] else ""
    silent_s = now - moment(instance["seen_at"]) if instance["seen_at"] else 0
    if instance["backend"] != HOST_BACKEND or silent_s < SILENT_S:
        return f"{instance['state']}{detail}"
    changed = moment(instance["changed_at"])
    if changed - (now - silent_s) >= CONFIRMS_WITHIN_S:
        heard = duration_text(silent_s)
        return f"{instance['state']}{detail}; its agent was last heard of {heard} ago, and is not waited for"
    heard, until = (strftime("%H:%M:%S", localtime(at)) for at in (now - silent_s, changed + CONFIRMS_WITHIN_S))
    return (
        f"{instance['state']}{detail}; its agent was last heard of at {heard}; "
        f"waiting until {until} for it to confirm, then cleanup pending"
    )


def refuse_busy(instances: Iterable[Instance], *, force: bool) -> None:
    """Say so before asking; the server decides in the end."""
    for instance in instances:
        if instance["state"] == "busy" and not force:
            holder = instance["lease"]["holder"] if instance["lease"] else "a holder"
            raise BusyError(f"{instance['name']} is busy with {holder}; --force ends it")


def wait_until_gone(session: Session, instance: Instance) -> Instance:
    """Wait for `terminated`; the control plane goes on trying for as long as the provider does not confirm."""
    progress = Progress(session)
    patience = Patience(session, progress)
    look_s = FIRST_LOOK_S
    try:
        while instance["state"] != "terminated":
            progress.status(f"{instance['name']}: {ending_text(instance, session.now())}")
            session.sleep(look_s)
            look_s = min(look_s * 1.3, LAST_LOOK_S)
            try:
                instance = patience.call(session.client.instances.get, instance["instance_id"])
            except NotFoundError:
                return {**instance, "state": "terminated"}
        return instance
    except KeyboardInterrupt:
        progress.note(f"{instance['name']} goes on terminating (tidepool instance show {instance['name']})")
        raise
    finally:
        progress.clear()
