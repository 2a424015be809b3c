"""What ssh says when it fails, and what that means: a code, a sentence, what to do. Text in, values out.

ssh ends with 255 whatever the reason is, so its words are all there is. The codes are those that the control plane uses
when it connects by itself.
"""

from __future__ import annotations

import re
from shlex import quote

from tidepool.text import clean, clipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_WORDS = 300
NOISE = re.compile(
    r"debug\d: (?!kex_exchange_identification: banner line)|OpenSSH_|"
    r"Authenticated (to|using) |Transferred: |Bytes per second|Warning: Permanently added|\*\* |"
    r"Pseudo-terminal will not|@@@|@ {4}|IT IS POSSIBLE|Someone could be|It is also possible|mux_client_"
)
"""Beginnings of lines that say nothing of why it failed."""

BANNER = re.compile(
    r"kex_exchange_identification: banner line \d+: (?!Exceeded MaxStartups|Not allowed at this time)(.*\S)"
)
"""What a server said before it named its version, told by `ssh -v`. A full sshd says the two that are left out."""
ENDED = re.compile(r"^kex_exchange_identification: (?!banner line \d)", re.MULTILINE)
"""No version came."""

HOST_KEY = re.compile(r"Host key verification failed|No \S+ host key is known for|HOST IDENTIFICATION HAS CHANGED")

USAGE, UNREACHABLE, CHECKS = 2, 8, 9
"""Exit codes: what was asked for is wrong; no connection; the host is not fit, or does not let us in."""


class SshFailure:
    """Why a connection failed. `words` are ssh's own."""

    __slots__ = ("code", "exit_code", "fix", "words")

    def __init__(self, code: str, exit_code: int, words: str, fix: str) -> None:
        self.code = code
        self.exit_code = exit_code
        self.words = words
        self.fix = fix


NOT_SSH_FIX = "name the port of the SSH server with -p"

KINDS: tuple[tuple[str, str, int, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        "host-key-changed", CHECKS,
        "another machine is there, or somebody in between; if it was really reinstalled: {forget}",
    ),
    (
        r"Host key verification failed|No \S+ host key is known for|host key is not known",
        "host-key-unknown", CHECKS,
        "connect once with ssh and compare it, or trust it at first use: -o StrictHostKeyChecking=accept-new",
    ),
    (
        r"Bad configuration option|Can't open user config file|[Bb]ad owner or permissions|terminating, \d+ bad|"
        r"unknown option|illegal option|[Uu]nsupported option|usage: ssh|command-line[: ]*line|Bad port|keyword \S+ ",
        "ssh-usage", USAGE, "see ssh(1) and ssh_config(5)",
    ),
    (
        r"banner line contains|banner line too long|during banner exchange|invalid format|"
        r"no matching |protocol version",
        "not-ssh", UNREACHABLE, NOT_SSH_FIX,
    ),
    (
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        "unreachable", UNREACHABLE, "the name is wrong, or needs ssh_config: ssh -G {words}",
    ),
    (
        r"Connection refused|timed out|No route to host|Network is unreachable|Operation timed out|Host is down",
        "unreachable", UNREACHABLE, "check the address, the port and the firewall: ssh -v {words}",
    ),
    (
        r"Permission denied|Too many authentication failures|no more authentication methods|incorrect passphrase",
        "auth-failed", CHECKS, "check the user and the key: ssh -v {words}",
    ),
    (
        r"kex_exchange_identification|Broken pipe|closed by remote host|Connection reset|"
        r"not responding|client_loop|Connection closed",
        "connection-lost", UNREACHABLE, "the same command again goes on where it stopped",
    ),
)  # fmt: skip
"""Words, code, exit code, what to do. The first that fits counts: what was said later only follows from it."""


def failure_of(said: str, words: str, known_as: str) -> SshFailure:
    """Name the reason in what ssh said. `words` are what follows `ssh` to reach the host; `known_as` is the host as
    known_hosts has it."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not NOISE.match(line.strip())]
    lines = [line.removeprefix("debug1: ") for line in lines]
    text = "\n".join(lines)
    other = BANNER.search(text)
    if other and ENDED.search(text):
        return SshFailure("not-ssh", UNREACHABLE, _words(f"it says: {other[1]}"), NOT_SSH_FIX)
    for pattern, code, exit_code, fix in KINDS:
        if re.search(pattern, said if code == "host-key-changed" else text):
            line = next((one for one in lines if re.search(pattern, one)), lines[-1] if lines else "")
            filled = fix.format(words=words, forget=forget_words(said, known_as))
            return SshFailure(code, exit_code, _words(line), filled)
    last = _words(lines[-1]) if lines else "ssh ended without a word"
    return SshFailure("unreachable", UNREACHABLE, last, f"see what it says: ssh -v {words}")


def jump_failure(log: str, err: str, jumps: Sequence[str], words: str) -> SshFailure | None:
    """The key of a host on the way that is not trusted, if that is the reason; `jumps` are those hosts, in order.

    The ssh that goes on the way is another process, whose words are on stderr and not in the log. It is given no `-o`
    of the command line, so its host has to be known, or to have an entry in ssh_config. `words` are the options that it
    is given. The hosts before it have let it in.
    """
    at = len(re.findall(r"^Authenticated to ", err, re.MULTILINE))
    if HOST_KEY.search(log) or not HOST_KEY.search(err) or at >= len(jumps):
        return None
    jump, before = jumps[at], [f"-J {','.join(jumps[:at])}"] if at else []
    if changed := re.search(r"Host key for (\S+) has changed", err):
        fix = (
            f"another machine is there, or somebody in between; if it was reinstalled: {forget_words(err, changed[1])}"
        )
        return SshFailure("host-key-changed", CHECKS, f"the key of its jump host {jump} has changed", fix)
    once = " ".join(filter(None, ["ssh", words, *before, f"ssh://{jump}" if ":" in jump else jump, "true"]))
    fix = (
        f"connect to it once and compare its key: {once} (or give it an entry in ssh_config with StrictHostKeyChecking "
        "accept-new; ssh does not pass -o on to it)"
    )
    return SshFailure("host-key-unknown", CHECKS, f"the key of its jump host {jump} is not known", fix)


def forget_words(said: str, known_as: str) -> str:
    """The command that forgets a host's key, in the file where ssh has found it."""
    found = re.search(r"Offending \S+ key in (.+):\d+", said)
    return " ".join(["ssh-keygen", *(["-f", quote(found[1])] if found else []), "-R", quote(known_as)])


def own_words(said: str) -> str:
    """What a command said, without what ssh said around it."""
    return "".join(line for line in said.splitlines(keepends=True) if not NOISE.match(line))


def server_key(log: str) -> str:
    """The fingerprint of the key that the host showed, from `ssh -v`; of several (jump hosts) the last one's."""
    found = re.findall(r"^debug1: Server host key: \S+ (SHA256:\S+)", log, re.MULTILINE)
    return found[-1] if found else ""


def verified(log: str) -> bool:
    """Whether known_hosts had the key that the host showed, from `ssh -v`."""
    return bool(re.search(r"^debug1: Host '.*' is known and matches the ", log, re.MULTILINE))


def trusted_now(log: str) -> bool:
    """Whether ssh has taken the host's key on trust in this connection."""
    return "Warning: Permanently added" in log


def _words(line: str) -> str:
    return clipped(clean(line), LONGEST_WORDS)
