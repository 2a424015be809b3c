"""Connects to a real sshd on loopback and looks at the host: `python -m bench.ssh_part ROUNDS HOSTS`.

In turn with it runs the floor on the same sshd: Paramiko with nothing around it, send coalescing off, one command. The
API that the script looks for is a port where nobody listens, which answers at once.
"""

import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paramiko

from bench.quiet import answer, quietly
from chalicelib.ssh import probe, targets
from chalicelib.ssh.keys import PrivateKey, read_private_key
from chalicelib.ssh.session import Target, Trust, connect
from tests.ssh.server import USER, Server, free_port, private_key

LIMIT_S = 60.0
ALLOWED = targets.parse_allowed(["127.0.0.0/8"])


class Bench:
    """Servers, a key that each lets in, and the script."""

    def __init__(self, folder: Path, count: int, exits: ExitStack) -> None:
        self.key: PrivateKey = read_private_key(private_key("ecdsa-256"))
        self.servers = [Server(folder / str(number)).start() for number in range(count)]
        for server in self.servers:
            exits.callback(server.stop)
            server.allow(self.key.public)
        self.script = probe.script(f"http://127.0.0.1:{free_port()}")
        private: Any = self.key.private
        self._signing = paramiko.ECDSAKey(vals=(private, private.public_key()))

    def floor(self, server: Server) -> float:
        """Seconds for a connection and one command that does nothing."""
        began = time.perf_counter()
        line = socket.create_connection(("127.0.0.1", server.port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(line)
        transport.connect(username=USER, pkey=self._signing)
        channel = transport.open_session()
        channel.exec_command("true")
        channel.recv_exit_status()
        transport.close()
        return time.perf_counter() - began

    def look(self, server: Server) -> tuple[float, float]:
        """Seconds to connect, and from there until the facts of the host are known."""
        began = time.perf_counter()
        target = Target("127.0.0.1", USER, server.port)
        with connect(target, self.key, trust=Trust(), allowed=ALLOWED) as session:
            connected = time.perf_counter()
            done = session.run(self.script, limit_s=LIMIT_S)
        probe.parse(done.stdout)
        return connected - began, time.perf_counter() - connected


def measure(rounds: int, hosts: int) -> dict[str, Any]:
    """One host after the other, then all at once."""
    # Loopback is refused wherever the code runs in earnest.
    targets.NEVER = tuple(entry for entry in targets.NEVER if entry[1] != "loopback")  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="tidepool-bench-") as folder, ExitStack() as exits:
        bench = Bench(Path(folder), hosts, exits)
        first = bench.servers[0]
        bench.floor(first), bench.look(first)
        floors, looks = [], []
        for _ in range(rounds):
            floors.append(bench.floor(first))
            looks.append(bench.look(first))
        began = time.perf_counter()
        with ThreadPoolExecutor(hosts) as threads:
            list(threads.map(bench.look, bench.servers))
        together = time.perf_counter() - began
    return {
        "floor_s": floors,
        "connect_s": [connected for connected, _ in looks],
        "look_s": [looked for _, looked in looks],
        "together_s": together,
    }


if __name__ == "__main__":
    with quietly():
        result = measure(int(sys.argv[1]), int(sys.argv[2]))
    answer(result)
