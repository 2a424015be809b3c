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

REMOTE = "remote"
"""The site of a host that was given none."""
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


class NamedHosts(Command):
    """A command that does one thing to each of the hosts that it is given by name."""

    told: str
    """What was done to one, with its `{name}`; `{when}` says so where a silent one does it only later."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", type=reference, metavar="NAME", help="names or ids")

    def run(self, args: Namespace, session: Session) -> int:
        done = [self.ask(session, name) for name in dict.fromkeys(args.names)]
        if args.json:
            session.out.json(done)
            return 0
        for instance in done:
            when = when_text(instance, session.now())
            session.out.line(self.told.format(name=instance["name"], when=when))
        return 0

    def ask(self, session: Session, name: str) -> Instance:
        raise NotImplementedError


class RefreshHosts(NamedHosts):
    """Have the agents of adopted hosts read their facts again: GPUs, memory, disk, addresses, driver. For example:
    `tidepool host refresh box-7`."""

    told = "{name} reads its facts again{when} (tidepool instance show {name})"

    def ask(self, session: Session, name: str) -> Instance:
        return session.client.hosts.refresh(name)


class ForgetHosts(NamedHosts):
    """Wait no longer for hosts that were removed while they were away, and are `cleanup pending` since: another control
    plane has taken them over, or they are no more. Nothing is done on the hosts. For example: `tidepool host forget
    box-7`."""

    told = "{name} is forgotten; what is left on the host stays there"

    def ask(self, session: Session, name: str) -> Instance:
        return session.client.hosts.forget(name)


def when_text(instance: Instance, now: float) -> str:
    """When a host does what it is asked for: a silent one not before it returns."""
    heard = instance["seen_at"]
    if not heard or now - moment(heard) < SILENT_S:
        return ""
    return f" when it returns (last heard of {since_text(heard, now)} ago)"


def show_hosts(out: Output, hosts: Iterable[Host], now: float) -> None:
    """Write the table. How a host stands is never what gives way."""
    from tidepool.instance_table import fitted, without

    hosts = list(hosts)
    has_sites = any(host["instance"]["region"] not in (REMOTE, None) for host in hosts)
    listed = [host_row(host, now, has_sites=has_sites) for host in hosts]
    header, *rows = fitted(HEADER, listed, map(without, LESS), out.width())
    status = header.index("STATUS")
    out.table(header, rows, shrink=(header.index("DESTINATION"), header.index("NAME"), status), status=status)


def host_row(host: Host, now: float, *, has_sites: bool) -> tuple[str, ...]:
    """One host; its network with its site, `dc1 10.0.0.0/24`, where not all have the same one."""
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
        cell(" ".join(filter(None, (instance["region"] if has_sites else "", facts["network"])))),
        cell(facts["address"]),
        cell(facts["host_key"]),
        clean(f"{state} ({', '.join(notes)})" if notes else state),
        heard + " ago" if instance["seen_at"] else heard,
    )
