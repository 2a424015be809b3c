"""Whose a host is: the claims that make two hosts one, and what an instance that has ended left on it.

Until the machine itself is known, the address under which it is reached stands for it. A claim is a project's. Who
holds one and has ended loses it to the next who asks.
"""

from chalicelib.domain import adoption
from chalicelib.domain.adoption import CheckResult
from chalicelib.domain.findings import Check
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.hosts import HostProbe
from chalicelib.domain.names import is_name
from chalicelib.services.deps import Deps
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store


def machine_claim(machine_id: str) -> str:
    """The claim to a machine, wherever it is reached."""
    return f"machine#{machine_id}"


def address_claim(record: HostRecord) -> str:
    """The claim to an address: whose adoption it is while the machine behind it is not known.

    Behind another jump host the same address is another host.
    """
    where, jump = record.destination, record.jump
    way = record.way or (f"{jump.user}@{jump.host.casefold()}:{jump.port}" if jump else "")
    return "address#" + (f"{way}>" if way else "") + f"{where.user}@{where.host.casefold()}:{where.port}"


def internal_claim(region: str, network: str, address: str) -> str:
    """The claim to an address inside of a network, by the network's key."""
    return f"internal#{region}|{network}#{address}"


def taker(record: HostRecord, what: str, *, is_look: bool = False) -> str:
    """Take a claim for a host unless a live instance has it; return who has it then. `is_look`: take nothing."""
    holder = store.holder_of(record.project, what) if is_look else store.claim(record.project, what, record.key)
    if holder in ("", record.key) or instance_store.is_live(record.project, holder):
        return holder
    return "" if is_look else store.claim(record.project, what, record.key, instead_of=holder)


def name_of(project: str, instance_id: str) -> str:
    """What an instance is called, or its id where it is not there any more."""
    row = instance_store.look_up(project, instance_id)
    return row.name if row else instance_id


def left_behind(deps: Deps, found: HostProbe) -> str:
    """The instance of ours that the host was, if that has ended: what it left may be replaced without asking."""
    owner = found.owner
    if owner is None or owner.control_plane != deps.settings.owner:
        return ""
    if not (is_name(owner.project) and is_name(owner.instance_id)):
        return ""
    return "" if instance_store.is_live(owner.project, owner.instance_id) else owner.instance_id


def holder_of(record: HostRecord, found: HostProbe) -> str:
    """Name the live instance of the project that this very machine is, if it is another than this one."""
    what = machine_claim(found.machine_id)
    holder = taker(record, what, is_look=True) if found.machine_id else ""
    return "" if holder in ("", record.key) else name_of(record.project, holder)


def claimed(record: HostRecord, found: HostProbe, results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """Claim the machine for this instance; where another live one has it, the check of the owner fails."""
    if not found.machine_id:
        return results
    holder = taker(record, machine_claim(found.machine_id))
    if holder == record.key:
        return results
    clash = adoption.judge_machine(name_of(record.project, holder))
    return (*(each for each in results if each.check is not Check.OWNER), clash)
