"""The HTTP server of the fake AWS: all services on one address, told apart by what a request was signed for.

`/_rehearsal` is the tests' switchboard, `/_metadata/<instance>` what a machine sees as its metadata service.
"""

import contextlib
import json
import re
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.core.request import Request

from tests.fakes.aws import ec2, services
from tests.fakes.aws.world import Refused, Switches, World

SCOPE: Final = re.compile(r"Credential=([A-Z0-9]+)/[0-9]{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
LOST: Final = -1
ODD: Final = {
    "page": (502, b"<html><body><h1>Bad gateway</h1></body></html>"),
    "page-of-a-proxy": (403, b"<html><body>blocked</body></html>"),
    "nothing": (200, b""),
    "no-xml": (200, b"It worked!"),
    "half": (200, b"<RunInstancesResponse><instancesSet><item><instanceId>i-0"),
    "no-instance": (200, b"<RunInstancesResponse><requestId>1</requestId></RunInstancesResponse>"),
    "other-state": (
        200,
        b"<RunInstancesResponse><instancesSet><item><instanceId>i-0123456789abcdef0</instanceId><instanceState>"
        b"<name>hovering</name></instanceState></item></instancesSet></RunInstancesResponse>",
    ),
}
"""Answers that no client expects, to a launch that was done."""


class AwsServer(ThreadingHTTPServer):
    """The fake on one address."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, world: World) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = world
        self.url = f"http://127.0.0.1:{self.server_port}"
        world.url = self.url
        ec2.Ec2.world = world

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a fault of the fake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection; botocore keeps it."""

    server: AwsServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path.startswith("/_rehearsal"):
            status, answer = self._rehearse(path, body)
            self._send(status, json.dumps(answer).encode(), "application/json")
        elif path.startswith("/_metadata/"):
            status, text = self._metadata(path)
            self._send(status, text.encode(), "text/plain")
        else:
            if slow_s := self.server.world.switches.slow_s:
                time.sleep(slow_s)
            self._send(*self._provide(body))

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        if status == LOST:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _provide(self, body: bytes) -> tuple[int, bytes, str]:
        """Answer as the service that the request is signed for."""
        scope = SCOPE.search(self.headers.get("Authorization", ""))
        if scope is None:
            return 403, _xml("MissingAuthenticationToken", "Request is missing Authentication Token"), "text/xml"
        key_id, region, service = scope.groups()
        world = self.server.world
        with world.guard:
            account = world.account(key_id)
            ec2.settle(world)
            try:
                if service == "sts":
                    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                    return 200, services.sts(world, account, form).encode(), "text/xml"
                if service == "ec2":
                    return self._ec2(account, body)
                return self._json(account, region, body)
            except Refused as refusal:
                if service in ("ec2", "sts"):
                    return refusal.status, _xml(refusal.code, refusal.message, service), "text/xml"
                answer = {"__type": refusal.code, "message": refusal.message}
                return refusal.status, json.dumps(answer).encode(), "application/x-amz-json-1.1"

    def _ec2(self, account: str | None, body: bytes) -> tuple[int, bytes, str]:
        if account is None:
            raise Refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        headers = {**dict(self.headers), "x-moto-account-id": account}
        request = Request.from_primitives("POST", self.server.url + self.path, headers, body)
        status, _headers, text = ec2.Ec2.dispatch(request, request.raw_url, request.headers)
        switches = self.server.world.switches
        if b"Action=RunInstances" in body and int(status) == 200:
            lost, switches.lose_next = switches.lose_next, False
            odd, switches.odd_next = switches.odd_next, ""
            if lost:
                return LOST, b"", ""
            if odd:
                return *ODD[odd], "text/xml"
        return int(status), text.encode() if isinstance(text, str) else text, "text/xml"

    def _json(self, account: str | None, region: str, body: bytes) -> tuple[int, bytes, str]:
        if account is None:
            raise Refused(400, "UnrecognizedClientException", "The security token included is invalid.")
        answer = services.JSON.get(self.headers.get("X-Amz-Target", ""))
        if answer is None:
            raise Refused(400, "UnknownOperationException", f"nobody answers to {self.headers.get('X-Amz-Target')}")
        content = answer(self.server.world, region, json.loads(body))
        return 200, json.dumps(content).encode(), "application/x-amz-json-1.1"

    def _rehearse(self, path: str, body: bytes) -> tuple[int, Any]:
        """Switches: PUT some, DELETE all.

        To read: `/launches`, `/sessions`, `/leftovers?id=`. To act: `/interrupt` of `{"id", "after_s"}`.
        """
        world = self.server.world
        with world.guard:
            if path == "/_rehearsal/launches":
                return 200, json.loads(json.dumps(list(world.launches), default=str))
            if path == "/_rehearsal/sessions":
                return 200, [key_id for key_id in world.keys if key_id.startswith("ASIA")]
            if path == "/_rehearsal/leftovers":
                ec2.settle(world)
                return 200, ec2.leftovers(world, parse_qs(urlsplit(self.path).query)["id"][0])
            if path == "/_rehearsal/interrupt":
                return self._interrupt(json.loads(body))
            if self.command == "DELETE":
                world.switches = Switches()
            elif self.command == "PUT":
                try:
                    world.change(json.loads(body))
                except ValueError as error:
                    return 422, {"error": str(error)}
            return 200, vars(world.switches)

    def _interrupt(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        """Give a spot instance notice, as EC2 does two minutes ahead, and end it after `after_s`."""
        record = self.server.world.records.get(wanted["id"])
        if record is None or record.market != "spot":
            return 422, {"error": f"{wanted['id']} is no spot instance"}
        after_s = wanted.get("after_s", 120)
        record.spot_status = "marked-for-termination"
        record.taken_at = time.monotonic() + after_s
        record.notice = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + after_s))
        return 200, {"time": record.notice}

    def _metadata(self, path: str) -> tuple[int, str]:
        """IMDSv2 of one instance: a token for a PUT, and with it the spot instance action once there is one."""
        instance_id, _, wanted = path.removeprefix("/_metadata/").partition("/")
        record = self.server.world.records.get(instance_id)
        if record is None:
            return 404, "no such instance"
        if wanted == "latest/api/token":
            return (200, uuid4().hex) if self.command == "PUT" else (405, "PUT a token")
        if not self.headers.get("X-aws-ec2-metadata-token"):
            return 401, "a token is needed"
        if wanted == "latest/meta-data/spot/instance-action" and record.notice:
            return 200, json.dumps({"action": "terminate", "time": record.notice})
        if wanted == "latest/meta-data/instance-id":
            return 200, instance_id
        return 404, "not found"


def _xml(code: str, message: str, service: str = "ec2") -> bytes:
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    if service == "sts":
        return f"<ErrorResponse>{error}<RequestId>{uuid4()}</RequestId></ErrorResponse>".encode()
    return f"<Response><Errors>{error}</Errors><RequestID>{uuid4()}</RequestID></Response>".encode()
