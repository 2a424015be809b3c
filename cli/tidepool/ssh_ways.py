"""The way that ssh takes to a host: its jump hosts, or a command of the user's own.

It is part of what the control plane calls a network: 10.0.0.0/24 behind one bastion is not 10.0.0.0/24 behind another.
"""

from __future__ import annotations

from hashlib import sha256

from tidepool.ssh_destination import parse_destination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tidepool.host_wire import HostRequest
    from tidepool.ssh_connection import Connection
    from tidepool.ssh_destination import Destination

MOST_HOPS = 8
"""Jump hosts of jump hosts that are looked up: ssh_config may lead in circles."""
LONGEST = 120
"""Characters of a way. A longer one is named by its hash."""


def describe_way(request: HostRequest, connection: Connection, look: Callable[[Destination], Connection]) -> None:
    """Say in a request how its host is reached. `look` answers what ssh's configuration says of a jump host."""
    hops = [look(parse_destination(text, "ProxyJump")) for text in connection.jumps]
    if hops:
        request["jump"] = {"host": hops[-1].host, "port": hops[-1].port, "user": hops[-1].user}
    way = _way(connection, hops, look, MOST_HOPS)
    if way not in ([], [_place(hop) for hop in hops[-1:]]):
        text = ",".join(way)
        request["way"] = text if len(text) <= LONGEST else _hashed("way", text)


def _way(
    connection: Connection, hops: list[Connection], look: Callable[[Destination], Connection], left: int
) -> list[str]:
    """Every host on the way, the first one first. Only how that one is reached is up to its own configuration."""
    if connection.command:
        return [_hashed("command", connection.command)]
    if not hops or not left:
        return []
    before = [look(parse_destination(text, "ProxyJump")) for text in hops[0].jumps]
    return [*_way(hops[0], before, look, left - 1), *map(_place, hops)]


def _place(hop: Connection) -> str:
    return f"{hop.host.casefold()}:{hop.port}"


def _hashed(kind: str, text: str) -> str:
    """A command may have a secret in it, or be of any length."""
    return f"{kind}:{sha256(text.encode()).hexdigest()[:12]}"
