"""The arguments of `pool add-ssh` and `host check`: which hosts, and which way to them."""

from __future__ import annotations

import os
from argparse import SUPPRESS

from tidepool.command import UsageError
from tidepool.errors import InputError
from tidepool.options import POOL_HELP, add_pool, label, name
from tidepool.ssh_options import SshWords, add_ssh_options, uploaded_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session

SIDE_BY_SIDE = 8
MOST_SIDE_BY_SIDE = 64


def add_host_arguments(parser: ArgumentParser, *, adopts: bool = True) -> None:
    """All arguments of both commands: what is checked may then be adopted by changing nothing but the command.

    Those that only an adoption heeds are not offered for a check.
    """

    def of_adoption(text: str) -> str:
        return text if adopts else SUPPRESS

    _add_destinations(parser)
    _add_way(parser)
    host = parser.add_argument_group("instance")
    named = of_adoption("its name (default: the host's, if it can be one)")
    host.add_argument("--name", type=name, metavar="NAME", help=named)
    host.add_argument(
        "--network",
        type=label,
        metavar="CIDR",
        help="the network its neighbours reach it in; one run's nodes share one",
    )
    host.add_argument(
        "--region",
        type=label,
        metavar="NAME",
        help="its site (default remote); hosts of one region and network are one",
    )
    host.add_argument(
        "--take-over",
        action="store_true",
        help="also when it belongs to another control plane, which loses it"
        if adopts
        else "judge it as `add-ssh --take-over` does: it may belong to another control plane",
    )
    add_pool(parser, of_adoption(POOL_HELP))
    wait = parser.add_mutually_exclusive_group() if adopts else parser  # the usage of a hidden group is a mistake
    until_ready = of_adoption("until it is ready (default)")
    wait.add_argument("--wait", dest="wait", action="store_true", default=True, help=until_ready)
    at_once = of_adoption(
        "return as soon as nothing is left to do from here: with -i when it is ordered, with --from-here when its "
        "agent is awaited"
    )
    wait.add_argument("--no-wait", dest="wait", action="store_false", help=at_once)


def _add_destinations(parser: ArgumentParser) -> None:
    """Which hosts, and what they must have."""
    parser.add_argument(
        "destinations",
        nargs="*",
        metavar="DESTINATION",
        help="[user@]host[:port], ssh://[user@]host[:port]; ranges in quotes: 'node-[01-16]', 'a[1,3,5-7]'",
    )
    parser.add_argument("--hosts", type=label, metavar="FILE", help="more destinations, one a line; - is stdin")
    parser.add_argument(
        "--parallel", type=_side_by_side, default=SIDE_BY_SIDE, metavar="N", help=f"at a time (default {SIDE_BY_SIDE})"
    )
    parser.add_argument("--gpu", type=label, metavar="SPEC", help="what must be found there: A100:8")


def _add_way(parser: ArgumentParser) -> None:
    """How they are reached, and known."""
    add_ssh_options(parser)
    way = parser.add_argument_group("way")
    way.add_argument(
        "--from-here", action="store_true", help="connect from here with the system's own ssh; the key stays here"
    )
    way.add_argument(
        "--host-key", type=label, metavar="KEY", help="the host's key: a file like known_hosts, a key, or SHA256:…"
    )
    way.add_argument("--no-known-hosts", action="store_true", help="do not look into known_hosts for the host's key")


class Asked:
    """The hosts of one command line. `words` is there with --from-here, `options` without."""

    __slots__ = ("destinations", "from_here", "options", "words")

    def __init__(self, args: Namespace, session: Session) -> None:
        from tidepool.ssh_destination import expand, parse_destination

        texts = [*args.destinations, *_from_file(args.hosts, session)]
        self.destinations = [parse_destination(text) for text in expand(texts)]
        if not self.destinations:
            raise UsageError("no host: say a DESTINATION such as ubuntu@10.0.0.7, or --hosts FILE")
        given = args.ssh or ()
        self.from_here: bool = args.from_here
        self.words = SshWords(given) if args.from_here else SshWords(())
        self.options = {} if args.from_here else uploaded_options(given)
        if args.from_here and (args.host_key or args.no_known_hosts):
            raise UsageError(
                "with --from-here it is ssh that knows host keys: leave --host-key and --no-known-hosts out"
            )
        missing = [path for letter, path in given if letter == "i" and not os.path.exists(os.path.expanduser(path))]
        if args.from_here and missing and "%" not in missing[0]:  # ssh has words of its own for users, hosts and homes
            raise InputError(f"-i {missing[0]}: No such file or directory", code="local-io")
        if not args.from_here and "i" not in self.options:
            raise UsageError("no key: say -i KEY, or --from-here to connect with the system's own ssh")


def _from_file(path: str | None, session: Session) -> list[str]:
    if not path:
        return []
    from tidepool.ssh_destination import read_hosts

    try:
        if path == "-":
            return read_hosts(session.stdin)
        with open(path, encoding="utf-8") as file:
            return read_hosts(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--hosts {path}: {getattr(error, 'strerror', '') or 'is no text'}", code="local-io"
        ) from error


def _side_by_side(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_SIDE_BY_SIDE):
        raise _bad(f"{text!r} is no number from 1 to {MOST_SIDE_BY_SIDE}")
    return int(text)


def _bad(message: str) -> Exception:
    import argparse

    return argparse.ArgumentTypeError(message)
