"""What the arguments of `pool add-ssh` and `host check` ask for: which hosts, over which way, known by which key."""

from __future__ import annotations

from tidepool.command import UsageError
from tidepool.errors import InputError
from tidepool.options import NAME_LENGTH, label
from tidepool.ssh_destination import expand, parse_destination, read_hosts
from tidepool.ssh_key import load_key
from tidepool.ssh_known_hosts import fingerprint, for_host, given_keys, known_keys
from tidepool.ssh_options import SshWords, add_ssh_options, uploaded_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tidepool.command import Session
    from tidepool.host_wire import HostRequest
    from tidepool.ssh_destination import Destination

SIDE_BY_SIDE = 8
MOST_SIDE_BY_SIDE = 64
DEFAULT_PORT = 22


def add_destinations(parser: ArgumentParser) -> None:
    """Which hosts, and how they are reached."""
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
        if not args.from_here and "i" not in self.options:
            raise UsageError("no key: say -i KEY, or --from-here to connect with the system's own ssh")


class Uploads:
    """Makes the requests of hosts that the control plane connects to. The key is read, and asked about, once."""

    def __init__(self, args: Namespace, session: Session, asked: Asked) -> None:
        self._session = session
        self._options = asked.options
        self._port = _port(asked.options.get("p", ""))
        self._jump = parse_destination(asked.options["J"], "-J") if "J" in asked.options else None
        if self._jump and "," in self._jump.host:
            raise UsageError("-J: one host to go through; --from-here goes through any number of them")
        self._given = given_keys(args.host_key) if args.host_key else []
        self._looks = not args.no_known_hosts
        self._key = load_key(asked.options["i"], session)

    def request(self, destination: Destination) -> tuple[HostRequest, str]:
        """The request for one host, and a sentence about its key: given, known, or trusted on first use."""
        user = _one("user", destination, "-l", self._options.get("l", ""), destination.user) or self._local_user()
        port = int(_one("port", destination, "-p", str(self._port or ""), str(destination.port or "")) or DEFAULT_PORT)
        request: HostRequest = {
            "host": destination.host,
            "port": port,
            "user": user,
            "private_key": self._key.text,
        }
        if self._key.passphrase:
            request["passphrase"] = self._key.passphrase
        if self._jump:
            jump = self._jump
            request["jump"] = {"host": jump.host, "port": jump.port or DEFAULT_PORT, "user": jump.user or user}
        keys, how = self._keys(destination.host, port)
        if keys:
            request["host_key"] = "\n".join(keys)
        return request, f"{destination.text}: host key {how}"

    def _keys(self, host: str, port: int) -> tuple[list[str], str]:
        if self._given:
            keys = for_host(self._given, host, port)
            return keys, f"given: {_prints(keys)}"
        keys = known_keys(host, port, self._session.environ) if self._looks else []
        if keys:
            return keys, f"known from known_hosts: {_prints(keys)}"
        return [], "not known: the first one that it shows is trusted, and pinned"

    def _local_user(self) -> str:
        """Whoever sits here, as ssh has it too."""
        environ = self._session.environ
        user = environ.get("USER") or environ.get("LOGNAME") or ""
        if not user:
            raise UsageError("no user: say user@host, or -l USER")
        return user


def more_of(args: Namespace) -> HostRequest:
    """What is asked for besides where the host is."""
    found: HostRequest = {}  # type: ignore[typeddict-item] # the place is added for each host
    if args.gpu:
        found["gpu"] = args.gpu
    for option in ("network", "region"):
        if value := getattr(args, option, None):
            found[option] = value
    if getattr(args, "take_over", False):
        found["take_over"] = True
    return found


def implied_name(destination: Destination) -> str:
    """The name that an instance gets for its host's: `gpu-node-3`; "" where that is no name, such as an address."""
    text = destination.host.lower()
    inner = text.isascii() and text.replace("-", "").isalnum() and not text.replace("-", "").isdigit()
    return text if inner and text[0] != "-" and text[-1] != "-" and len(text) <= NAME_LENGTH else ""


def _one(what: str, destination: Destination, option: str, first: str, second: str) -> str:
    """The one value of two places that may name it."""
    if first and second and first != second:
        raise UsageError(f"two {what}s for {destination.text}: {second}, and {option} {first}")
    return first or second


def _port(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536):
        raise UsageError(f"argument -p: {text!r} is no port: 1 to 65535")
    return int(text or 0)


def _prints(keys: list[str]) -> str:
    return ", ".join(filter(None, map(fingerprint, keys)))


def _from_file(path: str | None, session: Session) -> list[str]:
    if not path:
        return []
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
