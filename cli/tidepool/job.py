"""What a run executes: the command line before the run file, and what the request says of it."""

from __future__ import annotations

from tidepool.command import UsageError
from tidepool.keys import Said
from tidepool.options import is_variable
from tidepool.run_file import from_environment
from tidepool.script import ENTER
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from typing import Any

    from tidepool.run_file import RunFile


class Job:
    """The command, its surroundings, and who said each: `said`, of the environment only the names."""

    __slots__ = ("argv", "env", "kill_after_s", "said")

    def __init__(self, argv: list[str], env: dict[str, str], kill_after_s: float | None, said: dict[str, Said]) -> None:
        self.argv = argv
        self.env = env
        self.kill_after_s = kill_after_s
        self.said = said

    @property
    def nodes(self) -> int:
        """On how many instances at once."""
        said = self.said.get("nodes")
        return int(said.value) if said else 1  # type: ignore[call-overload]

    def request(self) -> dict[str, Any]:
        """The part of a run's request that says what is executed."""
        request: dict[str, Any] = {"argv": self.argv}
        if self.env:
            request["env"] = self.env
        for key in ("name", "image"):
            if key in self.said:
                request[key] = self.said[key].value
        if self.nodes != 1:
            request["nodes"] = self.nodes
        if self.kill_after_s is not None:
            request["kill_after_s"] = self.kill_after_s
        return request


def assemble(args: Namespace, environ: Mapping[str, str], run_file: RunFile | None) -> Job:
    """Put the job together. A command on the command line takes the place of the file's, a variable that of the same
    name; the rest of the file holds."""
    said = dict(run_file.job) if run_file else {}
    argv = list(args.job or (run_file.argv if run_file else []))
    if args.job:
        said["command"] = Said(args.job, "the command line")
    for key in ("name", "image", "nodes", "kill_after"):
        value = getattr(args, key)
        if value not in (None, ""):
            said[key] = Said(value, f"--{key.replace('_', '-')}")
    given = dict(_setting(text, environ) for text in args.env or ())
    env = {**(run_file.env if run_file else {}), **given}
    if given:
        both = f"-e; {said['env'].source}" if "env" in said else "-e"
        said["env"] = Said(sorted(env), both)
    folder = said.get("working_dir")
    if folder and argv:
        argv = [*ENTER, str(folder.value), *argv]
    grace = said.get("kill_after")
    return Job(argv, env, grace.value if grace else None, said)  # type: ignore[arg-type]


def _setting(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not is_variable(key):
        raise UsageError(f"argument -e/--env: {quoted(text)} is neither NAME=VALUE nor NAME")
    return key, value if mark else from_environment(key, environ, "argument -e/--env")
