"""Commands on a host through the system's own `ssh`, so that whatever its user has configured holds.

A script goes in on standard input and nothing secret stands on a command line. One connection serves all commands: the
user's own ControlMaster where there is one, else one in a folder that nobody else reads.
"""

from __future__ import annotations

import os
import shlex
import sys
from tempfile import NamedTemporaryFile

from tidepool.ssh_children import Children
from tidepool.ssh_failures import server_key, trusted_now, verified
from tidepool.ssh_known_hosts import fingerprint, keys_for, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from tidepool.ssh_destination import Destination
    from tidepool.ssh_options import SshWords

CONNECT_TIMEOUT_S = 15
"""Unless the user's configuration says otherwise; ssh itself waits as long as the kernel, two minutes or more."""
CONNECT_LIMIT_S = 60
"""For connecting and authenticating over all hops, without a person at a prompt."""
ASKING_LIMIT_S = 300
"""The same with one."""
LOOK_LIMIT_S = 20
CLOSE_LIMIT_S = 5
PERSIST_S = 60
"""How long a shared connection outlives a client that was killed."""
LONGEST_SOCKET = 85
"""Characters. An address of a socket holds 104 on macOS, and ssh needs 17 more for the moment of its making."""
MOST_OUTPUT = 400_000
"""Bytes of a stream that are kept; the rest is read and dropped. The API takes 800,000 characters of output, in a body
of at most 1 MB."""
SSH_FAILED = 255
SHELL = "sh -s"
ROOT_SHELL = "sh -c 'if [ \"$(id -u)\" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'"
"""For root, who may have no sudo, as for others: the line that the control plane sends when it connects by itself."""


class Ran:
    """What a script did. `failed`: it was ssh that failed, and `log` and `err` have its words; `late`: it was ended."""

    __slots__ = ("err", "exit_code", "late", "log", "out")

    def __init__(self, exit_code: int, out: str, err: str, log: str, *, late: bool) -> None:
        self.exit_code = exit_code
        self.out = out
        self.err = err
        self.log = log
        self.late = late

    @property
    def failed(self) -> bool:
        return self.exit_code == SSH_FAILED or self.exit_code < 0 or self.late


class Connection:
    """The way to one host. After `look`, host, port, user and jump are what ssh's configuration makes of it.

    `folder` is for sockets and logs, and `number` this connection's own in it; `asks`: ssh may ask whoever sits there.
    """

    def __init__(
        self,
        destination: Destination,
        options: SshWords,
        children: Children,
        *,
        folder: str,
        number: int,
        asks: bool,
        environ: Mapping[str, str],
    ) -> None:
        self._destination = destination
        self._options = options
        self._children = children
        self._asks = asks
        self._environ = dict(environ)
        self._folder = folder
        self._socket = os.path.join(folder, str(number))
        self._own_master = False
        self.fingerprint = ""
        self.is_new_key = False
        self.settings: dict[str, list[str]] = {}

    @property
    def host(self) -> str:
        """The address; behind a ProxyCommand the name, as one address may be several hosts behind several of them."""
        behind = self._setting("proxycommand") not in ("", "none")
        return self._destination.host if behind else self._setting("hostname") or self._destination.host

    @property
    def port(self) -> int:
        port = self._setting("port")
        return int(port) if port.isdigit() else self._destination.port or 22

    @property
    def user(self) -> str:
        return self._setting("user") or self._destination.user

    @property
    def jump(self) -> str:
        """The last host before this one, as it is configured."""
        return self.jumps[-1] if self.jumps else ""

    @property
    def jumps(self) -> list[str]:
        """The hosts before this one, in order, as they are configured."""
        jumps = self._setting("proxyjump")
        return [] if jumps in ("", "none") else jumps.split(",")

    @property
    def words(self) -> str:
        """What follows `ssh` to come here by hand, as a shell reads it."""
        return shlex.join([*self._options.words, *(word for word in self._place() if word != "--")])

    @property
    def configuration(self) -> str:
        """The options that ssh hands on to the ssh that goes to a jump host."""
        words = self._options.words
        at = words.index("-F") if "-F" in words else len(words)
        return shlex.join(words[at : at + 2])

    @property
    def known_as(self) -> str:
        """How known_hosts has it."""
        return self._setting("hostkeyalias") or name_of(self._setting("hostname") or self.host, self.port)

    def look(self) -> Ran:
        """Ask ssh what it would do, without connecting."""
        ran = self._run(["ssh", *self._options.words, "-G", *self._place()], b"", LOOK_LIMIT_S)
        if not ran.exit_code:
            for line in ran.out.splitlines():
                name, _, value = line.partition(" ")
                self.settings.setdefault(name, []).append(value)
            has_none = self._setting("controlpath") in ("", "none")
            self._own_master = has_none and len(self._socket) <= LONGEST_SOCKET
        return ran

    def run(self, script: str, *, sudo: bool = False, within_s: float = 0) -> Ran:
        """Run a script within a time limit, connecting included; without one: what connecting may take."""
        limit_s = within_s or (ASKING_LIMIT_S if self._asks else CONNECT_LIMIT_S)
        argv = ["ssh", *FORCED, *self._options.words, *self._defaults(), *self._shared()]
        with NamedTemporaryFile(dir=self._folder) as log:
            argv += ["-T", "-v", "-E", log.name, *self._place()]
            ran = self._run([*argv, ROOT_SHELL if sudo else SHELL], script.encode(), limit_s, log)
        self.fingerprint = server_key(ran.log) or self.fingerprint
        self.is_new_key = self.is_new_key or trusted_now(ran.log)
        return ran

    def shown_fingerprint(self) -> str:
        """The fingerprint of the key that ssh accepts there, for a connection that was there before us and told none.

        The host is asked for its key once more, without logging in: a host has keys of several kinds, and ssh chooses
        among those that known_hosts has. Where no second connection is let in, its order of choice is followed.
        """
        argv = ["ssh", *FORCED, "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none", *self._options.words]
        with NamedTemporaryFile(dir=self._folder) as log:
            argv += ["-S", "none", *self._defaults(), "-T", "-v", "-E", log.name, *self._place(), "true"]
            ran = self._run(argv, b"", CONNECT_TIMEOUT_S, log, quietly=True)
        return server_key(ran.log) if verified(ran.log) else self._known_fingerprint()

    def _known_fingerprint(self) -> str:
        """The fingerprint of the key that known_hosts has; of several the one whose kind ssh asks for first."""
        home = os.path.expanduser("~")
        text = ""
        for path in " ".join(self.settings.get("userknownhostsfile", [])).split():
            try:
                with open(path.replace("~", home, 1), encoding="utf-8", errors="replace") as file:
                    text += file.read() + "\n"
            except OSError:
                continue
        alias = self._setting("hostkeyalias")
        keys = keys_for(text, alias or self._setting("hostname") or self.host, 22 if alias else self.port)
        return fingerprint(min(keys, key=self._rank)) if keys else ""

    def _rank(self, key: str) -> int:
        """How early ssh asks for a key of that kind. A key that is called ssh-rsa is asked for as rsa-sha2-512."""
        kinds = self._setting("hostkeyalgorithms").split(",")
        kind = key.partition(" ")[0]
        names = ("rsa-sha2-512", "rsa-sha2-256", kind) if kind == "ssh-rsa" else (kind,)
        return min((kinds.index(name) for name in names if name in kinds), default=len(kinds))

    def close(self) -> None:
        """End the connection that is shared, if it is ours."""
        if self._own_master and os.path.exists(self._socket):
            argv = ["ssh", *self._options.words, "-S", self._socket, "-O", "exit", *self._place()]
            self._run(argv, b"", CLOSE_LIMIT_S, last=True)

    def _defaults(self) -> list[str]:
        """What holds where neither the command line nor ssh_config says otherwise."""
        words = [] if self._asks else ["-o", "BatchMode=yes"]
        if self._setting("connecttimeout") in ("", "none"):
            words += ["-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}"]
        if self._setting("serveraliveinterval") in ("", "0"):
            words += ["-o", "ServerAliveInterval=15"]
        return words

    def _shared(self) -> list[str]:
        if not self._own_master:
            return []
        return ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._socket}", "-o", f"ControlPersist={PERSIST_S}"]

    def _place(self) -> list[str]:
        port = ["-p", str(self._destination.port)] if self._destination.port else []
        user = f"{self._destination.user}@" if self._destination.user else ""
        return [*port, "--", user + self._destination.host]

    def _setting(self, name: str) -> str:
        return self.settings.get(name, [""])[0]

    def _run(
        self,
        argv: list[str],
        given: bytes,
        within_s: float,
        log: IO[bytes] | None = None,
        *,
        last: bool = False,
        quietly: bool = False,
    ) -> Ran:
        """Run one ssh. `last`: also after an interrupt; `quietly`: it asks nobody, and its words are for us alone."""
        children = Children() if last else self._children
        child = children.start(argv, self._environ, asks=self._asks and not quietly)
        out, err, in_time = children.finish(child, given, within_s, MOST_OUTPUT)
        if children.ended:
            raise InterruptedError("interrupted")  # how it ended says nothing of the host
        words = _text(log.read(MOST_OUTPUT)) if log else ""
        if not quietly:
            self._keep(words)
        return Ran(child.returncode, _text(out), _text(err), words, late=not in_time)

    def _keep(self, log: str) -> None:
        """Put ssh's own words where the user wants them."""
        if log and self._options.talks and not self._options.log:
            sys.stderr.write(log)
        if log and self._options.log:
            with open(self._options.log, "a", encoding="utf-8") as file:
                file.write(log)


FORCED = ("-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes")
"""A host's entry in ssh_config may have a command and tunnels of its own, for when a person logs in."""


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
