"""What is asked of the control plane for each host: where it is, who to be there, and which key it is known by."""

from __future__ import annotations

import os

from tidepool.command import UsageError
from tidepool.options import NAME_LENGTH
from tidepool.ssh_destination import parse_destination
from tidepool.ssh_key import load_key
from tidepool.ssh_known_hosts import fingerprint, for_host, given_keys, keys_for, known_keys, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from tidepool.command import Session
    from tidepool.host_arguments import Asked
    from tidepool.host_wire import HostRequest
    from tidepool.ssh_destination import Destination

DEFAULT_PORT = 22


class Uploads:
    """Makes the requests of hosts that the control plane connects to. The key is read, and asked about, once."""

    def __init__(self, args: Namespace, session: Session, asked: Asked, *, pins: bool) -> None:
        self._session = session
        self._pins = pins
        self._options = asked.options
        self._port = _port(asked.options.get("p", ""))
        self._jump = parse_destination(asked.options["J"], "-J") if "J" in asked.options else None
        if self._jump and "," in self._jump.host:
            raise UsageError("-J: one host to go through; --from-here goes through any number of them")
        self._given = given_keys(args.host_key) if args.host_key else []
        self._looks = not args.no_known_hosts
        self._key = load_key(asked.options["i"], session)
        self.new: set[str] = set()
        """Hosts whose own key is not known yet."""

    def request(self, destination: Destination) -> tuple[HostRequest, str, str]:
        """The request for one host, and what is to be said of its key: given, known, or trusted on first use.

        That of the jump host goes with it, and what is to be said of that one, if there is one, is the last.
        """
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
        if not keys:
            self.new.add(destination.text)
        how_of_jump = ""
        if self._jump:
            of_jump, how_of_jump = self._jump_keys(self._jump.host, self._jump.port or DEFAULT_PORT)
            keys += of_jump
            how_of_jump = f"; jump host {self._jump.host}: host key {how_of_jump}"
        if keys:
            request["host_key"] = "\n".join(keys)
        return request, how, how_of_jump

    def _keys(self, host: str, port: int) -> tuple[list[str], str]:
        if self._given:
            keys = for_host(self._given, host, port)
            return keys, f"given: {_prints(keys)}"
        keys = known_keys(host, port, self._session.environ) if self._looks else []
        if keys:
            return keys, f"known from known_hosts: {_prints(keys)}"
        return [], self._not_known()

    def _jump_keys(self, host: str, port: int) -> tuple[list[str], str]:
        """Keys of the jump host, each with its name before it, so that they are not taken for the host's behind it."""
        found, how = keys_for("\n".join(self._given), host, port), "given"
        if not found and self._looks:
            found, how = known_keys(host, port, self._session.environ), "known from known_hosts"
        if not found:
            return [], "not known here: the one that the project has seen, else the first that it shows, is trusted"
        return [f"{name_of(host, port)} {key}" for key in found], f"{how}: {_prints(found)}"

    def _not_known(self) -> str:
        return "not known: the first one that it shows is trusted" + (", and pinned" if self._pins else "")

    def _local_user(self) -> str:
        """Whoever sits here, as ssh has it too."""
        environ = self._session.environ
        if user := environ.get("USER") or environ.get("LOGNAME"):
            return user
        from pwd import getpwuid

        try:
            return getpwuid(os.getuid()).pw_name
        except KeyError:
            raise UsageError("no user, and yours here has no name: say user@host, or -l USER") from None


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
