"""A real sshd of one's own on loopback, for one user: the one who runs the tests. No root is needed for that."""

import getpass
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.ports import free_port

USER = getpass.getuser()
SSHD = "/usr/sbin/sshd"
START_S = 60
STOP_S = 60


def private_key(kind: str = "ed25519", passphrase: str = "", form: PrivateFormat = PrivateFormat.OpenSSH) -> str:
    """Make a private key and write it: `ed25519`, `ecdsa-256`, `-384`, `-521`, or `rsa-BITS`."""
    name, _, size = kind.partition("-")
    curves = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
    match name:
        case "ed25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case "ecdsa":
            key = ec.generate_private_key(curves[size])
        case _:
            key = rsa.generate_private_key(65537, int(size))
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, lock).decode()


@dataclass
class Server:
    """One sshd. `settings` are lines of sshd_config, `path` comes first in the PATH of its sessions."""

    folder: Path
    settings: tuple[str, ...] = ()
    host_kinds: tuple[str, ...] = ("ed25519", "ecdsa-256", "rsa-2048")
    path: Path | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    authorized: list[str] = field(default_factory=list)

    def start(self) -> "Server":
        """Write its files and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.port = self.port or free_port()
        keys = [self._host_key(kind) for kind in self.host_kinds]
        self.allow()
        # An empty home: what the user's own start-up files do is no part of any test.
        path = f"{self.path}:" if self.path else ""
        environment = f"HOME={self.folder} PATH={path}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        lines = [
            f"ListenAddress 127.0.0.1:{self.port}",
            f"PidFile {self.folder}/pid",
            f"AuthorizedKeysFile {self.folder}/authorized",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "UsePAM no",
            "MaxStartups 100",
            *(f"HostKey {key}" for key in keys),
            f"SetEnv {environment}",
            *self.settings,
        ]
        config = self.folder / "config"
        config.write_text("\n".join(lines) + "\n")
        # -e: the log goes to a file of ours. sshd executes itself again, so its path must be absolute.
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdout=log, stderr=log)
        log.close()
        self._await()
        return self

    def allow(self, *public: str) -> None:
        """Let these public keys in as well."""
        self.authorized += public
        (self.folder / "authorized").write_text("".join(f"{line}\n" for line in self.authorized))

    def public_host_key(self, kind: str) -> str:
        """Type and key, without the comment."""
        return " ".join((self.folder / f"host-{kind}.pub").read_text().split()[:2])

    def known_hosts(self, *kinds: str) -> str:
        return "".join(f"[127.0.0.1]:{self.port} {self.public_host_key(kind)}\n" for kind in kinds or self.host_kinds)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_S)
            self.process = None

    def _host_key(self, kind: str) -> Path:
        path = self.folder / f"host-{kind}"
        if not path.exists():
            path.write_text(private_key(kind))
            path.chmod(0o600)
            public = subprocess.run(
                ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True, timeout=60
            )
            (self.folder / f"host-{kind}.pub").write_text(public.stdout)
        return path

    def _await(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=10) as probe:
                if probe.recv(4) == b"SSH-":
                    return
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")
