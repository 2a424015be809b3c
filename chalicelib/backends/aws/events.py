"""What EventBridge says of instances, as machine events. Pure: who listens decides what to do.

Source of the forms: "Monitor Amazon EC2 using EventBridge" in the EC2 user guide. All are sent on a best effort basis
in the instance's region: each may be missing, late, or come twice.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib.backends.aws import machines
from chalicelib.backends.base import MachineEvent, Sign

SOURCE: Final = "aws.ec2"

STATE: Final = "EC2 Instance State-change Notification"
SIGNS: Final[Mapping[str, Sign]] = {
    STATE: Sign.GONE,
    "EC2 Spot Instance Interruption Warning": Sign.INTERRUPTION,
    "EC2 Instance Rebalance Recommendation": Sign.REBALANCE,
}
"""By `detail-type`. A recommendation comes before a warning, or with it."""

ENDING: Final = frozenset({"shutting-down", "terminated"})
"""States from which no way leads back."""

WARNING: Final = timedelta(minutes=2)
"""From the warning to the end of the instance. Source: "Spot Instance interruption notices"."""


def parse(event: Mapping[str, Any]) -> MachineEvent | None:
    """Read one event; None for one of another kind, and for a state in which the machine goes on.

    Raises `ValueError` for an event that lacks what its kind must have.
    """
    sign = SIGNS.get(event.get("detail-type", ""))
    if event.get("source") != SOURCE or sign is None:
        return None
    try:
        ref = machines.ref(event["region"], event["detail"]["instance-id"])
        at = datetime.fromisoformat(event["time"])
        if sign is Sign.GONE and event["detail"]["state"] not in ENDING:
            return None
    except (KeyError, TypeError) as error:
        raise ValueError(f"an event that is not understood, for {error}: {event!r}") from error
    return MachineEvent(ref, sign, at + WARNING if sign is Sign.INTERRUPTION else at)
