"""What EC2 says of instances, as machines, and what a machine is called.

A reference names the region too (`eu-central-1/i-0123456789abcdef0`): an instance can be asked for only there.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from chalicelib.backends.aws.config import is_region
from chalicelib.backends.base import Machine, Phase

OWNER_TAG: Final = "tidepool-owner"
ATTEMPT_TAG: Final = "tidepool-attempt"

PHASES: Final[Mapping[str, Phase]] = {
    "pending": Phase.STARTING,
    "running": Phase.RUNNING,
    "shutting-down": Phase.STOPPING,
    "stopping": Phase.RUNNING,
    "stopped": Phase.RUNNING,
    "terminated": Phase.GONE,
}
"""Instance states. Nothing here stops a machine. One that somebody stopped in the console keeps its disk, which bills,
and does not end by itself: it counts as one that is there, so that it is told to end."""

LIVE: Final = tuple(state for state, phase in PHASES.items() if phase is not Phase.GONE)

TAKEN_BACK: Final = frozenset({"Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"})
"""`StateReason` of a machine that the spot market ended."""

BEING_TAKEN_BACK: Final = ("marked-for-", "instance-terminated-", "instance-stopped-")
"""What the status of a spot request begins with from the notice on. Source: "Get the status of a Spot Instance request"
in the EC2 user guide."""

ENDED_BY_US: Final = frozenset({"instance-terminated-by-user"})

_INSTANCE: Final = re.compile(r"i-[0-9a-f]{8,17}")


def ref(region: str, instance_id: str) -> str:
    """Name a machine."""
    return f"{region}/{instance_id}"


def place(machine_ref: str) -> tuple[str, str] | None:
    """The region and the instance id of a reference; None when it is none of ours."""
    region, _, instance_id = machine_ref.partition("/")
    return (region, instance_id) if is_region(region) and _INSTANCE.fullmatch(instance_id) else None


def machine(region: str, row: Mapping[str, Any], *, spot_status: str = "") -> Machine:
    """Read one instance of `DescribeInstances` or `RunInstances`. Raises for a row of another form."""
    tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())}
    reason = row.get("StateReason", {}).get("Code", "")
    return Machine(
        ref=ref(region, row["InstanceId"]),
        attempt_id=tags.get(ATTEMPT_TAG, ""),
        phase=PHASES[row["State"]["Name"]],
        launched_at=row["LaunchTime"].astimezone(UTC),
        address=row.get("PublicIpAddress") or row.get("PrivateIpAddress") or "",
        interrupted=reason in TAKEN_BACK or is_taken_back(spot_status),
    )


def is_taken_back(spot_status: str) -> bool:
    """Whether the status of a spot request means that its machine got notice or is gone for it."""
    return spot_status.startswith(BEING_TAKEN_BACK) and spot_status not in ENDED_BY_US


def tags(owner: str, attempt_id: str, more: Mapping[str, str]) -> dict[str, str]:
    """The tags of everything that a launch makes. `Name` is what AWS's console shows."""
    name = more.get("tidepool-name", attempt_id)
    return {"Name": name, **more, OWNER_TAG: owner, ATTEMPT_TAG: attempt_id}
