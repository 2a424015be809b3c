"""DynamoDB's own client with ready bytes in place of its socket: what is left is its work, and ours above it."""

from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse, HeadersDict


def answer_with(client: Any, body: Callable[[], bytes]) -> None:
    """Let every call of a client be answered by `body()`, through botocore's `before-send` event."""

    def reply(**_: Any) -> AWSResponse:
        response = AWSResponse("http://dynamodb.test", 200, HeadersDict({}), None)  # type: ignore[arg-type]
        response._content = body()  # type: ignore[attr-defined]
        return response

    client.meta.events.register("before-send.dynamodb.*", reply)
