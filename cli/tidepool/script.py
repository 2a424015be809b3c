"""How a script, and the folder that it runs in, become the words of a command, and how people are shown such words."""

from __future__ import annotations

from tidepool.text import clipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = ("sh", "-ec")
"""How `commands` are run: as one script, which ends at the first line that fails."""
ENTER = ("sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh")
"""Goes into the folder that comes next, and becomes the command behind it."""
LONGEST = 200
"""Characters that are shown of a command; --json has all of it."""
LINE_END = " ⏎ "


def command_text(argv: Sequence[str]) -> str:
    """A command on one line: of a script its lines, without the shell that runs them."""
    words, folder = list(argv), ""
    if tuple(words[: len(ENTER)]) == ENTER and len(words) > len(ENTER) + 1:
        folder, *words = words[len(ENTER) :]
    is_script = tuple(words[:-1]) == SCRIPT
    text = LINE_END.join((words[-1] if is_script else " ".join(words)).strip().splitlines())
    return clipped(f"(in {folder}) {text}" if folder else text, LONGEST)
