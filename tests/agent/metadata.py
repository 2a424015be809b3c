"""What a cloud answers to its own machines, on the address that only they reach: EC2's and Azure's metadata."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VM = "tidepool-vm"
SCHEDULED = "/metadata/scheduledevents?api-version=2020-07-01"
OWN_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class Metadata:
    """`action` is EC2's spot notice, `events` are Azure's; `token` is what EC2 accepts, until it is changed."""

    def __init__(self) -> None:
        self.action: dict[str, str] | None = None
        self.events: list[dict[str, Any]] = []
        self.token = "token-1"
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def aws(self, path: str, headers: Any) -> tuple[int, str]:
        if headers["X-aws-ec2-metadata-token"] != self.token:
            return 401, ""
        if path != "/latest/meta-data/spot/instance-action" or self.action is None:
            return 404, ""
        return 200, json.dumps(self.action)

    def azure(self, path: str, headers: Any) -> tuple[int, str]:
        if headers["Metadata"] != "true":
            return 400, ""
        answers = {SCHEDULED: json.dumps({"DocumentIncarnation": 1, "Events": self.events}), OWN_NAME: VM}
        return (200, answers[path]) if path in answers else (404, "")


def _handler(metadata: Metadata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            metadata.asked.append(f"PUT {self.path}")
            lives = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            good = self.path == "/latest/api/token" and lives is not None and 0 < int(lives) <= 21600
            self._answer(200 if good else 400, metadata.token if good else "")

        def do_GET(self) -> None:
            metadata.asked.append(f"GET {self.path}")
            asked = metadata.azure if self.path.startswith("/metadata/") else metadata.aws
            self._answer(*asked(self.path, self.headers))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler
