"""What a command writes: tables and blocks for people, JSON for programs.

Columns stand two or more spaces apart, no cell is empty and none holds two spaces in a row, so that
`awk -F'  +'` takes a piped table apart. Colour and shortening happen on a terminal only.
"""

from __future__ import annotations

import json
import os

from tidepool.text import NOTHING, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TextIO

GAP = "  "
NARROWEST = 12
WRAPPED_NARROWEST = 20
COLOURS = {
    "idle": "32",
    "done": "32",
    "available": "32",
    "busy": "36",
    "running": "36",
    "pending": "33",
    "provisioning": "33",
    "submitted": "33",
    "starting": "33",
    "stopping": "33",
    "terminating": "33",
    "terminated": "2",
    "stopped": "2",
    "failed": "31",
    "refused": "31",
    "pass": "32",
    "warn": "33",
    "fail": "31",
}
"""SGR codes by the first word of a cell that says how something stands."""


class Output:
    """The two streams of a command. `as_json`: stdout holds JSON and nothing else, stderr at most one error."""

    def __init__(self, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str], *, as_json: bool = False) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.as_json = as_json
        self.is_terminal = stdout.isatty()
        dull = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self.has_colour = self.is_terminal and not dull
        self.watches = not as_json and stderr.isatty() and environ.get("TERM") != "dumb"
        """Whether somebody looks at stderr, so that a line may be rewritten."""

    def width(self) -> int:
        """Columns of the terminal; without bound when there is none."""
        if not self.is_terminal:
            return 1 << 30
        try:
            return os.get_terminal_size(self.stdout.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def line(self, text: str = "") -> None:
        """A line of the result for a person; a program gets its JSON, and nothing beside it."""
        if not self.as_json:
            self.stdout.write(text + "\n")
            self.stdout.flush()

    def note(self, text: str) -> None:
        """A line for a person about what is going on. That nobody reads stdout any more is no reason not to say it."""
        if self.as_json:
            return
        try:  # noqa: SIM105 - contextlib would cost every command half a millisecond
            self.stdout.flush()
        except BrokenPipeError:
            pass
        self.stderr.write(text + "\n")
        self.stderr.flush()

    def json(self, value: Any) -> None:
        """A value as one JSON document: readable on a terminal, else on one line."""
        self.stdout.write(self.json_text(value) + "\n")
        self.stdout.flush()

    def json_text(self, value: Any) -> str:
        if self.is_terminal:
            return json.dumps(value, indent=2)
        return json.dumps(value, separators=(",", ":"))

    def json_pages(self, pages: Iterable[Sequence[Any]]) -> None:
        """A long list as one JSON array, written page by page."""
        mark = "["
        for page in pages:
            for item in page:
                self.stdout.write(mark + self.json_text(item))
                mark = ",\n"
        self.stdout.write("[]\n" if mark == "[" else "]\n")
        self.stdout.flush()

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        shrink: Sequence[int] = (),
        status: int = -1,
        wraps: bool = False,
    ) -> None:
        """Rows under a header. On a terminal, the columns `shrink` give way in turn and column `status` is coloured;
        with `wraps` nothing is lost of the last column: it goes on below."""
        self.line("\n".join(self.table_lines(header, rows, shrink=shrink, status=status, wraps=wraps)))

    def table_lines(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        shrink: Sequence[int] = (),
        status: int = -1,
        wraps: bool = False,
    ) -> list[str]:
        """The lines of a table, without trailing spaces. None is wider than the terminal, unless that leaves no room to
        wrap in."""
        width = self.width()
        cells = [tuple(header), *(_wrapped([tuple(header), *rows], width) if wraps else rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for column in shrink:
            over = sum(widths) + len(GAP) * (len(widths) - 1) - width
            if over > 0:
                widths[column] = min(max(widths[column] - over, NARROWEST), widths[column])
                cells = [(*row[:column], _shortened(row[column], widths[column]), *row[column + 1 :]) for row in cells]
        pattern = GAP.join(f"{{:<{each}}}" for each in widths)
        lines = [pattern.format(*row).rstrip() for row in cells]
        lines = lines if wraps else [_shortened(line, width) for line in lines]
        if self.has_colour:
            lines = [f"\x1b[1m{lines[0]}\x1b[0m", *lines[1:]]
            if status >= 0:
                start = sum(widths[:status]) + len(GAP) * status
                lines[1:] = [
                    _coloured(line, start, row[status]) for line, row in zip(lines[1:], cells[1:], strict=True)
                ]
        return lines

    def block(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Keys and values, the values under each other."""
        listed = list(pairs)
        width = max((len(key) for key, _ in listed), default=0) + 1
        self.line("\n".join(f"{key + ':':<{width}} {value}" for key, value in listed))


def cell(value: object) -> str:
    """Anything as a cell: never empty, never with a line break."""
    return clean(str(value)) if value not in (None, "") else NOTHING


def _wrapped(cells: Sequence[Sequence[str]], width: int) -> Iterator[Sequence[str]]:
    """The rows below a header, with the last column on as many lines as it needs."""
    from textwrap import wrap

    before = [max(map(len, column)) for column in zip(*(row[:-1] for row in cells), strict=True)]
    left = max(width - sum(before) - len(GAP) * len(before), WRAPPED_NARROWEST)
    for *row, last in cells[1:]:
        for number, part in enumerate(wrap(last, left)):
            yield (*([""] * len(row) if number else row), part)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _coloured(line: str, start: int, text: str) -> str:
    code = COLOURS.get(text.partition(" ")[0])
    if not code:
        return line
    end = min(start + len(text), len(line))
    return f"{line[:start]}\x1b[{code}m{line[start:end]}\x1b[0m{line[end:]}"
