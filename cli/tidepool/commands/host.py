"""`tidepool host list|check|refresh|forget`."""

from __future__ import annotations

from tidepool.command import Command
from tidepool.options import reference
from tidepool.text import clean, moment, since_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

    from tidepool.command import Session
    from tidepool.host_wire import Host
    from tidepool.output import Output
    from tidepool.wire import Instance

SILENT_S = 60
"""An agent that has not been heard of for so long has missed a sync."""
HEADER = ("NAME", "POOL", "DESTINATION", "NETWORK", "ADDRESS", "HOST KEY", "STATUS", "LAST HEARD OF")
LESS = ("HOST KEY", "POOL", "ADDRESS", "NETWORK")
"""What `instance show` has as well, and a narrow terminal has no room for, in the order in which it goes."""


class ListHosts(Command):
    """List the adopted hosts of the project. One that was removed while it could not be reached stays listed, as
    `cleanup pending`, until it returns and is cleaned. For example: `tidepool host list`."""

    def run(self, args: Namespace, session: Session) -> int:
        hosts = session.client.hosts.list()
        if args.json:
            session.out.json(hosts)
            return 0
        show_hosts(session.out, hosts, session.now())
        return 0


class CheckHosts(Command):
    """Find out whether hosts can be adopted, with all checks of `pool add-ssh`. Its other arguments are taken, too, and
    mean nothing yet. Nothing is changed on the hosts. Needs the role manager. Ends with 9 when a check failed, 8 when a
    host or the control plane cannot be reached. For example: `tidepool host check -i ~/.ssh/id_ed25519 --gpu A100:8
    ubuntu@54.73.155.119`."""

    is_mixed = True

    def arguments(self, parser: ArgumentParser) -> None:
        from tidepool.host_arguments import add_host_arguments

        add_host_arguments(parser, adopts=False)

    def run(self, args: Namespace, session: Session) -> int:
        from tidepool.commands.host_work import Look, carry_out
        from tidepool.host_arguments import Asked

        return carry_out(Look(args, session, Asked(args, session)))


class RefreshHosts(Command):
    """Have the agents of adopted hosts read their facts again: GPUs, memory, disk, addresses, driver. For example:
    `tidepool host refresh box-7`."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", type=reference, metavar="NAME", help="names or ids")

    def run(self, args: Namespace, session: Session) -> int:
        asked = [session.client.hosts.refresh(name) for name in dict.fromkeys(args.names)]
        if args.json:
            session.out.json(asked)
            return 0
        for instance in asked:
            when = when_text(instance, session.now())
            name = instance["name"]
            session.out.line(f"{name} reads its facts again{when} (tidepool instance show {name})")
        return 0


class ForgetHosts(Command):
    """Wait no longer for hosts that were removed while they were away, and are `cleanup pending` since: another control
    plane has taken them over, or they are no more. Nothing is done on the hosts. For example: `tidepool host forget
    box-7`."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", type=reference, metavar="NAME", help="names or ids")

    def run(self, args: Namespace, session: Session) -> int:
        done = [session.client.hosts.forget(name) for name in dict.fromkeys(args.names)]
        if args.json:
            session.out.json(done)
            return 0
        for instance in done:
            session.out.line(f"{instance['name']} is forgotten; what is left on the host stays there")
        return 0


def when_text(instance: Instance, now: float) -> str:
    """When a host does what it is asked for: a silent one not before it returns."""
    heard = instance["seen_at"]
    if not heard or now - moment(heard) < SILENT_S:
        return ""
    return f" when it returns (last heard of {since_text(heard, now)} ago)"


def show_hosts(out: Output, hosts: Iterable[Host], now: float) -> None:
    """Write the table. How a host stands is never what gives way."""
    from tidepool.instance_table import fitted, without

    header, *rows = fitted(HEADER, [host_row(host, now) for host in hosts], map(without, LESS), out.width())
    status = header.index("STATUS")
    out.table(header, rows, shrink=(header.index("DESTINATION"), header.index("NAME"), status), status=status)


def host_row(host: Host, now: float) -> tuple[str, ...]:
    """One host."""
    from tidepool.output import cell

    instance, facts = host["instance"], host["host"]
    state = instance["state"]
    notes = [
        *(["cleanup pending"] if facts["cleanup_pending_since"] else []),
        *(["unreachable"] if instance["unreachable"] else []),
        *([facts["step"]] if state in ("pending", "provisioning") else []),
    ]
    heard = since_text(instance["seen_at"], now)
    return (
        instance["name"],
        cell(instance["pool"]),
        cell(facts["destination"]),
        cell(facts["network"]),
        cell(facts["address"]),
        cell(facts["host_key"]),
        clean(f"{state} ({', '.join(notes)})" if notes else state),
        heard + " ago" if instance["seen_at"] else heard,
    )
