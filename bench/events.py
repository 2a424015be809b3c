"""Events as AWS hands them to the functions. Imports next to nothing: cold starts are measured with it."""

import json
from typing import Any, Final

PROJECT: Final = "main"
BASE: Final = "/v1/projects/{project}"
WHEN: Final = "2026-01-01T00:00:00.000Z"
HERE: Final = {"project": PROJECT, "pool": "p", "instance_id": "i-1"}
ARN: Final = "arn:aws:dynamodb:us-east-1:000000000000:table/tidepool-bench-timers/stream/1"


def request(method: str, route: str, body: Any = None, query: dict[str, str] | None = None, **segments: str) -> Any:
    """API Gateway's event for one request by a manager, after the authorizer."""
    context = {"token_id": "t-1", "name": "bench", "role": "manager", "project": PROJECT, "instance": ""}
    context |= {"created_at": WHEN, "expires_at": ""}
    return {
        "resource": BASE + route,
        "path": BASE + route,
        "httpMethod": method,
        "headers": {"content-type": "application/json", "host": "api.test"},
        "multiValueHeaders": {"content-type": ["application/json"], "host": ["api.test"]},
        "multiValueQueryStringParameters": {name: [value] for name, value in (query or {}).items()} or None,
        "pathParameters": {"project": PROJECT, **segments},
        "stageVariables": None,
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
        "requestContext": {
            "resourcePath": BASE + route,
            "httpMethod": method,
            "authorizer": context,
            "identity": {"sourceIp": "127.0.0.1"},
            "requestId": "r-1",
            "apiId": "a",
            "stage": "api",
        },
    }


def first(name: str) -> Any:
    """An event of a function, for which it asks the tables once at least. They are empty."""
    if name == "api":
        return request("GET", "/pools/{pool}/instances", pool="p")
    if name == "authorizer":
        return {"type": "TOKEN", "authorizationToken": f"Bearer tp.0.{'x' * 43}", "methodArn": f"{ARN}/api/GET/v1"}
    if name in {"provision", "teardown"}:
        return {"task": "advance", **HERE, "round": 0, "since": WHEN, "steps": 0}
    if name == "on_timer":
        old = {"due": {"S": "0000000001#0"}, "timer": {"S": "instance/main/p/i-1#1#idle"}, "ttl": {"N": "1"}}
        return {"Records": [_record("REMOVE", {"OldImage": old})]}
    if name == "projector":
        return {"Records": [_record("INSERT", {"NewImage": _pending_row()})]}
    return {
        "version": "0",
        "id": "1",
        "account": "000000000000",
        "region": "us-east-1",
        "time": WHEN,
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "detail": {},
        "resources": [],
    }


def _record(kind: str, images: dict[str, Any]) -> dict[str, Any]:
    change = {"ApproximateCreationDateTime": 1_767_225_600, "SequenceNumber": "1", "Keys": {}, **images}
    return {"eventName": kind, "eventSourceARN": ARN, "dynamodb": change}


def _pending_row() -> dict[str, Any]:
    texts = {
        "part": "main/p",
        "instance_id": "i-1",
        "name": "n",
        "state": "pending",
        "reason": "pool-add",
        "actor": "x",
    }
    texts |= {"created_at": WHEN, "changed_at": WHEN, "wrote": "create", "write": "w"}
    return {name: {"S": text} for name, text in texts.items()} | {"fence": {"N": "1"}}
