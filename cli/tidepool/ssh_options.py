"""The options of ssh itself, so that what works after `ssh` works after `tidepool pool add-ssh --from-here`.

Source: the synopsis of ssh(1), OpenSSH 9.9.
"""

from __future__ import annotations

import argparse

from tidepool.command import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence
    from typing import Any

SWITCHES = "46AaCfGgKkMNnqsTtVvXxYy"
VALUED = "BbcDEeFIiJLlmOoPpQRSWw"
TOLD = {
    "i": ("KEY", "the private key's file"),
    "l": ("USER", "the user (else before the @; default: yours here)"),
    "p": ("PORT", "the port (default 22)"),
    "J": ("JUMP", "the host to go through: [user@]host[:port]"),
    "F": ("FILE", "--from-here: this configuration in place of ~/.ssh/config"),
    "o": ("OPTION", "--from-here: one option of ssh_config, such as ProxyJump=head"),
}
"""What --help explains; the others are ssh's, and in its manual."""
UPLOADED = frozenset("ilpJ")
"""The ones that have a meaning when the control plane connects."""
UNNEEDED = frozenset("fNnsTt")
"""They say what is done with the connection, which is decided here: a script is run, without a terminal."""
OTHER_MODES = frozenset("GOQVW")
"""With these ssh connects to nothing that a script could run on."""


class SshOption(argparse.Action):
    """Keeps the options in the order in which they came, as ssh would see them."""

    def __call__(
        self,
        parser: ArgumentParser,  # noqa: ARG002 - the signature is argparse's
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        letter = (option_string or "-")[1:]
        value = values if isinstance(values, str) else ""
        namespace.ssh = [*(getattr(namespace, "ssh", None) or ()), (letter, value)]


def add_ssh_options(parser: ArgumentParser) -> None:
    """Add all of them; the parsed ones are in `args.ssh`, as pairs of letter and value."""
    group = parser.add_argument_group(
        "ssh", "As after `ssh`. With --from-here all of its options are understood, because it is ssh that connects."
    )
    for letter in (*TOLD, *(each for each in VALUED if each not in TOLD)):
        metavar, text = TOLD.get(letter, ("VALUE", argparse.SUPPRESS))
        group.add_argument(f"-{letter}", action=SshOption, dest="ssh", metavar=metavar, default=None, help=text)
    for letter in SWITCHES:
        group.add_argument(f"-{letter}", action=SshOption, dest="ssh", nargs=0, default=None, help=argparse.SUPPRESS)


def uploaded_options(given: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The options by letter, for a connection that the control plane makes. Raises `UsageError` for any other."""
    found: dict[str, str] = {}
    for letter, value in given:
        if letter not in UPLOADED:
            raise UsageError(f"-{letter} is an option of ssh itself; with --from-here it is ssh that connects")
        if not value:
            raise UsageError(f"-{letter} says nothing")
        if found.get(letter, value) != value:
            raise UsageError(f"-{letter} is there twice, as {found[letter]} and as {value}")
        found[letter] = value
    return found


class SshWords:
    """The options for the system's ssh. `log`: the file that -E wants ssh's own words in; `talks`: -v was given."""

    __slots__ = ("_given", "log", "talks", "words")

    def __init__(self, given: Sequence[tuple[str, str]]) -> None:
        self._given = given
        self.words: list[str] = []
        self.log = ""
        self.talks = False
        for letter, value in given:
            if letter in OTHER_MODES:
                raise UsageError(f"ssh -{letter} makes no connection that a host could be adopted over")
            if letter == "E":
                self.log = value
            elif letter == "v":
                self.talks = True
            elif letter not in UNNEEDED:
                self.words += [f"-{letter}", value] if letter in VALUED else [f"-{letter}"]

    def for_jumps(self) -> SshWords:
        """What of them ssh heeds for a jump host: which configuration is read."""
        return SshWords([each for each in self._given if each[0] == "F"])
