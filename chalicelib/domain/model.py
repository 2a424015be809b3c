"""The nouns, as frozen values. Rows, wire bodies and provider answers are turned into these at the edges.

Sizes are whole MiB, money is whole micro-dollars (price: per hour), moments are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2s
from typing import Any, Final

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.nodes import Jobs
from chalicelib.domain.searches import Search


@dataclass(frozen=True, slots=True)
class Gpu:
    """`count` equal GPUs. `memory_mib` is nominal and per GPU (an A10G has 24 GiB); `name` as sold, e.g. `A100`."""

    name: str
    memory_mib: int
    count: int
    vendor: str = "nvidia"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has. Mixed GPU models are separate entries; no GPU is the empty tuple."""

    cpus: int
    memory_mib: int
    disk_mib: int
    gpus: tuple[Gpu, ...] = ()


HOST: Final = "host"
BARE_HOST: Final = "host-without-docker"
"""The types of servers that somebody owns: whether they can run an image decides which work they get."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a backend would rent, where, and for how much. `availability`: `available`, `unknown` or `stocked-out`."""

    backend: str
    region: str
    instance_type: str
    resources: Resources
    spot: bool
    price: int
    zone: str = ""
    price_source: str = ""
    priced_at: datetime | None = None
    availability: str = "unknown"

    @property
    def key(self) -> str:
        """Name the offer: the same thing at another price is the same offer."""
        return "/".join(
            (self.backend, self.region, self.zone, self.instance_type, "spot" if self.spot else "on-demand")
        )

    @property
    def shape(self) -> str:
        """Name what can be told apart by a requirement: offers and instances of one shape match alike."""
        text = f"{self.key}|{self.resources}|{self.price}"
        return blake2s(text.encode(), digest_size=6).hexdigest()


RUN_HOLDER: Final = "run:"
"""What the holder of a lease begins with when it is a run; the run's id follows."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A holder's exclusive hold. It is void as soon as the instance's fence is not `fence` any more.

    `duration` is what a heartbeat that names none prolongs it by.
    """

    lease_id: str
    holder: str
    fence: int
    acquired_at: datetime
    expires_at: datetime
    duration: timedelta = timedelta()

    @property
    def run_id(self) -> str:
        """The run that holds it, or "" for any other client."""
        return self.holder.removeprefix(RUN_HOLDER) if self.holder.startswith(RUN_HOLDER) else ""


@dataclass(frozen=True, slots=True)
class Instance:
    """Our row about one rented or adopted machine.

    `offer` is None until one is chosen. `fence` grows with every change of state or holder. `deadline` is when the
    present state is to be looked at (None: it may rest for ever). `idle_limit` None means never. `billed_from` is
    when the present machine was launched; `spent` what earlier attempts and machines cost, in micro-dollars. `ends_at`
    is when the provider takes the present machine back, None while it has not said so. `unreachable_since` is when the
    machine was flagged as one of which nobody hears, None while it is not.
    """

    project: str
    pool: str
    instance_id: str
    name: str
    state: State
    fence: int
    reason: Reason
    actor: str
    created_at: datetime
    changed_at: datetime
    deadline: datetime | None = None
    offer: Offer | None = None
    idle_limit: timedelta | None = None
    reserved_for: str = ""
    lease: Lease | None = None
    machine_ref: str = ""
    attempt: int = 0
    billed_from: datetime | None = None
    spent: int = 0
    seen_at: datetime | None = None
    unreachable_since: datetime | None = None
    cordoned: bool = False
    ends_at: datetime | None = None
    detail: str = ""

    @property
    def unreachable(self) -> bool:
        """Whether nobody hears of the machine: it gets no new work."""
        return self.unreachable_since is not None

    @property
    def interrupted(self) -> bool:
        """Whether the provider has given notice that it takes the machine back: it gets no new work."""
        return self.ends_at is not None


class AttemptState(StrEnum):
    """How one try at launching ended, or that it has not yet. `INTENT` and `UNKNOWN` owe a look-up by id."""

    INTENT = "intent"
    LAUNCHED = "launched"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CLEANED = "cleaned"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at launching one offer. `attempt_id` is what the provider knows it by; `number` counts from 1.

    `kind` is the error class of a refusal, `detail` the provider's words. `ended_at` is when the attempt came to its
    state: refused, unknown, or cleaned; of a launched one, when its machine was told to end.
    """

    attempt_id: str
    number: int
    offer: Offer
    state: AttemptState
    started_at: datetime
    deadline: datetime
    machine_ref: str = ""
    kind: str = ""
    detail: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an instance's history."""

    at: datetime
    fence: int
    source: State | None
    target: State
    reason: Reason
    actor: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of instances. `deleting` closes it to new ones; `draining` gives leave to remove those it has."""

    project: str
    name: str
    created_at: datetime
    is_default: bool = False
    deleting: bool = False
    draining: bool = False
    total: int = 0
    available: int = 0


class RunState(StrEnum):
    """Where a run stands. `DONE`, `FAILED`, `STOPPED` are ends; each other state has a deadline or a live lease."""

    SUBMITTED = "submitted"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class RunReason(StrEnum):
    """Why a run stands where it stands. Closed."""

    SUBMITTED = "submitted"
    REUSED = "reused-idle-instance"
    NO_IDLE_INSTANCE = "no-idle-instance"
    READY = "instance-ready"
    PICKED_UP = "picked-up"
    EXITED = "exited"
    EXITED_NON_ZERO = "exited-non-zero"
    USER_STOPPED = "user-stopped"
    NO_CAPACITY = "no-capacity"
    PROVISIONING_FAILED = "provisioning-failed"
    NOT_PICKED_UP = "not-picked-up"
    MACHINE_LOST = "machine-lost"
    MACHINE_REMOVED = "machine-removed"
    START_FAILED = "start-failed"
    INTERRUPTED = "interrupted"
    MAX_DURATION = "max-duration"


RUN_ENDS = frozenset({RunState.DONE, RunState.FAILED, RunState.STOPPED})


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job executes. `argv` runs as a process group in the code folder, or in `image` when one is given.

    `code` is the SHA-256 of the uploaded archive, or empty. `kill_after` is the time from SIGTERM to SIGKILL.
    """

    argv: tuple[str, ...]
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    kill_after: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a run was begun, and what ended its tries. `number` is the present try, or the one that is waited for.

    `began_at` is when the present try's job ran. A series is what follows a first failure: `since` is that failure's
    moment, `failures` how many there were. `interruptions` counts those of all tries. `retry_at` is when a run that
    waits is placed again. `placements` is how many machines the run had been given before the present try, or in
    clusters that did not come together. `search` says which those are; None: there was none in this try.
    """

    number: int = 1
    began_at: datetime | None = None
    since: datetime | None = None
    failures: int = 0
    interruptions: int = 0
    last_failure: str = ""
    retry_at: datetime | None = None
    placements: int = 0
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A user's work. `placements` counts how often it was given a machine; `request` is the submitted body.

    `started_at` is when the job of its first try ran. `jobs` are those of a run on several nodes, by rank; instance and
    lease are the master's then. A run on one machine has none.
    """

    project: str
    run_id: str
    name: str
    pool: str
    state: RunState
    fence: int
    reason: RunReason
    actor: str
    created_at: datetime
    changed_at: datetime
    spec: JobSpec
    request: Mapping[str, Any] = field(default_factory=dict)
    instance_id: str = ""
    instance_name: str = ""
    lease_id: str = ""
    placements: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    detail: str = ""
    tries: Tries = Tries()
    jobs: Jobs = ()

    @property
    def instance_ids(self) -> tuple[str, ...]:
        """The instances that the run is on or waits for; of several the master's first."""
        ids = [job.instance_id for job in self.jobs] or [self.instance_id]
        return tuple(each for each in ids if each)

    @property
    def job_id(self) -> str:
        """What agents know the job of the present try by: each try is a job of its own."""
        return self.run_id if self.tries.number == 1 else f"{self.run_id}-{self.tries.number}"

    @property
    def ends_by(self) -> datetime | None:
        """When the run has used up the time that it may take in all, from the start of its first try."""
        limit_s = self.request.get("policies", {}).get("max_duration_s")
        return self.started_at + timedelta(seconds=limit_s) if limit_s and self.started_at else None


class Role(StrEnum):
    """What a token may do: each role includes the ones after it. `AGENT` reaches one instance only."""

    ADMIN = "admin"
    MANAGER = "manager"
    USER = "user"
    VIEWER = "viewer"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Token:
    """What is stored of a token: never the secret, only its SHA-256. `project` `*` reaches every project."""

    token_id: str
    secret_sha256: str
    role: Role
    project: str
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    instance: str = ""
    """For agents: the timer-style target `instance/<project>/<pool>/<id>`."""
