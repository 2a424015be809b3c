"""What makes two hosts one: the machine itself, and until that is known the address under which it is reached."""

from chalicelib.domain.host_records import HostRecord


def machine_claim(machine_id: str) -> str:
    """The claim to a machine, wherever it is reached."""
    return f"machine#{machine_id}"


def address_claim(record: HostRecord) -> str:
    """The claim to an address: whose adoption it is while the machine behind it is not known.

    Behind another jump host the same address is another host.
    """
    way = (record.jump, record.destination) if record.jump else (record.destination,)
    return "address#" + ">".join(f"{each.user}@{each.host.casefold()}:{each.port}" for each in way)
