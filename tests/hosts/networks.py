"""Networks between hosts: bridges in a network namespace of their own, and the cables that lead to them."""

import ipaddress
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

PUBLIC = ipaddress.ip_network("198.18.0.0/15")
"""Where labs get a network from that this machine reaches: one /24 each. Source: RFC 2544, for tests of networks."""
COMMAND_LIMIT_S = 60


class WiringError(Exception):
    """The kernel refused something."""


def run_ip(lines: Iterable[str], *, namespace: str = "") -> None:
    """Run commands of ip(8) in order, in the network namespace that a path names, else in the one of this process."""
    batch = ["ip", "-batch", "-"]
    command = ["nsenter", f"--net={namespace}", *batch] if namespace else batch
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT_S)
    if done.returncode:
        raise WiringError(f"{done.stderr.strip()} in:\n{text}")


@dataclass(frozen=True)
class Interface:
    """One more interface of a host, with nobody at its other end. `before`: it comes before those of the networks."""

    name: str
    address: str
    kind: str = "bridge"
    before: bool = True

    def commands(self) -> list[str]:
        made = f"tuntap add mode tun {self.name}" if self.kind == "tun" else f"link add {self.name} type {self.kind}"
        return [made, f"address add {self.address} dev {self.name} nodad", f"link set {self.name} up"]


def docker0(address: str = "172.17.0.1/16") -> Interface:
    """The bridge that Docker makes."""
    return Interface("docker0", address)


def tailscale0(address: str = "100.101.102.103/32") -> Interface:
    """The interface of an overlay network, whose addresses look like those of a carrier's NAT."""
    return Interface("tailscale0", address, kind="tun")


@dataclass
class Network:
    """A bridge and its address ranges. `gateway` is this machine's own address in it, if it is reached from here."""

    name: str
    number: int
    ranges: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    gateway: str = ""
    members: int = field(default=0)

    @property
    def bridge(self) -> str:
        return f"net{self.number}"

    @property
    def cidr(self) -> str:
        """The first address range."""
        return str(self.ranges[0])

    def addresses(self, asked: str = "") -> list[str]:
        """Give a new member one address of each range, with the prefix length; `asked` replaces that of its range."""
        self.members += 1
        wish = ipaddress.ip_address(asked) if asked else None
        if wish is not None and not any(wish in found for found in self.ranges):
            raise ValueError(f"{asked} is not of network {self.name} ({', '.join(map(str, self.ranges))})")
        return [
            f"{wish if wish is not None and wish in found else found[9 + self.members]}/{found.prefixlen}"
            for found in self.ranges
        ]


@dataclass(frozen=True)
class Cable:
    """What leads from a host to a network. Its end at the bridge has a name of its own, the other is `ethN`."""

    network: Network
    number: int
    device: str
    addresses: tuple[str, ...]

    @property
    def port(self) -> str:
        return f"port{self.number}"

    @property
    def address(self) -> str:
        """The first address, without the prefix length."""
        return self.addresses[0].partition("/")[0]

    @property
    def mac(self) -> str:
        """The same after each boot, so that nobody has to forget the old one."""
        return f"02:74:70:{self.network.number & 255:02x}:{self.number >> 8 & 255:02x}:{self.number & 255:02x}"

    def plug(self, pid: int) -> list[str]:
        """Commands for the namespace of the bridges that lay this cable to the host of a process."""
        made = f"link add {self.port} type veth peer name {self.device} address {self.mac} netns {pid}"
        return [made, f"link set {self.port} master {self.network.bridge} up"]

    def settle(self, *, is_first: bool) -> list[str]:
        """Commands for the host's namespace."""
        lines = [f"address add {text} dev {self.device} nodad" for text in self.addresses]
        lines.append(f"link set {self.device} up")
        if is_first and self.network.gateway:
            lines.append(f"route add default via {self.network.gateway}")
        return lines


def lay_bridge(network: Network, bridges: str) -> None:
    run_ip([f"link add {network.bridge} type bridge", f"link set {network.bridge} up"], namespace=bridges)


def reach(network: Network, device: str, bridges: str) -> None:
    """Give this machine an address in a network, on a device of that name. It goes when the bridges' namespace goes."""
    port = f"up{network.number}"
    addresses = [f"{found[1]}/{found.prefixlen}" for found in network.ranges]
    run_ip([f"link add {port} type veth peer name {device}"], namespace=bridges)
    try:
        run_ip([f"link set {device} netns {os.getpid()}"], namespace=bridges)
    except WiringError:
        run_ip([f"link delete {port}"], namespace=bridges)
        raise
    run_ip([f"link set {port} master {network.bridge} up"], namespace=bridges)
    run_ip([*(f"address add {text} dev {device} nodad" for text in addresses), f"link set {device} up"])
    network.gateway = str(network.ranges[0][1])


def reach_as_public(network: Network, bridges: str) -> None:
    """Take the first range that no other lab of this machine has: whoever makes the device of that number has it."""
    subnets = list(PUBLIC.subnets(new_prefix=24))
    for step in range(len(subnets)):
        number = (os.getpid() + step) % len(subnets)
        network.ranges = (subnets[number], ipaddress.ip_network(f"fd74:7069:6465:{number:x}::/64"))
        try:
            reach(network, f"tplab{number}", bridges)
        except WiringError as error:
            if "File exists" not in str(error):
                raise
        else:
            return
    raise WiringError("all ranges for labs are in use")
