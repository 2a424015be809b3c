"""A stand-in for the API on loopback: keeps state, remembers every request, and can be told to fail.

It speaks real HTTP, so that the client's sockets are tested too.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.cli.builders import NO_OFFER, NOW_TEXT, make_backend, make_instance, make_lease, make_pool, make_run
from tests.cli.stub_hosts import HostRoutes
from tests.cli.stub_problem import Problem

TOKEN = "tp.stub.secret"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    raw: bytes


@dataclass
class Stub(HostRoutes):
    """What the API knows. `faults` are used up one a request, before it is served."""

    pools: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    scripts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    run_warnings: list[str] = field(default_factory=list)
    log: bytes = b""
    log_steps: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    backends: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[tuple[str, str], Problem] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    rehearsal: list[dict[str, Any]] = field(default_factory=list)
    machines: list[dict[str, Any]] = field(default_factory=list)
    on_request: Callable[[Request], None] | None = None
    page: int = 1000
    role: str = "admin"
    url: str = ""
    connections: int = 0

    def seen(self, method: str, ending: str) -> list[Request]:
        return [one for one in self.requests if one.method == method and one.path.endswith(ending)]

    def serve(self, request: Request) -> tuple[int, Any]:
        """Answer one request; the same Idempotency-Key gets the same answer and changes nothing again."""
        key = request.headers.get("idempotency-key", "")
        if key and key in self.answers:
            return self.answers[key]
        path = request.path.removeprefix("/v1/projects/main/")
        for (method, ending), problem in self.refusals.items():
            if request.method == method and path.endswith(ending):
                raise problem
        answer = self._route(request, path)
        if key:
            self.answers[key] = answer
        return answer

    def _route(self, request: Request, path: str) -> tuple[int, Any]:
        if request.path in ("/rehearsal", "/machines") or request.path.endswith("/preempt"):
            return self._local_cloud(request)
        if request.path.startswith("/bucket/"):
            self.stored[request.path.removeprefix("/bucket/")] = request.raw
            return 200, None
        if request.path == "/v1/health":
            return 200, {"status": "ok"}
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Problem(401, "unauthenticated", "no token, or one that is unknown")
        if request.path == "/v1/me":
            return 200, {"name": "ann", "role": self.role, "project": "main", "expires_at": None}
        noun = path.split("/", maxsplit=1)[0]
        serve = getattr(self, "_" + noun.replace("-", "_"), None)
        if serve is None:
            raise Problem(404, "not-found", f"{path} is unknown")
        answer: tuple[int, Any] = serve(request, path.split("/")[1:])
        return answer

    def _local_cloud(self, request: Request) -> tuple[int, Any]:
        if request.path == "/machines":
            return 200, {"machines": self.machines}
        if request.path.endswith("/preempt"):
            return 202, {"id": request.path.split("/")[2]}
        if request.method == "PUT":
            self.rehearsal = request.body
        if request.method == "DELETE":
            self.rehearsal = []
        return 200, self.rehearsal

    def _list(self, request: Request, items: list[Any]) -> tuple[int, Any]:
        start = int(request.query.get("cursor", "0"))
        end = start + min(self.page, int(request.query.get("limit", "100")))
        return 200, {"items": items[start:end], "next": str(end) if end < len(items) else None}

    def _pools(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if not rest and request.method == "GET":
            return self._list(request, self.pools)
        if not rest:
            made = make_pool(name=request.body["name"], is_default=not self.pools)
            self.pools.append(made)
            return 201, made
        if rest[1:] == ["instances"] and request.method == "GET":
            self._find(self.pools, rest[0])
            return self._list(request, [one for one in self.instances if one["pool"] == rest[0]])
        if rest[1:] == ["instances"]:
            made = make_instance(name=request.body.get("name") or "new-one", pool=rest[0], state="pending", **NO_OFFER)
            self.instances.append(made)
            return 202, made
        if rest[1:] == ["hosts"]:
            return self.add_host(request, rest[0])
        if rest[1:] == ["leases"]:
            lease = make_lease(holder=request.body["holder"])
            self.leases[lease["lease_id"]] = lease
            return 201, lease
        pool = self._find(self.pools, rest[0])
        if request.method == "DELETE":
            self.pools.remove(pool)
            return 200, {"name": pool["name"], "deleted": request.query.get("force") != "true"}
        return 200, pool

    def _default_pool(self, request: Request, _: list[str]) -> tuple[int, Any]:
        chosen = self._find(self.pools, request.body["name"])
        for pool in self.pools:
            pool["is_default"] = pool is chosen
        return 200, chosen

    def _plan(self, request: Request, _: list[str]) -> tuple[int, Any]:
        return 200, {**self.plan, "pool": request.body.get("pool") or self.plan["pool"]}

    def _instances(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        found = self._find(self.instances, rest[0], "instance_id")
        script = self.scripts.get(found["name"], [])
        if request.method == "PATCH":
            found.update(request.body)
        elif request.method == "DELETE":
            found.update(state="terminating", reason="user-removed")
            return 202, found
        elif rest[1:] in (["refresh"], ["forget"]):
            return 202, found
        elif script:
            found.update(script.pop(0))
        host = self.facts_of(found["instance_id"])
        return 200, {"attempts": [], "history": [], "facts": {}, "spent_micros": 0, "host": host, **found}

    def _leases(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        lease = self.leases.get(rest[0])
        if lease is None:
            raise Problem(409, "lease-lost", "the lease has ended")
        if request.method == "DELETE":
            return 200, {**lease, "holder": None, "acquired_at": None, "expires_at": None, "released_at": NOW_TEXT}
        return 200, lease

    def _uploads(self, request: Request, _: list[str]) -> tuple[int, Any]:
        sha256 = request.body["sha256"]
        if sha256 in self.stored:
            return 200, {"present": True, "url": None, "headers": {}, "expires_at": None}
        headers = {"x-amz-checksum-sha256": "abc"}
        return 200, {
            "present": False,
            "url": f"{self.url}/bucket/{sha256}?sig=1",
            "headers": headers,
            "expires_at": NOW_TEXT,
        }

    def _runs(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if not rest and request.method == "GET":
            active = request.query.get("active") == "true"
            return self._list(request, [run for run in self.runs if not active or run["state"] == "running"])
        if not rest:
            made = make_run(
                name=request.body.get("name") or "brave-otter-42", argv=request.body["argv"], state="submitted"
            )
            self.runs.append(made)
            return 201, {**made, "warnings": self.run_warnings}
        run = self._find(self.runs, rest[0], "run_id")
        if rest[1:] == ["logs"]:
            return self._logs(request, run)
        if rest[1:] == ["stop"]:
            run.update(state="stopping")
            self.log_steps.append({"state": "stopped", "reason": "user-stopped", "exit_code": 143})
            return 202, run
        return 200, run

    def _logs(self, request: Request, run: dict[str, Any]) -> tuple[int, Any]:
        """Each request takes one step: `log` in a step is appended to the log, the rest updates the run."""
        after = int(request.query["after"])
        if after == len(self.log) and self.log_steps:
            step = dict(self.log_steps.pop(0))
            self.log += step.pop("log", b"")
            run.update(step)
        data = self.log[after : after + int(request.query["limit"])]
        complete = run["state"] in ("done", "failed", "stopped") and not data and not self.log_steps
        encoded = base64.b64encode(data).decode()
        return 200, {"run": run, "offset": after, "data": encoded, "next": after + len(data), "complete": complete}

    def _tokens(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "GET":
            return self._list(request, self.tokens)
        if request.method == "DELETE":
            return 200, {"token_id": rest[0], "revoked": True}
        made = {"token_id": "t1", "project": "main", "created_at": NOW_TEXT, "expires_at": None}
        self.tokens.append({**made, "name": request.body["name"], "role": request.body["role"]})
        return 201, {**self.tokens[-1], "token": "tp.t1.very-secret"}

    def _backends(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "GET":
            return self._list(request, self.backends)
        found = {"at": NOW_TEXT, "ok": all(check["ok"] for check in self.checks), "checks": self.checks}
        if rest[1:] == ["test"]:
            self._find(self.backends, rest[0])
            return 200, found
        if request.method == "DELETE":
            self.backends.remove(self._find(self.backends, rest[0]))
            return 200, {"name": rest[0], "removed": True}
        if request.body["check"] and not found["ok"]:
            raise Problem(422, "backend-check-failed", "cannot rent machines yet", checks=self.checks)
        kind, config = request.body["kind"], request.body["config"]
        made = make_backend(name=request.body.get("name") or kind, kind=kind, config=config)
        made.update(checkup=found if request.body["check"] else None, version=1 + request.body["replace"])
        self.backends.append(made)
        return 201, made

    @staticmethod
    def _find(rows: list[dict[str, Any]], name: str, other: str = "name") -> dict[str, Any]:
        for row in reversed(rows):
            if name in (row["name"], row[other]):
                return row
        raise Problem(404, "not-found", f"{name!r} is unknown")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 20
    server: "Server"

    def setup(self) -> None:
        super().setup()
        self.server.stub.connections += 1

    def log_message(self, *_: Any) -> None: ...

    def answer(self) -> None:
        stub = self.server.stub
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_json = headers.get("content-type") == "application/json"
        request = Request(
            self.command,
            unquote(parts.path),
            dict(parse_qsl(parts.query)),
            headers,
            json.loads(raw) if raw and is_json else None,
            raw,
        )
        stub.requests.append(request)
        if stub.on_request:
            stub.on_request(request)
        fault = stub.faults.pop(0) if stub.faults else ""
        if fault == "drop":
            self.close_connection = True
            return
        if fault.isdigit():
            self.send(int(fault), {"message": "Service Unavailable"})
            return
        try:
            status, body = stub.serve(request)
        except Problem as problem:
            status, body = problem.status, problem.body
        if fault == "lost-answer":
            self.close_connection = True
            return
        self.send(status, body, cut=fault == "cut")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that the base class calls

    def send(self, status: int, body: Any, *, cut: bool = False) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.wfile.flush()
        self.close_connection = self.close_connection or cut


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: Stub

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no failure of the stub's."""


@contextlib.contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.stub = stub
        stub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
