"""The agent's protocol (`docs/architecture.md`, section 6) between JSON and the values of `services.agents`.

Unlike elsewhere an unknown field is ignored: machines that run keep their agent while the control plane is upgraded,
and must not be cut off by a field that one side knows and the other does not.
"""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from chalicelib.services import agents, jobs
from chalicelib.store.columns import stamp

MAX_CHUNK: Final = 512 * 1024
MAX_FACTS: Final = 32 * 1024
REGISTERED_SYNC_S: Final = 30


def _base64(text: str) -> str:
    try:
        size = len(b64decode(text, validate=True))
    except Base64Error as error:
        raise ValueError("base64") from error
    if size > MAX_CHUNK:
        raise ValueError(f"at most {MAX_CHUNK} bytes")
    return text


def _small(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    if facts is not None and len(json.dumps(facts)) > MAX_FACTS:
        raise ValueError(f"facts of at most {MAX_FACTS} bytes")
    return facts


def _moment(text: str) -> str:
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise ValueError("a moment in ISO 8601 with its offset from UTC")


RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,63}$")]
Proposal = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43,128}$")]
Detail = Annotated[str, StringConstraints(max_length=4000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class FromAgent(BaseModel):
    """What every body of an agent is: strict and frozen, and open to fields it does not know."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)


class RegisterRequest(FromAgent):
    """The secret that the agent made for itself."""

    proposed_token: Proposal


class JobReport(FromAgent):
    """How a job stands."""

    run_id: RunId
    state: Literal["starting", "running", "exited", "failed"]
    exit_code: int | None = None
    detail: Detail = ""
    log_size: Count = 0
    interrupted: bool = False
    lost: bool = False


class OutputChunk(FromAgent):
    """A piece of a job's output, base64."""

    run_id: RunId
    offset: Count
    data: Annotated[str, AfterValidator(_base64)]


class Notice(FromAgent):
    """What the provider told the machine: it is taken back at `at` (ISO 8601 with its offset)."""

    at: Annotated[str, AfterValidator(_moment)]
    kind: Annotated[str, StringConstraints(max_length=100)] = ""


class SyncRequest(FromAgent):
    """One sync; `facts` only when they are new, `interruption` until an answer has one too.

    `uninstalled`: nothing is left of the agent on its host; nothing comes after that.
    """

    boot_id: Annotated[str, StringConstraints(max_length=100)]
    agent_sha256: Annotated[str, StringConstraints(max_length=64)] = ""
    facts: Annotated[dict[str, Any] | None, AfterValidator(_small)] = None
    jobs: Annotated[list[JobReport], Field(max_length=100)] = Field(default_factory=list)
    logs: Annotated[list[OutputChunk], Field(max_length=100)] = Field(default_factory=list)
    stopping: bool = False
    interruption: Notice | None = None
    uninstalled: bool = False

    def report(self) -> agents.SyncReport:
        """As the service reads it."""
        return agents.SyncReport(
            boot_id=self.boot_id,
            facts=self.facts,
            jobs=tuple(jobs.JobReport(**each.model_dump()) for each in self.jobs),
            logs=tuple(jobs.LogChunk(each.run_id, each.offset, b64decode(each.data)) for each in self.logs),
            stopping=self.stopping,
            interruption=self._notice(),
            uninstalled=self.uninstalled,
        )

    def _notice(self) -> agents.Notice | None:
        said = self.interruption
        return agents.Notice(datetime.fromisoformat(said.at).astimezone(UTC), said.kind) if said else None


class Registration(TypedDict):
    """Whose agent this is now. Its bearer is `tpa.<token_id>.<the secret it proposed>`; `token` is always null."""

    instance_id: str
    token: None
    token_id: str
    sync_s: float


class WantedJob(TypedDict):
    """What should run now, or with `stop` be ended."""

    run_id: str
    name: str
    argv: list[str]
    image: str
    env: dict[str, str]
    code_url: str | None
    code_sha256: str
    kill_after_s: float
    shared_memory_mib: int | None
    host_network: bool
    stop: bool


class DeadMan(TypedDict):
    """When a paid machine shuts itself down: seconds without a job, seconds without an answer. 0 is never."""

    idle: float
    leaderless: float


class Interruption(TypedDict):
    """When the machine is taken back, whoever said so. To an agent that gave notice it is the receipt."""

    at: str


class SyncAnswer(TypedDict):
    """The wanted state. `wake_url` may be empty: then there is only the interval.

    Of an adopted host: `refresh` asks for its facts again, `uninstall` is the script that leaves nothing of the agent.
    """

    instance_id: str
    interval_s: float
    wake_url: str
    wake_expires_s: float
    job: WantedJob | None
    acknowledged: list[str]
    log_offsets: dict[str, int]
    dead_man_s: DeadMan
    shutdown: bool
    interruption: Interruption | None
    refresh: bool
    uninstall: str


def registration(registered: agents.Registration) -> Registration:
    """Answer a registration."""
    return {
        "instance_id": registered.instance_id,
        "token": None,
        "token_id": registered.token_id,
        "sync_s": REGISTERED_SYNC_S,
    }


def sync_answer(wanted: agents.SyncAnswer) -> SyncAnswer:
    """Answer a sync."""
    return {
        "instance_id": wanted.instance_id,
        "interval_s": wanted.interval.total_seconds(),
        "wake_url": wanted.wake_url,
        "wake_expires_s": wanted.wake_for.total_seconds(),
        "job": _job(wanted.job) if wanted.job else None,
        "acknowledged": list(wanted.acknowledged),
        "log_offsets": wanted.log_offsets,
        "dead_man_s": {
            "idle": wanted.idle_limit.total_seconds(),
            "leaderless": wanted.leaderless_limit.total_seconds(),
        },
        "shutdown": wanted.shutdown,
        "interruption": {"at": stamp(wanted.interruption)} if wanted.interruption else None,
        "refresh": wanted.refresh,
        "uninstall": wanted.uninstall,
    }


def _job(job: jobs.WantedJob) -> WantedJob:
    return {
        "run_id": job.run_id,
        "name": job.name,
        "argv": list(job.argv),
        "image": job.image,
        "env": job.env,
        "code_url": job.code_url,
        "code_sha256": job.code_sha256,
        "kill_after_s": job.kill_after.total_seconds(),
        "shared_memory_mib": job.shared_memory_mib,
        "host_network": job.host_network,
        "stop": job.stop,
    }
