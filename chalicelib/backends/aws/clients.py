"""The clients of one account: signed as its role or with its keys, one try a call, each call with its time limit.

Making a client costs some 0.2 s the first time (the model of EC2 alone is 1.8 MB) and 1.4 MB of memory, so each is made
when it is first used, and once. Threads share them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any, Final

from chalicelib.backends.aws.errors import refusal
from chalicelib.config import VERSION
from chalicelib.domain.errors import BackendAuthError

CONNECT_SHARE: Final = 0.1
READ_SHARE: Final = 0.3
LAUNCH_READ_SHARE: Final = 0.5
"""Shares of `Capabilities.call_timeout` for the steps of one HTTP call. With `PREPARE_SHARE` they add up to all of it
for a launch. botocore's limit for reading is between two pieces of an answer, and AWS sends its answers in one."""

PREPARE_SHARE: Final = 0.4
"""What a launch may spend on looking things up before it asks for the machine."""

SESSION_S: Final = 3600
"""How long the credentials of a role last; a role that its creator did not change gives no more. botocore fetches new
ones from 15 minutes before their end on."""

THREADS: Final = 20
"""Connections that one client keeps: what asks in parallel never has more threads."""


class Clients:
    """Clients by service and region. `endpoint_url` replaces the addresses of AWS when it is set."""

    def __init__(
        self,
        config: Mapping[str, Any],
        credentials: Mapping[str, str],
        *,
        endpoint_url: str,
        call_timeout: timedelta,
        session_name: str,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._endpoint_url = endpoint_url or None
        self._limit_s = call_timeout.total_seconds()
        self._session_name = session_name
        self._guard = Lock()
        self._made: dict[tuple[str, str, float], Any] = {}
        self._signed_in: Any = None

    def of(self, service: str, region: str) -> Any:
        """The client for everything but launches."""
        return self._client(service, region, READ_SHARE)

    def launching(self, region: str) -> Any:
        """The EC2 client that may take longer, because a machine is being made."""
        return self._client("ec2", region, LAUNCH_READ_SHARE)

    def sign_in(self) -> None:
        """Make sure that there are credentials for the next call, so that it cannot fail half-way for want of them."""
        with self._guard:
            session = self._session()
        with raised():
            session.get_credentials().get_frozen_credentials()

    def _client(self, service: str, region: str, read_share: float) -> Any:
        with self._guard, raised():
            key = (service, region, read_share)
            if key not in self._made:
                self._made[key] = self._session().create_client(
                    service, region_name=region, endpoint_url=self._endpoint_url, config=self._limits(read_share)
                )
            return self._made[key]

    def _limits(self, read_share: float) -> Any:
        from botocore.config import Config

        return Config(
            connect_timeout=self._limit_s * CONNECT_SHARE,
            read_timeout=self._limit_s * read_share,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=THREADS,
            tcp_keepalive=True,
            user_agent_extra=f"tidepool/{VERSION}",
        )

    def _session(self) -> Any:
        if self._signed_in is None:
            role, session = self._config.get("role_arn"), _new_session()
            if role:
                session = self._as_role(session, role)
            else:
                session.set_credentials(self._credentials["access_key_id"], self._credentials["secret_access_key"])
            self._signed_in = session
        return self._signed_in

    def _as_role(self, own: Any, role: str) -> Any:
        """A session that signs as the account's role, which the control plane's own session assumes when needed."""
        from botocore.credentials import AssumeRoleCredentialFetcher, CredentialResolver, DeferredRefreshableCredentials

        def sts(service: str, **keys: Any) -> Any:
            return own.create_client(
                service,
                region_name=self._config["regions"][0],
                endpoint_url=self._endpoint_url,
                config=self._limits(READ_SHARE),
                **keys,
            )

        wanted = {"RoleSessionName": self._session_name, "DurationSeconds": SESSION_S}
        if external_id := self._config.get("external_id"):
            wanted["ExternalId"] = external_id
        source = own.get_credentials()
        if source is None:
            raise BackendAuthError("aws: the control plane has no credentials to assume a role with")
        fetcher = AssumeRoleCredentialFetcher(sts, source, role, extra_args=wanted)
        credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        session = _new_session()
        session.register_component("credential_provider", CredentialResolver([_Given(credentials)]))  # type: ignore[list-item]
        return session


def _new_session() -> Any:
    from botocore.session import get_session

    session = get_session()
    session.register_component("data_loader", _models())
    return session


@cache
def _models() -> Any:
    """The models of AWS's services, read once for all accounts: that of EC2 takes 20 MB in memory."""
    from botocore.loaders import create_loader

    return create_loader()


class _Given:
    """The provider of credentials, as botocore asks for them, that has them already."""

    METHOD = CANONICAL_NAME = "assume-role"

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load(self) -> Any:
        return self._credentials


@contextmanager
def raised() -> Iterator[None]:
    """Raise what AWS and its SDK raise as one of our classes; for calls that make no machine."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise refusal(error) from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise refusal(error) from error
