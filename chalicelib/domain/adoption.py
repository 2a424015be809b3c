"""Whether a host can be adopted: every check, each with what was found and what would put it right.

Pure: facts in (`domain.hosts`), verdicts out. All checks are always judged, so that somebody who prepares a host learns
of everything at once. What can be found, and the fixes, are data in `domain.findings`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from chalicelib.domain import networks
from chalicelib.domain.adoption_gpus import judge_cuda, judge_driver, judge_gpus, judge_toolkit
from chalicelib.domain.findings import DISTRIBUTIONS, FINDINGS, Check, Status
from chalicelib.domain.fixes import Family
from chalicelib.domain.gpu_requirements import GpuRequirement
from chalicelib.domain.hosts import HostProbe, Owner, Reach, System

OK: Final = "ok"
"""The code of a check that passed."""

SKEW_WARNED: Final = timedelta(seconds=5)
SKEW_REFUSED: Final = timedelta(minutes=5)
"""S3 refuses a request signed 15 minutes off, presigned URLs live for minutes, and certificates have dates."""

DISK_NEEDED_MIB: Final = 1024
DISK_WISHED_MIB: Final = 20 * 1024
"""An image with CUDA and PyTorch takes about 15 GB unpacked."""

ARCHITECTURES: Final = ("x86_64", "aarch64")

COPYABLE: Final = re.compile(r"(?![-%])[A-Za-z0-9._:/@%+=,~-]{1,512}")
"""What means nothing to a shell, to sudoers or to ssh(1)."""

Found = tuple[str, str] | str
"""A code of `FINDINGS` and what was found; or only what was found, where all is well."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the host is adopted for. `gpu` and `network` are what was stated, None where nothing was.

    `control_plane` and `instance_id` are what the owner file would say. `holder` names the live instance of the project
    that this very machine is, "" where it is none; `is_look`: it is only looked at, so that is no reason to fail.
    """

    api_url: str
    control_plane: str
    instance_id: str
    gpu: GpuRequirement | None = None
    take_over: bool = False
    network: networks.Network | None = None
    holder: str = ""
    is_look: bool = False


@dataclass(frozen=True, slots=True)
class Connection:
    """How connecting went. `problem` is a code of `FINDINGS`, "" where a command could be run; `detail` is its words.

    `trust` says where the host key was known from: `given`, `seen before` or `first-use`. `jump` is the host on the
    way, "" where there is none.
    """

    host: str
    user: str
    fingerprint: str = ""
    trust: str = ""
    problem: str = ""
    detail: str = ""
    port: int = 22
    jump: str = ""

    @property
    def target(self) -> str:
        """Where, for a person."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def words(self) -> str:
        """Where, as ssh(1) takes it."""
        way = f"-o ProxyJump={copyable(self.jump, 'JUMP')} " if self.jump else ""
        there = f"{copyable(self.user, 'USER')}@{copyable(self.host, 'HOST')}"
        return f"{way}{there}" if self.port == 22 else f"{way}-p {self.port} {there}"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check. `code` is `ok` or a key of `FINDINGS`; `fix` is a command or an advice, "" where there is none."""

    check: Check
    status: Status
    code: str
    found: str
    fix: str = ""


def judge_connection(connection: Connection) -> tuple[CheckResult, ...]:
    """Judge reachability, host key and authentication, as far as it came: what follows a failure was not tried."""
    told = {
        Check.REACHABILITY: f"{connection.target} answers",
        Check.HOST_KEY: f"{connection.fingerprint} ({connection.trust})",
        Check.AUTHENTICATION: f"{connection.user} may log in with the key",
    }
    results: list[CheckResult] = []
    for check, words in told.items():
        if connection.problem and FINDINGS[connection.problem].check is check:
            filled = {
                "user": copyable(connection.user, "USER"),
                "target": connection.words,
                "jump": copyable(connection.jump, "JUMP"),
            }
            return (*results, _failed(connection.problem, connection.detail, None, filled))
        results.append(CheckResult(check, Status.PASS, OK, words))
    return tuple(results)


def judge(probe: HostProbe, wanted: Wanted, now: datetime) -> tuple[CheckResult, ...]:
    """Judge everything that the probe shows, in the order of `Check`. `now` is the moment the probe's output came."""
    family = family_of(probe.system)
    address = urlsplit(wanted.api_url)
    values = {
        "user": probe.user,
        "path": probe.disk_path,
        "api_url": wanted.api_url,
        "api_host": address.hostname or wanted.api_url,
        "api_port": str(address.port or (443 if address.scheme == "https" else 80)),
        "instance_id": wanted.holder or (probe.owner.instance_id if probe.owner else ""),
        "index": ",".join(str(each.index) for each in probe.nvidia.gpus if each.is_split),
    }
    filled = {name: copyable(value, name.upper()) for name, value in values.items()}
    results = []
    for check, judgement in JUDGEMENTS:
        for found in judgement(probe, wanted, now):
            if isinstance(found, str):
                results.append(CheckResult(check, Status.PASS, OK, found))
            else:
                results.append(_failed(*found, family, filled))
    return tuple(results)


def judge_refusal(code: str, owner: Owner) -> CheckResult:
    """Judge a host that was found to be somebody else's only when it was to be claimed. `code` is the finding's."""
    return _failed(code, owner.words, None, {"instance_id": copyable(owner.instance_id, "INSTANCE_ID")})


def copyable(value: str, placeholder: str) -> str:
    """What stands in a command that a person may copy: the value, or the word for it where it could mean something."""
    return value if COPYABLE.fullmatch(value) else placeholder


def judge_address(found: str, *, is_named: bool) -> CheckResult:
    """Judge a host whose internal address another one has: that stands in the way where its network was named."""
    return _failed("address-taken" if is_named else "address-shared", found, None, {})


def judge_machine(holder: str) -> CheckResult:
    """Judge a machine that turned out to be a live instance of the project only when it was to be claimed."""
    return _failed("already-adopted", f"it is instance {holder} of this project", None, {"instance_id": holder})


def judge_new_key(found: str, before: str) -> CheckResult:
    """Judge a key that is trusted on first use where an instance that has ended had another one."""
    return _failed("host-key-new", f"{found}; the instance that was here before had {before}", None, {})


def is_adoptable(results: tuple[CheckResult, ...]) -> bool:
    """Whether nothing stands in the way."""
    return all(each.status is not Status.FAIL for each in results)


def family_of(system: System) -> Family | None:
    """Name the package manager of a distribution, by itself or by those it says it is like."""
    for name in (system.distribution, *system.like):
        if family := DISTRIBUTIONS.get(name.partition("-")[0]):
            return family
    return None


def _failed(code: str, found: str, family: Family | None, filled: dict[str, str]) -> CheckResult:
    finding = FINDINGS[code]
    return CheckResult(finding.check, finding.status, code, found, finding.fix_for(family).format_map(filled))


def _os(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    system = probe.system
    if system.kernel != "Linux":
        yield "os-unsupported", system.kernel or "no answer"
    elif family_of(system) is None:
        yield "os-unknown", f"{system.name or system.distribution or 'no os-release'}, Linux {system.kernel_version}"
    else:
        yield f"{system.name}, Linux {system.kernel_version}"


def _architecture(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    arch = probe.system.arch
    yield arch if arch in ARCHITECTURES else ("architecture-unsupported", arch or "no answer")


def _python(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    if python := probe.python:
        yield f"{python.path} {_dotted(python.version)}"
        return
    has = ", ".join(dict.fromkeys(f"{each.path} {_dotted(each.version)}" for each in probe.pythons))
    if not probe.pythons:
        yield "python-missing", "no python3"
    elif any(each.version >= (3, 8) for each in probe.pythons):
        yield "python-without-tls", has
    else:
        yield "python-too-old", has


def _sudo(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    if probe.may_root:
        yield f"{probe.user} is root" if probe.sudo == "root" else f"{probe.user} may, without a password"
        return
    said = probe.sudo_error
    if "tty" in said:
        yield "sudo-needs-tty", said
    elif probe.sudo == "missing":
        yield "sudo-missing", f"{probe.user} has no sudo"
    elif any(words in said for words in ("not in the sudoers", "may not run", "not allowed")):
        yield "sudo-not-allowed", said
    else:
        yield "sudo-needs-password", said or "sudo refused"


def _init(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    words = f"{probe.init or 'unknown'} {probe.init_version}".strip()
    yield words if probe.init == "systemd" else ("no-systemd", words)


def _disk(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    words = f"{probe.disk_free_mib / 1024:.1f} of {probe.disk_total_mib / 1024:.1f} GB free on {probe.disk_path}"
    if not probe.disk_total_mib:
        yield "disk-unknown", "no answer from df"
    elif probe.disk_free_mib < DISK_NEEDED_MIB:
        yield "disk-full", f"{words}; {DISK_NEEDED_MIB // 1024} GB is the least"
    elif probe.disk_free_mib < DISK_WISHED_MIB:
        yield "disk-low", words
    else:
        yield words


def _clock(probe: HostProbe, _wanted: Wanted, now: datetime) -> Iterator[Found]:
    skew = probe.clock - now
    side = "ahead" if skew > timedelta() else "behind"
    words = f"{abs(skew).total_seconds():.1f} s {side}"
    if abs(skew) > SKEW_REFUSED:
        yield "clock-wrong", f"{words}: {probe.clock:%Y-%m-%d %H:%M:%S} UTC on the host"
    elif abs(skew) > SKEW_WARNED:
        yield "clock-skewed", words
    else:
        yield words


def _dns(probe: HostProbe, wanted: Wanted, _now: datetime) -> Iterator[Found]:
    match probe.reach.dns:
        case True:
            literal = _literal(wanted.api_url)
            yield f"not needed: the API is named by its address, {literal}" if literal else "the API's name resolves"
        case False:
            yield "dns-failed", probe.reach.error or "the API's name does not resolve"
        case None:
            yield "dns-unknown", "neither getent, nslookup nor a program that fetches"


def _literal(api_url: str) -> IPv4Address | IPv6Address | None:
    """The address that the API is named by, None where it has a name."""
    try:
        return ip_address(urlsplit(api_url).hostname or "")
    except ValueError:
        return None


def _is_loopback(api_url: str) -> bool:
    literal = _literal(api_url)
    return literal.is_loopback if literal else urlsplit(api_url).hostname == "localhost"


def _said(reach: Reach) -> str:
    """What a tool said, behind its name, which curl says itself."""
    return f"{reach.tool}: {reach.error.removeprefix(f'{reach.tool}: ') or 'no connection'}"


def _api(probe: HostProbe, wanted: Wanted, _now: datetime) -> Iterator[Found]:
    reach = probe.reach
    proxies = f" ({', '.join(reach.proxies)} is set, which the agent does not heed)" if reach.proxies else ""
    if reach.status == 200:
        yield f"answers to {reach.tool}"
    elif reach.tool and _is_loopback(wanted.api_url):
        yield "api-loopback", f"{wanted.api_url}: {_said(reach)}"
    elif not reach.tool:
        yield "api-unknown", "no curl, no wget, no Python that fits"
    elif reach.status:
        yield "api-wrong-answer", f"HTTP {reach.status} to {reach.tool}{proxies}"
    elif "certificate" in reach.error.lower():
        yield "api-certificate", _said(reach)
    else:
        yield "api-unreachable", f"{_said(reach)}{proxies}"


def _network(probe: HostProbe, wanted: Wanted, _now: datetime) -> Iterator[Found]:
    try:
        address = networks.internal_address(probe.addresses, probe.default_interfaces, wanted.network)
    except networks.NoAddressInNetworkError as error:
        yield (error.code if wanted.network is not None else "no-network"), error.detail
        return
    yield f"{address.ip} in {(wanted.network or address.network).compressed}"


def _docker(probe: HostProbe, _wanted: Wanted, _now: datetime) -> Iterator[Found]:
    docker = probe.docker
    if docker.is_podman:
        yield "docker-is-podman", docker.client or "podman"
    elif not docker.client:
        yield "docker-missing", "no docker"
    elif not docker.daemon and docker.is_rootless:
        yield "docker-rootless-only", f"client {docker.client}, a rootless daemon of {probe.user}"
    elif not docker.daemon and not probe.may_root and "permission denied" in docker.error.casefold():
        yield "docker-unknown", docker.error
    elif not docker.daemon:
        yield "docker-not-running", docker.error or "no daemon answers"
    elif docker.is_snap:
        yield "docker-snap", f"{docker.daemon}, of a snap"
    else:
        yield f"{docker.daemon}, runtimes {', '.join(docker.runtimes) or 'unknown'}"


def _owner(probe: HostProbe, wanted: Wanted, _now: datetime) -> Iterator[Found]:
    owner = probe.owner
    if wanted.holder and (owner is None or owner.control_plane == wanted.control_plane):
        yield "adopted-here" if wanted.is_look else "already-adopted", f"it is instance {wanted.holder} of this project"
        return
    if owner is None:
        yield "nobody" if not probe.agent else ("files-left", f"agent: {probe.agent}")
        return
    if owner.control_plane == wanted.control_plane and owner.instance_id == wanted.instance_id:
        yield f"this instance, since {owner.since}"
    elif wanted.take_over:
        yield "owner-taken-over", owner.words
    elif not (owner.control_plane_url or owner.control_plane):
        yield "owner-unreadable", owner.text or "an empty file"
    elif owner.control_plane == wanted.control_plane:
        yield "owner-other-instance", owner.words
    else:
        yield "owner-foreign", owner.words


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


Judgement = Callable[[HostProbe, Wanted, datetime], Iterator[Found]]

JUDGEMENTS: Final[tuple[tuple[Check, Judgement], ...]] = (
    (Check.OS, _os),
    (Check.ARCHITECTURE, _architecture),
    (Check.PYTHON, _python),
    (Check.SUDO, _sudo),
    (Check.INIT, _init),
    (Check.DISK, _disk),
    (Check.CLOCK, _clock),
    (Check.DNS, _dns),
    (Check.API, _api),
    (Check.NETWORK, _network),
    (Check.DOCKER, _docker),
    (Check.DRIVER, lambda probe, _wanted, _now: judge_driver(probe)),
    (Check.CUDA, lambda probe, _wanted, _now: judge_cuda(probe)),
    (Check.TOOLKIT, lambda probe, _wanted, _now: judge_toolkit(probe)),
    (Check.GPUS, lambda probe, wanted, _now: judge_gpus(probe, wanted.gpu)),
    (Check.OWNER, _owner),
)
