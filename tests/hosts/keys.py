"""SSH keys made by ssh-keygen, once for each kind."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

BITS = {"ed25519": [], "ecdsa": ["-b", "256"], "rsa": ["-b", "2048"]}


@dataclass(frozen=True)
class Key:
    """A key pair: the path of the private half, which has the mode that ssh wants, and the line of the public one."""

    path: Path
    public: str
    passphrase: str = ""

    @property
    def private(self) -> str:
        return self.path.read_text()

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh shows it."""
        said = subprocess.run(
            ["ssh-keygen", "-l", "-f", f"{self.path}.pub"], check=True, capture_output=True, text=True, timeout=60
        )
        return said.stdout.split()[1]


def make(path: Path, kind: str, *, passphrase: str = "", form: str = "OPENSSH") -> Key:
    """Make a key pair. `kind`: ed25519, ecdsa or rsa; `form`: OPENSSH, or PEM for the older form of ecdsa and rsa."""
    forms = [] if form == "OPENSSH" else ["-m", form]
    command = ["ssh-keygen", "-q", "-t", kind, *BITS[kind], *forms, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return Key(path, Path(f"{path}.pub").read_text().strip(), passphrase)
