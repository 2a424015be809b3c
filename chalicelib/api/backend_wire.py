"""Configured backends between JSON and the values of `services.backends`. Credentials come in here and never go out."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from typing_extensions import TypedDict

from chalicelib.api import views
from chalicelib.api.schemas import Body, Word
from chalicelib.domain.accounts import BackendRecord, Checkup
from chalicelib.domain.errors import InvalidInputError
from chalicelib.services.backends import Wanted

MAX_CONFIG: Final = 16 * 1024
MAX_CREDENTIALS: Final = 16 * 1024
"""Bytes of each as JSON. A row has 400 KB, a secret 64 KB; what providers want is a few hundred."""


def _small(limit: int) -> AfterValidator:
    def check(given: dict[str, Any]) -> dict[str, Any]:
        if len(views.text(given)) > limit:
            raise ValueError(f"at most {limit} bytes")
        return given

    return AfterValidator(check)


NOT_SHOWN: Final = frozenset({"external_id"})
"""Settings that are no credential, and yet the one thing that another project must not learn about a role."""

SET: Final = "(set)"

Kind = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
Config = Annotated[dict[str, Any], _small(MAX_CONFIG)]
Credentials = Annotated[dict[str, Word], _small(MAX_CREDENTIALS)]


class NewBackend(Body):
    """An account at a provider. `name` is the kind unless said otherwise; `check` is made before anything is stored."""

    name: Word = ""
    kind: Kind
    config: Config = Field(default_factory=dict)
    credentials: Credentials = Field(default_factory=dict, repr=False)
    replace: bool = False
    check: bool = True

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: Any) -> Any:
        """Refuse an unknown field by its name alone: a credential may have been put into the wrong place."""
        if isinstance(given, dict):
            for field in given.keys() - cls.model_fields.keys():
                raise InvalidInputError(field, "(not shown)", "no such field")
        return given

    @property
    def wanted(self) -> Wanted:
        """What is to be configured."""
        return Wanted(self.name or self.kind, self.kind, self.config, self.credentials)


class CheckResult(TypedDict):
    """One thing that has to be right at an account; `fix` says what to do when it is not."""

    name: str
    ok: bool
    detail: str
    fix: str


class CheckupResult(TypedDict):
    """What the checks of a backend said, and when. `ok`: all of them passed."""

    at: str
    ok: bool
    checks: list[CheckResult]


class Backend(TypedDict):
    """A backend. Empty `regions`: whatever the provider has.

    `config` is what was configured: no credentials, and of an external id only that it is set. `state` is `open`, or
    `closing` while it is removed or replaced; removing it again goes on with that, and what a request that died left
    closed is opened after 5 to 10 minutes. A built-in one is the operator's: it has neither configuration nor history.
    `catalog_at` is when its own offers were stored; null: not yet, or they are asked for live. Only a list tells it.
    """

    name: str
    kind: str
    built_in: bool
    state: str
    regions: list[str]
    config: dict[str, Any]
    version: int
    created_at: str | None
    changed_at: str | None
    actor: str
    checkup: CheckupResult | None
    catalog_at: str | None


class RemovedBackend(TypedDict):
    """A backend that is gone, with its credentials."""

    name: str
    removed: bool


def backend(record: BackendRecord, catalog_at: datetime | None = None) -> Backend:
    """Show a backend. A catalog from before the name was added is another account's."""
    built_in = not record.secret
    return {
        "name": record.name,
        "kind": record.kind,
        "built_in": built_in,
        "state": "closing" if record.closed else "open",
        "regions": list(record.config.get("regions", ())),
        "config": {name: SET if name in NOT_SHOWN else value for name, value in record.config.items()},
        "version": record.version,
        "created_at": None if built_in else views.moment(record.created_at),
        "changed_at": None if built_in else views.moment(record.changed_at),
        "actor": record.actor,
        "checkup": checkup(record.checkup) if record.checkup else None,
        "catalog_at": views.moment(catalog_at) if catalog_at and catalog_at >= record.created_at else None,
    }


def checkup(found: Checkup) -> CheckupResult:
    """Show what checks said."""
    return {
        "at": views.moment(found.at),
        "ok": found.ok,
        "checks": [
            {"name": each["name"], "ok": each["ok"], "detail": each["detail"], "fix": each["fix"]}
            for each in found.checks
        ],
    }
