"""Whose a host is: the claims that make two hosts one, and what an instance that has ended left on it.

Until the machine itself is known, the address under which it is reached stands for it.
"""

from chalicelib.domain import adoption
from chalicelib.domain.adoption import CheckResult
from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.findings import FINDINGS, Check, Status
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.hosts import HostProbe
from chalicelib.domain.lifecycle import State
from chalicelib.domain.names import is_name
from chalicelib.services.deps import Deps
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store


def machine_claim(machine_id: str) -> str:
    """The claim to a machine, wherever it is reached."""
    return f"machine#{machine_id}"


def address_claim(record: HostRecord) -> str:
    """The claim to an address: whose adoption it is while the machine behind it is not known.

    Behind another jump host the same address is another host.
    """
    way = (record.jump, record.destination) if record.jump else (record.destination,)
    return "address#" + ">".join(f"{each.user}@{each.host.casefold()}:{each.port}" for each in way)


def left_behind(deps: Deps, found: HostProbe) -> str:
    """The instance of ours that the host was, if that has ended: what it left may be replaced without asking."""
    owner = found.owner
    if owner is None or owner.control_plane != deps.settings.owner:
        return ""
    if not (is_name(owner.project) and is_name(owner.instance_id)):
        return ""
    try:
        row = instance_store.find(owner.project, owner.instance_id)
    except NotFoundError:
        return owner.instance_id
    return owner.instance_id if row.state is State.TERMINATED else ""


def claimed(record: HostRecord, found: HostProbe, results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """Claim the machine for this instance; where another live one has it, the check of the owner fails."""
    if not found.machine_id:
        return results
    what = machine_claim(found.machine_id)
    holder = store.claim(record.project, what, record.key)
    if holder not in ("", record.key) and not _is_live(record.project, holder):
        holder = store.claim(record.project, what, record.key, instead_of=holder)
    if holder == record.key:
        return results
    words = f"instance {_name(record.project, holder)} of this project has the same machine-id {found.machine_id}"
    fix = FINDINGS["owner-other-instance"].fix_for(adoption.family_of(found.system))
    fix = fix.format_map({"instance_id": holder, "user": record.destination.user})
    clash = CheckResult(Check.OWNER, Status.FAIL, "owner-other-instance", words, fix)
    return (*(each for each in results if each.check is not Check.OWNER), clash)


def _is_live(project: str, instance_id: str) -> bool:
    try:
        return instance_store.find(project, instance_id).state is not State.TERMINATED
    except NotFoundError:
        return False


def _name(project: str, instance_id: str) -> str:
    try:
        return instance_store.find(project, instance_id).name
    except NotFoundError:
        return instance_id
