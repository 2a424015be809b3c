"""A lab of real hosts: network and mount namespaces, each with a real sshd, on networks that tests lay between them.

    with Lab() as lab:
        key = lab.key("ed25519")
        host = lab.host("gpu-1", key=key, machine=Machine(driver=EIGHT_H100, docker="nvidia"))
        assert lab.ssh(host, "hostname", key=key).stdout == "gpu-1\\n"

Tests take the fixture `lab` (one for the session, see conftest.py). A host's name is used once in it. `Lab` gives:

- `key(kind, passphrase=, form=)`: a client's key pair, made once for each combination (`keys.Key`)
- `network(name, *cidrs, is_reachable=)`: a network. Overlapping ones are kept apart. `lab.public` is there from the
  start: a range that no other lab has, reached from the tests. Others are reached through a host that is in both.
- `host(name, ...)` and `hosts([...])` (side by side): running hosts (`host.Host`), with
    - `key=`/`users=[User(name, keys, sudo)]`: one user `ubuntu` with that key and free sudo, or any users
    - `networks={"public": "", "lan": "10.0.0.7"}`: by the network's name, with the address wanted or any
    - `interfaces=[docker0(), tailscale0(), Interface("br-0a1b", "172.18.0.1/16")]`: before those of the networks
    - `port=`, `host_keys=("ed25519", "rsa")`
    - `machine=Machine(...)`: operating system, sudo, systemd, Python, GPUs, Docker, clock, names, disk
- `ssh(host, command, key=, options=, jump=)`: the system's ssh, with no configuration but the one given

A `Host` has `power_on`, `power_off`, `reboot`; `cut`, `mend`, `degrade`; `change_host_keys`, `replace_machine`;
`serve(port)`, so that 127.0.0.1:port inside is 127.0.0.1:port of the tests (also cut by `cut`); and `run`, `read`,
`files`, `units`, `processes`, `host_keys`, `known_hosts`, `address_in` to look at it.

Nothing of a lab outlives its process, however that ends: what is shared is held by one process (`inside/keeper.py`),
each host by its first process (`inside/init.py`), and each of them ends when the pipe from the lab closes; with them go
their namespaces, and with these the interfaces, mounts and files. So there is nothing to sweep.
"""

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hosts import keys, layers, networks
from tests.hosts.host import INSIDE, PYTHON, Host
from tests.hosts.keys import Key
from tests.hosts.machine import Machine, User
from tests.hosts.networks import Cable, Interface, Network

TOOLS = ("/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/bin/sudo", "/usr/bin/nsenter", PYTHON)
SIDE_BY_SIDE = 4
SSH_LIMIT_S = 60
QUIET = ("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30", "-o", "IdentitiesOnly=yes")


def obstacle() -> str:
    """Say why there can be no lab here; nothing when there can."""
    if os.geteuid() != 0:
        return "a lab needs root, for network namespaces"
    missing = [tool for tool in TOOLS if not os.path.exists(tool)]
    missing += [name for name in ("ip", "tc") if not shutil.which(name)]
    if missing:
        return f"a lab needs {', '.join(missing)}: run tests/hosts/install.sh"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return f"a lab needs namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Lab:
    """Hosts and networks, until the end of the `with` block."""

    def __enter__(self) -> Self:
        self._guard = threading.Lock()
        self._orders = threading.Lock()
        self._count = 0
        self._keys: dict[tuple[str, str, str], Key] = {}
        self._hosts: dict[str, Host] = {}
        self.networks: dict[str, Network] = {}
        self._keeper = subprocess.Popen(
            [PYTHON, "-BISs", "-c", _START, str(INSIDE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.keeper_pid = self._keeper.pid
        told = self._hear()
        self.room: str = told["room"]
        self.bridges = f"/proc/{self.keeper_pid}/fd/{told['bridges']}"
        try:
            self._furnish()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every host and all that is shared."""
        for host in self._hosts.values():
            host.kill()
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe:
                pipe.close()
        self._keeper.wait(timeout=60)
        for host in self._hosts.values():
            host.power_off()

    # --- what tests ask for

    def key(self, kind: str = "ed25519", *, passphrase: str = "", form: str = "OPENSSH") -> Key:
        """A client's key pair; the same again for the same words."""
        with self._guard:
            wanted = (kind, passphrase, form)
            if wanted not in self._keys:
                path = self.folder / f"{kind}-{len(self._keys)}"
                self._keys[wanted] = keys.make(path, kind, passphrase=passphrase, form=form)
            return self._keys[wanted]

    def network(self, name: str, *cidrs: str, is_reachable: bool = False) -> Network:
        """Lay a network. `is_reachable`: this machine takes the first address of it; it must have no such range yet."""
        network = Network(name, self._next(), tuple(ipaddress.ip_network(cidr) for cidr in cidrs))
        networks.lay_bridge(network, self.bridges)
        if is_reachable and cidrs:
            networks.reach(network, f"tpl{os.getpid()}n{network.number}", self.bridges)
        elif is_reachable:
            networks.reach_as_public(network, self.bridges)
        self.networks[name] = network
        return network

    @property
    def public(self) -> Network:
        """The network that every host is in unless it is told otherwise."""
        return self.networks["public"]

    def host(
        self,
        name: str,
        *,
        key: Key | None = None,
        users: Sequence[User] = (),
        networks: Mapping[str, str] | None = None,
        machine: Machine | None = None,
        port: int = 22,
        host_keys: Sequence[str] = ("ed25519",),
        interfaces: Sequence[Interface] = (),
    ) -> Host:
        """Make a host and boot it; it is ready for ssh."""
        cables = []
        with self._guard:
            for number, (place, wanted) in enumerate((networks or {"public": ""}).items()):
                self._count += 1
                network = self.networks[place]
                cables.append(Cable(network, self._count, f"eth{number}", tuple(network.addresses(wanted))))
        found = Host(
            self,
            name,
            cables,
            users=users or [User(keys=[key] if key else [])],
            machine=machine or Machine(),
            port=port,
            host_keys=host_keys,
            interfaces=interfaces,
        )
        found.power_on()
        with self._guard:
            self._hosts[name] = found
        return found

    def hosts(self, plans: Iterable[Mapping[str, Any]]) -> list[Host]:
        """Make several at once: each plan is what `host` takes, with the name as `name`."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(lambda plan: self.host(**plan), plans))

    def ssh(
        self,
        host: Host,
        *command: str,
        key: Key | None = None,
        options: Sequence[str] = (),
        jump: Host | None = None,
        address: str = "",
        user: str = "",
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the system's ssh. Host keys are known and strict unless `options` say otherwise; nothing is asked."""
        place = address or host.address
        known = self.folder / f"known-{self._next()}"
        known.write_text(host.known_hosts(place) + (jump.known_hosts() if jump else ""))
        config = self.folder / f"config-{known.name}"
        lines = [f"UserKnownHostsFile {known}", "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes"]
        lines += [f"IdentityFile {key.path}"] if key else []
        config.write_text("\n".join(lines) + "\n")
        argv = ["ssh", "-F", str(config), *options, *QUIET, "-p", str(host.port)]
        argv += ["-J", f"{jump.target}:{jump.port}"] if jump else []
        argv += [f"{user or host.user}@{place}", *command]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, env=environment, timeout=SSH_LIMIT_S, **given
        )

    # --- what hosts ask for

    @property
    def folder(self) -> Path:
        """A folder for keys and settings that goes with the lab."""
        return self.inside(Path(self.room) / "desk")

    @property
    def common(self) -> Path:
        return self.inside(Path(self.room) / "common")

    def inside(self, path: Path) -> Path:
        """How this process reaches a path that the keeper sees."""
        return Path(f"/proc/{self.keeper_pid}/root{path}")

    def order(self, what: str, host: str, **more: Any) -> None:
        """Have the keeper do something."""
        with self._orders:
            if self._keeper.poll() is not None:
                return
            assert self._keeper.stdin
            self._keeper.stdin.write(json.dumps({"do": what, "host": host, **more}).encode() + b"\n")
            self._keeper.stdin.flush()
            answer = self._hear()
        if "error" in answer:
            raise OSError(answer["error"])

    def run_at_bridges(self, command: Sequence[str]) -> None:
        """Run a command where the bridges are."""
        done = subprocess.run(
            ["nsenter", f"--net={self.bridges}", *command], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise networks.WiringError(f"{' '.join(command)}: {done.stderr.strip()}")

    # --- inside

    def _furnish(self) -> None:
        self.folder.mkdir(mode=0o700)
        self.inside(Path(self.room) / "hosts").mkdir()
        layers.make_common(self.common, INSIDE)
        with contextlib.suppress(networks.WiringError):  # a kernel without IPv6 has nothing to switch off
            self.run_at_bridges(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
        self.network("public", is_reachable=True)

    def _next(self) -> int:
        with self._guard:
            self._count += 1
            return self._count

    def _hear(self) -> dict[str, Any]:
        assert self._keeper.stdout
        line = self._keeper.stdout.readline()
        if not line:
            raise OSError("the keeper of the lab is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer


_START = "import sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0]); import keeper; keeper.main()"
