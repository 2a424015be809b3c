"""Where a host is, as people write it: `host`, `user@host`, `user@host:port`, `ssh://user@host:port`, `user@[::1]:22`;
and ranges of names, `gpu-node-[01-16]`. Pure text."""

from __future__ import annotations

import re

from tidepool.errors import InputError
from tidepool.text import clipped, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEME = "ssh://"
FORM = "host, user@host, user@host:port or ssh://user@host:port, with an IPv6 address in brackets where a port follows"
NUMBERS = "; a range is of numbers: 'node-[01-16]', 'a[1,3,5-7]'"
SPECIAL = frozenset("'\"`$\\;&<>|(){}[]*?!/")
"""What ssh refuses in names of hosts as well, or what a shell would have replaced."""
RANGE = re.compile(r"\[(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\]")
MOST_HOSTS = 1000


class Destination:
    """`user` and `port` are "" and 0 where nothing is said of them; `text` is how it was written."""

    __slots__ = ("host", "port", "text", "user")

    def __init__(self, host: str, port: int, user: str, text: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.text = text


def parse_destination(text: str, what: str = "DESTINATION") -> Destination:
    """Take a destination apart. Raises `InputError` that names `what`."""
    rest = text
    if text.lower().startswith(SCHEME):
        rest = text[len(SCHEME) :].removesuffix("/")
    user, at, place = rest.rpartition("@")
    host, port = _host_and_port(place)
    if (at and not _is_plain(user)) or not _is_plain(host) or port is None:
        ranges = NUMBERS if "[" in text else ""
        _, colon, ending = place.rpartition(":")
        if colon and host and _is_plain(host) and ending.isdigit():
            raise InputError(f"argument {what}: {quoted(text)}: {clipped(ending, 20)} is no port: 1 to 65535")
        raise InputError(f"argument {what}: {quoted(text)} is no destination: {FORM}{ranges}")
    return Destination(host, port, user, text)


def expand(texts: Iterable[str], what: str = "DESTINATION") -> list[str]:
    """Write out the ranges, in order, each destination once: `a[1,3,5-7]`, `node-[01-03]` with the zeros kept."""
    found: dict[str, None] = {}
    for text in texts:
        for one in _expanded(text, text, what):
            found[one] = None
            if len(found) > MOST_HOSTS:
                raise InputError(f"argument {what}: {quoted(text)} makes more than {MOST_HOSTS} hosts")
    return list(found)


def read_hosts(lines: Iterable[str]) -> list[str]:
    """The destinations of a file: one a line, `#` begins a remark."""
    plain = (line.partition("#")[0].strip() for line in lines)
    return [line for line in plain if line]


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, end, rest = place[1:].partition("]")
        is_address = ":" in host or host.replace(".", "").isdigit()  # `ssh -G` puts IPv4 into brackets, too
        if not end or not is_address or rest[:1] not in ("", ":"):
            return "", None
        return host, _port(rest[1:]) if rest else 0
    if place.count(":") > 1:  # an IPv6 address as it is
        return place, 0
    host, colon, port = place.partition(":")
    return host, _port(port) if colon else 0


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536 and len(text) < 6 else None


def _is_plain(name: str) -> bool:
    """Whether this can be the name of a host or a user; one that begins with a hyphen would be an option of ssh's."""
    return bool(name) and name[0] != "-" and name.isprintable() and " " not in name and not SPECIAL.intersection(name)


def _expanded(text: str, whole: str, what: str) -> Iterator[str]:
    match = RANGE.search(text)
    if not match:
        yield text
        return
    before, after = text[: match.start()], text[match.end() :]
    for number in _numbers(match[1], whole, what):
        for rest in _expanded(after, whole, what):
            yield before + number + rest


def _numbers(ranges: str, whole: str, what: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, mark, last = part.partition("-")
        if not mark:
            yield first
        elif int(last) < int(first):
            raise InputError(f"argument {what}: {quoted(whole)} has a range that runs backwards: {part}")
        elif int(last) - int(first) >= MOST_HOSTS:
            raise InputError(f"argument {what}: {quoted(whole)} makes more than {MOST_HOSTS} hosts")
        else:
            width = len(first) if first.startswith("0") else 0
            yield from (str(number).zfill(width) for number in range(int(first), int(last) + 1))
