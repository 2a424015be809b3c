"""Backends by name. A driver is imported when it is first asked for, so that nobody pays for the SDKs of the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from chalicelib.backends.base import Backend
from chalicelib.config import Settings
from chalicelib.domain.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Entry:
    """How one backend comes about: whether the settings turn it on, and what makes it of them."""

    is_on: Callable[[Settings], bool]
    make: Callable[[Settings], Backend]


def _local(settings: Settings) -> Backend:
    from chalicelib.backends.local import LocalBackend

    return LocalBackend(settings.local_cloud_url, settings.local_cloud_key)


ENTRIES: Final[Mapping[str, Entry]] = {
    "local": Entry(lambda settings: bool(settings.local_cloud_url), _local),
}


def configured(settings: Settings) -> tuple[str, ...]:
    """The names of the backends that the settings turn on."""
    return tuple(name for name, entry in ENTRIES.items() if entry.is_on(settings))


def backend(settings: Settings, name: str) -> Backend:
    """Make the driver of one configured backend. Raises `NotFoundError` for any other name."""
    entry = ENTRIES.get(name)
    if entry is None or not entry.is_on(settings):
        names = configured(settings)
        raise NotFoundError(f"there is no backend {name!r}; configured: {', '.join(names) or 'none'}", configured=names)
    return entry.make(settings)
