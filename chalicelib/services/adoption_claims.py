"""What makes two hosts one: the machine itself, and until that is known the address under which it is reached."""

from chalicelib.domain.host_records import Destination


def machine_claim(machine_id: str) -> str:
    """The claim to a machine, wherever it is reached."""
    return f"machine#{machine_id}"


def address_claim(destination: Destination) -> str:
    """The claim to an address: whose adoption it is while the machine behind it is not known."""
    return f"address#{destination.user}@{destination.host.casefold()}:{destination.port}"
