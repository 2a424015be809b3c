"""`api.md`: the OpenAPI document as a page to read."""

from typing import Any, Final

import app as application
from chalicelib.api import openapi
from infra.reference.markdown import code, codes, table
from infra.reference.markdown import page as whole

LISTING: Final = "a page of "


def page() -> str:
    """Make the page."""
    document = openapi.document(application.app)
    operations = [
        (method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    parts = [_operation(*each) for each in operations]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return whole("HTTP API", INTRO, _overview(operations), "## Routes", *parts, "## Schemas", *schemas)


def _overview(operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    rows = [
        (f"[{method}](#route-{described['operationId']})", code(path), _roles(described), described["summary"])
        for method, path, described in operations
    ]
    return table(("method", "path", "roles", ""), rows)


def _operation(method: str, path: str, described: dict[str, Any]) -> str:
    parts = [f'### <a id="route-{described["operationId"]}"></a>{method} {code(path)}', described["summary"]]
    if "description" in described:
        parts.append(described["description"])
    facts = [f"- Roles: {_roles(described)}"]
    if "requestBody" in described:
        facts.append(f"- Body: {_type(_content(described['requestBody']))}")
    success = next(each for status, each in described["responses"].items() if status.startswith("2"))
    status = next(status for status in described["responses"] if status.startswith("2"))
    facts.append(f"- Answer: {status}, {_answer(_content(success))}")
    failures = {status: each for status, each in described["responses"].items() if not status.startswith("2")}
    facts.append("- Errors: " + "; ".join(f"{status} {_codes(each)}" for status, each in failures.items()))
    if any(each["name"] == "Idempotency-Key" for each in described["parameters"]):
        facts.append("- Takes `Idempotency-Key`")
    parts.append("\n".join(facts))
    query = [each for each in described["parameters"] if each["in"] == "query"]
    if query:
        parts.append(table(("query parameter", "type", "meaning"), [_parameter(each) for each in query]))
    return "\n\n".join(parts)


def _roles(described: dict[str, Any]) -> str:
    return ", ".join(described["x-roles"]) if "x-roles" in described else "no token needed"


def _codes(response: dict[str, Any]) -> str:
    """The codes of a failure. Its description has each one in front of its meaning, between backticks and a colon."""
    text = response["description"]
    return codes(part.rpartition("`")[2] for part in text.split("`:")[:-1])


def _content(described: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = next(iter(described["content"].values()))["schema"]
    return first


def _answer(schema: dict[str, Any]) -> str:
    """A list is described by its items."""
    properties = schema.get("properties", {})
    if set(properties) == {"items", "next"}:
        return LISTING + _type(properties["items"]["items"])
    return _type(schema)


def _parameter(each: dict[str, Any]) -> tuple[str, str, str]:
    return code(each["name"]), _type(each["schema"]), each["description"]


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (code(field), _type(described), "yes" if field in required else "no", described.get("description", ""))
        for field, described in schema.get("properties", {}).items()
    ]
    words = " ".join(schema.get("description", "").split())
    parts = [
        f'### <a id="schema-{name.lower()}"></a>{name}',
        words,
        table(("field", "type", "always", "meaning"), rows),
    ]
    return "\n\n".join(part for part in parts if part)


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words; a model as a link to its table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return codes(schema.get("enum", [schema.get("const")]))
    kinds = schema.get("type", "any")
    if kinds == "array":
        return f"list of {_type(schema.get('items', {}))}"
    text = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    return f"{text}{_bounds(schema)}{_examples(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("maxLength"))
    words = [f"from {least:g}" if least is not None else "", f"to {most:g}" if most is not None else ""]
    words.append(f"default {str(schema['default']).lower()}" if schema.get("default") not in (None, "", {}) else "")
    said = " ".join(word for word in words if word)
    return f" ({said})" if said else ""


def _examples(schema: dict[str, Any]) -> str:
    return f", such as {codes(schema['examples'])}" if "examples" in schema else ""


INTRO: Final = """\
Base address, then `/v1`. `Authorization: Bearer <token>`; JSON in and out; errors are
[`application/problem+json`](errors.md). Every route that changes something takes an `Idempotency-Key`, unless
doing it twice is doing it once; a replayed answer carries `Idempotent-Replay: true`. Lists answer `{"items":
[…], "next": "<cursor>"}`, where `next` is null on the last page; a page may be shorter than its limit although
more follow. Names are lower-case letters, digits and hyphens, at most 63 characters. Unknown fields and query
parameters are refused, except by the agent's routes. Moments are ISO 8601 in UTC with milliseconds; `_s` is
seconds, `_mib` MiB, `_micros` micro-dollars (prices: an hour).

The same document for programs is at `GET /v1/openapi.json`."""
