"""A stub API, and two ways to run a command line against it: in this process, and as a process of its own."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.builders import NOW, make_plan, make_pool
from tests.cli.stub import TOKEN, Stub, serving
from tidepool.client import Client
from tidepool.command import Session
from tidepool.main import main

if TYPE_CHECKING:
    from tests.cli.ssh_here import Site

CLI = Path(__file__).resolve().parents[2] / "cli"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving(Stub(pools=[make_pool()], plan=make_plan())) as running:
        yield running


@pytest.fixture
def client(stub: Stub) -> Iterator[Client]:
    with Client(stub.url, TOKEN, sleep=lambda _: None, environ={}) as made:
        yield made


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cli(stub: Stub, clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ended]:
    """Run a command line in this process: `cli("pool", "ps", stdin="y\\n")`."""

    def run(*words: str, stdin: str = "", environ: dict[str, str] | None = None) -> Ended:
        session = Session(
            stdin=io.StringIO(stdin),
            environ=environ if environ is not None else settings(stub, tmp_path),
            folder=str(tmp_path),
            now=lambda: NOW,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        )
        code = main(list(words), session)
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


def settings(stub: Stub, home: Path) -> dict[str, str]:
    return {"TIDEPOOL_URL": stub.url, "TIDEPOOL_TOKEN": TOKEN, "HOME": str(home / "home")}


@pytest.fixture
def start(stub: Stub, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a command line as a process: `start("run", "--", "true", cwd=folder)`."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str, **options: Any) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLI), **settings(stub, tmp_path), **options.pop("env", {})}
        given = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": tmp_path,
            **options,
        }
        process = subprocess.Popen([sys.executable, "-m", "tidepool", *words], env=env, **given)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="session")
def ssh_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    """Real sshd on loopback, for as long as there are tests."""
    from tests.cli.ssh_here import Site, obstacle

    if why := obstacle():
        pytest.skip(why)
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.stop()


@pytest.fixture
def site(ssh_site: "Site") -> "Site":
    """The same, with the configuration as it was first written."""
    ssh_site.reset()
    return ssh_site


@pytest.fixture
def add(cli: Callable[..., Ended], site: "Site") -> Callable[..., Ended]:
    """Adopt from here with the site's configuration: `add("node-01")`."""

    def run(*words: str, command: tuple[str, ...] = ("pool", "add-ssh"), **options: Any) -> Ended:
        return cli(*command, "--from-here", "-F", str(site.config), *words, **options)

    return run


def finish(process: subprocess.Popen[bytes], within_s: float = 60) -> Ended:
    out, err = process.communicate(timeout=within_s)
    return Ended(process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"))
