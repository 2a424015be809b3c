"""What makes two hosts one: the machine itself, and until that is known the address under which it is reached.

A claim is a project's. Who holds one and has ended loses it to the next who asks.
"""

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance
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
    if holder in ("", record.key) or is_live(record.project, holder):
        return holder
    return "" if is_look else store.claim(record.project, what, record.key, instead_of=holder)


def find(project: str, instance_id: str) -> Instance | None:
    """Return an instance by its id, or None."""
    try:
        return instance_store.find(project, instance_id)
    except NotFoundError:
        return None


def is_live(project: str, instance_id: str) -> bool:
    """Whether an instance is there and has not ended."""
    row = find(project, instance_id)
    return row is not None and row.state is not State.TERMINATED


def name_of(project: str, instance_id: str) -> str:
    """What an instance is called, or its id where it is not there any more."""
    row = find(project, instance_id)
    return row.name if row else instance_id
