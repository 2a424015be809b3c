"""Faults on the way to DynamoDB and back, put in through botocore's own events.

A fault lasts until the end of its test (`conftest.py` takes it back). Behind an answer that is put in, moto has done
what the request asked for, as DynamoDB has when only the answer is lost.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSResponse

from chalicelib.store import tables
from chalicelib.store.models import InstanceRow


def client() -> Any:
    """The client that the store uses."""
    return tables.connection(InstanceRow).connection.client


def answering(operation: str, body: dict[str, Any], *, status: int = 200, times: int = 1_000) -> list[str]:
    """Answer the next `times` requests of an operation with a body; return a list that grows by one a request."""
    requests: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        requests.append(operation)
        return _response(request.url, status, body) if len(requests) <= times else None

    _until_reset(client().meta.events, "register_first", f"before-send.dynamodb.{operation}", answer)
    return requests


def losing_the_first_answer(operation: str, meanwhile: Callable[[], None] = lambda: None) -> list[int]:
    """Send the next request of an operation twice, as botocore does when no answer came; `meanwhile` runs in between.

    Returns the list of the tries. What `meanwhile` writes is not repeated.
    """
    tries: list[int] = []

    def again(attempts: int, **_: Any) -> float | None:
        tries.append(attempts)
        if len(tries) > 1:
            return None
        meanwhile()
        return 0.0

    _until_reset(client().meta.events, "register_first", f"needs-retry.dynamodb.{operation}", again)
    return tries


_undo: list[Callable[[], None]] = []


def reset() -> None:
    """Take all faults back."""
    while _undo:
        _undo.pop()()


def _until_reset(events: Any, register: str, name: str, handler: Callable[..., Any]) -> None:
    getattr(events, register)(name, handler)
    _undo.append(lambda: events.unregister(name, handler))


def _response(url: str, status: int, body: dict[str, Any]) -> AWSResponse:
    class Raw:
        """What `AWSResponse` reads its content from."""

        def stream(self, **_: Any) -> Iterator[bytes]:
            yield json.dumps(body).encode()

    return AWSResponse(url, status, {"x-amzn-requestid": "r-1"}, Raw())
