"""The rows of each table. `tables.configure` gives the tables their names.

An attribute that is absent stands for None, an empty text, 0 or False.
"""

from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib.store.columns import DocumentAttribute, MomentAttribute


class PoolRow(Model):
    """A project (`name` = `#project`), a pool (its name), or a shape seen in a pool (`<pool>#<shape>`)."""

    class Meta:
        table_name = ""

    project = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    created_at = MomentAttribute(null=True)
    default_pool = UnicodeAttribute(null=True)
    deleting = BooleanAttribute(null=True)
    draining = BooleanAttribute(null=True)
    offer = DocumentAttribute(null=True)
    total = NumberAttribute(null=True)
    available = NumberAttribute(null=True)


class NameRow(Model):
    """Who has a name: `instance:<name>`, `id:<instance id>`, `run:<name>`, or `request:<id>` for what a request made.

    `ended` is present when the holder is over: the name is free to take, and still leads to the newest holder.
    """

    class Meta:
        table_name = ""

    project = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    pool = UnicodeAttribute(null=True)
    holder = UnicodeAttribute()
    ended = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ClaimableIndex(GlobalSecondaryIndex["InstanceRow"]):  # type: ignore[no-untyped-call]
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

    class Meta:
        table_name = ""

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
    holder = UnicodeAttribute(null=True)
    lease_fence = NumberAttribute(null=True)
    acquired_at = MomentAttribute(null=True)
    lease_expires = MomentAttribute(null=True)
    lease_s = NumberAttribute(null=True)
    machine_ref = UnicodeAttribute(null=True)
    attempt = NumberAttribute(null=True)
    billed_from = MomentAttribute(null=True)
    spent = NumberAttribute(null=True)
    seen_at = MomentAttribute(null=True)
    unreachable_since = MomentAttribute(null=True)
    cordoned = BooleanAttribute(null=True)
    ends_at = MomentAttribute(null=True)
    claim_shape = UnicodeAttribute(null=True)
    claim_order = UnicodeAttribute(null=True)
    wrote = UnicodeAttribute()
    write = UnicodeAttribute()
    flips = NumberAttribute(null=True)
    flagged_by = UnicodeAttribute(null=True)
    ended_how = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)
    claimable = ClaimableIndex()


class JournalRow(Model):
    """What belongs to one instance and is not shown in a listing, by `entry`."""

    class Meta:
        table_name = ""

    instance_id = UnicodeAttribute(hash_key=True)
    entry = UnicodeAttribute(range_key=True)
    body = DocumentAttribute(null=True)
    state = UnicodeAttribute(null=True)
    machine_ref = UnicodeAttribute(null=True)
    kind = UnicodeAttribute(null=True)
    detail = UnicodeAttribute(null=True)
    ended_at = MomentAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ActiveIndex(GlobalSecondaryIndex["RunRow"]):  # type: ignore[no-untyped-call]
    """Runs that are not over. Keys only: it is written when a run is submitted and when it ends, never between."""

    class Meta:
        index_name = "active"
        projection = KeysOnlyProjection()

    active_in = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class RunRow(Model):
    """A run. `active_in` (the project) is present until it ends."""

    class Meta:
        table_name = ""

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
    tries = DocumentAttribute(null=True)
    jobs = DocumentAttribute(null=True)
    active_in = UnicodeAttribute(null=True)
    write = UnicodeAttribute()
    ttl = NumberAttribute(null=True)
    active = ActiveIndex()


class TimerRow(Model):
    """A timer, or (`watermark`/`sweep`) how far the sweep came. Its TTL is the due second: the net under the sweep."""

    class Meta:
        table_name = ""

    due = UnicodeAttribute(hash_key=True)
    timer = UnicodeAttribute(range_key=True)
    reached = MomentAttribute(null=True)
    ttl = NumberAttribute(null=True)


class ByProjectIndex(GlobalSecondaryIndex["TokenRow"]):  # type: ignore[no-untyped-call]
    """The tokens that people made. Agents' tokens are not in it, so it does not grow with the instances."""

    class Meta:
        index_name = "by_project"
        projection = KeysOnlyProjection()

    listed_in = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class TokenRow(Model):
    """What is kept of a token. `used_sha256` and `successor` are set when a bootstrap token was exchanged."""

    class Meta:
        table_name = ""

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

    class Meta:
        table_name = ""

    key = UnicodeAttribute(hash_key=True)
    body_hash = UnicodeAttribute()
    started_at = MomentAttribute()
    status = NumberAttribute(null=True)
    body = UnicodeAttribute(null=True)
    write = UnicodeAttribute()
    ttl = NumberAttribute()


class MarketRow(Model):
    """What workers share about providers, by `topic`: stock-outs, buckets of launches, and who waits for a launch."""

    class Meta:
        table_name = ""

    topic = UnicodeAttribute(hash_key=True)
    entry = UnicodeAttribute(range_key=True)
    refusals = NumberAttribute(null=True)
    tokens = NumberAttribute(null=True)
    at = MomentAttribute(null=True)
    until = MomentAttribute(null=True)
    ttl = NumberAttribute(null=True)


class BackendRow(Model):
    """A configured backend, or (without `kind`) what is left of one. Credentials are in Secrets Manager alone.

    `secret` names them, `spare` those that may exist besides; `write` says which very write the row is of.
    """

    class Meta:
        table_name = ""

    project = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute(null=True)
    config = DocumentAttribute(null=True)
    secret = UnicodeAttribute(null=True)
    spare = DocumentAttribute(null=True)
    version = NumberAttribute(null=True)
    created_at = MomentAttribute(null=True)
    changed_at = MomentAttribute(null=True)
    actor = UnicodeAttribute(null=True)
    closed = BooleanAttribute(null=True)
    checkup = DocumentAttribute(null=True)
    write = UnicodeAttribute()


class MachineRow(Model):
    """What is known of a provider's machine by its own name, and what became of machines of a kind, by day.

    `machine#<ref>` / `<project>/<backend>` leads from a machine to the instance it was rented for; `counted` is present
    when its interruption was counted. `spot#<project>/<backend>` / `<day>#<region>#<zone>#<type>` counts.
    """

    class Meta:
        table_name = ""

    topic = UnicodeAttribute(hash_key=True)
    entry = UnicodeAttribute(range_key=True)
    pool = UnicodeAttribute(null=True)
    instance_id = UnicodeAttribute(null=True)
    kind = UnicodeAttribute(null=True)
    counted = MomentAttribute(null=True)
    launches = NumberAttribute(null=True)
    interruptions = NumberAttribute(null=True)
    ttl = NumberAttribute()


class HostRow(Model):
    """A host or a check (`host#<instance id>`, `check#<id>`: `doc`), or a claim (`claim#<what>`: `holder`)."""

    class Meta:
        table_name = ""

    project = UnicodeAttribute(hash_key=True)
    entry = UnicodeAttribute(range_key=True)
    doc = DocumentAttribute(null=True)
    holder = UnicodeAttribute(null=True)
    write = UnicodeAttribute()
    ttl = NumberAttribute(null=True)
