"""What every route shares: who may call it, what it reads, how it answers.

`endpoint` is the one decorator of a route. From outside to inside: log fields, problems, role and project, query and
body, idempotency, view. What it is told about a route is also what the OpenAPI document is made of.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final, Generic, TypeVar

from chalice.app import Blueprint, Request, Response
from pydantic import BaseModel, ValidationError

from chalicelib import log
from chalicelib.api.auth import authorizer, token_of
from chalicelib.api.parameters import Parameter, read_all
from chalicelib.api.problems import CONTENT_TYPE, answers_problems, problem
from chalicelib.domain.errors import (
    BodyTooLargeError,
    ForbiddenError,
    MalformedBodyError,
    NotFoundError,
    TidepoolError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
)
from chalicelib.domain.model import Role, Token
from chalicelib.services import idempotency
from chalicelib.services.idempotency import Answer, Asked
from chalicelib.services.tokens import EVERY_PROJECT
from chalicelib.wiring import deps

B = TypeVar("B")
View = Callable[..., Response]
Roles = frozenset[Role]

ADMIN: Final = frozenset({Role.ADMIN})
MANAGER: Final = ADMIN | {Role.MANAGER}
USER: Final = MANAGER | {Role.USER}
VIEWER: Final = USER | {Role.VIEWER}
AGENT: Final = frozenset({Role.AGENT})
ANY_TOKEN: Final = VIEWER | AGENT
PUBLIC: Final = None

JSON: Final = "application/json"
MAX_BODY: Final = 1_000_000
MAX_PAGE: Final = 1_000_000
"""Bytes of the texts of a page (as ASCII JSON); with its envelope a list's answer stays below 1 MiB."""

MUTATING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._*-]{1,200}")
_NOT_AN_OBJECT: Final = frozenset({"json_invalid", "model_type", "model_attributes_type"})


@dataclass(frozen=True, slots=True)
class Operation:
    """What there is to know about a route. `repeatable`: doing it twice is doing it once, so no key is stored."""

    method: str
    path: str
    roles: Roles | None
    body: type[BaseModel] | None
    status: int
    answer: Any
    query: tuple[Parameter, ...]
    errors: Sequence[type[TidepoolError]]
    repeatable: bool
    max_body: int
    shown_once: str
    view: str
    summary: str


@dataclass(frozen=True, slots=True)
class Call(Generic[B]):
    """One request, as a view sees it: checked, parsed, and with the caller's token."""

    request: Request
    caller: Token | None
    body: B
    query: Mapping[str, Any]
    request_id: str = ""
    """Names the request when it carries an Idempotency-Key: what it makes is made once, whatever happens to it."""

    @property
    def token(self) -> Token:
        """The caller's token; its hash is not known here."""
        if self.caller is None:
            raise UnauthenticatedError("this needs a token")
        return self.caller

    @property
    def actor(self) -> str:
        """Who to write into the history."""
        return f"user:{self.token.name}"

    @property
    def api_url(self) -> str:
        """Where an agent reaches this API: the configured address, else the one this request came to, without `/v1`.

        API Gateway's own `domainName` and `path` are used, which a caller cannot choose as it could a Host header.
        An emulator sends no `domainName`; its path-style address is made of what it does send.
        """
        configured = deps().settings.public_url
        context = self.request.context
        if configured:
            return configured
        if domain := context.get("domainName"):
            return f"https://{domain}{context['path'].partition('/v1/')[0]}"
        return f"http://{self.request.headers['host']}/restapis/{context['apiId']}/{context['stage']}/_user_request_"


def endpoint(
    routes: Blueprint,
    method: str,
    path: str,
    roles: Roles | None,
    *,
    body: type[BaseModel] | None = None,
    status: int = 200,
    answer: Any = None,
    query: tuple[Parameter, ...] = (),
    errors: Sequence[type[TidepoolError]] = (),
    repeatable: bool = False,
    max_body: int = MAX_BODY,
    shown_once: str = "",
) -> Callable[[View], View]:
    """Register a view on a route: `view(call, **path parameters) -> Response`, called only when it may be.

    `answer` is the type of the answer's body and `errors` what the route raises beyond what every route may; both are
    for the document. `shown_once` names a field of the answer that a replay must not carry.
    """

    def register(view: View) -> View:
        summary = (view.__doc__ or "").strip()
        operation = Operation(
            method,
            path,
            roles,
            body,
            status,
            answer,
            query,
            errors,
            repeatable,
            max_body,
            shown_once,
            view.__name__,
            summary,
        )

        @wraps(view)
        def guarded(**segments: str) -> Response:
            request = routes.current_request
            log.bind(request_id=request.context.get("requestId", ""), method=method, route=path)
            response = _serve(operation, view, request, segments)
            log.event("answered", status=response.status_code)
            return response

        guarded.operation = operation  # type: ignore[attr-defined]
        options: dict[str, Any] = {"methods": [method], "content_types": ["*/*"]}
        if roles is not None:
            options["authorizer"] = authorizer
        routes.route(path, **options)(guarded)
        return guarded

    return register


def operation_of(view: View) -> Operation:
    """Return what `endpoint` was told about a view."""
    operation: Operation = view.operation  # type: ignore[attr-defined]
    return operation


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer JSON; a text is taken as JSON already."""
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    return Response(body=text, status_code=status, headers={"Content-Type": JSON, **(headers or {})})


def listing(texts: Sequence[str], following: str | None) -> Response:
    """Answer a page of ready JSON texts without parsing them again."""
    return answer(f'{{"items":[{",".join(texts)}],"next":{json.dumps(following)}}}')


def within_page(fetch: Callable[[int], tuple[list[str], str | None]], limit: int) -> tuple[list[str], str | None]:
    """Fetch a page of at most `limit` ready texts that fits `MAX_PAGE`, asking for fewer when they are long."""
    while True:
        texts, following = fetch(limit)
        size = sum(map(len, texts))
        if size <= MAX_PAGE or limit == 1:
            return texts, following
        limit = max(1, min(limit, len(texts)) * MAX_PAGE // (2 * size))


@answers_problems
def _serve(operation: Operation, view: View, request: Request, segments: Mapping[str, str]) -> Response:
    caller = _admit(operation, request, segments)
    query = read_all(operation.query, dict(request.query_params or {}))
    call = Call(request=request, caller=caller, body=_body(operation, request), query=query)
    key = request.headers.get("idempotency-key") if operation.method in MUTATING else None
    if key is None or caller is None or operation.repeatable:
        return view(call, **segments)

    def work() -> Answer:
        try:
            response, keep = view(replace(call, request_id=asked.identity), **segments), True
        except TidepoolError as error:
            response, keep = problem(error), error.status < 500 and not error.retryable
        once = operation.shown_once and response.status_code < 300
        stored = _without(response.body, operation.shown_once) if once else None
        return Answer(response.status_code, response.body, keep=keep, stored=stored)

    path = operation.path.format(**segments)
    asked = Asked(caller.token_id, operation.method, path, key, _raw(request))
    return _replay(idempotency.once(deps(), asked, work))


def _raw(request: Request) -> bytes:
    raw = request.raw_body
    return raw.encode() if isinstance(raw, str) else raw


def _without(body: str, field: str) -> str:
    return json.dumps({**json.loads(body), field: None}, separators=(",", ":"))


def _replay(done: Answer) -> Response:
    headers: dict[str, str | list[str]] = {"Content-Type": JSON if done.status < 400 else CONTENT_TYPE}
    if done.replayed:
        headers["Idempotent-Replay"] = "true"
    return Response(body=done.body, status_code=done.status, headers=headers)


def _admit(operation: Operation, request: Request, segments: Mapping[str, str]) -> Token | None:
    """Return the caller, if it may be here. Another project looks the same as one that does not exist."""
    if operation.roles is None:
        return None
    token = token_of(request.context["authorizer"])
    log.bind(**log.bound(), token_id=token.token_id)
    for name, text in segments.items():
        if not _SEGMENT.fullmatch(text):
            raise NotFoundError(f"{name} {text[:80]!r} is unknown")
    project = segments.get("project", token.project)
    if token.project not in {project, EVERY_PROJECT}:
        raise NotFoundError(f"project {project!r} is unknown")
    if token.role not in operation.roles:
        allowed = ", ".join(sorted(role.value for role in operation.roles))
        raise ForbiddenError(f"this needs one of the roles {allowed}; this token is a {token.role.value}'s")
    return token


def _body(operation: Operation, request: Request) -> Any:
    """Read the body as the operation's model. No body at all is an empty object."""
    if operation.body is None:
        return None
    raw = _raw(request)
    if len(raw) > operation.max_body:
        raise BodyTooLargeError(f"the body has {len(raw)} bytes; at most {operation.max_body} are read")
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise UnsupportedMediaTypeError(f"the body must be {JSON}, not {kind[:80]!r}")
    try:
        return operation.body.model_validate_json(raw or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] in _NOT_AN_OBJECT and not first["loc"]:
            raise MalformedBodyError("the body is not a JSON object") from None
        raise
