"""The API's JSON as types: what `Client` answers is exactly what came over the wire, and these name its shape.

Times are ISO 8601 UTC text, sizes whole MiB, money whole micro-dollars (a price: per hour). For type checkers
only: nothing imports this module when a command runs.
"""

from typing import Any, NotRequired, TypedDict


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


class Pool(TypedDict):
    """A named set of instances. `available` counts the ones that could be taken now."""

    name: str
    is_default: bool
    total: int
    available: int
    created_at: str


class Offer(TypedDict):
    """What a backend would rent, where, and for how much."""

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


class LeaseFacts(TypedDict):
    """The hold on an instance, as it stands on the instance."""

    lease_id: str
    holder: str
    fence: int
    acquired_at: str
    expires_at: str


class Instance(TypedDict):
    """One machine. The offer's fields are None until one is chosen; `idle_limit_s` None means never; `interrupted`: its
    provider takes it back, by `ends_at`."""

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
    lease: LeaseFacts | None
    unreachable: bool
    cordoned: bool
    interrupted: bool
    ends_at: str | None
    seen_at: str | None
    fence: int


class HostCheck(TypedDict):
    """One check of a host. `status` is `pass`, `warn` or `fail`, `code` is `ok` or what is wrong, `fix` a remedy."""

    check: str
    status: str
    code: str
    found: str
    fix: str


class HostFacts(TypedDict):
    """What an adopted server has besides. `step` is how far its adoption is (`preflight`, `install`, `agent`,
    `uninstall`, `done`, `failed`), `failure` why it ended or why the last try came to nothing, `host_key` the
    fingerprint that is pinned, `jump_host_key` that of the jump host."""

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
    checks: list[HostCheck]
    cleanup_pending_since: str | None


class Attempt(TypedDict):
    """One try at launching one offer. `kind` is the class of a refusal."""

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
    """An instance with what happened to it; `host` if it is an adopted server."""

    attempts: list[Attempt]
    history: list[Transition]
    facts: dict[str, Any]
    spent_micros: int
    host: HostFacts | None


class Lease(LeaseFacts):
    """A hold together with the instance it is on."""

    instance: Instance


class Released(TypedDict):
    """A hold that was given back, with the instance as it is now."""

    lease_id: str
    fence: int
    released_at: str
    instance: Instance


class ClusterPlan(TypedDict):
    """Where the nodes of a run could come together: `free` are idle there, `missing` would be bought for `price_micros`
    an hour each; `total_micros` is for all nodes together. `why` says why not there, or is empty."""

    cluster: str
    free: int
    missing: int
    price_micros: int | None
    total_micros: int | None
    why: str


class Refusal(TypedDict):
    """What a run would be refused with, and what is wrong with each instance or cluster."""

    code: str
    detail: str
    reasons: dict[str, str]


class Plan(TypedDict):
    """What would happen. `filters`: what removed the last candidates, if nothing is left; `warnings`: what looks like
    a slip; `notes`: how far the prices can be believed; `clusters`: where several `nodes` could come together."""

    pool: str
    requirements: str
    policies: dict[str, Any]
    instances: list[Instance]
    offers: list[Offer]
    total_offers: int
    filters: list[str]
    warnings: NotRequired[list[str]]
    notes: NotRequired[list[str]]
    nodes: NotRequired[int]
    clusters: NotRequired[list[ClusterPlan]]
    refusal: NotRequired[Refusal | None]


class RunInstance(TypedDict):
    """Where a run is placed."""

    instance_id: str
    name: str


class NodeJob(TypedDict):
    """What one node of a run executes; `reason` and `detail` say why it failed."""

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
    """A user's work. `attempts` is there while an instance is provisioned for it, `last_failure` and `retry_at` while
    it waits for its next try; `ends_by` is when it has used up its `max_duration`. `warnings`: what looks like a slip,
    in the answer to its request."""

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
    attempts: NotRequired[list[Attempt]]
    warnings: NotRequired[list[str]]


class LogChunk(TypedDict):
    """A piece of a run's log: bytes `offset` to `next`, base64. `complete`: the run is over and this was the rest."""

    run: Run
    offset: int
    data: str
    next: int
    complete: bool


class Upload(TypedDict):
    """Where to put an archive; `url` is None when it is there already."""

    present: bool
    url: str | None
    headers: dict[str, str]
    expires_at: str | None


class Token(TypedDict):
    """A token's facts. `token` itself is there once, in the answer to its creation."""

    token_id: str
    name: str
    role: str
    project: str
    created_at: str
    expires_at: str | None
    token: NotRequired[str]


class Me(TypedDict):
    """Who the token is."""

    name: str
    role: str
    project: str
    expires_at: str | None


class Requirements(TypedDict, total=False):
    """What a machine must have, in the requirement grammar: `{"gpu": "A100:2", "memory": "64GB.."}`."""

    cpu: str
    memory: str
    gpu: str
    disk: str
    shared_memory: str


class Policies(TypedDict, total=False):
    """What a plan, an added instance, a run and a lease share. All optional; `max_duration` for runs alone."""

    requirements: Requirements
    backends: list[str]
    regions: list[str]
    instance_types: list[str]
    spot_policy: str
    max_price: float
    idle_duration: str | int | bool
    retry: bool | dict[str, Any]
    allow_gpu: bool
    max_duration: str | int | bool


class PlanRequest(Policies, total=False):
    """A plan to be. `for_run`: with a run's defaults and idle instances; `nodes` to `instance` as that run has them."""

    pool: str
    for_run: bool
    nodes: int
    image: str
    reuse: bool
    instance: str
    max_offers: int


class RunRequest(Policies, total=False):
    """A run to be. `code` is the SHA-256 of an uploaded archive."""

    name: str
    pool: str
    argv: list[str]
    image: str
    env: dict[str, str]
    code: str
    reuse: bool
    instance: str
    nodes: int
    kill_after_s: float


class Check(TypedDict):
    """One thing that has to be right at an account; `fix` says what to do when it is not."""

    name: str
    ok: bool
    detail: str
    fix: str


class Checkup(TypedDict):
    """What the checks of a backend said, and when."""

    at: str
    ok: bool
    checks: list[Check]


class Backend(TypedDict):
    """An account at a provider, without credentials. `state` is `open` or `closing`."""

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
    checkup: Checkup | None
    catalog_at: str | None


class NewBackend(TypedDict):
    """A backend to be. `name` is the kind unless said otherwise."""

    name: NotRequired[str]
    kind: str
    config: dict[str, Any]
    credentials: dict[str, str]
    replace: bool
    check: bool
