"""A YAML file as values that remember their line, so that every refusal can say where.

Scalars keep the text that was written: YAML 1.1 reads `24:2` as 1442 and `off` as false, and neither was meant. What a
file may cost is bounded: its size, its depth, and its values, each use of an alias counted anew.
"""

from __future__ import annotations

import os

from tidepool.errors import InputError
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000
MAX_DEPTH = 20
KINDS = {
    "str": "text",
    "timestamp": "text",
    "value": "text",
    "int": "number",
    "float": "number",
    "bool": "bool",
    "null": "null",
}
"""What a scalar is by the last part of its tag, `tag:yaml.org,2002:…`; others, such as `!!binary`, are refused."""
TAG = "tag:yaml.org,2002:"
TRUE = frozenset({"yes", "true", "on"})
"""YAML 1.1's words for true, https://yaml.org/type/bool.html without the one-letter ones, as PyYAML has them."""


class FileError(InputError):
    """A file says what it cannot mean. `context`: `file`, `line`, and where known `field`, `given`, `expected`."""

    code = "invalid-file"


class Value:
    """A value of a file. `kind` is text, number, bool, null, list or map; `line` is that of its key, else its own."""

    __slots__ = ("entries", "file", "items", "kind", "line", "text")

    def __init__(self, file: str, line: int, kind: str, text: str = "") -> None:
        self.file = file
        self.line = line
        self.kind = kind
        self.text = text
        self.items: list[Value] = []
        self.entries: dict[str, Value] = {}

    @property
    def place(self) -> str:
        """Where it stands: `FILE:LINE`."""
        return f"{self.file}:{self.line}"

    def is_true(self) -> bool:
        """What a bool says."""
        return self.text.lower() in TRUE

    def given(self) -> str:
        """The value as a message repeats it."""
        if self.kind in ("list", "map"):
            return f"a {self.kind}" if self.items or self.entries else f"an empty {self.kind}"
        return quoted(self.text) if self.text else "nothing"

    def text_form(self) -> str:
        """What to write instead where a text belongs."""
        return "a text; put it in quotes" if self.kind == "bool" else "a text"

    def refusal(self, key: str, expected: str, given: str = "") -> FileError:
        """Say that this is not what the key takes."""
        said = given or self.given()
        context = {"file": self.file, "line": self.line, "field": key, "given": said, "expected": expected}
        return FileError(f"{self.place}: {key}: {said} is not {expected}", context=context)

    def unknown(self, key: str, known: Iterable[str]) -> FileError:
        """Say that a key means nothing here, and which one was probably meant."""
        from tidepool.help import nearest

        names = sorted(known)
        starting = [name for name in names if name.startswith(key) or key.startswith(name)]
        close = nearest(key, names) or (starting[0] if starting and key else "")
        hint = f"; did you mean {close}?" if close else f"; known are {', '.join(names)}"
        context = {"file": self.file, "line": self.line, "field": key}
        return FileError(f"{self.place}: {quoted(key)} is no key here{hint}", context=context)


def read(path: str, shown: str) -> Value:
    """Read one YAML document; `shown` is the path as messages name it. An empty file is a null. Raises `FileError`."""
    text = _content(path, shown)
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise InputError(f"{shown} needs PyYAML to be read: install the client with its dependencies") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Value(shown, 1, "null") if node is None else _Reader(shown).value(node, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        words = " ".join(filter(None, (error.context, error.problem)))
        raise _broken(shown, line, f"this is no YAML: {words}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _broken(shown, line, "a control character, which YAML does not allow") from None
    except RecursionError:
        raise _broken(shown, 1, f"nested deeper than {MAX_DEPTH} levels") from None


def _content(path: str, shown: str) -> str:
    try:
        if os.path.isdir(path):
            raise InputError(f"cannot read {shown}: it is a folder", code="invalid-file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror or error}", code="invalid-file") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{shown} is larger than {MAX_BYTES >> 10} KB", code="invalid-file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(shown, content.count(b"\n", 0, error.start) + 1, "this is not UTF-8") from None


def _broken(shown: str, line: int, words: str) -> FileError:
    return FileError(f"{shown}:{line}: {words}", context={"file": shown, "line": line})


class _Reader:
    """Turns PyYAML's nodes into values, and counts them."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._left = MAX_VALUES

    def value(self, node: Any, depth: int, line: int = 0) -> Value:
        line = line or node.start_mark.line + 1
        self._left -= 1
        if self._left < 0:
            raise _broken(self._shown, line, f"more than {MAX_VALUES} values, aliases counted where they are used")
        if depth > MAX_DEPTH:
            raise _broken(self._shown, line, f"nested deeper than {MAX_DEPTH} levels")
        tag = node.tag.removeprefix(TAG)
        if node.id == "mapping" and tag == "map":
            made = Value(self._shown, line, "map")
            made.entries = self._entries(node, depth)
        elif node.id == "sequence" and tag == "seq":
            made = Value(self._shown, line, "list")
            made.items = [self.value(item, depth + 1) for item in node.value]
        elif node.id == "scalar" and tag in KINDS:
            made = Value(self._shown, line, KINDS[tag], node.value)
        else:
            raise _broken(self._shown, line, f"the tag {quoted(node.tag)} is not allowed here")
        return made

    def _entries(self, node: Any, depth: int) -> dict[str, Value]:
        """The entries of a map; those that `<<` brings in give way to its own."""
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if key.tag == f"{TAG}merge":
                value = self.value(item, depth + 1)
                for source in value.items if value.kind == "list" else [value]:
                    if source.kind != "map":
                        raise _broken(self._shown, line, "<< takes a map or a list of maps")
                    merged = {**source.entries, **merged}
                continue
            if key.id != "scalar":
                raise _broken(self._shown, line, "a key is a word, not a list or a map")
            if key.value in own:
                first = own[key.value].line
                raise _broken(self._shown, line, f"{quoted(key.value)} stands twice: here and in line {first}")
            own[key.value] = self.value(item, depth + 1, line)
        return {**merged, **own}
