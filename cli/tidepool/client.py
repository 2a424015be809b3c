"""The Python SDK: one object that speaks the API, used by the command line itself.

Answers are plain dicts in the shapes of `tidepool.wire`; errors are those of `tidepool.errors`.
"""

from __future__ import annotations

import json
import os
import time
from itertools import count

from tidepool.address import proxy_for, quote
from tidepool.errors import BadAnswerError, TidepoolError, from_problem
from tidepool.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

    from tidepool.api.backends import Backends
    from tidepool.api.hosts import Hosts
    from tidepool.api.instances import Instances
    from tidepool.api.leases import HeldLease, Leases
    from tidepool.api.pools import Pools
    from tidepool.api.runs import Runs
    from tidepool.api.tokens import Tokens
    from tidepool.transport import Response
    from tidepool.wire import Me, Requirements

TRIES = 5
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
PENDING_S = 40.0
"""How long an answer is waited for that the API is still working on: a key whose request died is free after 35 s."""
PAGE = 1000
"""Rows asked for at a time: the most that the API gives."""


class Client:
    """A connection to one project of a control plane.

    `url` is the base of the API, with or without `/v1`. Every call is limited to `within_s` seconds a try and tried
    up to `tries` times on a lost connection or a passing failure, with jittered waits; a call that changes something
    carries the same Idempotency-Key each time, so it happens once. While the API says that it is still being worked on,
    it is asked again for up to `PENDING_S`. May be shared between threads.
    """

    def __init__(
        self,
        url: str,
        token: str,
        project: str = "main",
        *,
        within_s: float = 60.0,
        tries: int = TRIES,
        sleep: Callable[[float], None] = time.sleep,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        base = url.rstrip("/")
        self.url = base.removesuffix("/v1")
        self.project = project
        self.within_s = within_s
        self.tries = max(tries, 1)
        self.sleep = sleep
        self.environ = os.environ if environ is None else environ
        self._headers = {"Accept": "application/json", "User-Agent": "tidepool-cli"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._transport = Transport(self.url, proxy_for(self.url, self.environ))
        self._base = self._transport.url.target.rstrip("/") + "/v1"

    @classmethod
    def from_environment(cls, project: str = "") -> Self:
        """Use the command line's settings: the environment, the user's configuration, `.tidepool/local.env`."""
        from tidepool.control_plane import current_folder, load

        found = load(os.environ, current_folder())
        return cls(found.url, found.token, project or found.project)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections. The client may still be used; it connects again."""
        self._transport.close()

    @property
    def pools(self) -> Pools:
        """Named sets of instances."""
        from tidepool.api.pools import Pools

        return Pools(self)

    @property
    def instances(self) -> Instances:
        """Machines: plan, add, look, change, remove."""
        from tidepool.api.instances import Instances

        return Instances(self)

    @property
    def leases(self) -> Leases:
        """Exclusive holds, for those who bring their own scheduler."""
        from tidepool.api.leases import Leases

        return Leases(self)

    @property
    def runs(self) -> Runs:
        """Work: submit, follow, stop."""
        from tidepool.api.runs import Runs

        return Runs(self)

    @property
    def backends(self) -> Backends:
        """Accounts at providers."""
        from tidepool.api.backends import Backends

        return Backends(self)

    @property
    def hosts(self) -> Hosts:
        """Servers that somebody owns."""
        from tidepool.api.hosts import Hosts

        return Hosts(self)

    @property
    def tokens(self) -> Tokens:
        """Who may do what."""
        from tidepool.api.tokens import Tokens

        return Tokens(self)

    def lease(
        self,
        *,
        pool: str = "",
        holder: str = "",
        requirements: Requirements | None = None,
        instance: str = "",
        duration_s: float = 120.0,
        **policies: Any,
    ) -> HeldLease:
        """Hold an idle instance for the length of a `with` block; a thread keeps the lease alive meanwhile.

        Raises `NoMatchError` when none is free, and `LeaseLost` at the end of the block (or from `lease.check()`)
        when the hold was lost in between.
        """
        from tidepool.api.leases import HeldLease

        wanted = {"requirements": dict(requirements or {}), "instance": instance, **policies}
        body = {name: value for name, value in wanted.items() if value not in ("", None, {})}
        return HeldLease(self.leases, pool=pool, holder=holder, duration_s=duration_s, body=body)

    def me(self) -> Me:
        """Who this token is."""
        answer: Me = self.call("GET", "/me")
        return answer

    def health(self) -> dict[str, Any]:
        """Ask whether the API answers at all; needs no token."""
        answer: dict[str, Any] = self.call("GET", "/health")
        return answer

    def path(self, *segments: str) -> str:
        """Make a path inside the project."""
        return "/projects/" + "/".join(quote(segment) for segment in (self.project, *segments))

    def pages(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[list[Any]]:
        """Follow a list's cursor, a page at a time, so that a long list need not fit into memory."""
        wanted = {"limit": PAGE, **(query or {})}
        while True:
            answer = self.call("GET", path, query=wanted)
            yield answer["items"]
            if not answer.get("next"):
                return
            wanted["cursor"] = answer["next"]

    def call(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, Any] | None = None, key: str = ""
    ) -> Any:
        """Make one call and answer its JSON (None for an empty body).

        `key` is the Idempotency-Key of a call that changes something; a fresh one by default.
        """
        text = "&".join(
            f"{quote(name)}={quote(_plain(value))}" for name, value in (query or {}).items() if value is not None
        )
        target = f"{self._base}{path}?{text}" if text else self._base + path
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if method != "GET":
            headers["Idempotency-Key"] = key or os.urandom(16).hex()
        tries, pending_s = 0, 0.0
        for asked in count(1):
            wait_s = wait_before(asked)
            try:
                return _answer(self._transport.exchange(method, target, headers, content, within_s=self.within_s))
            except TidepoolError as error:
                wait_s = max(wait_s, min(float(error.context.get("retry_after_s") or 0), LONGEST_WAIT_S))
                # A lost answer's request may still be worked on: the API says so until it has the answer.
                if error.code == "idempotency-pending" and self.tries > 1 and pending_s < PENDING_S:
                    pending_s += wait_s
                else:
                    tries += 1
                    if tries == self.tries or not error.retryable or error.code == "no-match":
                        raise
            self.sleep(wait_s)
        raise AssertionError("a try answers or raises")


def wait_before(tries_done: int) -> float:
    """How long to wait before the next try: grows twofold up to a cap, between half and all of it by chance."""
    longest: float = min(FIRST_WAIT_S * 2.0 ** (tries_done - 1), LONGEST_WAIT_S)
    return longest * (0.5 + int.from_bytes(os.urandom(2), "big") / 131_072)


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _answer(response: Response) -> Any:
    if response.status == 204 or (response.status < 300 and not response.body):
        return None
    if 300 <= response.status < 400:
        raise BadAnswerError(
            f"the API answered a redirect to {response.headers.get('location', 'nowhere')}; is the URL right?"
        )
    try:
        content = json.loads(response.body)
    except ValueError:
        content = None
    if response.status < 300:
        if content is None:
            raise BadAnswerError("the answer is not JSON; is the URL that of a tidepool API?")
        return content
    problem = content if isinstance(content, dict) else {}
    if response.status == 404 and not problem.get("code"):
        raise BadAnswerError("no tidepool API is at this URL (any more)", status=404)
    error = from_problem(response.status, problem)
    after = response.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        error.context["retry_after_s"] = int(after)
    raise error
