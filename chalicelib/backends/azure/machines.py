"""Virtual machines as Azure describes them, read as `Machine`s.

Source: States and billing status of Azure Virtual Machines. A machine that is stopped, even one that is deallocated,
costs for its disk and its address, so only one that Azure does not know is gone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chalicelib.backends.azure.body import ATTEMPT_TAG
from chalicelib.backends.azure.errors import failure
from chalicelib.backends.base import Machine, Phase

REF: Final = re.compile(
    r"/subscriptions/(?P<subscription>[0-9a-f-]{36})/resourceGroups/(?P<group>[\w().-]{1,90})"
    r"/providers/Microsoft\.Compute/virtualMachines/(?P<name>[a-z0-9-]{1,64})",
    re.ASCII,
)
OVERALL: Final = "ProvisioningState/failed"
BOOTED: Final = re.compile(r"OSProvisioning\w+")
"""Failures of a report only: the machine runs, and Azure did not hear of it in time. Our own agent knows better."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine is: what its reference says."""

    subscription: str
    group: str
    name: str

    @property
    def ref(self) -> str:
        """The resource id, spelled by us: Azure spells groups in other cases in some of its answers."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Compute/virtualMachines/{self.name}"
        )


def place(ref: str) -> Place | None:
    """Read a reference; None for a text that is none of ours, which no machine has."""
    found = REF.fullmatch(ref)
    return Place(found["subscription"], found["group"], found["name"]) if found else None


def tags(row: Mapping[str, Any]) -> Mapping[str, str]:
    """The tags of a resource."""
    return row.get("tags") or {}


def machine(row: Mapping[str, Any], where: Place) -> Machine:
    """Read one virtual machine. `row` has an `instanceView` only where it was asked for."""
    properties = row["properties"]
    made_at = properties.get("timeCreated")
    state = str(properties["provisioningState"]).lower()
    statuses = (properties.get("instanceView") or {}).get("statuses") or []
    code, words = _failed(statuses) if state == "failed" else ("", "")
    return Machine(
        ref=where.ref,
        attempt_id=tags(row).get(ATTEMPT_TAG, ""),
        phase=_phase(state, statuses, failed=bool(code)),
        launched_at=datetime.fromisoformat(made_at) if made_at else None,
        failure=failure(code, words) if code else "",
        detail=f"azure: {code}: {words}" if code else "",
    )


def _phase(state: str, statuses: list[Mapping[str, Any]], *, failed: bool) -> Phase:
    if state == "deleting":
        return Phase.STOPPING
    powers = {str(status.get("code", "")).lower() for status in statuses}
    if failed or state == "creating" or powers & {"powerstate/starting", "powerstate/creating"}:
        return Phase.STARTING
    return Phase.RUNNING


def _failed(statuses: list[Mapping[str, Any]]) -> tuple[str, str]:
    """The code and the words of a failed creation; empty for a machine that failed at nothing that matters to it.

    The code stands behind the state: `ProvisioningState/failed/AllocationFailed`. Without a view of the instance
    nothing is known, and so nothing is said.
    """
    for status in statuses:
        code = str(status.get("code", ""))
        if code.lower().startswith(OVERALL.lower()):
            reason = code[len(OVERALL) :].strip("/") or "Failed"
            words = str(status.get("message") or status.get("displayStatus") or "")
            return ("", "") if BOOTED.fullmatch(reason) else (reason, words)
    return "", ""
