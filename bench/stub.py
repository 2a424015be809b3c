"""A server that answers at once, so that what is measured is the caller: `python -m bench.stub`.

It speaks two languages. As the API it lists pools, and the instances of a pool whose name says how many there are
(`p1000`), up to 1,000 a page. As DynamoDB it finds no item but the watermark of a sweep a minute ago, and takes every
write. It prints its port and serves until its standard input ends.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

PAGE: Final = 1000
NOW: Final = "2026-01-01T00:00:00.000Z"
REGIONS: Final = ("westus2", "westus3", "eastus", "westeurope")
DYNAMODB: Final[Mapping[str, bytes]] = {
    "Query": b'{"Items":[],"Count":0,"ScannedCount":0}',
    "Scan": b'{"Items":[],"Count":0,"ScannedCount":0}',
    "UpdateItem": b'{"Attributes":{}}',
}


def instance(number: int) -> dict[str, object]:
    """One instance as the API shows it, with a GPU and every field filled."""
    gpu = {"name": "A100", "memory_mib": 81_920, "count": 1, "vendor": "nvidia"}
    return {
        "instance_id": f"i-{number:026d}",
        "name": f"inst-{number:06d}",
        "pool": "default-pool",
        "state": "idle",
        "reason": "agent-ready",
        "detail": "",
        "actor": "user:ann",
        "created_at": NOW,
        "changed_at": NOW,
        "expires_at": "2026-01-01T01:00:00.000Z",
        "idle_limit_s": 3600,
        "backend": "azure",
        "region": REGIONS[number % len(REGIONS)],
        "zone": "",
        "instance_type": "Standard_NC24ads_A100_v4",
        "resources": {"cpus": 24, "memory_mib": 225_280, "disk_mib": 102_400, "gpus": [gpu]},
        "spot": number % 3 == 0,
        "price_micros": 3_673_000,
        "price_source": "catalog",
        "lease": None,
        "unreachable": False,
        "cordoned": False,
        "interrupted": False,
        "ends_at": None,
        "seen_at": NOW,
        "fence": 3,
    }


class Stub:
    """Answers by path; the pages of a listing are made before the first request for them is timed."""

    def __init__(self) -> None:
        self._pages: dict[tuple[int, int, int], bytes] = {}

    def answer(self, path: str, target: str, body: bytes) -> bytes:
        """The body that answers one; `target` is DynamoDB's operation, or empty."""
        if target == "GetItem" and b'"watermark"' in body:
            return _watermark()
        if target:
            return DYNAMODB.get(target, b"{}")
        parts = urlsplit(path)
        words = parts.path.strip("/").split("/")
        query = parse_qs(parts.query)
        if words[-1] != "instances":
            pool = {"name": "p10", "is_default": True, "total": 10, "available": 10, "created_at": NOW}
            return json.dumps({"items": [pool], "next": None}).encode()
        start, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["100"])[0])
        return self.page(int(words[-2][1:]), start, min(limit, PAGE))

    def page(self, total: int, start: int, limit: int) -> bytes:
        """A page of `total` instances, from `start`."""
        if (total, start, limit) not in self._pages:
            end = min(total, start + limit)
            body = {"items": [instance(each) for each in range(start, end)], "next": str(end) if end < total else None}
            self._pages[total, start, limit] = json.dumps(body, separators=(",", ":")).encode()
        return self._pages[total, start, limit]

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it is closed."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                headers = {}
                while header := reader.readline().strip():
                    name, _, value = header.partition(b":")
                    headers[name.lower()] = value.strip()
                sent = reader.read(int(headers.get(b"content-length", b"0")))
                target = headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
                body = self.answer(line.split()[1].decode(), target, sent)
                kind = b"application/x-amz-json-1.0" if target else b"application/json"
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)
                )


def _watermark() -> bytes:
    """How far the sweep before this one came."""
    reached = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    item = {"due": {"S": "watermark"}, "timer": {"S": "sweep"}, "reached": {"S": reached}}
    return json.dumps({"Item": item}).encode()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Listen on a free port of the loopback interface."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    stub = Stub()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=stub.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
