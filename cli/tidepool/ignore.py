"""Which files of a folder travel: the rules of `.gitignore`, as git reads them.

Source of the rules: https://git-scm.com/docs/gitignore, "Pattern format". The tests hold this against git itself.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALWAYS_OUT = frozenset({".git", ".tidepool"})
"""Never shipped, whatever the rules say: history is large, and `.tidepool` holds tokens."""
CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
"""What `[:name:]` stands for inside a bracket expression."""


class Rule:
    """One line of one `.gitignore`. `base` is its folder, relative to the top, with `/` at the end unless empty.

    Pattern, base and paths are texts of bytes (see `_bytes_of`).
    """

    __slots__ = ("_match", "base", "directories_only", "excludes")

    def __init__(self, pattern: str, base: str) -> None:
        self.base = base
        self.excludes = not pattern.startswith("!")
        text = pattern if self.excludes else pattern[1:]
        if text.startswith(("\\#", "\\!")):
            text = text[1:]
        self.directories_only = text.endswith("/")
        text = text.removesuffix("/")
        anchored = "/" in text
        expression = _expression(text.removeprefix("/"))
        self._match = re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL | re.ASCII).fullmatch

    def covers(self, path: str, *, is_directory: bool) -> bool:
        """Whether the rule speaks of `path`, which is relative to the top."""
        if (self.directories_only and not is_directory) or not path.startswith(self.base):
            return False
        return self._match(path[len(self.base) :]) is not None


def rules(text: str, base: str) -> list[Rule]:
    """Read one `.gitignore`. Lines that can match nothing are left out."""
    found = []
    base = _bytes_of(base)
    for line in _bytes_of(text.removeprefix("\ufeff")).split("\n"):
        pattern = _without_trailing_blanks(line.removesuffix("\r"))
        if not pattern or pattern.startswith("#") or pattern in ("!", "/"):
            continue
        try:
            found.append(Rule(pattern, base))
        except (re.error, ValueError):
            continue  # git, too, lets a broken pattern match nothing
    return found


def is_ignored(path: str, known: Sequence[Rule], *, is_directory: bool) -> bool:
    """Whether the last rule that speaks of `path` leaves it out."""
    path = _bytes_of(path)
    for rule in reversed(known):
        if rule.covers(path, is_directory=is_directory):
            return rule.excludes
    return False


def walk(top: str) -> Iterator[os.DirEntry[str]]:
    """Yield every entry below `top` that travels, folders before what is in them, by name.

    A left-out folder is not entered, so nothing below it can be let in again: that is git's rule too. When `top`
    lies inside a repository, the rules of the folders above it and of `.git/info/exclude` count as well.
    """
    prefix, outer = _outer_rules(top)
    yield from _walk(top, prefix, outer)


def _walk(folder: str, prefix: str, known: list[Rule]) -> Iterator[os.DirEntry[str]]:
    known = known + _read(os.path.join(folder, ".gitignore"), prefix)
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if entry.name in ALWAYS_OUT:
            continue
        path = prefix + entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if is_ignored(path, known, is_directory=is_directory):
            continue
        yield entry
        if is_directory:
            yield from _walk(entry.path, path + "/", known)


def _outer_rules(top: str) -> tuple[str, list[Rule]]:
    """The path of `top` inside its repository, and the rules that come from outside of `top`."""
    top = os.path.abspath(top)
    root = top
    while not os.path.exists(os.path.join(root, ".git")):
        parent = os.path.dirname(root)
        if parent == root:
            return "", []
        root = parent
    found = _read(os.path.join(root, ".git", "info", "exclude"), "")
    inside = [] if root == top else os.path.relpath(top, root).split(os.sep)
    for depth in range(len(inside)):
        base = "".join(name + "/" for name in inside[:depth])
        found += _read(os.path.join(root, *inside[:depth], ".gitignore"), base)
    return "".join(name + "/" for name in inside), found


def _read(path: str, base: str) -> list[Rule]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return rules(file.read(), base)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []


def _bytes_of(text: str) -> str:
    """The bytes of a text, each as one character: git's `?` and brackets match bytes, not letters."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _without_trailing_blanks(line: str) -> str:
    """Drop spaces at the end, except one that a backslash keeps."""
    end = len(line)
    while end and line[end - 1] == " ":
        end -= 1
    backslashes = len(line[:end]) - len(line[:end].rstrip("\\"))
    return line[: end + 1] if backslashes % 2 and end < len(line) else line[:end]


def _expression(glob: str) -> str:
    """Translate one pattern, without its leading and trailing slash, into a regular expression.

    Two stars or more between slashes match any number of folders; anywhere else they are one star, as the page says.
    (git itself lets `b**` cross slashes, by an accident of comparing the literal `b` first. That is not copied.)
    """
    out, at = [], 0
    while at < len(glob):
        end = at
        while glob.startswith("*", end):
            end += 1
        if end - at >= 2 and (at == 0 or glob[at - 1] == "/") and glob[end : end + 1] in ("", "/"):
            out.append("(?:.*/)?" if end < len(glob) else ".+")
            at = end + 1
        else:
            piece, at = _one(glob, at)
            out.append(piece)
    return "".join(out)


def _one(glob: str, at: int) -> tuple[str, int]:
    """Translate what stands at `at`; answer it and where the next piece begins."""
    char = glob[at]
    if char == "*":
        while glob.startswith("*", at):
            at += 1
        return "[^/]*", at
    if char == "?":
        return "[^/]", at + 1
    if char == "[":
        return _bracket(glob, at + 1)
    if char == "\\":
        if at + 1 == len(glob):
            raise ValueError("a backslash at the end")
        return re.escape(glob[at + 1]), at + 2
    return re.escape(char), at + 1


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """Translate a bracket expression whose content begins at `at`. No bracket ever matches a slash."""
    negated = glob[at : at + 1] in ("!", "^")
    start = at = at + negated
    members = []
    while at < len(glob) and (glob[at] != "]" or at == start):
        if glob.startswith("[:", at) and (end := glob.find(":]", at)) > 0:
            members.append(CLASSES[glob[at + 2 : end]] if glob[at + 2 : end] in CLASSES else _unknown_class())
            at = end + 2
            continue
        at += glob[at] == "\\"
        members.append("-" if glob[at] == "-" and members and glob[at + 1 : at + 2] != "]" else re.escape(glob[at]))
        at += 1
    if at >= len(glob):
        raise ValueError("an open bracket")
    return f"(?!/)[{'^' if negated else ''}{''.join(members)}]", at + 1


def _unknown_class() -> str:
    raise ValueError("an unknown character class")
