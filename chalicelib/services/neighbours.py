"""Which hosts are neighbours, and by which address: a network has each of its addresses once.

Two sites may use one network with the same addresses, and nothing on their hosts tells them apart. So the internal
address is claimed within the network's key: of two live hosts that have the same, one is no node of the other's runs.
"""

from dataclasses import replace
from ipaddress import ip_address

from chalicelib import log
from chalicelib.domain import networks
from chalicelib.domain.adoption import CheckResult, judge_address
from chalicelib.domain.findings import Check
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.hosts import HostProbe
from chalicelib.services import adoption_claims as claims
from chalicelib.store import hosts as store

Results = tuple[CheckResult, ...]


def placed(record: HostRecord, found: HostProbe) -> HostRecord:
    """Note the address by which a host's neighbours reach it, and its network. A host may have none of its own."""
    named = networks.parse_network(record.network) if record.network else None
    try:
        address = networks.internal_address(found.addresses, found.default_interfaces, named)
    except networks.NoAddressInNetworkError:
        return record  # of a network that was named, the check has failed
    key = networks.network_key(named or address.network, record.via)
    return replace(record, address=str(address.ip), zone=key)


def settled(record: HostRecord, results: Results) -> tuple[HostRecord, Results]:
    """Claim the address of a host that is to be adopted; of one that is only looked at, see who has it.

    Where another live host has it a network that was named is a failed check, and one that was chosen is not used.
    """
    if not record.address:
        return record, results
    holder = claims.taker(record, _claim(record, record.address), is_look=record.is_check)
    if holder in ("", record.key) or _is_itself(record, holder):
        return record, results
    others = [each for each in results if each.check is not Check.NETWORK]
    words = f"{record.address} in {record.zone} is instance {claims.name_of(record.project, holder)}'s"
    told = judge_address(words, is_named=bool(record.network))
    return replace(record, address=""), (*others, told)


def followed(record: HostRecord, told: tuple[str, ...]) -> HostRecord:
    """Let the internal address follow what an agent tells, within the host's network. Not stored; claimed if need be.

    One that its agent has told before and tells no more is gone, and with it the neighbours, until it has one again.
    An agent does not tell the addresses of every interface, so what it never told may be there all the same.
    One that it is reached by and tells again is claimed again: an interface may be down for one start of the agent.
    """
    where = record.destination.host
    if where in told and where not in record.told:
        claims.taker(record, claims.address_claim(record))
    if not told or not record.zone:
        return replace(record, told=told or record.told)
    network = networks.network_of(record.zone)
    inside = [each for each in told if ip_address(each) in network]
    address = record.address
    if inside and address not in inside:
        address = next((each for each in inside if _has_taken(record, each)), "")
    elif not inside and address in record.told:
        address = ""
    return replace(record, address=address, told=told)


def has_left(before: HostRecord, now: HostRecord) -> bool:
    """Whether a host is seen to have another address than the one it is reached by: it was its own, and is no more."""
    where = before.destination.host
    return where in before.told and where not in now.told


def let_go(before: HostRecord, now: HostRecord) -> None:
    """Free what a host has left: an internal address, or the one it was reached by. Another machine may have it now.

    Who comes here late sees the record of a later sync, and lets nothing go that the host has again.
    """
    if before.address == now.address and not has_left(before, now):
        return
    now = store.read_again(now) or now
    if before.address and before.address != now.address:
        release(before)
        log.event("host-address-changed", instance=now.key, before=before.address, now=now.address)
    if has_left(before, now):
        store.release(before.project, claims.address_claim(before), before.key)
        log.event("host-moved-away", instance=now.key, destination=str(before.destination))


def release(record: HostRecord) -> None:
    """Free the internal address of a host."""
    if record.address:
        store.release(record.project, _claim(record, record.address), record.key)


def _claim(record: HostRecord, address: str) -> str:
    return claims.internal_claim(record.region, record.zone, address)


def _has_taken(record: HostRecord, address: str) -> bool:
    return claims.taker(record, _claim(record, address)) == record.key


def _is_itself(record: HostRecord, holder: str) -> bool:
    """Whether who holds the address is the instance that a machine is already: then nothing is taken from anybody."""
    other = store.get(record.project, holder)
    return other is not None and bool(record.machine_id) and other.machine_id == record.machine_id
