"""The HTTP face of the local cloud: read, check, ask the fleet, answer. One JSON log line an answer, no secrets."""

import contextlib
import hmac
import json
import re
import socket
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from infra.local.cloud import catalog, orders, rehearsal
from infra.local.cloud.fleet import Fleet, Log
from infra.local.cloud.records import Machine
from infra.local.cloud.refusals import RefusedError
from infra.local.cloud.rehearsal import Fault, Rehearsal, Rule

BODY_LIMIT: Final = 1 << 20
SOCKET_LIMIT_S: Final = 30.0

MACHINE: Final = re.compile(r"/machines/([A-Za-z0-9-]{1,64})(/preempt)?")

ODD_BODY: Final = b"<html><body><h1>Unforeseen</h1>nobody expected this</body></html>"


class LostAnswerError(Exception):
    """The call was done and its answer is to be lost."""


class UnforeseenError(Exception):
    """The call is to be answered with something no client expects."""


class CloudServer(ThreadingHTTPServer):
    """The local cloud on one address. `sleep` is what `slow` waits with."""

    daemon_threads = True
    request_queue_size = 128
    """The default of 5 would turn a burst of callers away."""

    def __init__(
        self, port: int, *, key: str, fleet: Fleet, log: Log, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.key = key
        self.fleet = fleet
        self.log = log
        self.sleep = sleep
        self.rehearsal = Rehearsal()


class Handler(BaseHTTPRequestHandler):
    """One call. HTTP/1.0: a connection a call."""

    server: CloudServer
    timeout = SOCKET_LIMIT_S
    server_version = "local-cloud"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: object) -> None:
        """Silence http.server: `_answer` logs, as JSON."""

    def _serve(self, method: str) -> None:
        began = time.monotonic()
        status: int | str = "lost"
        try:
            try:
                status, body = self._dispatch(method, urlsplit(self.path).path)
            except RefusedError as refusal:
                status, body = refusal.status, refusal.to_json()
            except OSError as error:
                # The disk or the process table is full, and how far the call came is anybody's guess: 500.
                status, body = 500, RefusedError(500, "internal", str(error)).to_json()
            self._send(status, json.dumps(body).encode(), "application/json")
        except UnforeseenError:
            status = 500
            self._send(status, ODD_BODY, "text/html")
        except LostAnswerError:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            # The client went away: nobody can be told but the log.
            status = type(error).__name__
        took_ms = round((time.monotonic() - began) * 1000, 1)
        self.server.log("answer", method=method, path=urlsplit(self.path).path, status=status, ms=took_ms)

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _dispatch(self, method: str, path: str) -> tuple[int, Any]:
        body = self._body()
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.key}".encode()):
            raise RefusedError(403, "bad-key", "the key is missing or wrong")
        if path == "/rehearsal":
            return self._rehearse(method, body)
        return self._provide(method, path, body)

    def _body(self) -> object:
        """Read the JSON body; None when there is none."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            raise RefusedError(400, "malformed-body", "Content-Length is not a number")
        if int(length) > BODY_LIMIT:
            # Most of it is read all the same: a client that still sends cannot read why it was refused.
            for _ in range(min(int(length), 8 * BODY_LIMIT) // BODY_LIMIT):
                self.rfile.read(BODY_LIMIT)
            raise RefusedError(413, "body-too-large", f"a body has at most {BODY_LIMIT} bytes")
        text = self.rfile.read(int(length))
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise RefusedError(400, "malformed-body", "the body is not JSON") from None

    def _rehearse(self, method: str, body: object) -> tuple[int, Any]:
        script = self.server.rehearsal
        if method == "PUT":
            script.replace(rehearsal.parse(body))
        elif method == "DELETE":
            script.replace(())
        elif method != "GET":
            raise RefusedError(405, "method-not-allowed", "GET, PUT or DELETE")
        return 200, script.to_json()

    def _provide(self, method: str, path: str, body: object) -> tuple[int, Any]:
        found = MACHINE.fullmatch(path)
        if found:
            return self._machine(method, found.group(1), preempt=bool(found.group(2)), body=body)
        if (method, path) == ("POST", "/machines"):
            return 201, self._launch(body)
        self._fail_as_told(None, None)
        if (method, path) == ("GET", "/types"):
            return 200, {"types": [kind.to_json() for kind in catalog.TYPES]}
        if (method, path) == ("GET", "/machines"):
            return 200, {"machines": self.server.fleet.views(self._tag())}
        raise RefusedError(404, "unknown-route", f"{method} {path} is no route")

    def _tag(self) -> tuple[str, str] | None:
        given = parse_qs(urlsplit(self.path).query).get("tag", [])
        if not given:
            return None
        name, colon, value = given[0].partition(":")
        if len(given) > 1 or not colon:
            raise RefusedError(422, "invalid-request", "tag: expected one tag=key:value", field="tag")
        return name, value

    def _machine(self, method: str, machine_id: str, *, preempt: bool, body: object) -> tuple[int, Any]:
        fleet, script = self.server.fleet, self.server.rehearsal
        try:
            machine = fleet.get(machine_id)
        except RefusedError:
            self._fail_as_told(None, None)
            raise
        self._fail_as_told(machine.type, machine.region)
        if preempt and method == "POST":
            return 202, fleet.preempt(machine_id, orders.notice_s(body))
        if not preempt and method == "GET":
            return 200, fleet.view(machine_id)
        if not preempt and method == "DELETE":
            if script.take(Fault.TERMINATE_FAILS, machine.type, machine.region):
                raise RefusedError(500, "terminate-failed", "rehearsed: the machine could not be ended")
            fleet.terminate(machine_id)
            return 202, fleet.view(machine_id)
        raise RefusedError(405, "method-not-allowed", f"{method} is not for this route")

    def _launch(self, body: object) -> dict[str, Any]:
        order = orders.parse(body)
        type_name, region = order.kind.name, order.kind.region
        script = self.server.rehearsal
        self._fail_as_told(type_name, region)
        for fault, status, words in LAUNCH_REFUSALS:
            if script.take(fault, type_name, region):
                raise RefusedError(status, fault.value, f"rehearsed: {words}")
        order = orders.delayed(
            order,
            boot_delay=script.take(Fault.BOOT_DELAY, type_name, region),
            silent=script.take(Fault.SILENT, type_name, region),
        )
        made = self.server.fleet.launch(order, lambda live: admit(live, script.limits(type_name, region)))
        if script.take(Fault.LOST_ANSWER, type_name, region):
            raise LostAnswerError
        return made

    def _fail_as_told(self, type_name: str | None, region: str | None) -> None:
        """The faults that any call may meet."""
        script = self.server.rehearsal
        if slow := script.take(Fault.SLOW, type_name, region):
            self.server.sleep(slow.value or 0)
        if script.take(Fault.THROTTLE, type_name, region):
            raise RefusedError(429, "throttled", "rehearsed: too many calls")
        if script.take(Fault.AUTH, type_name, region):
            raise RefusedError(403, "bad-key", "rehearsed: the key is not valid any more")
        if script.take(Fault.UNAVAILABLE, type_name, region):
            raise RefusedError(503, "unavailable", "rehearsed: try again later, nothing was done")
        if script.take(Fault.UNFORESEEN, type_name, region):
            raise UnforeseenError


LAUNCH_REFUSALS: Final = (
    (Fault.NO_CAPACITY, 503, "none of that type there now"),
    (Fault.QUOTA, 403, "the account may not have more of that type"),
    (Fault.BALANCE, 402, "the account has no credit left"),
    (Fault.UNKNOWN_TYPE, 422, "the type was withdrawn since the prices were read"),
)


def admit(live: Sequence[Machine], limits: Sequence[Rule]) -> None:
    """Refuse a launch when a rehearsed capacity is used up."""
    for rule in limits:
        if sum(rule.concerns(machine.type, machine.region) for machine in live) >= (rule.value or 0):
            raise RefusedError(503, "no-capacity", f"rehearsed: at most {rule.value} live at once")
