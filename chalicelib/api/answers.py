"""What the API answers, as types: they are the answers' schemas in the OpenAPI document. `views` makes the values.

Names carry their units: `_s` seconds, `_mib` MiB, `_micros` micro-dollars. Moments are ISO 8601 in UTC. Nothing here
is a secret, and nothing here may become one.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict


class Health(TypedDict):
    """The API answers."""

    status: str
    stage: str
    version: str
    time: str


class Me(TypedDict):
    """Whose token this is. `project` `*` means every project."""

    name: str
    role: str
    project: str
    expires_at: str | None


class Token(TypedDict):
    """A token of a person or a program, without its secret."""

    token_id: str
    name: str
    role: str
    project: str
    created_at: str
    expires_at: str | None


class IssuedToken(Token):
    """A token that was just made. `token` is null when the answer is a replay."""

    token: str | None


class RevokedToken(TypedDict):
    """A token that is no more."""

    token_id: str
    revoked: bool


class Project(TypedDict):
    """A tenant."""

    name: str
    default_pool: str | None


class Pool(TypedDict):
    """A named set of instances. `available` counts the ones that could be taken now."""

    name: str
    is_default: bool
    total: int
    available: int
    created_at: str


class DeletedPool(TypedDict):
    """A pool that is gone, or (`deleted` false) that will be when its last instance is."""

    name: str
    deleted: bool


class Gpu(TypedDict):
    """`count` equal GPUs; `memory_mib` is nominal and per GPU."""

    name: str
    memory_mib: int
    count: int
    vendor: str


class Resources(TypedDict):
    """What a machine has."""

    cpus: int
    memory_mib: int
    disk_mib: int
    gpus: list[Gpu]


class Offer(TypedDict):
    """What a backend would rent. `price_micros` is micro-dollars an hour, as it was at `priced_at` (null: not known).

    `availability` is `available`, `unknown`, or `stocked-out` for what was sold out a moment ago.
    """

    backend: str
    region: str
    zone: str
    instance_type: str
    resources: Resources
    spot: bool
    price_micros: int
    price_source: str
    priced_at: str | None
    availability: str


class Hold(TypedDict):
    """The lease on an instance, as the instance shows it."""

    lease_id: str
    holder: str
    fence: int
    acquired_at: str
    expires_at: str


class Instance(TypedDict):
    """A machine that is rented. The fields of the offer are null until one is chosen, `idle_limit_s` null is never.

    `interrupted`: its provider takes it back, by `ends_at`; it gets no new work.
    """

    instance_id: str
    name: str
    pool: str
    state: str
    reason: str
    detail: str
    actor: str
    created_at: str
    changed_at: str
    expires_at: str | None
    idle_limit_s: float | None
    backend: str | None
    region: str | None
    zone: str | None
    instance_type: str | None
    resources: Resources | None
    spot: bool | None
    price_micros: int | None
    price_source: str | None
    lease: Hold | None
    unreachable: bool
    cordoned: bool
    interrupted: bool
    ends_at: str | None
    seen_at: str | None
    fence: int


class HostCheckResult(TypedDict):
    """One check of a host. `status`: pass, warn or fail; `fix` is a command or an advice, empty where none is due."""

    check: str
    status: str
    code: str
    found: str
    fix: str


class HostFacts(TypedDict):
    """A server that somebody owns: where it is reached, how far its adoption is, what the checks found.

    `failure` says why it ended, or, while it lasts, why the last try came to nothing. `host_key` is the fingerprint
    that is pinned, `jump_host_key` that of the jump host where the control plane connects through one. `address` is
    the internal one, by which hosts of its network reach it; `network` is the key of that: its CIDR, and behind jump
    hosts the way in.
    """

    destination: str
    jump: str
    from_here: bool
    step: str
    failure: str
    host_key: str
    jump_host_key: str
    network: str
    address: str
    machine_id: str
    checks: list[HostCheckResult]
    cleanup_pending_since: str | None


class Attempt(TypedDict):
    """One try at launching one offer. `kind` is the class of a refusal, `detail` the provider's words."""

    number: int
    attempt_id: str
    offer: Offer
    state: str
    kind: str
    detail: str
    started_at: str
    ended_at: str | None


class Transition(TypedDict):
    """One step of an instance's history."""

    at: str
    fence: int
    source: str | None
    target: str
    reason: str
    actor: str
    detail: str


class InstanceDetail(Instance):
    """An instance with what happened to it. `spent_micros` is what its machines cost so far; `host`: it is adopted."""

    attempts: list[Attempt]
    history: list[Transition]
    facts: dict[str, Any]
    spent_micros: int
    host: HostFacts | None


class ClusterPlan(TypedDict):
    """Where the nodes of a run could come together: `free` are idle there, `missing` would be bought.

    Micro-dollars an hour: `price_micros` of each that is bought, `total_micros` of all nodes together; null where there
    is none. `why` says why this cluster is not possible, else it is empty.
    """

    cluster: str
    free: int
    missing: int
    price_micros: int | None
    total_micros: int | None
    why: str


class Refusal(TypedDict):
    """What a run would be refused with: the error's code and text, and what is wrong with each instance or cluster."""

    code: str
    detail: str
    reasons: dict[str, str]


class Plan(TypedDict):
    """What a request would get.

    `filters` says why nothing is left, `warnings` what looks like a slip, `notes` of which backends the prices are old.
    `clusters` (for several `nodes` only): where they could come together, in the order of the tries, then where not.
    `refusal`: of a run that buys nothing (`reuse`, `instance`) and finds nothing; else null.
    """

    pool: str
    requirements: str
    policies: dict[str, Any]
    instances: list[Instance]
    offers: list[Offer]
    total_offers: int
    filters: list[str]
    warnings: list[str]
    notes: list[str]
    nodes: int
    clusters: list[ClusterPlan]
    refusal: Refusal | None


class Lease(TypedDict):
    """A hold with the instance it is on. After the release holder and times are null, and `released_at` is there."""

    lease_id: str
    holder: str | None
    fence: int
    acquired_at: str | None
    expires_at: str | None
    released_at: NotRequired[str]
    instance: Instance


class Gang(TypedDict):
    """Leases on several instances of one cluster that were taken together."""

    leases: list[Lease]


class Upload(TypedDict):
    """Where to PUT an archive, with which headers; `url` is null when it is there already."""

    present: bool
    url: str | None
    headers: dict[str, str]
    expires_at: str | None


class RunInstance(TypedDict):
    """Where a run is placed."""

    instance_id: str
    name: str


class NodeJob(TypedDict):
    """What one node of a run executes. `address`: how the other nodes reach it; `reason`, `detail`: why it failed."""

    rank: int
    state: str
    instance: RunInstance | None
    lease_id: str
    cluster: str
    address: str
    gpus: int
    exit_code: int | None
    reason: str
    detail: str


class Run(TypedDict):
    """A user's work. `tries` counts how often it was begun; `ends_by` is when it has used up its `max_duration`.

    `last_failure` is what ended the try before, `retry_at` when a run that waits for its next try is placed again.
    `jobs` are those of a run on several `nodes`, by rank; instance and lease are the master's then. Else it is empty.
    """

    run_id: str
    name: str
    pool: str
    state: str
    reason: str
    detail: str
    actor: str
    created_at: str
    changed_at: str
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    argv: list[str]
    image: str
    instance: RunInstance | None
    lease_id: str
    placements: int
    tries: int
    last_failure: str
    retry_at: str | None
    ends_by: str | None
    nodes: int
    jobs: list[NodeJob]


class SubmittedRun(Run):
    """A run with what looks like a slip in its request."""

    warnings: list[str]


class RunDetail(Run):
    """A run with the attempts of its instance, while that is provisioned or when it failed to be."""

    attempts: list[Attempt]


class LogChunk(TypedDict):
    """Bytes `offset` to `next` of a run's output, base64. `complete`: the run is over and this was the rest.

    `offset` is further than what was asked for where a try left a gap behind its output: go on from `next`.
    """

    run: Run
    offset: int
    data: str
    next: int
    complete: bool


class SpotCount(TypedDict):
    """What became of the spot machines of one kind that were launched, or taken back, on one day (UTC)."""

    day: str
    region: str
    zone: str
    instance_type: str
    launches: int
    interruptions: int


class SpotStatistics(TypedDict):
    """The counts of one backend's spot machines from a day on, oldest first."""

    backend: str
    since: str
    days: list[SpotCount]
