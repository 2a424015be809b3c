"""The whole API in this process: real routes, authorizer, services and store (on moto) in a simulated world.

Chalice takes a blueprint once in a process, so every test shares the one app.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_origin

import pytest
from chalice.test import Client
from pydantic import TypeAdapter

import app as application
from chalicelib.api.auth import Unauthorized
from chalicelib.api.http import Operation
from chalicelib.api.openapi import operations_of
from chalicelib.domain.model import Role
from chalicelib.services import pools, tokens
from tests.emulation import dynamodb_at
from tests.services.world import World

PROJECT = "acme"
POOL = "main"


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are lower case."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self.text
        assert self.body["status"] == self.status
        return str(self.body["code"])


class Api:
    """Calls the app as API Gateway does: the authorizer first, and what it raises becomes a 401."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self.world = world
        self.token = ""

    def __call__(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Answer:
        """`body` is JSON unless it is text or bytes; `token` replaces the usual admin's, empty is none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = self.token if token is None else token
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            sent.setdefault("content-type", "application/json")
        if not isinstance(body, bytes):
            body = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        try:
            response = self._client.http.request(method, f"/v1{path}", headers=sent, body=body)
        except Unauthorized:
            return Answer(401, '{"message":"Unauthorized"}', {})
        received = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, response.body.decode(), received)
        if answer.status < 300:
            check_shape(method, path, answer)
        return answer


def check_shape(method: str, path: str, answer: Answer) -> None:
    """Hold every good answer of every test against what the route promises: the status, and no field more or less."""
    operation = operation_at(method, path)
    assert answer.status == operation.status
    if operation.answer is str:
        return
    shown, kind = answer.body, operation.answer
    if get_origin(kind) is list:
        assert set(shown) == {"items", "next"}
        shown = shown["items"]
    assert TypeAdapter(kind).validate_python(shown, strict=True) == shown


def operation_at(method: str, path: str) -> Operation:
    """Find the route of a path."""
    for operation in operations_of(application.app):
        pattern = re.sub(r"\{\w+\}", "[^/]+", operation.path)
        if operation.method == method and re.fullmatch(pattern, f"/v1{path}".partition("?")[0]):
            return operation
    raise AssertionError(f"no route {method} {path}")


@pytest.fixture
def database(dynamodb: None) -> Any:
    """A plain client of the tables."""
    return dynamodb_at("")


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with Client(application.app) as client:
        yield client


@pytest.fixture
def world(dynamodb: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with the project `acme` and its pool `main`; the API runs on its dependencies."""
    world = World()
    for name, module in list(sys.modules.items()):
        if name.startswith("chalicelib.api.") and hasattr(module, "deps"):
            monkeypatch.setattr(module, "deps", lambda: world.deps)
    pools.create_project(world.deps, PROJECT)
    pools.create(world.deps, PROJECT, POOL)
    return world


@pytest.fixture
def token_for(world: World) -> Callable[..., str]:
    """Make the token text of a role."""

    def make(role: Role, project: str = PROJECT, **options: Any) -> str:
        return tokens.issue(world.deps, project=project, name=f"{role.value}-of-{project}", role=role, **options)[1]

    return make


@pytest.fixture
def api(client: Client, world: World, token_for: Callable[..., str]) -> Api:
    """Calls with the token of the project's admin."""
    api = Api(client, world)
    api.token = token_for(Role.ADMIN)
    return api


@pytest.fixture
def ready(api: Api) -> Callable[..., dict[str, Any]]:
    """Add an instance and let it become idle."""

    def make(**body: Any) -> dict[str, Any]:
        added = api("POST", f"/projects/{PROJECT}/pools/{POOL}/instances", body)
        assert added.status == 202, added.text
        settle(api.world)
        shown = api("GET", f"/projects/{PROJECT}/instances/{added.body['name']}")
        assert shown.body["state"] == "idle"
        return dict(shown.body)

    return make


def settle(world: World) -> None:
    """Let machines boot, agents sync and workflows end."""
    world.run_workflows()
    world.boot()
    world.sync_all()
    world.run_workflows()
