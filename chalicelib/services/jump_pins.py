"""One jump host shows one key, whichever host is reached through it: what it showed first holds in its project."""

from dataclasses import replace

from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.ssh.host_keys import keys_for_jump
from chalicelib.store import hosts as store
from chalicelib.store import instances


def held(record: HostRecord) -> HostRecord:
    """Hold the jump host of a new record to the key that the project knows of it, unless the request says which it has.

    That is what it showed on the way to another host, be it one that has ended lately, or as a host of its own. So who
    was told that it has another key now gives that one, or has `known_hosts` give it.
    """
    jump = record.jump
    if jump is None or record.from_here or keys_for_jump(record.host_key, jump) is not None:
        return record
    for other in reversed(store.list_hosts(record.project)):
        if other.jump is not None and other.jump_pinned and _is_one(other.jump, jump):
            return replace(record, jump_fingerprint=other.jump_fingerprint, jump_pinned=other.jump_pinned)
        is_direct = other.pinned and not other.hops and _is_one(other.destination, jump)
        if is_direct and instances.is_live(other.project, other.key):
            return replace(record, jump_fingerprint=other.fingerprint, jump_pinned=other.pinned)
    return record


def _is_one(one: Destination, other: Destination) -> bool:
    return (one.host.casefold(), one.port) == (other.host.casefold(), other.port)
