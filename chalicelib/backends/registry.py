"""Drivers by the kind of provider. One is imported when it is first asked for: nobody pays for SDKs of the others."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, cast

from chalicelib.backends.base import Account, Backend
from chalicelib.config import Settings
from chalicelib.domain.errors import InvalidInputError, NotFoundError


def _local(settings: Settings, account: Account) -> Backend:
    from chalicelib.backends.local import LocalBackend

    return LocalBackend(settings.local_cloud_url, settings.local_cloud_key, name=account.name)


def _aws(settings: Settings, account: Account) -> Backend:
    from chalicelib.backends.aws.driver import AwsBackend

    return AwsBackend(account, endpoint_url=settings.aws_endpoint_url)


def _azure(settings: Settings, account: Account) -> Backend:
    from chalicelib.backends.azure.driver import AzureBackend

    return AzureBackend(account, owner=settings.owner, endpoint_url=settings.azure_endpoint_url)


Parse = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[dict[str, Any], dict[str, str]]]
Identity = Callable[[Mapping[str, Any], str], str]

DRIVERS: Final[Mapping[str, Callable[[Settings, Account], Backend]]] = {
    "local": _local,
    "aws": _aws,
    "azure": _azure,
}
"""Kind -> what makes the driver of one account."""


BUILT_IN: Final = frozenset({"local"})
"""Kinds that settings turn on; a project adds all others, whose package has `config.parse` and `config.identity`."""


class Drivers:
    """`services.deps.Drivers`: the registry under one deployment's settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def built_in(self) -> tuple[str, ...]:
        """Name the backends that every project has."""
        return built_in(self._settings)

    def kinds(self) -> tuple[str, ...]:
        """Name the kinds that a project can add."""
        return tuple(kind for kind in DRIVERS if kind not in BUILT_IN)

    def parse(
        self, kind: str, config: Mapping[str, Any], credentials: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the normal form of an account's configuration. Raises `InvalidInputError`."""
        if kind not in self.kinds():
            raise InvalidInputError("kind", kind, f"one of {', '.join(self.kinds())}")
        read = cast(Parse, import_module(f"chalicelib.backends.{kind}.config").parse)
        return read(config, credentials)

    def identity(self, kind: str, config: Mapping[str, Any], account: str) -> str:
        """Name the account of a configuration and of what its checks found; empty when neither tells."""
        name = cast(Identity, import_module(f"chalicelib.backends.{kind}.config").identity)
        return name(config, account)

    def make(self, account: Account) -> Backend:
        """Make the driver of one account."""
        return driver(self._settings, account)


def built_in(settings: Settings) -> tuple[str, ...]:
    """The names of the backends that every project has because the settings turn them on; each is its own kind."""
    return ("local",) if settings.local_cloud_url else ()


def driver(settings: Settings, account: Account) -> Backend:
    """Make the driver of one account. Raises `NotFoundError` for an unknown kind."""
    make = DRIVERS.get(account.kind)
    if make is None:
        raise NotFoundError(f"there is no driver {account.kind!r}; there are {', '.join(DRIVERS)}")
    return make(settings, account)
