"""The one table of everything that the command line, a run file and a profile may say about a machine and its choice.

A key that stands here has an option, may stand in both files, follows the one precedence, and is explained; the tests
walk the table. What a value means is the server's to judge; only its type is checked here.
"""

from __future__ import annotations

from tidepool.options import HIGHEST_PRICE, SPOT_POLICIES

GPU_PARTS = ("name", "vendor", "memory", "count", "total_memory", "compute_capability")


class Key:
    """One thing that can be said. `dest` is its place among the parsed arguments, `field` its path in a request.

    `kind` says how a file writes it: `text`, `names` (a list), `spec` (text or a number), `gpu` (that, or a map),
    `price`, `limit` (a duration or `off`), `flag`, `spot`, `retry`. `run_only`: adding an instance has no use for it.
    `section`: the map of a file that it stands in. `shown` is its name among the policies that a plan answers.
    """

    __slots__ = ("dest", "example", "field", "kind", "name", "option", "run_only", "section", "shown")

    def __init__(
        self,
        name: str,
        kind: str,
        option: str,
        example: str,
        *,
        dest: str = "",
        run_only: bool = False,
        section: str = "",
        shown: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.option = option
        self.example = example
        self.dest = dest or option.removeprefix("--").replace("-", "_")
        self.run_only = run_only
        self.section = section
        self.field = f"requirements.{name}" if section else name
        self.shown = shown or name


KEYS = (
    Key("pool", "text", "--pool", "gpu"),
    Key("instance", "text", "--instance", "calm-heron-10", run_only=True),
    Key("reuse", "flag", "--reuse", "true", run_only=True),
    Key("cpu", "spec", "--cpu", "4..", section="resources", shown="cpus"),
    Key("memory", "spec", "--memory", "32GB..", section="resources", shown="memory_mib"),
    Key("gpu", "gpu", "--gpu", "A100:80GB:2", section="resources"),
    Key("disk", "spec", "--disk", "200GB..", section="resources", shown="disk_mib"),
    Key("shared_memory", "spec", "--shared-memory", "8GB", section="resources", shown="shared_memory_mib"),
    Key("allow_gpu", "flag", "--allow-gpu", "true"),
    Key("backends", "names", "--backend", "[aws, azure]"),
    Key("regions", "names", "--region", "[eu-west-1]"),
    Key("instance_types", "names", "--instance-type", "[p4d.24xlarge]"),
    Key("spot_policy", "spot", "--spot-policy", "auto"),
    Key("max_price", "price", "--max-price", "2.5", shown="max_price_micros"),
    Key("idle_duration", "limit", "--idle-duration", "30m", shown="idle_limit_s"),
    Key("max_duration", "limit", "--max-duration", "6h", run_only=True, shown="max_duration_s"),
    Key("retry", "retry", "--retry", "{on_events: [no-capacity], duration: 2h}"),
)
BY_NAME = {key.name: key for key in KEYS}
RESOURCES = tuple(key.name for key in KEYS if key.section)

RENAMED = {
    "pool_name": "pool",
    "instance_name": "instance",
    "shm_size": "shared_memory",
    "creation_policy": "reuse",
    "retry_policy": "retry",
    "termination_policy": "idle_duration",
    "termination_idle_time": "idle_duration",
}
"""Older names, which are understood, and the keys that took their places."""
DEPRECATED = frozenset(RENAMED) - {"shm_size"}

TOP_LEVEL = (*(key.name for key in KEYS if not key.section), "resources", *(set(RENAMED) - {"shm_size"}))
"""What a profile and the top of a run file may hold of this table."""

EXPECTED = {
    "text": "a name",
    "names": "a list of names, such as [aws, azure]",
    "spec": "a number or a text, such as {example}",
    "gpu": "a text such as A100:80GB:2, a number, or a map with some of " + ", ".join(GPU_PARTS),
    "price": f"USD an hour above 0 and below {HIGHEST_PRICE}, such as 2.5",
    "limit": "a duration such as 30m, or off",
    "flag": "true or false",
    "spot": "one of " + ", ".join(SPOT_POLICIES),
    "retry": "true, false, or a map with on_events and duration",
}


def expected(key: Key) -> str:
    """What a file should say for a key."""
    return EXPECTED[key.kind].replace("{example}", key.example)


class Said:
    """A value, and who said it: an option, or a file with its line. `value` is as the API takes it."""

    __slots__ = ("source", "value")

    def __init__(self, value: object, source: str) -> None:
        self.value = value
        self.source = source
