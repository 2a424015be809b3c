"""What tests of --from-here need: real sshd under several addresses of loopback, and an ssh_config for them."""

import shutil
import socket
import time
from pathlib import Path

from tests.ports import free_port
from tests.ssh.server import SSHD, USER, Server, private_key

SHARED = 12
"""Addresses that one sshd serves; it listens on 16 at most."""
ADDRESSES = 2 * SHARED


def obstacle() -> str:
    """Say why there can be no site here; nothing when there can."""
    missing = [tool for tool in (SSHD, "ssh", "ssh-keygen", "ssh-agent") if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)}"
    try:
        socket.create_server(("127.0.0.2", 0)).close()
    except OSError:  # macOS has no other address there than the first
        return "loopback has only one address here"
    return ""


class Site:
    """Two sshd at 127.0.0.1 to .24; `config` is an ssh_config with `node-01` to `node-24` for them."""

    def __init__(self, folder: Path, *, settings: tuple[str, ...] = (), path: Path | None = None) -> None:
        self.folder = folder
        self.server = self._serve("first", range(2, SHARED + 1), settings, path)
        self.second = self._serve("second", range(SHARED + 1, ADDRESSES + 1), settings, path)
        self.port = self.server.port
        self.key = self.make_key("id")
        for server in (self.server, self.second):
            server.allow(self.public(self.key))
        self.config = folder / "config"
        self.known = folder / "known_hosts"
        self.reset()

    def reset(self) -> None:
        """Know every host, and have no entries but theirs."""
        self.know(*range(1, ADDRESSES + 1))
        self.write()

    def _serve(self, name: str, numbers: range, settings: tuple[str, ...], path: Path | None) -> Server:
        port = free_port()
        more = tuple(f"ListenAddress 127.0.0.{number}:{port}" for number in numbers)
        return Server(self.folder / name, (*more, "MaxSessions 100", *settings), path=path, port=port).start()

    def write(self, *entries: str, key: bool = True) -> None:
        """Write the configuration; `entries` come first, and so win."""
        shared = [
            "Host *",
            f"  User {USER}",
            f"  Port {self.port}",
            f"  UserKnownHostsFile {self.known}",
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            *([f"  IdentityFile {self.key}"] if key else ["  IdentityFile none"]),
            *(["  IdentityAgent none"] if key else []),
        ]
        names = [f"Host node-{n:02}\n  HostName 127.0.0.{n}\n" for n in range(1, ADDRESSES + 1)]
        names += [f"Host node-{n:02}\n  Port {self.second.port}\n" for n in range(SHARED + 1, ADDRESSES + 1)]
        self.config.write_text("".join([*(f"{entry}\n" for entry in entries), *names, "\n".join(shared), "\n"]))

    def know(self, *numbers: int, key: str = "") -> None:
        """Write known_hosts."""
        lines = ""
        for number in numbers:
            server = self.server if number <= SHARED else self.second
            lines += f"[127.0.0.{number}]:{server.port} {key or server.public_host_key('ed25519')}\n"
        self.known.write_text(lines)

    def make_key(self, name: str, passphrase: str = "") -> Path:
        path = self.folder / name
        path.write_text(private_key("ed25519", passphrase))
        path.chmod(0o600)
        return path

    @staticmethod
    def public(path: Path) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

        key = load_ssh_private_key(path.read_bytes(), None)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def fingerprint(self) -> str:
        from tidepool.ssh_known_hosts import fingerprint

        return fingerprint(self.server.public_host_key("ed25519"))

    def connections(self) -> int:
        """How many connections were let in so far."""
        logs = [(server.folder / "log").read_text() for server in (self.server, self.second)]
        return sum(log.count("Accepted publickey") for log in logs)

    def stop(self) -> None:
        self.server.stop()
        self.second.stop()


def wait_for(condition, within_s=60):
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def steps(stub):
    return [(one["step"], one["exit_code"]) for host in stub.hosts.values() for one in host.said]
