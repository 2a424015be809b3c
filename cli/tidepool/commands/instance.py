"""`tidepool instance show|set`."""

from __future__ import annotations

from tidepool.command import Command, UsageError
from tidepool.options import duration, reference
from tidepool.output import cell
from tidepool.rows import (
    ATTEMPT_HEADER,
    HISTORY_HEADER,
    attempt_row,
    expiry_text,
    status_text,
    transition_row,
)
from tidepool.text import duration_text, money_text, price_text, resources_text, since_text, size_text, yes_no

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session
    from tidepool.output import Output
    from tidepool.wire import HostFacts, InstanceDetail


BOUGHT = frozenset({"Instance type", "Spot", "Price", "Cost so far", "Idle duration", "Expires in"})
"""What is said of rented machines: a server of one's own is not bought, costs nothing and never expires."""


class ShowInstance(Command):
    """Show one instance: what it is, its cost so far, every attempt to get it, its history with actor and reason."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=reference, metavar="NAME", help="a name or an id")

    def run(self, args: Namespace, session: Session) -> int:
        instance = session.client.instances.get(args.name)
        if args.json:
            session.out.json(instance)
        else:
            show(session.out, instance, session.now())
        return 0


class ChangeInstance(Command):
    """Change how long an instance may idle, or keep new work away from it (cordon)."""

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", type=reference, metavar="NAME", help="a name or an id")
        parser.add_argument("--idle-duration", type=duration, metavar="DURATION", help="5m, 72h, 0s, off")
        cordon = parser.add_mutually_exclusive_group()
        cordon.add_argument(
            "--cordon", dest="cordoned", action="store_true", default=None, help="no new work; what runs goes on"
        )
        cordon.add_argument("--uncordon", dest="cordoned", action="store_false", help="take work again")

    def run(self, args: Namespace, session: Session) -> int:
        if not args.idle_duration and args.cordoned is None:
            raise UsageError("nothing to change: say --idle-duration, --cordon or --uncordon")
        instance = session.client.instances.update(
            args.name, idle_duration=args.idle_duration or "", cordoned=args.cordoned
        )
        if args.json:
            session.out.json(instance)
            return 0
        limit = instance["idle_limit_s"]
        idle = "off" if limit is None else duration_text(limit)
        session.out.line(f"{instance['name']} {status_text(instance, session.now())}, idle duration {idle}")
        return 0


def show(out: Output, instance: InstanceDetail, now: float) -> None:
    """Show all there is to know."""
    limit = instance["idle_limit_s"]
    price = price_text(instance["price_micros"], instance["price_source"], instance["backend"])
    rows = [
        ("Name", instance["name"]),
        ("Id", instance["instance_id"]),
        ("Pool", instance["pool"]),
        ("Status", status_text(instance, now)),
        ("Detail", cell(instance["detail"])),
        ("Backend", cell(instance["backend"])),
        ("Region", cell(" ".join(filter(None, (instance["region"], None if instance["host"] else instance["zone"]))))),
        ("Instance type", cell(instance["instance_type"])),
        ("Resources", resources_text(instance["resources"])),
        ("Spot", yes_no(instance["spot"])),
        ("Price", price),
        ("Cost so far", money_text(instance["spent_micros"]) + (" (simulated)" if "simulated" in price else "")),
        ("Idle duration", "off" if limit is None else duration_text(limit)),
        ("Expires in", expiry_text(instance, now) if instance["state"] == "idle" else "-"),
        ("Created", since_text(instance["created_at"], now) + " ago"),
        ("Last heard of", since_text(instance["seen_at"], now) + (" ago" if instance["seen_at"] else "")),
        ("Fence", str(instance["fence"])),
    ]
    out.block([row for row in rows if not (instance["host"] and row[0] in BOUGHT)])
    if instance["host"]:
        show_host(out, instance["host"], now)
    facts = sorted(instance["facts"].items())
    if facts:
        out.line("\nFacts")
        out.block([(f"  {label_of(key)}", cell(value_text(value, key))) for key, value in facts])
    if instance["attempts"] and not instance["host"]:
        out.line("\nAttempts")
        out.table(ATTEMPT_HEADER, [attempt_row(attempt) for attempt in instance["attempts"]], shrink=(7,), status=6)
    out.line("\nHistory")
    out.table(HISTORY_HEADER, [transition_row(step) for step in instance["history"]], shrink=(5,), status=2)


def show_host(out: Output, host: HostFacts, now: float) -> None:
    """Show what an adopted server has besides, and its checks that did not pass, with what puts them right."""
    owed = host["cleanup_pending_since"]
    out.line("\nHost")
    out.block(
        [
            ("  Destination", cell(host["destination"] + (f" over {host['jump']}" if host["jump"] else ""))),
            ("  Adopted by", "ssh, from where the client was" if host["from_here"] else "the control plane"),
            ("  Adoption", cell(f"{host['step']}: {host['failure']}" if host["failure"] else host["step"])),
            ("  Host key", cell(host["host_key"])),
            *([("  Jump host key", cell(host["jump_host_key"]))] if host["jump_host_key"] else ()),
            ("  Network", cell(host["network"])),
            ("  Address", cell(host["address"])),
            ("  Machine id", cell(host["machine_id"])),
            (
                "  Cleanup pending",
                f"for {since_text(owed, now)}: something of ours may be left on it" if owed else "no",
            ),
        ]
    )
    wrong = [check for check in host["checks"] if check["status"] != "pass"]
    if wrong:
        from tidepool.host_results import show_checks

        out.line("\nChecks that did not pass")
        show_checks(out, wrong)


def label_of(key: str) -> str:
    """What a fact is called: its value has the unit that reads best, so its name has none."""
    return key.removesuffix("_mib")


def value_text(value: object, key: str = "") -> str:
    """A fact as text: lists and objects on one line, sizes as people read them."""
    if isinstance(value, list):
        return ", ".join(value_text(entry) for entry in value)
    if isinstance(value, dict):
        return " ".join(f"{label_of(name)}={value_text(entry, name)}" for name, entry in value.items())
    if key.endswith("_mib") and isinstance(value, int):
        return size_text(value)
    return yes_no(value) if isinstance(value, bool) else str(value)
