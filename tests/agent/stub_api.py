"""A control plane in a thread: what agents call, over real HTTP, with switches for everything that can go wrong."""

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/restapis/x/api/_user_request_"
BOOTSTRAP = "tpb.1.a-bootstrap-secret"
EMPTY = b"<ReceiveMessageResponse><ReceiveMessageResult/></ReceiveMessageResponse>"
MESSAGE = EMPTY.replace(b"<ReceiveMessageResult/>", b"<ReceiveMessageResult><Message><MessageId>1</MessageId>")
OVER = ("exited", "failed")
PATIENCE_S = 60.0
"""How long a test waits for what comes at once: no run that passes needs it, not even on a busy computer."""


@dataclass
class StubApi:
    """What the API would keep and answer. Change it under `changing()`; `until` waits for what agents do to it."""

    interval_s: float = 30.0
    dead_man_s: dict[str, float] = field(default_factory=lambda: {"idle": 3600, "leaderless": 1800})
    wake_expires_s: float = 900
    wake_status: int = 200
    wake_hold_s: float = 20
    job: dict[str, Any] | None = None
    shutdown: bool = False
    uninstall: str = ""
    refresh: bool = False
    interruption: dict[str, Any] | None = None
    down: bool = False
    """Connections are cut before anything is taken in."""
    lost_answers: int = 0
    """So many requests are taken in, and their connections cut."""
    refuse: bool = False
    acknowledge: bool = True
    store_logs: bool = True

    def __post_init__(self) -> None:
        self.proposals: list[str] = []
        self.uninstalled = 0
        self.registered = ""
        self.syncs: list[dict[str, Any]] = []
        self.sync_times: list[float] = []
        self.logs: dict[str, bytearray] = {}
        self.states: dict[str, list[str]] = {}
        self.ends: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.lost_files = 0
        self.poll_times: list[float] = []
        self.messages = 0
        self.seen = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def polls(self) -> int:
        return len(self.poll_times)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return self.origin + PREFIX

    def close(self) -> None:
        with self.seen:
            self.down = True
            self.seen.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def want(self, run_id: str, *argv: str, wake: bool = True, **job: Any) -> None:
        """Want a job, and tell the agent that there is news."""
        standard = {"name": "a-run", "image": "", "env": {}, "code_url": None, "code_sha256": "", "kill_after_s": 10}
        with self.seen:
            self.job = {"run_id": run_id, "argv": list(argv), **standard, "stop": False, **job}
        if wake:
            self.wake()

    def stop(self, **job: Any) -> None:
        with self.seen:
            assert self.job is not None
            self.job = {**self.job, "stop": True, **job}
        self.wake()

    def wake(self) -> None:
        with self.seen:
            self.messages += 1
            self.seen.notify_all()

    def until(self, what: Callable[[], Any], limit_s: float = PATIENCE_S) -> Any:
        """Wait until something is true of what agents did, and return it."""
        with self.seen:
            assert self.seen.wait_for(what, limit_s), f"not within {limit_s} s"
            return what()

    def ended(self, run_id: str, limit_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the end of a run and return its report."""
        end: dict[str, Any] = self.until(lambda: self.ends.get(run_id), limit_s)
        return end

    def log(self, run_id: str) -> bytes:
        return bytes(self.logs.get(run_id, b""))

    def register(self, bearer: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        proposal = body["proposed_token"]
        self.proposals.append(proposal)
        if bearer != BOOTSTRAP or self.refuse or (self.registered and self.registered != proposal):
            return 401, {"code": "unauthenticated"}
        self.registered = proposal
        return 200, {"instance_id": "i-1", "token": None, "token_id": "t1", "sync_s": 30}

    def sync(self, bearer: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.refuse or bearer != f"tpa.t1.{self.registered}":
            return 401, {"code": "unauthenticated"}
        if body.get("uninstalled"):
            self.uninstalled += 1
            return 200, {}
        self.syncs.append(body)
        self.sync_times.append(time.monotonic())
        offsets = {chunk["run_id"]: self._store(chunk) for chunk in body["logs"]} if self.store_logs else {}
        over = [report["run_id"] for report in body["jobs"] if self._take_in(report)]
        return 200, {
            "instance_id": "i-1",
            "interval_s": self.interval_s,
            "wake_url": f"{self.origin}/wake?X-Amz-Signature={secrets.token_hex(8)}" if self.wake_expires_s else None,
            "wake_expires_s": self.wake_expires_s,
            "job": self.job,
            "acknowledged": over if self.acknowledge else [],
            "log_offsets": offsets,
            "dead_man_s": self.dead_man_s,
            "shutdown": self.shutdown,
            "interruption": self.interruption,
            "uninstall": self.uninstall,
            "refresh": self.refresh,
        }

    def _store(self, chunk: dict[str, Any]) -> int:
        log = self.logs.setdefault(chunk["run_id"], bytearray())
        data = base64.b64decode(chunk["data"])
        assert chunk["offset"] <= len(log), "a gap"
        known = log[chunk["offset"] :]
        assert data[: len(known)] == known, "other bytes at the same place"
        log[chunk["offset"] :] = data if len(data) > len(known) else known
        return len(log)

    def _take_in(self, report: dict[str, Any]) -> bool:
        self.states.setdefault(report["run_id"], []).append(report["state"])
        if report["state"] not in OVER:
            return False
        self.ends[report["run_id"]] = report
        if self.job is not None and self.job["run_id"] == report["run_id"] and self.acknowledge:
            self.job = None
        return True

    def poll(self) -> tuple[int, bytes]:
        self.poll_times.append(time.monotonic())
        self.seen.notify_all()
        if self.wake_status != 200:
            return self.wake_status, b""
        self.seen.wait_for(lambda: self.messages or self.down or self.wake_status != 200, self.wake_hold_s)
        woken, self.messages = self.messages > 0, 0
        return self.wake_status, MESSAGE if woken else EMPTY


def _handler(api: StubApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bearer = self.headers["Authorization"].removeprefix("Bearer ")
            calls = {f"{PREFIX}/v1/agent/register": api.register, f"{PREFIX}/v1/agent/sync": api.sync}
            with api.seen:
                cut = api.down
                if not cut:
                    status, answer = calls[self.path](bearer, body)
                    cut = api.lost_answers > 0
                    api.lost_answers -= cut
                    api.seen.notify_all()
            if cut:
                self.close_connection = True
            else:
                self._answer(status, json.dumps(answer).encode())

        def do_GET(self) -> None:
            if self.path.startswith("/wake"):
                with api.seen:
                    status, content = api.poll()
                    cut = api.down
                    api.seen.notify_all()
                if cut:
                    self.close_connection = True
                    return
                self._answer(status, content)
            elif api.lost_files > 0:
                api.lost_files -= 1
                self.close_connection = True
            else:
                content = api.files.get(self.path.partition("?")[0], b"")
                self._answer(200 if content else 403, content)

        def _answer(self, status: int, content: bytes) -> None:
            with contextlib.suppress(ConnectionError):  # the agent was killed
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler
