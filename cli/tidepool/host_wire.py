"""The API's JSON about hosts that SSH reaches, as types; see `tidepool.wire`."""

from typing import NotRequired, TypedDict

from tidepool.wire import Instance


class Jump(TypedDict):
    """The host that another one is reached through."""

    host: str
    port: int
    user: str


class HostRequest(TypedDict):
    """A host to be adopted, or to be checked.

    `host_key`: lines of known_hosts, keys or fingerprints; without any the first key seen is trusted and pinned.
    `from_here`: the client carries the scripts over its own ssh, so there is no key in the request.
    """

    host: str
    port: int
    user: str
    private_key: NotRequired[str]
    passphrase: NotRequired[str]
    jump: NotRequired[Jump]
    host_key: NotRequired[list[str]]
    network: NotRequired[str]
    region: NotRequired[str]
    name: NotRequired[str]
    gpu: NotRequired[str]
    take_over: NotRequired[bool]
    from_here: NotRequired[bool]


class HostCheck(TypedDict):
    """One check of a host. `status` is `pass`, `warn` or `fail`; `code` is `ok` or what was found to be wrong; `fix` the
    command that puts it right."""

    check: str
    status: str
    code: str
    found: str
    fix: str


class StepResult(TypedDict):
    """What a script said that the client carried. `host_key` is the fingerprint that ssh verified. Without a `step`: the
    question what comes next."""

    step: NotRequired[str]
    exit_code: NotRequired[int]
    stdout: NotRequired[str]
    stderr: NotRequired[str]
    host_key: NotRequired[str]


class HostStep(TypedDict):
    """What comes next: `script` is for `sh -s`, as root with `sudo`. With `step` "" nothing is to be carried (any more):
    the instance then waits for its agent, is ready, or has failed, as its state and the `checks` say."""

    step: str
    script: str
    sudo: bool
    timeout_s: float
    instance: Instance
    checks: list[HostCheck]
