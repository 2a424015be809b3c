"""The API's JSON about hosts that SSH reaches, as types; see `tidepool.wire`."""

from typing import NotRequired, TypedDict

from tidepool.wire import HostFacts, Instance


class Jump(TypedDict):
    """The host that another one is reached through."""

    host: str
    port: int
    user: str


class HostRequest(TypedDict):
    """A host to be adopted, or to be looked at.

    `host_key`: lines of known_hosts, keys or fingerprints; without the first key seen is trusted and pinned.
    `way`: how the host is reached where that is more than `jump`: every host on the way, or the hash of a command.
    `from_here`: the client carries the scripts over its own ssh, so there is no key in the request.
    """

    host: str
    port: int
    user: str
    private_key: NotRequired[str]
    passphrase: NotRequired[str]
    jump: NotRequired[Jump]
    way: NotRequired[str]
    host_key: NotRequired[str]
    network: NotRequired[str]
    region: NotRequired[str]
    name: NotRequired[str]
    gpu: NotRequired[str]
    take_over: NotRequired[bool]
    from_here: NotRequired[bool]


class StepResult(TypedDict):
    """What a script said that the client carried. `host_key` is the fingerprint that ssh verified: no script is handed
    out for another one than the first. Without a `step` it is the question what comes next."""

    step: NotRequired[str]
    exit_code: NotRequired[int]
    stdout: NotRequired[str]
    stderr: NotRequired[str]
    host_key: NotRequired[str]


class Host(TypedDict):
    """A host in a list."""

    instance: Instance
    host: HostFacts


class HostStep(TypedDict):
    """What comes next: `script` is for `sh -s`, as root with `sudo`, after a pause of `pause_s`. Without a script the
    question is asked again after the pause, unless it is `over`. `key` is the id of the instance, or of the check."""

    key: str
    step: str
    over: bool
    script: str | None
    sudo: bool
    timeout_s: float
    pause_s: float
    host: HostFacts


class HostCheckup(TypedDict):
    """A look at a host that is not adopted."""

    check_id: str
    over: bool
    host: HostFacts
