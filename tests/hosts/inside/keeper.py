"""The process that holds what the hosts of one lab share. When it ends, all of that is gone.

It owns a mount namespace with a tmpfs on `ROOM` (every file of the lab), and a network namespace with the bridges. It
stays in the network of whoever started it, and carries connections from inside the hosts to servers of 127.0.0.1 there:
its listening sockets are made inside a host's network namespace, and a socket stays where it was made.

Orders are JSON lines on stdin, each answered by one JSON line; the end of stdin is the end of the lab, however it came.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import Any

import linux

ROOM = "/mnt"
HERE = "/proc/self/ns/net"


class Line:
    """The line from one host to the servers outside. While it is held, nothing passes, and nothing is refused."""

    def __init__(self) -> None:
        self.passing = asyncio.Event()
        self.passing.set()
        self._servers: list[asyncio.Server] = []
        self._carriers: set[asyncio.Task[None]] = set()

    async def open(self, namespace: str, port: int, target: int, home: str) -> None:
        """Listen on 127.0.0.1:`port` inside `namespace` and carry what comes to 127.0.0.1:`target` here."""
        linux.setns(namespace, linux.CLONE_NEWNET)
        try:
            listener = socket.create_server(("127.0.0.1", port))
        finally:
            linux.setns(home, linux.CLONE_NEWNET)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._carriers.add(task)
            try:
                await self._carry(reader, writer, target)
            finally:
                self._carriers.discard(task)

        self._servers.append(await asyncio.start_server(accept, sock=listener))

    def close(self) -> None:
        """Forget the host: a socket that stays open would keep its network namespace."""
        for server in self._servers:
            server.close()
        for task in self._carriers:
            task.cancel()
        self._servers = []

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        await self.passing.wait()
        far_writer = None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # refused, reset, or the host is gone: closing both ends says so
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.passing.wait()
            writer.write(data)
            await writer.drain()
        await self.passing.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()


class Keeper:
    """Carries out orders."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._lines: dict[str, Line] = {}

    async def obey(self, order: dict[str, Any]) -> None:
        name = order["host"]
        if order["do"] == "forward":
            line = self._lines.setdefault(name, Line())
            await line.open(f"/proc/{order['pid']}/ns/net", order["port"], order["target"], self._home)
        elif order["do"] == "disk":
            linux.mount("disk", order["path"], "tmpfs", data=f"size={order['mib']}m,mode=755")
        elif order["do"] == "hold":
            self._lines.setdefault(name, Line()).passing.clear()
        elif order["do"] == "release":
            self._lines.setdefault(name, Line()).passing.set()
        else:
            self._lines.pop(name, Line()).close()


async def serve(home: str, bridges: int) -> None:
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    keeper = Keeper(home)
    answer({"bridges": bridges, "room": ROOM})
    while line := await orders.readline():
        try:
            await keeper.obey(json.loads(line))
        except OSError as error:
            answer({"error": str(error)})
        else:
            answer({})


def answer(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.keep_mounts_private()
    linux.mount("lab", ROOM, "tmpfs", data="size=512g,mode=755")  # a limit, not a reservation
    home = os.open(HERE, os.O_RDONLY)
    linux.unshare(linux.CLONE_NEWNET)
    bridges = os.open(HERE, os.O_RDONLY)
    linux.setns(f"/proc/self/fd/{home}", linux.CLONE_NEWNET)
    asyncio.run(serve(f"/proc/self/fd/{home}", bridges))


if __name__ == "__main__":
    main()
