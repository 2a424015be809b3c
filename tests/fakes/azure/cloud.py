"""The fake Azure itself: virtual machines with network interface, address and disk as resources of their own.

What a machine brings along outlives it unless its `deleteOption` says Delete, as in Azure. A machine whose allocation
fails is there, with all its parts, until it is deleted. Time passes when somebody looks.
"""

import base64
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from tests.fakes.azure import catalog
from tests.fakes.azure.quirks import REFUSALS, Quirks
from tests.fakes.azure.resources import AnswerLostError, RefusedError, Store, Vm
from tests.fakes.machines import Machines

CREATING_S: Final = 0.05
DELETING_S: Final = 0.05
BREAKS: Final = "OverconstrainedAllocationRequest"


class Cloud:
    """The resource group of one subscription. With `machines`, what is rented runs for real.

    `url` is where machines find the metadata service.
    """

    def __init__(self, group: str, *, machines: Machines | None = None, url: str = "") -> None:
        self.group = group
        self.quirks = Quirks()
        self.url = url
        self._machines = machines
        self._guard = threading.RLock()
        self._store = Store()
        self._vms: dict[str, Vm] = {}
        self._operations: dict[str, str] = {}

    def get(self, resource_id: str, *, view: bool = False) -> dict[str, Any]:
        """One resource by its id."""
        with self._guard:
            self._pass_time()
            vm = self._vms.get(resource_id.lower())
            found = (self._view(vm) if view else vm.row) if vm else self._store.get(resource_id)
        if found is None:
            raise RefusedError(404, "ResourceNotFound", f"The Resource {resource_id!r} was not found.")
        return found

    def vms(self) -> list[dict[str, Any]]:
        """Every virtual machine, its group in capitals as Azure's lists have it."""
        with self._guard:
            self._pass_time()
            rows = sorted((vm.row for vm in self._vms.values()), key=lambda row: str(row["name"]))
        return [{**row, "id": row["id"].replace(self.group, self.group.upper())} for row in rows]

    def put(self, resource_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make or replace a resource that is no machine."""
        row = {**body, "id": resource_id, "name": resource_id.rpartition("/")[2]}
        row["properties"] = {**body.get("properties", {}), "provisioningState": "Succeeded"}
        with self._guard:
            self._store.put(row)
        return row

    def put_vm(self, resource_id: str, body: dict[str, Any], *, if_none_match: str) -> tuple[dict[str, Any], str]:
        """Make a machine. Returns its row and the id of the operation that goes on."""
        with self._guard:
            self._pass_time()
            there = self._vms.get(resource_id.lower())
            if there is not None and if_none_match == "*":
                raise RefusedError(
                    412, "PreconditionFailed", "The resource exists, and If-None-Match says it must not."
                )
            if there is not None:
                return there.row, ""
            size, region = body["properties"]["hardwareProfile"]["vmSize"], body["location"]
            spot = body["properties"].get("priority") == "Spot"
            self._refuse(size, region, spot=spot)
            vm = self._vm(resource_id, body, spot=spot)
            if self.quirks.take("allocation-failed", size=size, region=region, spot=spot):
                vm.fails = BREAKS
            self._vms[resource_id.lower()] = vm
            self._lay_out(vm)
            operation = uuid4().hex
            self._operations[operation] = resource_id.lower()
            if self._machines is not None and not vm.fails:
                metadata = {"TIDEPOOL_METADATA_URL": f"{self.url}/_metadata/{vm.name}"}
                self._machines.start(vm.name, vm.user_data, metadata, vm.gpu)
            if self.quirks.take("lost-answer", size=size, region=region, spot=spot):
                raise AnswerLostError
            return vm.row, operation

    def delete_vm(self, resource_id: str) -> bool:
        """Begin the end of a machine; false when there is none."""
        with self._guard:
            self._pass_time()
            vm = self._vms.get(resource_id.lower())
            if vm is None:
                return False
            if not vm.deleting:
                vm.deleting, vm.settles_at = True, time.monotonic() + DELETING_S
                vm.row["properties"]["provisioningState"] = "Deleting"
                if self._machines is not None:
                    self._machines.stop(vm.name)
            return True

    def operation(self, operation: str) -> dict[str, Any]:
        """What became of the making of a machine."""
        with self._guard:
            self._pass_time()
            vm = self._vms.get(self._operations.get(operation, ""))
        state = "Succeeded" if vm is None else vm.row["properties"]["provisioningState"]
        status = {"name": operation, "status": {"Creating": "InProgress"}.get(state, state)}
        if state == "Failed" and vm is not None:
            status["error"] = {"code": vm.fails, "message": "Allocation failed."}
        return status

    def evict(self, name: str, *, after_s: float) -> None:
        """Take a machine back, as the spot market does: it is told inside, and outside it is deleted in the end."""
        with self._guard:
            vm = self._named(name)
            vm.evicted_at = time.monotonic() + after_s
            self._pass_time()

    def scheduled_events(self, name: str) -> dict[str, Any]:
        """What the metadata service tells a machine of what is to come. Source: Azure Scheduled Events."""
        with self._guard:
            vm = self._named(name)
            at = vm.evicted_at
        if at is None:
            return {"DocumentIncarnation": 1, "Events": []}
        moment = datetime.fromtimestamp(time.time() + at - time.monotonic(), UTC)
        event = {
            "EventId": f"evict-{name}",
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [name],
            "EventStatus": "Scheduled",
            "NotBefore": moment.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        return {"DocumentIncarnation": 2, "Events": [event]}

    def left(self, name: str) -> list[str]:
        """Name what is there of a machine: itself, its parts, its processes."""
        with self._guard:
            self._pass_time()
            rows = [vm.row["id"] for vm in self._vms.values() if vm.name == name] + list(self._store.matching(name))
        return rows + (self._machines.left(name) if self._machines is not None else [])

    def _view(self, vm: Vm) -> dict[str, Any]:
        return vm.view(on=self._machines is None or self._machines.alive(vm.name))

    def _named(self, name: str) -> Vm:
        for vm in self._vms.values():
            if vm.name == name:
                return vm
        raise RefusedError(404, "ResourceNotFound", f"no machine {name!r}")

    def _refuse(self, size: str, region: str, *, spot: bool) -> None:
        if catalog.size_named(size, region) is None:
            raise RefusedError(400, "InvalidParameter", f"The requested VM size {size} is not available in {region}.")
        if rule := self.quirks.take(*REFUSALS, size=size, region=region, spot=spot):
            raise RefusedError(*REFUSALS[rule.fault])
        for limit in self.quirks.limits():
            alive = [vm for vm in self._vms.values() if not vm.fails and limit.concerns(vm.size, vm.region, vm.spot)]
            if limit.concerns(size, region, spot) and len(alive) >= limit.value:
                raise RefusedError(*REFUSALS["no-capacity"])

    def _vm(self, resource_id: str, body: dict[str, Any], *, spot: bool) -> Vm:
        """Read the body as Azure would, and make the machine of it."""
        properties, name = body["properties"], resource_id.rpartition("/")[2]
        login = properties["osProfile"].get("linuxConfiguration", {}).get("ssh", {}).get("publicKeys")
        if not login and not properties["osProfile"].get("adminPassword"):
            raise RefusedError(400, "InvalidParameter", "Authentication using either SSH or password is required.")
        disk = {**properties["storageProfile"]["osDisk"], "deleteOption": "Detach"} | properties["storageProfile"][
            "osDisk"
        ]
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "1+00:00")
        known = {name: value for name, value in properties["osProfile"].items() if name != "customData"}
        row = {
            **{key: value for key, value in body.items() if key != "properties"},
            "id": resource_id,
            "name": name,
            "type": "Microsoft.Compute/virtualMachines",
            "properties": {
                **properties,
                "osProfile": known,
                "storageProfile": {**properties["storageProfile"], "osDisk": disk},
                "provisioningState": "Creating",
                "vmId": str(uuid4()),
                "timeCreated": now,
            },
        }
        size = catalog.size_named(properties["hardwareProfile"]["vmSize"], body["location"])
        return Vm(
            row=row,
            user_data=base64.b64decode(properties["osProfile"].get("customData", "")).decode(),
            spot=spot,
            gpu=size.gpu if size else None,
            settles_at=time.monotonic() + CREATING_S,
        )

    def _lay_out(self, vm: Vm) -> None:
        """Make the parts of a machine. What they refer to must be there."""
        base = vm.row["id"].partition("/providers/")[0] + "/providers"
        for nic in vm.row["properties"]["networkProfile"]["networkInterfaceConfigurations"]:
            settings = nic["properties"]
            group = settings.get("networkSecurityGroup")
            subnets = [each["properties"]["subnet"] for each in settings["ipConfigurations"]]
            for needed in [*([group] if group else []), *subnets]:
                if self._store.get(needed["id"]) is None:
                    self._vms.pop(vm.row["id"].lower())
                    words = f"Resource {needed['id']} referenced by resource {vm.name} was not found."
                    raise RefusedError(400, "InvalidResourceReference", words)
            self._part(vm, f"{base}/Microsoft.Network/networkInterfaces/{nic['name']}", settings, nic.get("tags"))
            for each in settings["ipConfigurations"]:
                address = each["properties"].get("publicIPAddressConfiguration")
                if address:
                    place = f"{base}/Microsoft.Network/publicIPAddresses/{address['name']}"
                    self._part(vm, place, address["properties"], address.get("tags"))
        disk = vm.row["properties"]["storageProfile"]["osDisk"]
        self._part(vm, f"{base}/Microsoft.Compute/disks/{disk['name']}", disk, vm.row.get("tags"))

    def _part(self, vm: Vm, resource_id: str, settings: Mapping[str, Any], tags: Mapping[str, str] | None) -> None:
        self._store.put({"id": resource_id, "name": resource_id.rpartition("/")[2], "tags": dict(tags or {})})
        vm.parts[resource_id] = settings.get("deleteOption", "Detach")

    def _pass_time(self) -> None:
        """Let happen what is due."""
        now = time.monotonic()
        for key, vm in list(self._vms.items()):
            if vm.evicted_at is not None and now >= vm.evicted_at and not vm.deleting:
                vm.deleting, vm.settles_at = True, now
                vm.row["properties"]["provisioningState"] = "Deleting"
                if self._machines is not None:
                    self._machines.stop(vm.name)
            if now < vm.settles_at:
                continue
            if vm.deleting:
                if self._machines is None or not self._machines.left(vm.name):
                    self._remove(key, vm)
            elif vm.row["properties"]["provisioningState"] == "Creating":
                vm.row["properties"]["provisioningState"] = "Failed" if vm.fails else "Succeeded"

    def _remove(self, key: str, vm: Vm) -> None:
        del self._vms[key]
        for part, option in vm.parts.items():
            if option == "Delete":
                self._store.remove(part)
