"""Ordering the adoption of a host: under which name, and what is waited for before it can begin."""

from __future__ import annotations

from tidepool.errors import ConflictError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tidepool.command import Session
    from tidepool.host_wire import HostRequest
    from tidepool.hosts_side_by_side import Tell
    from tidepool.wire import Instance

REMOVAL_LIMIT_S = 150.0
"""How long a host that is being removed is waited for; the control plane waits two minutes for its agent."""
LOOK_S = 2.0


def order(
    session: Session,
    adopt: Callable[[HostRequest], Instance],
    request: HostRequest,
    *,
    name: str,
    own: str,
    tell: Tell,
    is_over: Callable[[], bool],
) -> Instance:
    """Order it as `name`, else as `own` where that is free, else under a made-up name.

    What is left of an adoption that failed a moment ago is waited for, until `is_over`; whoever else has a name that
    nobody asked for may keep it. Raises `ConflictError`.
    """
    until = session.monotonic() + REMOVAL_LIMIT_S
    while True:
        is_late = session.monotonic() >= until or is_over()
        try:
            return _ordered(adopt, request, name, own, is_late=is_late)
        except ConflictError as error:
            if error.context.get("state") != "terminating" or is_late:
                raise
            tell(f"waiting for the removal of {error.context.get('instance') or error.context.get('name')}")
            session.sleep(LOOK_S)


def _ordered(
    adopt: Callable[[HostRequest], Instance], request: HostRequest, name: str, own: str, *, is_late: bool
) -> Instance:
    if name:
        return adopt({**request, "name": name})
    if own:
        try:
            return adopt({**request, "name": own})
        except ConflictError as error:
            is_going = bool(error.context.get("state")) and not (is_late and "name" in error.context)
            if is_going or set(error.context.get("differences") or ("name",)) != {"name"}:
                raise
    return adopt(request)
