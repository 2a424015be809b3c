"""The main job with real output, in two minutes: fill a pool, run on it, reuse it, let it drain.

`make demo` starts an embedded control plane of its own, types the commands a user would type, and leaves nothing
behind. The machines are real processes of the local cloud; only their GPUs and prices are simulated.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.local.control import Options, down, up
from infra.local.folder import Folder

TRAIN: Final = """\
import os, time

print("training on", os.environ["TIDEPOOL_INSTANCE_NAME"])
for epoch in range(1, 4):
    time.sleep(0.3)
    print(f"epoch {epoch}: loss {1 / epoch:.3f}", flush=True)
"""

CPU_ONLY: Final = ("--cpu", "4..")


def main() -> int:
    """Run the demo. Exits 0 when each command did what the story says."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.demo", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".tidepool/demo"), help="folder of everything, erased")
    folder = Folder(parser.parse_args().state.resolve())
    begun = time.monotonic()
    try:
        client = up(folder, Options(port=0), _say)
        with tempfile.TemporaryDirectory(prefix="tidepool-demo-") as project:
            (Path(project) / "train.py").write_text(TRAIN)
            story(Typist(Path(project), client))
    finally:
        down(folder, lambda text: _say(f"the control plane and its machines: {text}"), erase=True, force=True)
        shutil.rmtree(folder.root)
    _say(f"that was the main job, in {time.monotonic() - begun:.0f} s. `make up` starts one for you to play with.")
    return 0


class Typist:
    """Types commands into the folder of a project, as a user would, and shows what they print."""

    def __init__(self, project: Path, client: dict[str, str]) -> None:
        self.project = project
        program = Path(sys.executable).parent / "tidepool"
        self.program = [str(program)] if program.exists() else [sys.executable, "-m", "tidepool"]
        self.environ = {**os.environ, **client}

    def type(self, *words: str, answer: str = "") -> None:
        """Run one command on this terminal and wait for it. `answer` is what is typed when it asks.

        Raises `CalledProcessError` when it fails, which ends the demo.
        """
        print(f"\n$ tidepool {shlex.join(words)}", flush=True)  # noqa: T201
        subprocess.run(
            [*self.program, *words],
            cwd=self.project,
            env=self.environ,
            input=answer or None,
            stdin=None if answer else subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=True,
        )

    def ask(self, *words: str) -> str:
        """Run one command unseen and return what it prints."""
        done = subprocess.run(
            [*self.program, *words],
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


def story(typist: Typist) -> None:
    """The main job, from an empty pool to an empty pool."""
    _tell("Rent the cheapest machine with an 80 GB GPU. The plan comes first; nothing is bought without a yes.")
    typist.type("pool", "add", "--gpu", "80GB", "--name", "demo-gpu", answer="y\n")
    typist.type("pool", "ps")
    _tell("Run on it: the folder travels along, the log comes back, the exit code is the job's.")
    typist.type("run", "--", "python3", "train.py")
    _tell("Again, and never provision: the idle machine is taken at once.")
    typist.type("run", "--reuse", "--", "nvidia-smi")
    _tell("A job for a CPU machine. None is idle, so one is rented, and goes 10 s after the job.")
    typist.type("run", *CPU_ONLY, "--idle-duration", "10s", "--", "python3", "train.py")
    typist.type("pool", "ps")
    _tell("Ten seconds later it is gone, and the record says why.")
    _until(lambda: typist.ask("pool", "ps").count("\n") == 2, seconds=60)
    typist.type("pool", "ps", "--all")
    _tell("The GPU machine is removed by hand. What was it, and what did it cost?")
    typist.type("pool", "rm", "demo-gpu", "--yes")
    typist.type("instance", "show", "demo-gpu")


def _until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.5)


def _tell(text: str) -> None:
    print(f"\n# {text}", flush=True)  # noqa: T201


def _say(text: str) -> None:
    print(f"[demo] {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
