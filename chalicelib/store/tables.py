"""The tables, once: their models, their names, and the schema that tests and the CloudFormation template share.

All models share one connection, and so one client: building a client costs about 100 ms of a cold start.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.connection import Connection, TableConnection
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib.store.columns import DocumentAttribute, MomentAttribute

CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 5
RETRIES: Final = 3
"""After the first try, with botocore's exponential back-off and jitter ("standard" mode)."""

POOL_CONNECTIONS: Final = 32
"""Enough for every thread of a task that fans out; unused ones are never opened."""


class Limits:
    """What every model's `Meta` shares. `table_name` is set by `configure`; region and endpoint by the environment."""

    table_name = ""
    connect_timeout_seconds = CONNECT_TIMEOUT_S
    read_timeout_seconds = READ_TIMEOUT_S
    max_retry_attempts = RETRIES
    max_pool_connections = POOL_CONNECTIONS
    stream = ""
    has_ttl = True


class PoolRow(Model):
    """A project (`name` = `#project`), a pool (its name), or a shape seen in a pool (`<pool>#<shape>`)."""

    class Meta(Limits):
        noun = "pools"
        has_ttl = False

    project = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    created_at = MomentAttribute(null=True)
    default_pool = UnicodeAttribute(null=True)
    deleting = BooleanAttribute(null=True)
    offer = DocumentAttribute(null=True)
    total = NumberAttribute(null=True)
    available = NumberAttribute(null=True)


class NameRow(Model):
    """Who has a name: `instance:<name>`, `id:<instance id>` or `run:<name>`.

    `ended` is present when the holder is over: the name is free to take, and still leads to the newest holder.
    """

    class Meta(Limits):
        noun = "names"

    project = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    pool = UnicodeAttribute(null=True)
    holder = UnicodeAttribute()
    ended = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ClaimableIndex(GlobalSecondaryIndex["InstanceRow"]):
    """Instances that may be acquired now, by pool and shape, the longest idle first."""

    class Meta:
        index_name = "claimable"
        projection = IncludeProjection(["fence", "seen_at", "name"])

    claim_shape = UnicodeAttribute(hash_key=True)
    claim_order = UnicodeAttribute(range_key=True)


class InstanceRow(Model):
    """An instance. `doc` is the public text of the chosen offer; see `rows.py` for the meaning of the rest.

    `wrote` says what wrote the row last (`create`, `step`, `flag`, `touch`), `write` which very write it was, and
    `flips` counts the `flag` writes: the stream's readers tell records apart by `fence` and `flips`.
    """

    class Meta(Limits):
        noun = "instances"
        stream = "NEW_AND_OLD_IMAGES"

    part = UnicodeAttribute(hash_key=True)
    instance_id = UnicodeAttribute(range_key=True)
    name = UnicodeAttribute()
    state = UnicodeAttribute()
    fence = NumberAttribute()
    reason = UnicodeAttribute()
    actor = UnicodeAttribute()
    detail = UnicodeAttribute(null=True)
    created_at = MomentAttribute()
    changed_at = MomentAttribute()
    deadline = MomentAttribute(null=True)
    doc = UnicodeAttribute(null=True)
    quoted = UnicodeAttribute(null=True)
    shape = UnicodeAttribute(null=True)
    idle_limit_s = NumberAttribute(null=True)
    reserved_for = UnicodeAttribute(null=True)
    lease_id = UnicodeAttribute(null=True)
    holder = UnicodeAttribute(null=True)
    lease_fence = NumberAttribute(null=True)
    acquired_at = MomentAttribute(null=True)
    lease_expires = MomentAttribute(null=True)
    machine_ref = UnicodeAttribute(null=True)
    attempt = NumberAttribute(null=True)
    billed_from = MomentAttribute(null=True)
    spent = NumberAttribute(null=True)
    seen_at = MomentAttribute(null=True)
    unreachable = BooleanAttribute(null=True)
    cordoned = BooleanAttribute(null=True)
    claim_shape = UnicodeAttribute(null=True)
    claim_order = UnicodeAttribute(null=True)
    wrote = UnicodeAttribute()
    write = UnicodeAttribute()
    flips = NumberAttribute(null=True)
    ttl = NumberAttribute(null=True)
    claimable = ClaimableIndex()


class JournalRow(Model):
    """What belongs to one instance and is not shown in a listing, by `entry`."""

    class Meta(Limits):
        noun = "journal"

    instance_id = UnicodeAttribute(hash_key=True)
    entry = UnicodeAttribute(range_key=True)
    body = DocumentAttribute(null=True)
    state = UnicodeAttribute(null=True)
    machine_ref = UnicodeAttribute(null=True)
    kind = UnicodeAttribute(null=True)
    detail = UnicodeAttribute(null=True)
    ended_at = MomentAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ActiveIndex(GlobalSecondaryIndex["RunRow"]):
    """Runs that are not over. Keys only: it is written when a run is submitted and when it ends, never between."""

    class Meta:
        index_name = "active"
        projection = KeysOnlyProjection()

    active_in = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class RunRow(Model):
    """A run. `active_in` (the project) is present until it ends."""

    class Meta(Limits):
        noun = "runs"

    project = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)
    name = UnicodeAttribute()
    pool = UnicodeAttribute()
    state = UnicodeAttribute()
    fence = NumberAttribute()
    reason = UnicodeAttribute()
    actor = UnicodeAttribute()
    detail = UnicodeAttribute(null=True)
    created_at = MomentAttribute()
    changed_at = MomentAttribute()
    spec = DocumentAttribute()
    request = DocumentAttribute()
    instance_id = UnicodeAttribute(null=True)
    instance_name = UnicodeAttribute(null=True)
    lease_id = UnicodeAttribute(null=True)
    placements = NumberAttribute(null=True)
    started_at = MomentAttribute(null=True)
    ended_at = MomentAttribute(null=True)
    exit_code = NumberAttribute(null=True)
    active_in = UnicodeAttribute(null=True)
    write = UnicodeAttribute()
    ttl = NumberAttribute(null=True)
    active = ActiveIndex()


class TimerRow(Model):
    """A timer, or (`watermark`/`sweep`) how far the sweep came. Its TTL is the due second: the net under the sweep."""

    class Meta(Limits):
        noun = "timers"
        stream = "OLD_IMAGE"

    due = UnicodeAttribute(hash_key=True)
    timer = UnicodeAttribute(range_key=True)
    reached = MomentAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ByProjectIndex(GlobalSecondaryIndex["TokenRow"]):
    """The tokens that people made. Agents' tokens are not in it, so it does not grow with the instances."""

    class Meta:
        index_name = "by_project"
        projection = KeysOnlyProjection()

    listed_in = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class TokenRow(Model):
    """What is kept of a token. `used_sha256` and `successor` are set when a bootstrap token was exchanged."""

    class Meta(Limits):
        noun = "tokens"

    token_id = UnicodeAttribute(hash_key=True)
    secret_sha256 = UnicodeAttribute()
    role = UnicodeAttribute()
    project = UnicodeAttribute()
    name = UnicodeAttribute()
    created_at = MomentAttribute()
    expires_at = MomentAttribute(null=True)
    instance = UnicodeAttribute(null=True)
    used_sha256 = UnicodeAttribute(null=True)
    successor = UnicodeAttribute(null=True)
    listed_in = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)
    by_project = ByProjectIndex()


class IdempotencyRow(Model):
    """One mutating request that carried an Idempotency-Key, and its answer once it is known."""

    class Meta(Limits):
        noun = "idempotency"

    key = UnicodeAttribute(hash_key=True)
    body_hash = UnicodeAttribute()
    started_at = MomentAttribute()
    status = NumberAttribute(null=True)
    body = UnicodeAttribute(null=True)
    write = UnicodeAttribute()
    ttl = NumberAttribute()


MODELS: Final[tuple[type[Model], ...]] = (
    PoolRow,
    NameRow,
    InstanceRow,
    JournalRow,
    RunRow,
    TimerRow,
    TokenRow,
    IdempotencyRow,
)
TTL_ATTRIBUTE: Final = "ttl"

_stage = ""


def configure(stage: str) -> None:
    """Name the tables `tidepool-<stage>-<noun>`. Repeating it is free; another stage gets a connection of its own.

    Nothing is contacted here: the client is built at the first call, with region, endpoint and credentials from the
    ordinary AWS environment of that moment.
    """
    global _stage  # noqa: PLW0603 - the tables of a process are named once, as its environment is
    if stage == _stage:
        return
    shared = Connection(
        connect_timeout_seconds=CONNECT_TIMEOUT_S,
        read_timeout_seconds=READ_TIMEOUT_S,
        max_retry_attempts=RETRIES,
        max_pool_connections=POOL_CONNECTIONS,
    )
    for model in MODELS:
        model.Meta.table_name = table_name(stage, model.Meta.noun)
        table = connection(model)
        shared.add_meta_table(table.get_meta_table())
        table.connection = shared
    _stage = stage


def table_name(stage: str, noun: str) -> str:
    """The full name of one table."""
    return f"tidepool-{stage}-{noun}"


def connection(model: type[Model]) -> TableConnection:
    """The table behind a model, for calls that want raw items or raw answers."""
    return model._get_connection()


def schema(stage: str) -> list[dict[str, Any]]:
    """Describe every table as the parameters of CreateTable, plus `TimeToLiveAttribute` (a name, or None).

    This is the one source of the tables: the CloudFormation template is generated from it and tests create from it.
    """
    return [_table(stage, model) for model in MODELS]


def _table(stage: str, model: type[Model]) -> dict[str, Any]:
    described = cast(Mapping[str, Any], model._get_schema())
    attributes = {each["AttributeName"]: each["AttributeType"] for each in described["attribute_definitions"]}
    table: dict[str, Any] = {
        "TableName": table_name(stage, model.Meta.noun),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in sorted(attributes.items())
        ],
        "KeySchema": _keys(described["key_schema"]),
        "TimeToLiveAttribute": TTL_ATTRIBUTE if model.Meta.has_ttl else None,
    }
    indexes = [
        {
            "IndexName": index["index_name"],
            "KeySchema": _keys(index["key_schema"]),
            "Projection": dict(index["projection"]),
        }
        for index in described["global_secondary_indexes"]
    ]
    if indexes:
        table["GlobalSecondaryIndexes"] = indexes
    if model.Meta.stream:
        table["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": model.Meta.stream}
    return table


def _keys(described: list[dict[str, str]]) -> list[dict[str, str]]:
    """The hash key first, as CreateTable insists."""
    keys = [{"AttributeName": each["AttributeName"], "KeyType": each["KeyType"]} for each in described]
    return sorted(keys, key=lambda key: key["KeyType"])
