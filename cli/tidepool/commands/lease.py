"""`tidepool lease acquire|heartbeat|release|show`: for schedulers other than ours."""

from __future__ import annotations

from tidepool.choices import Choices, from_options
from tidepool.command import Command
from tidepool.options import add_filters, add_pool, add_resources, name, reference, seconds
from tidepool.text import NOTHING, until_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session
    from tidepool.wire import Lease


class AcquireLease(Command):
    """Hold an idle instance that matches. It stays held until it is released or no heartbeat comes for its duration.
    Exit code 6 when none is free."""

    def arguments(self, parser: ArgumentParser) -> None:
        add_pool(parser)
        parser.add_argument("--holder", default="", help="who holds it (default: user@host)")
        parser.add_argument("--duration", type=seconds, metavar="DURATION", help="until it ends without heartbeat")
        parser.add_argument("--instance", type=name, metavar="NAME", help="only this instance")
        add_resources(parser)
        add_filters(parser)

    def run(self, args: Namespace, session: Session) -> int:
        wanted = {**Choices([from_options(args)]).policies(), **({"instance": args.instance} if args.instance else {})}
        lease = session.client.leases.acquire(args.pool or "", holder=args.holder, duration_s=args.duration, **wanted)
        return show(args, session, lease)


class BeatLease(Command):
    """Prolong a lease by its duration, from now. Exit code 5 when it is lost: stop using the machine."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("lease_id", type=reference, metavar="LEASE")
        parser.add_argument("--duration", type=seconds, metavar="DURATION", help="another duration from now on")

    def run(self, args: Namespace, session: Session) -> int:
        return show(args, session, session.client.leases.heartbeat(args.lease_id, duration_s=args.duration))


class ReleaseLease(Command):
    """Give a held instance back. Doing it twice is fine."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("lease_id", type=reference, metavar="LEASE")

    def run(self, args: Namespace, session: Session) -> int:
        lease = session.client.leases.release(args.lease_id)
        if args.json:
            session.out.json(lease)
        else:
            session.out.line(f"lease {lease['lease_id']} released")
        return 0


class ShowLease(Command):
    """Show a lease that holds."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("lease_id", type=reference, metavar="LEASE")

    def run(self, args: Namespace, session: Session) -> int:
        return show(args, session, session.client.leases.get(args.lease_id))


def show(args: Namespace, session: Session, lease: Lease) -> int:
    """Show what a holder needs."""
    if args.json:
        session.out.json(lease)
        return 0
    instance = lease.get("instance")
    session.out.block(
        [
            ("Lease", lease["lease_id"]),
            ("Instance", instance["name"] if instance else NOTHING),
            ("Holder", lease["holder"]),
            ("Fence", str(lease["fence"])),
            ("Expires in", until_text(lease["expires_at"], session.now())),
        ]
    )
    return 0
