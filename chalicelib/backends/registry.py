"""Drivers by the kind of provider. One is imported when it is first asked for: nobody pays for SDKs of the others."""

from collections.abc import Callable, Mapping
from typing import Final

from chalicelib.backends.base import Account, Backend
from chalicelib.config import Settings
from chalicelib.domain.errors import NotFoundError


def _local(settings: Settings, account: Account) -> Backend:
    from chalicelib.backends.local import LocalBackend

    return LocalBackend(settings.local_cloud_url, settings.local_cloud_key, name=account.name)


DRIVERS: Final[Mapping[str, Callable[[Settings, Account], Backend]]] = {
    "local": _local,
}
"""Kind -> what makes the driver of one account."""


def built_in(settings: Settings) -> tuple[str, ...]:
    """The names of the backends that every project has because the settings turn them on; each is its own kind."""
    return ("local",) if settings.local_cloud_url else ()


def driver(settings: Settings, account: Account) -> Backend:
    """Make the driver of one account. Raises `NotFoundError` for an unknown kind."""
    make = DRIVERS.get(account.kind)
    if make is None:
        raise NotFoundError(f"there is no driver {account.kind!r}; there are {', '.join(DRIVERS)}")
    return make(settings, account)
