"""The document says what the app does: every route, every role, every code. The answers' shapes are checked at each
call of every test (`conftest.check_shape`)."""

import json
import re

import pytest

import app as application
from chalicelib.api.openapi import document, error_codes, errors_of, operations_of
from chalicelib.domain import errors
from chalicelib.ssh.errors import KeyRefusedError

DOCUMENT = document(application.app)
OPERATIONS = list(operations_of(application.app))


def described(operation):
    return DOCUMENT["paths"][operation.path][operation.method.lower()]


def test_every_route_of_the_app_is_in_the_document():
    served = {(path, method) for path, entries in application.app.routes.items() for method in entries}
    assert {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods} == served


def test_every_error_code_is_in_the_document():
    known = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TidepoolError)
    } | {KeyRefusedError.code}
    assert (
        set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == known == set(error_codes())
    )


def test_operation_ids_are_unique():
    ids = [described(operation)["operationId"] for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_each_operation_names_its_parameters_answers_and_roles(operation):
    shown = described(operation)
    in_path = {each["name"] for each in shown["parameters"] if each["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", operation.path))
    assert str(operation.status) in shown["responses"]
    for error in errors_of(operation):
        assert f"`{error.code}`" in shown["responses"][str(error.status)]["description"]
    assert shown["summary"].endswith((".", ":"))
    assert bool(shown["security"]) == (operation.roles is not None)


def test_every_reference_leads_somewhere():
    text = json.dumps(DOCUMENT)
    for name in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', text):
        assert name in DOCUMENT["components"]["schemas"]
    assert "$defs" not in text


def test_bodies_are_closed_except_the_agents():
    bodies = {operation.path: operation.body for operation in OPERATIONS if operation.body}
    for path, body in bodies.items():
        assert body.model_config["extra"] == ("ignore" if path.startswith("/v1/agent/") else "forbid")


def test_the_app_serves_the_document(api):
    answer = api("GET", "/openapi.json", token="")
    assert answer.status == 200
    assert answer.body == json.loads(json.dumps(DOCUMENT))
    assert answer.body["openapi"] == "3.1.0"
