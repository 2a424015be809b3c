"""Hosts between JSON and the values of `services.hosts`. A private key goes in and never comes out."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from typing_extensions import TypedDict

from chalicelib.api import answers, views
from chalicelib.api.schemas import Body
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.host_records import REMOTE, Destination, HostRecord, Step
from chalicelib.services import adoption, hosts
from chalicelib.services.adoption_steps import Done

MAX_KEY: Final = 64 * 1024
MAX_LINES: Final = 64 * 1024
REGION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
MAX_OUTPUT: Final = 800_000
"""Characters of a script's output. The probe prints about 10 KB; a body has at most 1 MB."""


def _one_line(text: str) -> str:
    if not text.isprintable() or " " in text or text.startswith("-"):
        raise ValueError("printable text without blanks that does not begin with a hyphen")
    return text


def _region(text: str) -> str:
    if not REGION.search(text):
        raise ValueError("letters, digits, '.', '_' and '-', a letter or digit first, at most 63")
    return text


HostName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_one_line)]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_one_line)]
Way = Annotated[str, StringConstraints(max_length=128), AfterValidator(_one_line)]
Region = Annotated[str, AfterValidator(_region), WithJsonSchema({"type": "string", "pattern": REGION.pattern})]
Lines = Annotated[str, StringConstraints(max_length=MAX_LINES)]
KeyText = Annotated[str, StringConstraints(max_length=MAX_KEY)]
Output = Annotated[str, StringConstraints(max_length=MAX_OUTPUT)]
GpuWord = Annotated[Any, WithJsonSchema({"type": ["string", "number", "object"], "examples": ["A100:8"]})]


class Place(Body):
    """Who to be where."""

    host: HostName
    user: UserName
    port: Annotated[int, Field(ge=1, le=65535)] = 22

    @property
    def destination(self) -> Destination:
        """As the services have it."""
        return Destination(self.host, self.user, self.port)


class NewCheck(Body):
    """A host to be looked at. `private_key` and `passphrase` are written and never read back.

    With `from_here` the caller runs the scripts through an ssh of its own, and there is no key. `host_key` is what the
    host may show: lines of known_hosts, bare keys or fingerprints; without it the first one is trusted, and pinned.
    `way` is how the caller's ssh comes there where that is more than `jump`: hosts with the same network behind
    different ways are two networks, unless a `region` is named.
    """

    host: HostName
    user: UserName
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    jump: Place | None = None
    way: Way = ""
    private_key: KeyText = ""
    passphrase: KeyText = ""
    host_key: Lines = ""
    network: Annotated[str, StringConstraints(max_length=64)] = ""
    region: Region = REMOTE
    gpu: GpuWord = None
    take_over: bool = False
    from_here: bool = False

    def record(self, *, api_url: str, actor: str, name: str = "") -> HostRecord:
        """What is asked for, as a record that has no place yet. Raises `InvalidInputError`."""
        if self.way and not self.from_here:
            raise InvalidInputError("way", self.way, "none without from_here: the control plane takes its own")
        return HostRecord(
            project="",
            key="",
            pool="",
            name=name,
            destination=Destination(self.host, self.user, self.port),
            api_url=api_url,
            created_at=adoption.NOT_YET,
            actor=actor,
            jump=self.jump.destination if self.jump else None,
            way=self.way,
            host_key=self.host_key.strip(),
            network=self.network,
            region=self.region,
            gpu="" if self.gpu is None else self.gpu,
            take_over=self.take_over,
            from_here=self.from_here,
        )

    @property
    def key(self) -> hosts.Key | None:
        """The uploaded key. Raises `InvalidInputError` for a passphrase without one."""
        if not self.private_key and self.passphrase:
            raise InvalidInputError("passphrase", "…", "none without a private_key")
        return hosts.Key(self.private_key, self.passphrase) if self.private_key else None


class NewHost(NewCheck):
    """A server to be adopted."""

    name: str = ""


class StepAnswer(Body):
    """What a script of a step printed under the caller's ssh. Without `step` nothing is handed in, only asked.

    `host_key` is the fingerprint that the caller's ssh accepted, if it knows: the first is pinned, another ends the
    adoption with `host-key-changed`, or with `host-key-mismatch` where keys were given.
    """

    step: Literal["preflight", "install", "uninstall"] | None = None
    exit_code: Annotated[int, Field(ge=-1, le=255)] = 0
    stdout: Output = ""
    stderr: Output = ""
    host_key: Annotated[str, StringConstraints(pattern=r"^(SHA256:[A-Za-z0-9+/]{43})?$")] = ""

    def done(self) -> Done:
        """As the service reads it."""
        return Done(self.stdout, self.stderr, self.exit_code)

    @property
    def of(self) -> Step | None:
        """Which step this is of."""
        return Step(self.step) if self.step else None


class Host(TypedDict):
    """A host with its instance. Where `cleanup_pending_since` is there the instance has ended, and the host has not
    confirmed that nothing is left of it; it is cleaned when its agent is heard of again."""

    instance: answers.Instance
    host: answers.HostFacts


class HostCheck(TypedDict):
    """A look at a host. `checks` are there when `step` is `done` or `failed`."""

    check_id: str
    over: bool
    host: answers.HostFacts


class HostStep(TypedDict):
    """What to do next: run `script` with `sh -s` on the host, as root with `sudo`, within `timeout_s`, and hand in what
    it prints. Without a script: ask again after `pause_s`, unless it is `over`. A script may hold a secret."""

    key: str
    step: str
    over: bool
    script: str | None
    sudo: bool
    timeout_s: float
    pause_s: float
    host: answers.HostFacts


def host(found: hosts.Added) -> Host:
    """Show a host."""
    return {"instance": views.instance(found.instance), "host": views.host(found.record)}


def check(record: HostRecord) -> HostCheck:
    """Show a look at a host."""
    return {"check_id": record.key, "over": record.is_over, "host": views.host(record)}


def step(following: adoption.ClientStep) -> HostStep:
    """Show what a client does next."""
    script = following.script
    return {
        "key": following.record.key,
        "step": following.record.step.value,
        "over": following.is_over,
        "script": script.text if script else None,
        "sudo": script.sudo if script else False,
        "timeout_s": script.limit.total_seconds() if script else 0.0,
        "pause_s": following.pause_s,
        "host": views.host(following.record),
    }
