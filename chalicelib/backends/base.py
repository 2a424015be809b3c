"""What a driver is. Drivers never wait, never retry, and raise only `BackendError`s.

The docstrings are the contract, and `tests/backends/contract.py` runs it on every driver over real HTTP.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from chalicelib.domain.model import Offer


class Phase(StrEnum):
    """What a provider says of a machine."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One attempt. `attempt_id` is unique for ever and is what the provider must be able to find the machine by.

    `owner` is the tag value that marks the machine as this control plane's; `user_data` is a POSIX shell script.
    """

    attempt_id: str
    owner: str
    offer: Offer
    user_data: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the provider reports. `ref` is the provider's own name of it; `attempt_id` is empty for a stranger's.

    `failure`: the provider made it and then could not start it; the `kind` of the `BackendError` that says why, with
    the provider's words in `detail`. Such a machine never runs and costs until it is terminated, so it is not gone.
    """

    ref: str
    attempt_id: str
    phase: Phase
    launched_at: datetime | None = None
    address: str = ""
    interrupted: bool = False
    failure: str = ""
    detail: str = ""


class Sign(StrEnum):
    """What a provider's event says of a machine. `REBALANCE`: it is more likely than others to be taken back."""

    INTERRUPTION = "interruption"
    GONE = "gone"
    REBALANCE = "rebalance"


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """What a provider told of one machine, by its reference. `at`: when it ends (`INTERRUPTION`), or what it was."""

    ref: str
    sign: Sign
    at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """One configured account: under which name, at which provider, and with what.

    `name` is what offers call their backend and is unique in its project; `kind` names the driver. `config` is public
    and shown again; `credentials` are secret and shown to nobody.
    """

    project: str
    name: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be right at an account before machines can be rented: what was found, and what to do.

    `account` is the provider's id of the account that the credentials are of; only the check that finds it says it.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many launches a provider takes: `per_s` in the long run, `burst` at once after a pause."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be expected of a backend. `ready_within` bounds the time from launch to the agent's first sync.

    `call_timeout` bounds one call; `settles_within` is how long after it a look-up may still miss what the call made.
    `live_offers`: `offers` is quick and asked at plan time; otherwise the catalog asks it by schedule. `launches` is
    the provider's limit for one account and region. `look_every` is how often a machine is looked at until its agent
    reports, where a launch that was accepted may still fail; None: only at the deadline. `notice` names how a machine
    learns that it is taken back, for its agent: `aws`, `azure`, `file`, or empty.
    """

    spot: bool
    cluster: bool
    simulated: bool = False
    ready_within: timedelta = timedelta(minutes=10)
    call_timeout: timedelta = timedelta(seconds=20)
    settles_within: timedelta = timedelta(seconds=5)
    live_offers: bool = True
    launches: Rate | None = None
    look_every: timedelta | None = None
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One region of what an account offers. `is_over` is asked between two calls to the provider; once it is true, the
    rest is not wanted any more, and `TransientError` is raised.
    """

    region: str
    is_over: Callable[[], bool]


class Backend(Protocol):
    """One account at one provider. `name` is the account's."""

    name: str
    capabilities: Capabilities

    def check(self) -> Sequence[Check]:
        """Find out whether machines can be rented: credentials, rights, what has to be set up once. Buys nothing.

        Every check is made; one that fails names what to do. Raises only for what says nothing about the account:
        `TransientError`, `BackendThrottledError`.
        """

    def offers(self, part: Part | None = None) -> Sequence[Offer]:
        """Everything that could be rented now, in any order; of an account with regions one `part` alone, if wanted."""

    def launch(self, spec: LaunchSpec) -> Machine:
        """Start a machine, or return the one already started for `spec.attempt_id`.

        Raises `UnknownOutcomeError` when the call may have worked (time-out, cut connection, odd answer), else the
        `BackendError` that says why nothing was made.
        """

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:
        """Look up what `launch` made for an attempt, also when its answer was lost. None: nothing was made.

        `region` is where the attempt was made; without one every region of the account is asked. A machine that is
        found counts, whatever else failed; that there is none takes an answer of each.
        """

    def describe(self, ref: str) -> Machine:
        """Report one machine. A `ref` the provider does not know has phase `gone`; no error."""

    def terminate(self, ref: str) -> None:
        """Ask for the end of one machine. Repeating it, or naming a gone machine, is fine."""

    def owned(self, owner: str) -> Iterator[Machine]:
        """Every live machine that carries `owner` as its owner tag, in any order.

        Where a part of the account cannot be asked, it yields what the others have and then raises.
        """
