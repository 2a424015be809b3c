"""What every command is made of: its arguments, and the session it runs in."""

from __future__ import annotations

import argparse
import os

from tidepool.errors import AuthError, InputError
from tidepool.text import clipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from typing import NoReturn, TextIO

    from tidepool.client import Client
    from tidepool.output import Output

HELP_WIDTH = 100
LONGEST_MESSAGE = 220
"""Characters of a message of `argparse`, which repeats the value it refuses; the message proper takes 20 or more."""
YES, NO = frozenset({"y", "yes"}), frozenset({"n", "no"})


class UsageError(InputError):
    """The command line itself is wrong."""

    code = "usage"


class Declined(InputError):  # noqa: N818 - no error: somebody said no
    """Somebody was asked and said no."""

    code = "declined"
    exit_code = 5


class Session:
    """One command's surroundings, handed in so that a test can hand in its own.

    `now` is the wall clock in epoch seconds, `monotonic` the clock for spans. The client is made on first use.
    """

    def __init__(
        self,
        *,
        stdin: TextIO,
        environ: Mapping[str, str],
        folder: str,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.stdin = stdin
        self.environ = environ
        self.folder = folder
        self.now = now
        self.monotonic = monotonic
        self.sleep = sleep
        self.project = ""
        self._client: Client | None = None

    def attach(self, out: Output, project: str) -> None:
        """Give the session what the parsed command line decides."""
        self.out = out
        self.project = project

    @property
    def client(self) -> Client:
        """The connection to the control plane that is meant."""
        if self._client is None:
            from tidepool.client import Client
            from tidepool.control_plane import load

            found = load(self.environ, self.folder)
            if not found.token:
                raise AuthError("no token: set TIDEPOOL_TOKEN or run tidepool login")
            self._client = Client(
                found.url, found.token, self.project or found.project, sleep=self.sleep, environ=self.environ
            )
        return self._client

    def close(self) -> None:
        """Close what the command opened."""
        if self._client is not None:
            self._client.close()

    def require_answer(self, *, yes: bool) -> None:
        """Raise `UsageError` when there will be a question, which a program that reads JSON does not answer."""
        if self.out.as_json and not yes:
            raise UsageError("--json asks nothing; say -y/--yes")

    def confirm(self, question: str) -> None:
        """Ask for a yes. Raises `Declined` on a no, `UsageError` when there is nobody to ask."""
        self.require_answer(yes=False)
        while True:
            self.out.stdout.flush()
            self.out.stderr.write(f"{question} [y/n]: ")
            self.out.stderr.flush()
            try:
                answer = self.stdin.readline()
            except KeyboardInterrupt:
                self.out.stderr.write("\n")
                raise
            if not answer:
                self.out.stderr.write("\n")
                raise UsageError("nobody is there to confirm; say -y/--yes")
            if not self.stdin.isatty():  # a terminal has shown the answer itself
                self.out.stderr.write(answer.strip() + "\n")
            if answer.strip().lower() in YES:
                return
            if answer.strip().lower() in NO:
                raise Declined("nothing was changed")


class Command:
    """One command. The docstring of a subclass is its description in `--help`."""

    takes_command = False
    """Whether everything after `--` is the command line of a job."""
    is_mixed = False
    """Whether options may stand between several arguments, as after `ssh`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""

    def run(self, args: Namespace, session: Session) -> int:
        """Do it; answer the exit code."""
        raise NotImplementedError


class Formatter(argparse.HelpFormatter):
    """Help at a given width: asking through `shutil`, as the original does, costs more than all the rest of it."""

    def __init__(self, prog: str, **options: object) -> None:  # noqa: ARG002 - later Pythons hand in more
        super().__init__(prog, max_help_position=32, width=help_width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Never break within a word: examples are there to be copied, and `pool add-ssh` has a hyphen."""
        import textwrap

        return textwrap.fill(
            " ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, never guesses abbreviations and never colours."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, formatter_class=Formatter, allow_abbrev=False)
        self.color = False

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += " (one that begins with - is written --option=VALUE)"
        raise UsageError(
            f"{clipped(message, LONGEST_MESSAGE)}\n{self.format_usage().strip()}\nSee `{self.prog} --help`."
        )


def help_width() -> int:
    """Columns for help: those of the terminal, within bounds of legibility."""
    try:
        return max(60, min(os.get_terminal_size(1).columns - 2, HELP_WIDTH))
    except (OSError, ValueError):
        return HELP_WIDTH - 2


def make_parser(prog: str, command: Command) -> Parser:
    """Build the parser of one command, with the options that all have."""
    from tidepool.options import name

    parser = Parser(prog, " ".join((type(command).__doc__ or "").split()))
    command.arguments(parser)
    parser.add_argument("--project", type=name, metavar="NAME", help="another project than the configured one")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else there")
    return parser
