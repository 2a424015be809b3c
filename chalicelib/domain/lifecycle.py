"""The life of an instance: one literal table, and nothing writes a state that the table does not allow.

    pending -> provisioning -> idle <-> busy -> terminating -> terminated

`unreachable`, `cordoned` and `interrupted` are flags beside the state, not states.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from chalicelib.domain.errors import IllegalTransitionError


class State(StrEnum):
    """Where an instance stands. `IDLE` may rest, `TERMINATED` is the end, each other one has a deadline."""

    PENDING = "pending"
    PROVISIONING = "provisioning"
    IDLE = "idle"
    BUSY = "busy"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class Event(StrEnum):
    """What moves an instance."""

    LAUNCHED = "launched"
    ATTEMPT_FAILED = "attempt-failed"
    READY = "ready"
    READY_HELD = "ready-held"
    ACQUIRED = "acquired"
    RELEASED = "released"
    RETIRED = "retired"
    EXPIRED = "expired"
    FAILED = "failed"
    LOST = "lost"
    REMOVED = "removed"
    CONFIRMED_GONE = "confirmed-gone"


class Reason(StrEnum):
    """Why an instance moved. Closed: a reason that is not here cannot be written."""

    POOL_ADD = "pool-add"
    RUN = "run"
    ADD_SSH = "add-ssh"
    LAUNCHED = "launched"
    AGENT_READY = "agent-ready"
    ACQUIRED = "acquired"
    RELEASED = "released"
    LEASE_EXPIRED = "lease-expired"
    IDLE_TIMEOUT = "idle-timeout"
    IDLE_OFF = "no-idle-time"
    PROVISIONING_FAILED = "provisioning-failed"
    PROVISIONING_DEADLINE = "provisioning-deadline"
    LAUNCH_FAILED = "launch-failed"
    AGENT_SILENT = "agent-silent"
    JOB_NOT_PICKED_UP = "job-not-picked-up"
    MACHINE_GONE = "machine-gone"
    INTERRUPTED = "interrupted"
    USER_REMOVED = "user-removed"
    POOL_DELETED = "pool-deleted"
    RUN_STOPPED = "run-stopped"
    CONFIRMED_GONE = "confirmed-gone"
    UNINSTALLED = "uninstalled"
    NOTHING_INSTALLED = "nothing-installed"
    CLEANUP_PENDING = "cleanup-pending"


ENDED_BY: Final[Mapping[Reason, str]] = {
    Reason.CONFIRMED_GONE: "provider",
    Reason.UNINSTALLED: "host",
    Reason.NOTHING_INSTALLED: "teardown",
    Reason.CLEANUP_PENDING: "teardown",
}
"""Why an instance counts as ended -> who says so. In the history only."""

LIVE: Final = frozenset(State) - {State.TERMINATED}
REMOVABLE: Final = LIVE - {State.TERMINATING}
COMING: Final = frozenset({State.PENDING, State.PROVISIONING})
"""A machine is on its way."""

RESTING: Final = frozenset({State.IDLE, State.TERMINATED})

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.PENDING, Event.LAUNCHED): State.PROVISIONING,
    (State.PENDING, Event.FAILED): State.TERMINATING,
    (State.PROVISIONING, Event.ATTEMPT_FAILED): State.PENDING,
    (State.PROVISIONING, Event.READY): State.IDLE,
    (State.PROVISIONING, Event.READY_HELD): State.BUSY,
    (State.PROVISIONING, Event.FAILED): State.TERMINATING,
    (State.IDLE, Event.ACQUIRED): State.BUSY,
    (State.IDLE, Event.EXPIRED): State.TERMINATING,
    (State.IDLE, Event.LOST): State.TERMINATING,
    (State.BUSY, Event.RELEASED): State.IDLE,
    (State.BUSY, Event.RETIRED): State.TERMINATING,
    (State.BUSY, Event.LOST): State.TERMINATING,
    (State.TERMINATING, Event.CONFIRMED_GONE): State.TERMINATED,
    **{(state, Event.REMOVED): State.TERMINATING for state in REMOVABLE},
}


def next_state(state: State, event: Event) -> State:
    """Return the state that `event` leads to, or raise `IllegalTransitionError`."""
    if (state, event) not in TRANSITIONS:
        raise IllegalTransitionError(f"{event.value!r} is not a step from {state.value!r}")
    return TRANSITIONS[state, event]
