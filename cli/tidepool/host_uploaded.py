"""Adopting by the control plane: it gets the key and connects by itself; here its progress is followed."""

from __future__ import annotations

from tidepool.errors import UnavailableError
from tidepool.host_outcomes import OVER, READY, ended, ended_check
from tidepool.host_results import ORDERED, THERE, Result
from tidepool.progress import Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tidepool.command import Session
    from tidepool.host_wire import HostRequest
    from tidepool.hosts_side_by_side import Tell
    from tidepool.wire import Instance

FIRST_LOOK_S = 0.3
LAST_LOOK_S = 2.0


def adopt(
    session: Session, host: str, order: Callable[[], Instance], tell: Tell, shown: Callable[[], None], *, wait: bool
) -> Result:
    """Order the adoption of a host and watch it until it is over. `shown` is called once its key was seen, or will be
    without being watched: never for a host that is there already, nor for one that nothing connected to."""
    instance = order()
    if instance["state"] in READY:
        return Result(host, THERE, instance=instance)
    if not wait:
        shown()
        return Result(host, ORDERED, instance=instance)
    patience, look_s = Patience(session, Notes(tell)), FIRST_LOOK_S
    while True:
        seen = patience.call(session.client.instances.get, instance["instance_id"])
        if seen["state"] in READY or seen["state"] in OVER:
            result = ended(host, seen)
            if is_connected(result):
                shown()
            return result
        if seen["host"] and seen["host"]["host_key"]:
            shown()
        tell(seen["detail"] or seen["state"])
        session.sleep(look_s)
        look_s = min(look_s * 1.3, LAST_LOOK_S)


def check(session: Session, host: str, wanted: HostRequest, tell: Tell, shown: Callable[[str], None]) -> Result:
    """Have a host looked at, and watch that until it is over. `shown` is called with the key that was pinned before, or
    "", once the host was connected to."""
    hosts = session.client.hosts
    looked, look_s = hosts.check(wanted), FIRST_LOOK_S
    pinned = looked["host"]["host_key"]
    patience = Patience(session, Notes(tell))
    while not looked["over"]:
        tell(looked["host"]["step"])
        session.sleep(look_s)
        look_s = min(look_s * 1.3, LAST_LOOK_S)
        looked = patience.call(hosts.checkup, looked["check_id"])
    result = ended_check(host, looked["host"])
    if is_connected(result):
        shown(pinned)
    return result


def is_connected(result: Result) -> bool:
    """Whether a host was reached, so that its key was seen and compared."""
    return bool(result.fingerprint) and not isinstance(result.error, UnavailableError)


class Notes:
    """Says what a wait has to say in the place where a host's progress is told."""

    def __init__(self, tell: Tell) -> None:
        self.note: Callable[[str], None] = tell
