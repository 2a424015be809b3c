"""What stands in front of the emulator: it trusts nobody, because the emulator would trust everybody.

The emulator answers any web page (its CORS headers allow all), any local user (well-known key ids are root there), and
resets itself on request. The guard lets through what this control plane needs and nothing else. It also makes a crowd
of clients queue: each API request that runs costs two Lambda processes of about 50 MB and half a second of a core.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH: Final = frozenset({"/_ministack/health", "/_ministack/ready"})
API_REQUEST: Final = re.compile(r"/restapis/[^/]+/[^/]+/_user_request_(?:/|$)")
BROWSER_HEADERS: Final = frozenset({b"origin", b"referer", b"sec-fetch-site"})
SIGNED: Final = re.compile(rb"AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]+)/")
SESSION_KEY: Final = "ASIA"
"""How key ids of temporary credentials begin. The emulator refuses those that it did not issue itself."""


class Guard:
    """An ASGI application in front of another one.

    `root_key` is the only key id besides those of Lambda sessions that may sign a request; None admits every key (for
    an emulator without IAM). At most `api_requests` requests of the deployed API run at once, the others wait in order.
    """

    def __init__(self, app: App, *, port: int, root_key: str | None, api_requests: int) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}
        self._root_key = root_key
        self._api_slots = asyncio.Semaphore(api_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 403 and the reason. Web sockets are refused altogether."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif reason := self.refusal(scope):
            await _forbid(send, reason)
        elif API_REQUEST.match(scope["path"]):
            async with self._api_slots:
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def refusal(self, scope: Scope) -> str:
        """Say why a request is not let through; empty when it is."""
        headers: list[tuple[bytes, bytes]] = [(name.lower(), value) for name, value in scope["headers"]]
        names = [name for name, _ in headers]
        path = scope["path"]
        if BROWSER_HEADERS.intersection(names):
            return "requests of web pages are not served"
        if [value for name, value in headers if name == b"host"] not in [[host] for host in self._hosts]:
            return "foreign Host"
        if path in HEALTH or API_REQUEST.match(path):
            return ""
        # Whatever else begins so is the emulator's own administration: reset, configuration, message boxes.
        if path.startswith("/_"):
            return "the emulator's administration is closed"
        if self._root_key is not None and not self._is_signed(headers, scope.get("query_string", b"")):
            return "not signed with a key of this control plane"
        return ""

    def _is_signed(self, headers: list[tuple[bytes, bytes]], query: bytes) -> bool:
        """Whether exactly one credential is named, and it is ours. The signature is the emulator's to check."""
        parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        keys = [credential.partition("/")[0] for credential in parameters.get("X-Amz-Credential", [])]
        keys += parameters.get("AWSAccessKeyId", [])
        for name, value in headers:
            if name == b"authorization":
                match = SIGNED.match(value)
                keys.append(match[1].decode() if match else "")
        return len(keys) == 1 and (keys[0] == self._root_key or keys[0].startswith(SESSION_KEY))


async def _forbid(send: Send, reason: str) -> None:
    body = json.dumps({"message": f"Refused: {reason}"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
