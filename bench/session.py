"""What the benchmarks of one run share: how much effort, a scratch folder, servers that are started when needed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from bench.processes import ROOT, Command
from bench.records import Record
from bench.stack import Stack

SIZES = (10, 1_000, 10_000)


class Effort(StrEnum):
    """`ONCE` proves that a benchmark runs, `QUICK` shows where it stands, `FULL` is what is quoted."""

    ONCE = "once"
    QUICK = "quick"
    FULL = "full"


@dataclass
class Session:
    """One run. Everything that it starts ends with `close`."""

    effort: Effort = Effort.FULL
    say: Callable[[str], None] = lambda line: None
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
        return Command([sys.executable, "-m", "tidepool", *words], {"PYTHONPATH": str(ROOT / "cli")} | home | env, self.work)

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


Benchmark = Callable[[Session], Iterable[Record]]
