"""What the benchmarks of one run share: how much effort, a scratch folder, servers that are started when needed."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from bench.processes import ROOT, BenchError, Command
from bench.records import Record
from bench.stack import Stack

SIZES: Final = (10, 1_000, 10_000)
START_S: Final = 180


class Effort(StrEnum):
    """`ONCE` proves that a benchmark runs, `QUICK` shows where it stands, `FULL` is what is quoted."""

    ONCE = "once"
    QUICK = "quick"
    FULL = "full"


@dataclass
class Session:
    """One run. Everything that it starts ends with `close`."""

    effort: Effort = Effort.FULL
    say: Callable[[str], None] = lambda _: None
    _exits: ExitStack = field(default_factory=ExitStack)

    def rounds(self, full: int) -> int:
        """How often to repeat what is repeated `full` times in a full run."""
        return {Effort.ONCE: 1, Effort.QUICK: max(3, full // 4), Effort.FULL: full}[self.effort]

    @property
    def sizes(self) -> Sequence[int]:
        """How many rows to measure with."""
        return SIZES[:1] if self.effort is Effort.ONCE else SIZES

    @cached_property
    def scratch(self) -> Path:
        """A folder that goes away in the end."""
        return Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="tidepool-bench-")))

    @cached_property
    def stub_url(self) -> str:
        """A server that answers at once (`bench.stub`)."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.stub"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._exits.callback(process.wait, 10)
        assert process.stdin is not None
        assert process.stdout is not None
        self._exits.callback(process.stdin.close)
        self._exits.callback(process.stdout.close)
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    @cached_property
    def tables_url(self) -> str:
        """The emulator alone, without functions and without checks of who asks."""
        state = self.scratch / "tables"
        state.mkdir()
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "infra.local.emulator",
            "--port",
            str(port),
            "--state",
            str(state),
            "--no-auth",
        ]
        with (state / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--parent", str(os.getpid())], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._exits.callback(process.wait, 10)
        self._exits.callback(process.kill)  # a graceful stop would first store what nobody wants
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/_ministack/health", process)
        return url

    @cached_property
    def stack(self) -> Stack:
        """An embedded control plane of its own."""
        self.say("bringing an embedded control plane up")
        stack = Stack(self.scratch / "stack")
        self._exits.callback(stack.erase)
        stack.up()
        return stack

    def tidepool(self, *words: str, **env: str) -> Command:
        """A command line of ours: as installed beside this interpreter, else from the source."""
        script = Path(sys.executable).with_name("tidepool")
        home = {"HOME": str(self.scratch)}
        if script.exists():
            return Command([str(script), *words], home | env, self.work)
        return Command(
            [sys.executable, "-m", "tidepool", *words], {"PYTHONPATH": str(ROOT / "cli")} | home | env, self.work
        )

    @cached_property
    def work(self) -> Path:
        """The folder that commands run in: a small project, which `tidepool run` ships."""
        folder = self.scratch / "work"
        folder.mkdir()
        (folder / "train.py").write_text('print("first line", flush=True)\n')
        return folder

    def close(self) -> None:
        """End and remove everything."""
        os.chdir(ROOT)
        self._exits.close()


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers. Raises `BenchError` when it ends before, or takes too long."""
    end = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"nothing answers at {url}") from None
            time.sleep(0.05)
        else:
            return


Benchmark = Callable[[Session], Iterable[Record]]
