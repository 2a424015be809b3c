"""Real sshd processes on loopback, which the targets' rules refuse everywhere else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.ssh import targets
from chalicelib.ssh.keys import PrivateKey, read_private_key
from tests.ssh.rooted import Root
from tests.ssh.server import SSHD, Server, private_key


@pytest.fixture(autouse=True, scope="module")
def _loopback_is_a_place(request: pytest.FixtureRequest) -> Iterator[None]:
    """Loopback is where the tests' servers are; only the tests of the targets themselves keep it refused."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__.rpartition(".")[2] != "test_targets":
            patch.setattr(targets, "NEVER", tuple(entry for entry in targets.NEVER if entry[1] != "loopback"))
        yield


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    """The key that every server lets in."""
    return read_private_key(private_key("ed25519"))


@pytest.fixture(scope="session")
def server(key: PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a key of each type, for tests that change nothing about it."""
    yield from started(Server(tmp_path_factory.mktemp("server")), key)


@pytest.fixture
def own_server(key: PrivateKey, tmp_path: Path) -> Iterator[Server]:
    """A server for one test alone."""
    yield from started(Server(tmp_path / "own"), key)


def started(made: Server, key: PrivateKey) -> Iterator[Server]:
    if not Path(SSHD).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("openssh-server is not installed")
    made.start()
    made.allow(key.public)
    yield made
    made.stop()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """An empty host, on which nothing is left at the end."""
    for name in ("etc/systemd", "etc/local.d", "var/lib"):
        (tmp_path / "root" / name).mkdir(parents=True)
    made = Root(tmp_path / "root")
    yield made
    made.path = ""
    if Path(made.layout.owner).exists():
        owner = made.owner()
        made.uninstall(owner["control_plane"], owner["instance_id"])
