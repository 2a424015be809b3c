"""The resources of the fake: each a row under its id, in any case of letters, and what hangs on what."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra.local.cloud.catalog import GpuModel


class RefusedError(Exception):
    """An answer in Azure's error format. A `code` of "" is answered as it is, outside of the format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


class AnswerLostError(Exception):
    """The call was done and its answer is to be lost."""


@dataclass(slots=True)
class Vm:
    """One virtual machine. `parts` is part id -> deleteOption; `settles_at` (monotonic) is when its state changes."""

    row: dict[str, Any]
    user_data: str
    spot: bool
    gpu: tuple[GpuModel, int] | None
    settles_at: float
    fails: str = ""
    deleting: bool = False
    evicted_at: float | None = None
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def size(self) -> str:
        return str(self.row["properties"]["hardwareProfile"]["vmSize"])

    @property
    def region(self) -> str:
        return str(self.row["location"])

    def view(self, *, on: bool) -> dict[str, Any]:
        """The row with its instance view. A machine that powered itself off is stopped, and stays."""
        state = self.row["properties"]["provisioningState"]
        failed = {"code": f"ProvisioningState/failed/{self.fails}", "level": "Error", "message": "Allocation failed."}
        succeeded = {"code": f"ProvisioningState/{state.lower()}", "level": "Info"}
        statuses = [failed] if state == "Failed" else [succeeded]
        if state == "Succeeded":
            statuses.append({"code": "PowerState/running" if on else "PowerState/stopped", "level": "Info"})
        return {**self.row, "properties": {**self.row["properties"], "instanceView": {"statuses": statuses}}}


class Store:
    """Rows by id. Not safe for threads: its owner has the lock."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}

    def put(self, row: dict[str, Any]) -> None:
        """Add or replace a row, which has its `id`."""
        self._rows[row["id"].lower()] = row

    def get(self, resource_id: str) -> dict[str, Any] | None:
        """Look up a row. A subnet is a part of its network, and there as soon as that is."""
        found = self._rows.get(resource_id.lower())
        network, _, name = resource_id.rpartition("/subnets/")
        if found is None and network and (parent := self.get(network)):
            return next((each for each in parent["properties"]["subnets"] if each["name"] == name), None)
        return found

    def remove(self, resource_id: str) -> None:
        """Take a row away, if it is there."""
        self._rows.pop(resource_id.lower(), None)

    def matching(self, name: str) -> Iterator[str]:
        """The ids of all rows whose id says that they are the machine's, or a part of it."""
        for row in self._rows.values():
            if str(row["name"]) == name or str(row["name"]).startswith(name + "-"):
                yield str(row["id"])
