"""What OpenSSH's own client says when it ran no command, as the errors that our session raises. Text in, values out.

Source: ssh(1), "EXIT STATUS": the client exits with the status of the remote command, or with 255 if an error occurred.
"""

import re
from typing import Final

from chalicelib.ssh.errors import (
    AuthFailedError,
    ConnectionLostError,
    HostKeyMismatchError,
    NotSshError,
    SshError,
    UnreachableError,
)

OWN_STATUS: Final = 255
"""The client's exit status for an error of its own."""

SHOWN: Final = 300

NO_ROOM: Final = "Exceeded MaxStartups|Not allowed at this time"
"""What sshd says instead of a version when it takes nobody more, or nobody from there, for now."""

WORDS: Final[tuple[tuple[str, type[SshError], str], ...]] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|No .* host key is known",
        HostKeyMismatchError,
        "",
    ),
    (
        rf"banner line \d+: (?!{NO_ROOM})[^\n]*\S[^\n]*\n(.*\n)*?kex_exchange_identification: (Connection|read)"
        r"|banner line contains|banner line too long|during banner exchange|Bad protocol|no matching",
        NotSshError,
        "",
    ),
    (r"Permission denied|Too many authentication failures|no mutual signature", AuthFailedError, ""),
    (r"Could not resolve|Name or service not known|nodename nor servname", UnreachableError, "dns"),
    (r"Connection refused", UnreachableError, "refused"),
    (r"timed out", UnreachableError, "timeout"),
    (r"No route to host|Network is unreachable", UnreachableError, "network"),
    (r"kex_exchange_identification|Connection (closed|reset)|Broken pipe|client_loop", ConnectionLostError, ""),
)
"""Pattern in the client's words -> what it means, and the cause of an unreachable host."""


def what_went_wrong(exit_code: int, stderr: str, where: str) -> SshError | None:
    """Say why the client ran nothing; None where it did, and the script is what failed."""
    if exit_code != OWN_STATUS:
        return None
    said = " ".join(stderr.split())[-SHOWN:]
    for pattern, kind, cause in WORDS:
        if re.search(pattern, stderr, re.IGNORECASE):
            return kind(f"{where}: {said}", host=where, **({"cause": cause} if cause else {}))
    return UnreachableError(f"{where}: {said or 'ssh says nothing'}", host=where, cause="network")
