"""What the members of the closed sets mean. Each is explained once, here; a test finds a member without its words."""

from typing import Final

from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import AttemptState, RunReason, RunState
from chalicelib.domain.timers import TimerKind

STATES: Final = {
    State.PENDING: "Asked for. No machine yet, or that of a failed attempt is being cleaned up.",
    State.PROVISIONING: "A machine was launched; its agent has not reported yet.",
    State.IDLE: "Ready; a request may take it. Without an idle limit it rests for ever.",
    State.BUSY: "Held by exactly one lease.",
    State.TERMINATING: "On its way out until the provider confirms that nothing is left of any attempt.",
    State.TERMINATED: "Confirmed gone. The row stays visible, with its reason, for 7 days.",
}

EVENTS: Final = {
    Event.LAUNCHED: "The provision workflow has the machine of an attempt.",
    Event.ATTEMPT_FAILED: "The provision workflow: the machine is gone, or its agent did not report in time.",
    Event.READY: "The agent's first sync; no run waits for the machine.",
    Event.READY_HELD: "The agent's first sync on a machine that was bought for a run, which holds it from its birth.",
    Event.ACQUIRED: "A run or a client took it.",
    Event.RELEASED: "The lease ended: given back, expired, or its job is over.",
    Event.RETIRED: "The same on an instance with an idle duration of 0s.",
    Event.EXPIRED: "Its idle timer: it was idle for as long as it may be.",
    Event.FAILED: "Provisioning gave up.",
    Event.LOST: "Its agent was silent for too long or did not take a job, or the provider says that it is gone.",
    Event.REMOVED: "Somebody removed it, its pool is being deleted, or the run it was bought for was stopped.",
    Event.CONFIRMED_GONE: "The teardown workflow: nothing is left of any attempt.",
}

REASONS: Final = {
    Reason.POOL_ADD: "A user asked for it.",
    Reason.RUN: "It is made for a run that found no idle instance.",
    Reason.ADD_SSH: "A user added a server of their own.",
    Reason.LAUNCHED: "The provider started a machine.",
    Reason.AGENT_READY: "The agent reported for the first time.",
    Reason.ACQUIRED: "It was taken.",
    Reason.RELEASED: "It was given back, or its job is over.",
    Reason.LEASE_EXPIRED: "The holder of a lease stopped its heartbeat. The instance is idle again.",
    Reason.IDLE_TIMEOUT: "It was idle for its idle duration.",
    Reason.IDLE_OFF: "Its idle duration is 0s and its lease ended.",
    Reason.PROVISIONING_FAILED: "Every offer was tried, or the workflow failed; the detail says which.",
    Reason.LAUNCH_FAILED: "The provider took the launch and then could not start the machine.",
    Reason.PROVISIONING_DEADLINE: "The agent did not report in time, or the request was two hours past its deadline.",
    Reason.AGENT_SILENT: "The agent was not heard of for `TIDEPOOL_LOST_S`. An adopted host rests then, unreachable.",
    Reason.JOB_NOT_PICKED_UP: "The agent did not take the job that was placed there within `TIDEPOOL_PICKUP_S`.",
    Reason.MACHINE_GONE: "The provider does not know the machine any more.",
    Reason.INTERRUPTED: "Its provider takes, or took, the machine back; or a spot machine is gone without a word.",
    Reason.USER_REMOVED: "A user removed it.",
    Reason.POOL_DELETED: "Its pool is being deleted with force.",
    Reason.RUN_STOPPED: "The run it was bought for was stopped before it began.",
    Reason.CONFIRMED_GONE: "The provider confirmed the end. In the history only: the row keeps why it had to go.",
    Reason.UNINSTALLED: "The same of an adopted host: it said that nothing of ours is left on it.",
    Reason.NOTHING_INSTALLED: "The same of a host to which nothing was ever sent that changes it.",
    Reason.CLEANUP_PENDING: "The same of a host that did not answer: it is cleaned when its agent is heard of again.",
}

TIMERS: Final = {
    TimerKind.IDLE: (
        "the idle limit after it became idle",
        "the write that makes it idle, or changes its limit",
        "`terminating` (`idle-timeout`)",
    ),
    TimerKind.LEASE: (
        "when the lease expires",
        "the write that takes it",
        "a client's lease: idle again (`lease-expired`); a run's: `terminating` (`agent-silent`)",
    ),
    TimerKind.PROVISIONING: (
        "pending: 30 minutes plus the retry duration (after a failed attempt 30 minutes); provisioning: "
        "the attempt's deadline plus 2 minutes",
        "each write of either state",
        "the provision workflow is started again, every 10 minutes; given up 2 hours past the deadline",
    ),
    TimerKind.TEARDOWN: (
        "10 minutes after the end began",
        "the write that begins the end",
        "the teardown workflow is started again, every 10 minutes, for as long as it takes",
    ),
    TimerKind.PRESENCE: (
        "`TIDEPOOL_UNREACHABLE_S` after the agent was last heard of",
        "the agent's first sync; filed again by itself, with fence 0",
        "flag `unreachable`; after `TIDEPOOL_LOST_S` an idle instance ends (`agent-silent`), a busy one is its lease's",
    ),
    TimerKind.PLACEMENT: (
        "`TIDEPOOL_PICKUP_S` after a run was submitted or placed",
        "the write of a run's state `submitted` or `starting`",
        "a run that was not placed is placed; one whose job was not taken gets another machine (3 at most a try)",
    ),
    TimerKind.INTERRUPTION: (
        "a minute after the moment at which the provider takes the machine back",
        "whoever hears of it first, before the flag `interrupted`, with fence 0",
        "an idle or busy instance ends (`interrupted`), whether or not its machine was taken",
    ),
    TimerKind.MAX_DURATION: (
        "`max_duration` after the job of a run's first try began",
        "the write that begins it, with fence 0",
        "a run that runs is stopped (`max-duration`), one that waits ends",
    ),
}

RUN_STATES: Final = {
    RunState.SUBMITTED: "Stored, and not placed yet; or a try failed, and it waits for the next one.",
    RunState.PROVISIONING: "No idle instance fitted; one of its own is on the way.",
    RunState.STARTING: "An instance holds it; the agent has not taken the job yet.",
    RunState.RUNNING: "The agent has the job.",
    RunState.STOPPING: "A user or its longest duration stopped it; the job has its grace time.",
    RunState.DONE: "The job ended with exit code 0.",
    RunState.FAILED: "The job ended with another code, never began, or lost its machine.",
    RunState.STOPPED: "Stopped by a user, or by its longest duration.",
}

RUN_REASONS: Final = {
    RunReason.SUBMITTED: "It was submitted.",
    RunReason.REUSED: "It took an instance that was idle.",
    RunReason.NO_IDLE_INSTANCE: "None was free: one is being bought, or, with `reuse` or `instance`, the run failed.",
    RunReason.READY: "The machine that was bought for it is ready.",
    RunReason.PICKED_UP: "The agent took the job.",
    RunReason.EXITED: "The job ended with 0.",
    RunReason.EXITED_NON_ZERO: "The job ended with another code.",
    RunReason.USER_STOPPED: "A user stopped it.",
    RunReason.NO_CAPACITY: "No idle instance and no offer fits.",
    RunReason.PROVISIONING_FAILED: "No machine could be had; the attempts say why.",
    RunReason.NOT_PICKED_UP: "The agent did not take the job; after three machines the run fails.",
    RunReason.MACHINE_LOST: "Its machine was lost, or was restarted while the job ran.",
    RunReason.MACHINE_REMOVED: "Its machine was removed by a user, or with its pool.",
    RunReason.START_FAILED: "The agent could not start the job; the detail says why.",
    RunReason.INTERRUPTED: "Its machine was taken back by the provider.",
    RunReason.MAX_DURATION: "It had used up its `max_duration`.",
}

ATTEMPTS: Final = {
    AttemptState.INTENT: "Written down; the provider may or may not have been asked.",
    AttemptState.LAUNCHED: "The provider has a machine for it.",
    AttemptState.REFUSED: "The provider said no, or a look-up proved that nothing was made.",
    AttemptState.UNKNOWN: "The provider was asked and no answer came.",
    AttemptState.CLEANED: "Nothing of it is left.",
}

SETTINGS: Final = {
    "TIDEPOOL_STAGE": "Names everything: tables `tidepool-<stage>-<noun>`, functions, workflows, wake queues.",
    "TIDEPOOL_OWNER": "The tag value that marks machines as this control plane's. No two control planes may have the "
    "same on one provider account: each would end the other's machines.",
    "TIDEPOOL_BUCKET": "The bucket of archives and logs.",
    "TIDEPOOL_PROVISION_ARN": "The provision workflow.",
    "TIDEPOOL_TEARDOWN_ARN": "The teardown workflow.",
    "TIDEPOOL_ADOPT_ARN": "The adopt workflow.",
    "TIDEPOOL_PUBLIC_URL": "Where agents reach the API, without `/v1`. Unset: the address of the request that made the "
    "instance.",
    "TIDEPOOL_LOCAL_CLOUD_URL": "Turns the backend `local` on: the address of a local cloud.",
    "TIDEPOOL_LOCAL_CLOUD_KEY": "The local cloud's bearer key.",
    "TIDEPOOL_AWS_ENDPOINT_URL": "For rehearsals: where backends of kind `aws` find EC2, STS, SSM, Service Quotas and "
    "the price list. Unset: AWS itself.",
    "TIDEPOOL_AZURE_ENDPOINT_URL": "For rehearsals: where backends of kind `azure` find Resource Manager, with the "
    "login under `/login` and the prices under `/prices`. Unset: Azure itself.",
    "TIDEPOOL_SYNC_S": "How often an agent syncs when nothing wakes it.",
    "TIDEPOOL_UNREACHABLE_S": "Silence after which an instance is flagged `unreachable` and not handed out. Unless "
    "set: twice `TIDEPOOL_SYNC_S` plus 120.",
    "TIDEPOOL_LOST_S": "Silence after which a rented machine is given up. Also how long a run's lease lasts between "
    "two signs of life.",
    "TIDEPOOL_READY_S": "From an attempt's start to the agent's first sync. 0: as long as its backend takes.",
    "TIDEPOOL_PICKUP_S": "From placement to the agent taking the job.",
    "TIDEPOOL_LEASE_S": "How long a lease lasts that is taken through the API and names no duration.",
    "TIDEPOOL_HOST_NETWORKS": "Where hosts may be that the control plane adopts itself: CIDRs, and `public` for every "
    "address that is globally reachable, separated by commas. Empty: nowhere. See [adoption](../adoption.md).",
}
