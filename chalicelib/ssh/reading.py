"""How the output of a script is read: `key<TAB>value` lines between a first line with its name and a last one.

What comes before the first line is a login shell's greeting, what comes after the last one its farewell. In between
nothing is skipped: a line that is no such line, a key that the script does not print, or a missing end is refused with
what stands there.

A host prints what it likes, so whatever is read of it is bounded, and none of it raises anything but
`ScriptOutputError`.
"""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

from chalicelib.ssh.errors import ScriptOutputError

SHOWN: int = 200
"""Characters of a line that an error quotes."""

LONGEST: int = 4096
"""Characters of a value that are kept. The longest that an honest host prints are addresses and complaints, of some
hundreds; a pattern that takes the square of a line's length takes milliseconds for this."""

LONGEST_DOCUMENT: int = 256 << 10
"""The same for a value that is a JSON document on one line. That of `docker info` has 4 to 10 KB."""

DIGITS: int = 15
"""A number of more is none of a host's."""

ODD = (ValueError, TypeError, AttributeError, LookupError, RecursionError, OverflowError)
"""What reading a value raises that is not what it should be."""


class Lines:
    """The values of an output, by key. A key may come often: a command's output has one line for each of its lines."""

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values = values

    def every(self, key: str) -> tuple[str, ...]:
        """All values of a key, in their order; empty where it did not come."""
        return self._values.get(key, ())

    def one(self, key: str) -> str:
        """The first value of a key, or ""."""
        return next(iter(self.every(key)), "")

    def number(self, key: str) -> int:
        """The first value as a whole number, 0 where there is none.

        Raises `ScriptOutputError` where something else stands there.
        """
        text = self.one(key)
        if text and not is_number(text):
            raise ScriptOutputError(f"{key} is {text[:SHOWN]!r}, not a whole number", line=text[:SHOWN])
        return int(text or 0)

    def text(self, key: str) -> str:
        """All values of a key as one line."""
        return "; ".join(value for value in map(str.strip, self.every(key)) if value)


def is_number(text: str) -> bool:
    """Whether a text is a whole number of a size that a host can have."""
    return text.isascii() and text.isdigit() and len(text) <= DIGITS


@contextmanager
def understood(name: str) -> Iterator[None]:
    """Refuse with `ScriptOutputError` what turns out to be odd while the values of a script's output are read."""
    try:
        yield
    except ODD as error:
        what = f"{type(error).__name__}: {error}"[:SHOWN]
        raise ScriptOutputError(f"the output of {name} has a value that no host has: {what}", line="") from error


def read(output: str, name: str, keys: Set[str], documents: Set[str] = frozenset()) -> Lines:
    """Read one script's output. `name` is the script's, `keys` are all it prints; the values of `documents` are long.

    Raises `ScriptOutputError` with the offending line where it is another's, was cut, or says something unknown.
    """
    values: dict[str, list[str]] = {}
    for number, line, (key, tab, value) in _after_the_greeting(output, name):
        if not tab or key not in keys | {"end"}:
            cut = line[:SHOWN]
            raise ScriptOutputError(f"line {number} of the output of {name} is no line of it: {cut!r}", line=cut)
        values.setdefault(key, []).append(value[: LONGEST_DOCUMENT if key in documents else LONGEST])
        if key == "end":
            break
    if values.get("end") != [name]:
        last = output.rstrip("\n").rpartition("\n")[2][:SHOWN]
        raise ScriptOutputError(f"the output of {name} was cut; it ends with {last!r}", line=last)
    return Lines({key: tuple(each) for key, each in values.items()})


def _after_the_greeting(output: str, name: str) -> Iterator[tuple[int, str, tuple[str, str, str]]]:
    begun = False
    for number, raw in enumerate(output.split("\n"), start=1):
        line = raw.rstrip("\r")
        if begun and line:
            yield number, line, line.partition("\t")
        begun = begun or line == f"{name}\t1"
    if not begun:
        first = output.lstrip("\n").partition("\n")[0][:SHOWN]
        words = f"it begins with {first!r}" if first else "there is none"
        raise ScriptOutputError(f"this is not the output of {name}: {words}", line=first)
