"""A project's account at a provider, as it is kept: what may be shown. Its credentials are stored elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the checks of an account said when they were last made: `{"name", "ok", "detail", "fix"}` each.

    `account` is the provider's id of the account, as these checks found it or, where they did not get so far, earlier
    ones of the same credentials; empty: not known.
    """

    at: datetime
    checks: tuple[Mapping[str, Any], ...]
    account: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check["ok"] for check in self.checks)


@dataclass(frozen=True, slots=True)
class BackendRecord:
    """One configured backend of a project.

    `secret` names the stored credentials that belong to this very `config`: each change stores new ones under a new
    name, so a driver made for one `secret` stays right for as long as the record names it. `version` counts the
    changes since the name was added. `closed`: nothing may be rented on it any more, what is rented may be returned.
    """

    project: str
    name: str
    kind: str
    config: Mapping[str, Any]
    secret: str
    version: int
    created_at: datetime
    changed_at: datetime
    actor: str
    closed: bool = False
    checkup: Checkup | None = None

    @property
    def account(self) -> str:
        """The provider's id of the account, as far as the checks found it."""
        return self.checkup.account if self.checkup else ""


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """What the table has under one name: the record, if the name is in use, and what its writers must know.

    `spare` are secrets that may exist and that no record names: of writers that died, lost a race, or are at it right
    now. `write` is the token of the last write, the guard of the next one; empty: there is nothing yet.
    """

    project: str
    name: str
    record: BackendRecord | None = None
    spare: tuple[str, ...] = field(default=())
    write: str = ""
