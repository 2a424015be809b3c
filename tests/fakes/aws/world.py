"""What is true in the fake AWS beside moto's own state: switches, keys, and what was launched with which token."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from tests.fakes.machines import Machines

ACCOUNT: Final = "123456789012"
KEY_ID: Final = "AKIAFAKEFAKEFAKEFAKE"
SECRET: Final = "fake/" * 8
ROLES: Final = {
    f"arn:aws:iam::{ACCOUNT}:role/tidepool-machines": "",
    "arn:aws:iam::210987654321:role/tidepool-x": "xid",
}
"""Roles that can be assumed, with the external id that each asks for."""

REFUSALS: Final = {
    "no_capacity": (500, "InsufficientInstanceCapacity"),
    "quota": (400, "VcpuLimitExceeded"),
    "invalid": (400, "InvalidParameterValue"),
    "auth": (403, "UnauthorizedOperation"),
    "throttled": (503, "RequestLimitExceeded"),
    "transient": (503, "Unavailable"),
    "unknown": (500, "InternalError"),
}
"""Kind of error -> an answer that means it."""

SHUTS_DOWN_IN_S: Final = 0.1
"""How long a machine that is no process takes from `shutting-down` to `terminated`."""


class Refused(Exception):  # noqa: N818 - an answer of AWS, not a fault of the fake
    """An error as AWS answers it."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or f"rehearsed: {code}"


@dataclass
class Switches:
    """How the fake misbehaves. What is called `…_next` holds for one launch, everything else until it is reset.

    `fail_next`: a kind of `REFUSALS`, or `code:status`. `lose_next` cuts the connection after a launch, `odd_next`
    answers it with one of `server.ODD`. `lag_s`: how long a new instance is not to be seen; `tag_lag_s`
    the same for its tags. `launches_per_s`: more are throttled. `capacity`: `type/zone/market` (each may be `*`) -> how
    many may live. `page`: rows in a page. `drop_group`: the next launch finds its security group deleted.
    """

    fail_next: str = ""
    lose_next: bool = False
    odd_next: str = ""
    slow_s: float = 0.0
    lag_s: float = 0.0
    tag_lag_s: float = 0.0
    launches_per_s: int = 0
    capacity: dict[str, int] = field(default_factory=dict)
    page: int = 100
    quota: float = 64.0
    keys_revoked: bool = False
    default_vpc: bool = True
    drop_group: bool = False


@dataclass
class Record:
    """What moto does not keep of one instance. `made` names its volumes and interfaces."""

    account: str
    region: str
    instance_id: str
    signature: str
    token: tuple[str, ...]
    type: str
    zone: str
    market: str
    visible_at: float
    tagged_at: float
    made: list[str]
    spot_request: str = ""
    spot_status: str = ""
    taken_at: float = 0.0
    notice: str = ""
    gone_at: float = 0.0


class World:
    """The one state of a fake. Whoever touches it or moto holds `guard`."""

    def __init__(self, machines: Machines | None, url: str = "") -> None:
        self.guard = threading.RLock()
        self.switches = Switches()
        self.machines = machines
        self.url = url
        self.records: dict[str, Record] = {}
        self.tokens: dict[tuple[str, ...], str] = {}
        self.keys: dict[str, str] = {KEY_ID: ACCOUNT}
        self.launches: deque[dict[str, Any]] = deque(maxlen=100)
        self._launched_at: deque[float] = deque(maxlen=1000)

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Set switches. Raises `ValueError` for one that is not there."""
        known = {each.name for each in fields(Switches)}
        if unknown := sorted(set(wanted) - known):
            raise ValueError(f"{unknown[0]!r} is no switch; there are {', '.join(sorted(known))}")
        for name, value in wanted.items():
            setattr(self.switches, name, value)

    def account(self, key_id: str) -> str | None:
        """Whose a key is; None for a wrong one."""
        return None if self.switches.keys_revoked else self.keys.get(key_id)

    def assume(self, role: str, external_id: str) -> str:
        """Make a session of a role and return its key id."""
        if role not in ROLES or ROLES[role] != external_id or self.switches.keys_revoked:
            raise Refused(403, "AccessDenied", f"not authorized to perform: sts:AssumeRole on resource: {role}")
        key_id = f"ASIAFAKE{len(self.keys):012d}"
        self.keys[key_id] = role.split(":")[4]
        return key_id

    def refuse_as_told(self) -> None:
        """Refuse a launch when the next one is to be refused, or when too many came within a second."""
        wanted, self.switches.fail_next = self.switches.fail_next, ""
        if wanted in REFUSALS:
            raise Refused(*REFUSALS[wanted])
        if wanted:
            code, _, status = wanted.partition(":")
            raise Refused(int(status or 400), code)
        now = time.monotonic()
        recent = sum(at > now - 1 for at in self._launched_at)
        if self.switches.launches_per_s and recent >= self.switches.launches_per_s:
            raise Refused(503, "RequestLimitExceeded", "Request limit exceeded.")
        self._launched_at.append(now)

    def admit(self, type_: str, zone: str, market: str) -> None:
        """Refuse a launch for which there is no capacity."""
        for rule, most in self.switches.capacity.items():
            wanted = rule.split("/")
            if all(part in ("*", given) for part, given in zip(wanted, (type_, zone, market), strict=True)):
                live = [each for each in self.records.values() if not each.gone_at]
                same = [each for each in live if (each.type, each.zone, each.market) == (type_, zone, market)]
                if len(same) >= most:
                    raise Refused(500, "InsufficientInstanceCapacity", f"no {type_} in {zone} now, ask another zone")

    def is_visible(self, instance_id: str) -> bool:
        """Whether look-ups see an instance yet."""
        record = self.records.get(instance_id)
        return record is not None and time.monotonic() >= record.visible_at

    def is_tagged(self, instance_id: str) -> bool:
        """Whether look-ups by tag see an instance yet."""
        record = self.records.get(instance_id)
        return record is not None and time.monotonic() >= record.tagged_at
