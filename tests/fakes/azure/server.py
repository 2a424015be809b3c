"""The HTTP face of the fake: login, Resource Manager, price list, metadata service, and the switchboard of rehearsals.

Shaped as Azure's answers are: errors, long-running operations, pages, headers. Loopback only.
"""

import contextlib
import json
import re
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.fakes.azure import catalog
from tests.fakes.azure.cloud import Cloud
from tests.fakes.azure.quirks import REFUSALS
from tests.fakes.azure.resources import AnswerLostError, RefusedError
from tests.fakes.machines import Machines

SUBSCRIPTION: Final = "0b1f6471-1bf0-4dda-aec3-111122223333"
TENANT: Final = "5d1c5ef1-7a3b-4f0e-9a55-444455556666"
CLIENT: Final = "9a4f1a7c-0d6e-4b3c-8f3d-777788889999"
SECRET: Final = "a-secret-of-the-rehearsal"
GROUP: Final = "tidepool-machines"
CONFIG: Final = {
    "subscription_id": SUBSCRIPTION,
    "tenant_id": TENANT,
    "client_id": CLIENT,
    "resource_group": GROUP,
    "regions": ["westus3", "westus2", "eastus"],
}
"""The configuration of an account at the fake; its secret is `SECRET`."""

PAGE: Final = 3
GROUP_ID: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
VM: Final = re.compile(rf"{GROUP_ID}/providers/Microsoft\.Compute/virtualMachines/([^/]+)", re.I)
NETWORK: Final = re.compile(rf"{GROUP_ID}/providers/Microsoft\.Network/[^/]+/[^/]+", re.I)
THROTTLED_FOR_S: Final = 7


class AzureServer(ThreadingHTTPServer):
    """The fake on one port. Without `machines` nothing runs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, machines: Machines | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cloud = Cloud(GROUP, machines=machines, url=self.url)
        self.tokens: set[str] = set()
        self.calls: list[tuple[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    """One call. HTTP/1.0: a connection a call."""

    server: AzureServer
    timeout = 30.0

    def do_GET(self) -> None:
        self._serve("GET")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `calls`."""

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if parts.path.startswith("/_"):
                status, body, headers = self._aside(method, parts.path, content)
            else:
                self.server.calls.append((method, parts.path))
                if slow := self.server.cloud.quirks.take("slow"):
                    time.sleep(slow.value)
                status, body, headers = self._route(method, parts.path, query, content)
        except RefusedError as refusal:
            headers = {"Retry-After": str(THROTTLED_FOR_S)} if refusal.status == 429 else {}
            status, body = refusal.status, refusal.to_json() if refusal.code else refusal.message
        except AnswerLostError:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(status, body, headers)

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with contextlib.suppress(OSError):  # the client went away
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def _aside(self, method: str, path: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        """What Azure does not have in public: the switchboard, and the metadata service of each machine.

        PUT and DELETE `/_rehearsal`: the rules of `quirks`, a list of objects. POST `/_rehearsal/evict`
        `{"name", "after_s"}`. POST `/_rehearsal/expire-tokens`. GET `/_rehearsal/left/NAME`.
        """
        cloud, body = self.server.cloud, json.loads(content or b"null")
        match method, path.split("/")[1:]:
            case "PUT", ["_rehearsal"]:
                try:
                    cloud.quirks.replace(body)
                except (TypeError, ValueError) as error:
                    raise RefusedError(422, "InvalidRehearsal", str(error)) from error
                return 200, body, {}
            case "DELETE", ["_rehearsal"]:
                cloud.quirks.replace([])
                return 200, [], {}
            case "POST", ["_rehearsal", "evict"]:
                cloud.evict(body["name"], after_s=body.get("after_s", 30))
                return 200, {}, {}
            case "POST", ["_rehearsal", "expire-tokens"]:
                self.server.tokens.clear()
                return 200, {}, {}
            case "GET", ["_rehearsal", "left", name]:
                return 200, cloud.left(name), {}
            case "GET", ["_metadata", name, *rest] if rest[-2:] == ["compute", "name"]:
                return 200, name, {}
            case "GET", ["_metadata", name, *rest] if rest[-1:] == ["scheduledevents"]:
                if self.headers.get("Metadata") != "true":
                    raise RefusedError(400, "BadRequest", "Required metadata header not specified")
                return 200, cloud.scheduled_events(name), {}
        raise RefusedError(404, "NotFound", f"no {method} {path}")

    def _route(self, method: str, path: str, query: dict[str, str], content: bytes) -> tuple[int, Any, dict[str, str]]:
        if path.startswith("/login/"):
            return self._login(path, content)
        if path == "/prices":
            return self._prices(query)
        self._authenticate()
        if "api-version" not in query:
            raise RefusedError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if (refused := {"GET": "read-refused", "DELETE": "delete-refused"}.get(method)) and (
            self.server.cloud.quirks.take(refused)
        ):
            raise RefusedError(*REFUSALS["transient"])
        if not path.lower().startswith(f"/subscriptions/{SUBSCRIPTION}"):
            raise RefusedError(404, "SubscriptionNotFound", "The subscription could not be found.")
        if VM.fullmatch(path):
            return self._vm(method, path, query, content)
        return self._other(method, path, query, content)

    def _login(self, path: str, content: bytes) -> tuple[int, Any, dict[str, str]]:
        form = {name: values[0] for name, values in parse_qs(content.decode()).items()}
        if path != f"/login/{TENANT}/oauth2/v2.0/token":
            return 400, _login_error("invalid_request", "AADSTS90002: Tenant not found."), {}
        if (form.get("client_id"), form.get("grant_type")) != (CLIENT, "client_credentials"):
            return 400, _login_error("unauthorized_client", "AADSTS700016: Application was not found."), {}
        if form.get("client_secret") != SECRET:
            return 401, _login_error("invalid_client", "AADSTS7000215: Invalid client secret provided."), {}
        token = uuid4().hex
        self.server.tokens.add(token)
        return 200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token}, {}

    def _authenticate(self) -> None:
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.server.tokens:
            raise RefusedError(401, "InvalidAuthenticationToken", "The access token is invalid or has expired.")

    def _prices(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """The price list, in pages with an absolute link to the next one."""
        region = re.search(r"armRegionName eq '([^']+)'", query.get("$filter", ""))
        rows = catalog.price_rows(region[1]) if region else []
        skip = int(query.get("$skip", 0))
        link = None
        if skip + PAGE < len(rows):
            filter_ = f"armRegionName eq '{region[1] if region else ''}'".replace(" ", "%20")
            link = f"{self.server.url}/prices?$filter={filter_}&$skip={skip + PAGE}"
        return 200, {"Items": rows[skip : skip + PAGE], "NextPageLink": link}, {}

    def _vm(self, method: str, path: str, query: dict[str, str], content: bytes) -> tuple[int, Any, dict[str, str]]:
        cloud = self.server.cloud
        if method == "GET":
            return 200, cloud.get(path, view=query.get("$expand") == "instanceView"), {}
        if method == "DELETE":
            if not cloud.delete_vm(path):
                return 204, None, {}
            return 202, None, {"Location": f"{self.server.url}{path}?monitor=true", "Retry-After": "10"}
        row, operation = cloud.put_vm(path, json.loads(content), if_none_match=self.headers.get("If-None-Match", ""))
        monitor = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{row['location']}/operations"
        headers = {"Azure-AsyncOperation": f"{self.server.url}{monitor}/{operation}?api-version=1", "Retry-After": "10"}
        return (201, row, headers) if operation else (200, row, {})

    def _other(self, method: str, path: str, query: dict[str, str], content: bytes) -> tuple[int, Any, dict[str, str]]:
        cloud = self.server.cloud
        compute = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"
        if method == "GET" and path == f"{compute}/skus":
            region = re.search(r"location eq '([^']+)'", query.get("$filter", ""))
            return 200, {"value": catalog.skus(region[1] if region else "")}, {}
        if method == "GET" and re.fullmatch(rf"{compute}/locations/\w+/usages", path):
            return 200, {"value": [_usage(*row) for row in catalog.QUOTAS.items()]}, {}
        if method == "GET" and (operation := re.fullmatch(rf"{compute}/locations/\w+/operations/(\w+)", path)):
            return 200, cloud.operation(operation[1]), {}
        if not path.lower().startswith(GROUP_ID.lower()):
            raise RefusedError(404, "ResourceGroupNotFound", "Resource group could not be found.")
        if method == "GET" and path == f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachines":
            return 200, self._page(path, cloud.vms(), query), {}
        if method == "GET" and path.lower() == GROUP_ID.lower():
            return 200, {"id": GROUP_ID, "name": GROUP, "location": "westus3"}, {}
        if method == "GET":
            return 200, cloud.get(path), {}
        if method == "PUT" and NETWORK.fullmatch(path):
            return 201, cloud.put(path, json.loads(content)), {}
        raise RefusedError(404, "InvalidResourceType", f"no {method} {path}")

    def _page(self, path: str, rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        skip = int(query.get("$skiptoken", 0))
        page: dict[str, Any] = {"value": rows[skip : skip + PAGE]}
        if skip + PAGE < len(rows):
            page["nextLink"] = f"{self.server.url}{path}?api-version={query['api-version']}&$skiptoken={skip + PAGE}"
        return page


def _login_error(code: str, words: str) -> dict[str, Any]:
    return {"error": code, "error_description": f"{words} Trace ID: 0\r\nTimestamp: 2026-01-01", "error_codes": []}


def _usage(name: str, limit: int) -> dict[str, Any]:
    return {"unit": "Count", "currentValue": 0, "limit": limit, "name": {"value": name, "localizedValue": name}}
