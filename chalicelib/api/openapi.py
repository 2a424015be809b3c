"""The OpenAPI 3.1 document: made of the app's route table, what each route says of itself, and the models.

It is made on the first request and kept: the table and the models do not change while a process lives.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, get_origin

from chalice.app import Blueprint, Chalice, Response
from pydantic import BaseModel, TypeAdapter

from chalicelib.api.http import MUTATING, PUBLIC, Call, Operation, answer, endpoint, operation_of
from chalicelib.api.problems import CONTENT_TYPE
from chalicelib.config import VERSION
from chalicelib.domain import errors
from chalicelib.domain.errors import TidepoolError
from chalicelib.domain.networks import NoAddressInNetworkError
from chalicelib.ssh.errors import SshError

routes = Blueprint(__name__)

DESCRIPTION: Final = """\
Pools of compute instances. Errors are problems (RFC 9457) with a stable `code`. Two answers are API Gateway's own and
none: 401 `{"message": "Unauthorized"}` without a good token, and 403 `{"message": "Missing Authentication Token"}` for
a route or method that does not exist. A revoked token may pass for half a minute longer."""

REF: Final = "#/components/schemas/{model}"
ALWAYS: Final = (errors.TidepoolError, errors.ThrottledError, errors.UnavailableError)
SECURED: Final = (errors.UnauthenticatedError, errors.ForbiddenError, errors.NotFoundError)
WITH_BODY: Final = (
    errors.MalformedBodyError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.InvalidInputError,
)
WITH_KEY: Final = (errors.IdempotencyMismatchError, errors.IdempotencyPendingError)

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    "description": "The same key with the same body gets the first answer again, for 24 hours.",
}


@endpoint(routes, "GET", "/v1/openapi.json", PUBLIC, answer=dict[str, Any])
def openapi_document(call: Call[None]) -> Response:
    """Answer this document."""
    return answer(_text(routes.current_app))


def document(app: Chalice) -> dict[str, Any]:
    """Describe every route of `app`."""
    operations = list(operations_of(app))
    schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tidepool", "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas["definitions"] | {"Problem": _problem_schema()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def operations_of(app: Chalice) -> Iterator[Operation]:
    """Yield what each route of the app says of itself, by path."""
    for path in sorted(app.routes):
        for entry in app.routes[path].values():
            yield operation_of(entry.view_function)


def error_codes() -> dict[str, type[TidepoolError]]:
    """Every code that the API may answer with, and its class. What a host answers is told by its checks instead."""
    found: dict[str, type[TidepoolError]] = {}
    pending: list[type[TidepoolError]] = [TidepoolError]
    while pending:
        kind = pending.pop()
        if not issubclass(kind, SshError | NoAddressInNetworkError):
            found[kind.code] = kind
            pending += kind.__subclasses__()
    return dict(sorted(found.items()))


def errors_of(operation: Operation) -> list[type[TidepoolError]]:
    """What a route may answer besides its success: its own errors and those that its kind always has."""
    found: list[type[TidepoolError]] = [*ALWAYS, *operation.errors]
    if operation.roles is not PUBLIC:
        found += SECURED
    if operation.body is not None:
        found += WITH_BODY
    elif operation.query:
        found.append(errors.InvalidInputError)
    if operation.method in MUTATING and not operation.repeatable:
        found += WITH_KEY
    return sorted(set(found), key=lambda kind: (kind.status, kind.code))


@cache
def _text(app: Chalice) -> str:
    return json.dumps(document(app), separators=(",", ":"))


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    """The schema of each operation's answer and body, by operation, and the definitions they refer to."""
    inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = []
    for operation in operations:
        name = f"{operation.method} {operation.path}"
        if operation.body is not None:
            inputs.append((f"{name} body", "validation", TypeAdapter(operation.body)))
        inputs.append((f"{name} answer", "serialization", TypeAdapter(operation.answer)))
    by_key, found = TypeAdapter.json_schemas(inputs, ref_template=REF)
    return {"by_key": {key: schema for (key, _), schema in by_key.items()}, "definitions": found.get("$defs", {})}


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    name = f"{operation.method} {operation.path}"
    text, _, more = operation.summary.partition("\n")
    described: dict[str, Any] = {
        "operationId": operation.view,
        "summary": text,
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas["by_key"][f"{name} answer"]),
    }
    if more.strip():
        described["description"] = " ".join(more.split())
    if operation.roles is PUBLIC:
        described["security"] = []
    else:
        described["security"] = [{"token": []}]
        described["x-roles"] = sorted(role.value for role in operation.roles)
    if operation.body is not None:
        schema = schemas["by_key"][f"{name} body"]
        described["requestBody"] = {
            "required": _needs_body(operation.body),
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _needs_body(body: type[BaseModel]) -> bool:
    """No body at all is an empty object, which is enough where every field is optional."""
    return any(field.is_required() for field in body.model_fields.values())


def _parameters(operation: Operation) -> list[Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in (part[1:-1] for part in operation.path.split("/") if part.startswith("{"))
    ]
    in_query = [
        {"name": each.name, "in": "query", "required": False, "schema": each.schema, "description": each.meaning}
        for each in operation.query
    ]
    in_header = [IDEMPOTENCY_KEY] if operation.method in MUTATING and not operation.repeatable else []
    return in_path + in_query + in_header


def _responses(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    kind = "text/x-python" if operation.answer is str else "application/json"
    if get_origin(operation.answer) is list:
        schema = {
            "type": "object",
            "properties": {"items": schema, "next": {"type": ["string", "null"]}},
            "required": ["items", "next"],
        }
    responses: dict[str, Any] = {str(operation.status): {"description": "Done.", "content": {kind: {"schema": schema}}}}
    for error in errors_of(operation):
        known = responses.setdefault(
            str(error.status),
            {"description": "", "content": {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}},
        )
        known["description"] = f"{known['description']} `{error.code}`: {_first_line(error)}".strip()
    return responses


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "An error (RFC 9457). More fields depend on the code; 422 has `field`, `given`, `expected`.",
        "properties": {
            "type": {"type": "string", "description": "`/problems/<code>`"},
            "code": {"enum": list(error_codes())},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean", "description": "Whether the same call may succeed later."},
            "field": {"type": "string"},
            "given": {},
            "expected": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["type", "code", "title", "status", "detail", "retryable"],
    }


def _first_line(kind: type[TidepoolError]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]
