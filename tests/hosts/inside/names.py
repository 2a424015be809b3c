"""The name server of a host, on 127.0.0.53: A and AAAA records of the names it was given, and nothing else."""

import ipaddress
import socket
import struct
from collections.abc import Mapping

NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 0, 2, 3
A, AAAA = 1, 28


class Resolver:
    """Answers questions over UDP. A `broken` one fails each. Source of the format: RFC 1035, section 4."""

    def __init__(self, names: Mapping[str, str], state: str) -> None:
        self._names = {name.lower().rstrip("."): ipaddress.ip_address(text) for name, text in names.items()}
        self._is_broken = state == "broken"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.53", 53))

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        """Answer one question."""
        question, asker = self._socket.recvfrom(4096)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode(errors="replace").lower())
            at += 1 + question[at]
        (kind,) = struct.unpack("!H", question[at + 1 : at + 3])
        asked = question[12 : at + 5]
        address = self._names.get(".".join(labels))
        code = SERVER_FAILED if self._is_broken else NO_ERROR if address else NO_SUCH_NAME
        record = b""
        if address and not self._is_broken and kind == (A if address.version == 4 else AAAA):
            record = struct.pack("!HHHIH", 0xC00C, kind, 1, 30, len(address.packed)) + address.packed
        head = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if record else 0, 0, 0)
        self._socket.sendto(head + asked + record, asker)
