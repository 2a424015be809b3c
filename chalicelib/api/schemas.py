"""Bodies: what a request may say, and nothing else. Unknown fields are refused, types are not coerced.

Grammar (sizes, durations, GPU words) is read by the domain, whose errors name field, value and the right form; the
fields that hold it are `Any` here, with their JSON schema beside them for the document.
"""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from chalicelib.domain import policies, units
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.model import RUN_HOLDER, JobSpec, Role
from chalicelib.domain.nodes import MAX_NODES
from chalicelib.domain.policies import Defaults, Policies
from chalicelib.services import tokens, uploads

LONGEST_LEASE_S: Final = 7 * 24 * 3600
MAX_ARGV: Final = 64 * 1024
MAX_ENV: Final = 64 * 1024
"""Bytes of a command and of its environment: a run's row has 400 KB, and longer things belong into the archive."""


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return text


def _no_run(holder: str) -> str:
    if holder.startswith(RUN_HOLDER):
        raise ValueError(f"a holder that does not begin with {RUN_HOLDER!r}, as those of runs do")
    return holder


Word = Annotated[str, AfterValidator(_no_nul)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Image = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,499}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,99}$")]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_LEASE_S, allow_inf_nan=False)]

Nodes = Annotated[int, Field(ge=1, le=MAX_NODES)]

Duration = Annotated[Any, WithJsonSchema({"type": ["string", "number"], "examples": ["5m", 300]})]
IdleDuration = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean"], "examples": ["5m", 300, "off"]})]
Price = Annotated[Any, WithJsonSchema({"type": ["number", "string"], "examples": [1.5, "$1.50"]})]
Names = Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "string"}})]
RequirementTexts = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "object",
            "properties": {key: {"type": ["string", "number"]} for key in ("cpu", "memory", "disk", "shared_memory")}
            | {"gpu": {"type": ["string", "number", "object"]}},
            "additionalProperties": False,
            "examples": [{"cpu": "4..", "memory": "16GB..", "gpu": "A100:40GB:2", "disk": "100GB.."}],
        }
    ),
]
Retry = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": ["boolean", "object"],
            "properties": {
                "on_events": {"type": "array", "items": {"enum": [event.value for event in policies.RetryEvent]}},
                "duration": {"type": ["string", "number"]},
            },
            "additionalProperties": False,
        }
    ),
]
SpotWord = Annotated[Any, WithJsonSchema({"enum": [policy.value for policy in policies.SpotPolicy]})]
Flag = Annotated[Any, WithJsonSchema({"type": "boolean"})]


class Body(BaseModel):
    """What every body is: closed, strict, and frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class PolicyFields(Body):
    """What plans, added instances, runs and leases share. Everything is optional; null is the same as not said."""

    requirements: RequirementTexts = None
    backends: Names = None
    regions: Names = None
    instance_types: Names = None
    spot_policy: SpotWord = None
    max_price: Price = None
    idle_duration: IdleDuration = None
    retry: Retry = None
    allow_gpu: Flag = None
    max_duration: IdleDuration = None

    def policies(self, defaults: Defaults) -> tuple[Policies, list[str]]:
        """Read the policies and what looks like a slip. Raises `InvalidInputError`."""
        said = {key: getattr(self, key) for key in policies.KEYS}
        return policies.parse(said, defaults=defaults)


class NewProject(Body):
    """A project to be."""

    name: str


class NewPool(Body):
    """A pool to be."""

    name: str


class DefaultPool(Body):
    """The pool that is meant where none is named."""

    name: str


class PlanRequest(PolicyFields):
    """What a request would get. `for_run` plans a run, which may take an idle instance and has a run's defaults.

    What only a run says is as in its request: `nodes`, `image`, `reuse`, `instance`.
    """

    pool: str | None = None
    for_run: bool = False
    nodes: Nodes = 1
    image: Image | Literal[""] = ""
    reuse: bool = False
    instance: str = ""
    max_offers: Annotated[int, Field(ge=0, le=100)] = 3

    @property
    def defaults(self) -> Defaults:
        """What holds where the request says nothing."""
        return policies.RUN if self.for_run else policies.POOL_ADD


class AddRequest(PolicyFields):
    """An instance to be bought for a pool."""

    name: str = ""


class ChangeRequest(Body):
    """What is to be changed about an instance."""

    idle_duration: IdleDuration = None
    cordoned: bool | None = None

    @property
    def idle_limit(self) -> timedelta | None:
        """The new limit; None leaves it as it is. Raises `InvalidInputError`."""
        if self.idle_duration is None:
            return None
        return units.parse_idle_duration(self.idle_duration, "idle_duration")


class LeaseRequest(PolicyFields):
    """An instance to be held: `instance` names the only one that may be taken. `nodes`: several of one cluster."""

    holder: Annotated[Label, AfterValidator(_no_run)]
    instance: str = ""
    nodes: Nodes = 1
    duration_s: Seconds | None = None


class HeartbeatRequest(Body):
    """How long the lease is to live from now on; by default for as long as it was taken."""

    duration_s: Seconds | None = None


class UploadRequest(Body):
    """An archive to be stored under what it contains."""

    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=uploads.MAX_SIZE)]


class RunRequest(PolicyFields):
    """Work to be done. `reuse` forbids buying a machine, `instance` names the only one that may be taken.

    `nodes`: how many machines of one cluster it runs on at once, one job each.
    """

    argv: Annotated[list[Word], Field(min_length=1, max_length=10_000)]
    name: str = ""
    pool: str | None = None
    image: Image | Literal[""] = ""
    env: dict[VariableName, Word] = Field(default_factory=dict)
    code: Sha256 | Literal[""] = ""
    reuse: bool = False
    instance: str = ""
    nodes: Nodes = 1
    kill_after_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 10

    def job(self) -> JobSpec:
        """What is to be executed. Raises `InvalidInputError` for a command or an environment that is too long."""
        _bounded("argv", self.argv, MAX_ARGV)
        _bounded("env", [text for pair in self.env.items() for text in pair], MAX_ENV)
        return JobSpec(
            argv=tuple(self.argv),
            image=self.image,
            env=self.env,
            code=self.code,
            kill_after=timedelta(seconds=self.kill_after_s),
        )


class StopRequest(Body):
    """How a run is to end: with `force` its job gets no time to clean up."""

    force: bool = False


class NewToken(Body):
    """A token to be. It lives 90 days unless `expires_in` says otherwise, and 366 days at most."""

    name: Label
    role: Literal["admin", "manager", "user", "viewer"]
    expires_in: Duration = None

    @property
    def known_role(self) -> Role:
        """The role."""
        return Role(self.role)

    @property
    def lifetime(self) -> timedelta:
        """How long the token is to live. Raises `InvalidInputError`."""
        if self.expires_in is None:
            return tokens.DEFAULT_LIFETIME
        lifetime = units.parse_duration(self.expires_in, "expires_in")
        if not timedelta() < lifetime <= tokens.MAX_LIFETIME:
            raise InvalidInputError(
                "expires_in", self.expires_in, f"more than 0 and at most {tokens.MAX_LIFETIME.days}d"
            )
        return lifetime


def _bounded(field: str, texts: list[str], most: int) -> None:
    size = sum(len(text.encode()) + 1 for text in texts)
    if size > most:
        raise InvalidInputError(field, f"{size} bytes", f"at most {most} bytes in all")
