"""What is known of a host that is adopted, was adopted, or is only looked at: one value, changed step by step.

The row of its instance says what every instance's says; this is the rest: where it is, how far its adoption came, what
the checks found, and what is still owed after its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from chalicelib.domain.model import BARE_HOST, HOST, Instance, Offer, Resources

SSH: Final = "ssh"
"""The backend of an instance that nobody rents: a server that somebody owns."""

REMOTE: Final = "remote"
"""The region of a host that was given none."""

SYNC_EVERY: Final = timedelta(seconds=30)
"""How often the agent of a host syncs at least. There is no provider to ask, so its syncs are its presence."""

UNREACHABLE_AFTER: Final = timedelta(minutes=2)
"""The silence after which a host is flagged: four syncs. What is shorter changes nothing."""


LONGEST_TEXT: Final = 1000
"""Characters of each text that came from a host. An item of DynamoDB has 400 KB, and a person reads less."""


class Step(StrEnum):
    """How far an adoption is. `PREFLIGHT` includes the connection; `UNINSTALL` undoes an installation that failed."""

    PREFLIGHT = "preflight"
    INSTALL = "install"
    AGENT = "agent"
    UNINSTALL = "uninstall"
    DONE = "done"
    FAILED = "failed"


OVER: Final = frozenset({Step.DONE, Step.FAILED})


@dataclass(frozen=True, slots=True)
class Destination:
    """Who to be where. `host` is a name or an address."""

    host: str
    user: str
    port: int = 22

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.port == 22 else f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host. `write` is the token of the very write that made it so; a change is conditional on it.

    What was asked for: `destination`, `jump`, `way` (the whole way there, where a client has another than `jump`),
    `host_key` (lines, or "" to trust on first use), `network` (CIDR or ""), `region`, `gpu` (as it was said, or ""),
    `take_over`, `from_here` (the client carries the scripts). `is_check`: it is only looked at; `key` is then the id of
    the check, else that of the instance.

    How it went: `step`, `tries` (connections that did not come about, or installations that failed), `trouble` (why the
    last of these did, in a few words), `failure` (why it ended, for a person), `fingerprint` and `pinned` (the host's
    key), `former_key` (the one of the ended instance at this address), `jump_fingerprint` and `jump_pinned` (that of
    the jump host), `checks` (documents with `check`, `status`, `code`, `found`, `fix`), `machine_id` and what the
    installation needs: `python`, `replaces` (the ended instance of ours of which something is left there, which goes
    first) with `replaces_in` (its project), `sent_at` (when the installation was first given out).

    Its neighbours: `zone` is the key of its network (`networks.network_key`), "" where it is in none; `address` is the
    internal one there, "" for as long as another host has that one; `told` are the addresses that its agent told last.

    `secret` names the uploaded key for as long as it exists, or may. `removed_at` is when the host confirmed that
    nothing is left; `owed_since` when the instance ended without that; `refresh` that fresh facts were asked for;
    `expires_at` (whole seconds) when the record is of no use any more, None while it is.
    """

    project: str
    key: str
    pool: str
    name: str
    destination: Destination
    api_url: str
    created_at: datetime
    actor: str = ""
    is_check: bool = False
    jump: Destination | None = None
    way: str = ""
    host_key: str = ""
    network: str = ""
    region: str = REMOTE
    gpu: Any = ""
    take_over: bool = False
    from_here: bool = False
    secret: str = ""
    step: Step = Step.PREFLIGHT
    tries: int = 0
    trouble: str = ""
    failure: str = ""
    fingerprint: str = ""
    pinned: str = ""
    former_key: str = ""
    jump_fingerprint: str = ""
    jump_pinned: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()
    machine_id: str = ""
    zone: str = ""
    address: str = ""
    told: tuple[str, ...] = ()
    python: str = ""
    replaces: str = ""
    replaces_in: str = ""
    sent_at: datetime | None = None
    removed_at: datetime | None = None
    owed_since: datetime | None = None
    refresh: bool = False
    expires_at: datetime | None = None
    write: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the adoption, or the check, has ended."""
        return self.step in OVER

    @property
    def hops(self) -> str:
        """The way to the host as text, such as `bastion-a:22`; "" where it is reached directly."""
        return self.way or (f"{self.jump.host.casefold()}:{self.jump.port}" if self.jump else "")

    @property
    def via(self) -> str:
        """What tells its network from others with the same addresses: the way in, unless a region was named for it."""
        return self.hops if self.region == REMOTE else ""

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was ever sent to the host that changes it, so that nothing of ours can be there."""
        return self.sent_at is None and self.step in (Step.PREFLIGHT, Step.INSTALL, Step.FAILED)


def kept_short(record: HostRecord) -> HostRecord:
    """Cut what a host, or a tool on it, had to say: `failure`, and every text of the checks."""
    checks = tuple({name: _cut(value) for name, value in each.items()} for each in record.checks)
    return replace(record, failure=_cut(record.failure), checks=checks)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


ASKED: Final = ("host_key", "network", "region", "gpu", "pool")
"""What two requests for one host must agree in to be one request. The way in is no property of what is adopted."""


def differences(seen: HostRecord, wanted: HostRecord) -> dict[str, dict[str, str]]:
    """Return what a request contradicts an earlier one in, each with what `is` and what is `asked`.

    What is not said contradicts nothing.
    """
    unsaid = {field.name: field.default for field in fields(HostRecord)}
    found = {}
    for name in ASKED:
        before, now = getattr(seen, name), getattr(wanted, name)
        if before != now and now != unsaid[name]:
            found[name] = {"is": str(before or ""), "asked": str(now)}
    return found


def is_host(row: Instance) -> bool:
    """Whether an instance is a server that somebody owns: never removed by a timer, never terminated at a provider."""
    return row.offer is not None and row.offer.backend == SSH


def offer_of(region: str, resources: Resources, network: str = "", *, has_docker: bool = True) -> Offer:
    """What a host is as an offer. Its network is the zone: hosts of one zone of one region reach each other."""
    return Offer(
        backend=SSH,
        region=region,
        zone=network,
        instance_type=HOST if has_docker else BARE_HOST,
        resources=resources,
        spot=False,
        price=0,
        price_source="owned",
        availability="available",
    )


UNKNOWN: Final = Resources(0, 0, 0)
"""What a host has before its facts are known."""
