"""Azure's SDK as this driver uses it: its compute client over a transport with one time limit, and without its retries.

The SDK's own pipeline would sleep for `Retry-After`, retry launches, and register resource providers, each within one
call. Here a call is one exchange. Only the driver imports this module, and only when it makes a call.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import HTTPPolicy
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.core.utils import case_insensitive_dict
from azure.mgmt.compute import ComputeManagementClient

from chalicelib.backends.azure.errors import refusal
from chalicelib.backends.azure.token import SCOPE, Tokens
from chalicelib.backends.http import RawAnswer, exchange
from chalicelib.domain.errors import BackendError, TransientError, UnknownOutcomeError


def make(subscription_id: str, base_url: str, tokens: Tokens) -> ComputeManagementClient:
    """Make the client of one subscription. Each of its calls needs the keyword `deadline` (of `time.monotonic`)."""
    policy = Bearer(tokens)
    return ComputeManagementClient(
        NoCredential(),
        subscription_id,
        base_url,
        credential_scopes=[SCOPE],
        authentication_policy=policy,
        policies=[policy],
        transport=BoundedTransport(),
    )


def raw(pipeline_response: Any, _model: object, _headers: object) -> Any:
    """As `cls` of an operation: answer with the JSON that came, rather than with the SDK's model of it."""
    return pipeline_response.http_response.json()


@contextmanager
def answers(otherwise: type[BackendError]) -> Iterator[None]:
    """Turn what the SDK raises into our classes. `otherwise` is for what leaves open whether anything was done."""
    try:
        yield
    except BackendError:
        raise
    except AzureError as error:
        raise translated(error, otherwise) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise otherwise(f"azure: an answer that is not understood: {error!r}") from error


def translated(error: AzureError, otherwise: type[BackendError]) -> BackendError:
    """The error that one of the SDK's exceptions means."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        response: Any = error.response
        told = error.error
        code, message = (told.code or "", told.message or "") if told is not None else ("", response.text()[:500])
        retry_after = response.headers.get("Retry-After")
        return refusal(response.status_code, code, message, retry_after, otherwise=otherwise)
    if isinstance(error, ServiceRequestError):
        return TransientError(f"azure: {error.message}")
    return otherwise(f"azure: {error.message}")


class NoCredential:
    """What the SDK insists on and never asks: the policy has the token."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        raise NotImplementedError("the pipeline of this client authenticates by its own policy")


class Bearer(HTTPPolicy[HttpRequest, HttpResponse]):
    """Sends the token. One that is refused is replaced once: a 401 is said before anything is done."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, HttpResponse]:
        deadline = request.context.options["deadline"]
        token = self._tokens.current(deadline=deadline)
        answer = self._sent(request, token)
        if answer.http_response.status_code == 401:
            self._tokens.forget(token)
            answer = self._sent(request, self._tokens.current(deadline=deadline))
        return answer

    def _sent(self, request: PipelineRequest[HttpRequest], token: str) -> PipelineResponse[HttpRequest, HttpResponse]:
        request.http_request.headers["Authorization"] = f"Bearer {token}"
        return self.next.send(request)


class BoundedTransport(HttpTransport[HttpRequest, HttpResponse]):
    """Sends by `backends.http`, under one deadline from the first byte to the last."""

    def send(self, request: HttpRequest, **options: Any) -> HttpResponse:
        """Raises the SDK's `ServiceRequestError` when nothing was sent, and else its `ServiceResponseError`."""
        content = request.content
        body = content.encode() if isinstance(content, str) else content
        try:
            answer = exchange(request.method, request.url, request.headers, body, deadline=options["deadline"])
        except TransientError as error:
            raise ServiceRequestError(error.detail, error=error) from error
        except UnknownOutcomeError as error:
            raise ServiceResponseError(error.detail, error=error) from error
        return CompleteResponse(request, answer)

    def open(self) -> None:
        """Nothing is kept open between calls."""

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def __exit__(
        self,
        _kind: type[BaseException] | None = None,
        _error: BaseException | None = None,
        _trace: TracebackType | None = None,
    ) -> None:
        self.close()


class CompleteResponse(HttpResponse):
    """An answer that was read to its end, in the form that the SDK's operations want."""

    def __init__(self, request: HttpRequest, answer: RawAnswer) -> None:
        self._request = request
        self._answer = answer
        self._headers = case_insensitive_dict(dict(answer.headers))
        self._encoding: str | None = "utf-8"

    @property
    def request(self) -> HttpRequest:
        return self._request

    @property
    def status_code(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Any:
        return self._headers

    @property
    def reason(self) -> str:
        return self._answer.reason

    @property
    def content_type(self) -> str | None:
        return self._answer.headers.get("content-type")

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_stream_consumed(self) -> bool:
        return True

    @property
    def encoding(self) -> str | None:
        return self._encoding

    @encoding.setter
    def encoding(self, value: str | None) -> None:
        self._encoding = value

    @property
    def url(self) -> str:
        return self._request.url

    @property
    def content(self) -> bytes:
        return self._answer.content

    def text(self, encoding: str | None = None) -> str:
        return self.content.decode(encoding or self._encoding or "utf-8", errors="replace")

    def json(self) -> Any:
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise HttpResponseError(response=self)

    def read(self) -> bytes:
        return self.content

    def iter_raw(self, **_options: Any) -> Iterator[bytes]:
        yield self.content

    def iter_bytes(self, **_options: Any) -> Iterator[bytes]:
        yield self.content

    def close(self) -> None:
        """It is closed."""

    def __enter__(self) -> "CompleteResponse":
        return self

    def __exit__(self, *_about: object) -> None:
        self.close()
