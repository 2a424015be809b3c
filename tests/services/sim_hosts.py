"""Servers that somebody owns, in memory: each answers the very scripts that are sent, and may run an agent.

What can go wrong is set on the host: it is unreachable, refuses the key, has lost its toolkit, fails to install.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.host_records import HostRecord
from chalicelib.services import agents, tokens
from chalicelib.services.jobs import JobReport
from chalicelib.ssh.errors import AuthFailedError, HostKeyChangedError, SshError, UnreachableError


@cache
def private_key() -> str:
    """A key that opens nothing."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


@dataclass(frozen=True)
class Finished:
    stdout: str
    stderr: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class ShownKey:
    fingerprint: str
    line: str


@dataclass
class SimHost:
    """One server. `faults` are consumed by connections, one each; `install_faults` by installations."""

    name: str
    fingerprint: str = ""
    machine_id: str = ""
    cpus: int = 8
    memory_mib: int = 32768
    disk_mib: int = 200_000
    gpus: int = 0
    toolkit: bool = True
    docker: bool = True
    sudo: str = "yes"
    addresses: tuple[str, ...] = ("10.0.0.5/24",)
    faults: list[str] = field(default_factory=list)
    install_faults: list[str] = field(default_factory=list)
    down: bool = False
    refuses_key: bool = False
    owner: dict[str, str] | None = None
    token: str = ""
    agent: str = ""
    jobs: dict[str, JobReport] = field(default_factory=dict)
    facts_told: bool = False
    ran: list[str] = field(default_factory=list)
    connections: int = 0
    cut: bool = False
    jump_key: str = ""

    def __post_init__(self) -> None:
        self.machine_id = self.machine_id or self.name.encode().hex().ljust(32, "0")[:32]
        self.fingerprint = self.fingerprint or "SHA256:" + (self.name.replace("-", "") * 43)[:43]

    @property
    def is_clean(self) -> bool:
        """Whether nothing of ours is there."""
        return self.owner is None and not self.token and not self.agent

    def execute(self, script: str, clock: datetime) -> Finished:
        """What `sh -s` does with a script, as far as the control plane can tell."""
        if "name=tidepool-install" in script:
            return self._install(script)
        if "name=tidepool-uninstall" in script:
            return self._uninstall(script)
        assert "tidepool-probe" in script or "api_url=" in script, script[:200]
        self.ran.append("probe")
        return Finished(self._probe(clock))

    def _install(self, script: str) -> Finished:
        self.ran.append("install")
        fault = self.install_faults.pop(0) if self.install_faults else ""
        if fault == "failed":
            return Finished(said("tidepool-install", step="files", reason="No space left", outcome="failed"), "", 1)
        me = (assigned(script, "control_plane"), assigned(script, "instance_id"))
        is_other = self.owner is not None and (self.owner["control_plane"], self.owner["instance_id"]) != me
        is_left = (
            is_other
            and me[0] == self.owner["control_plane"]
            and self.owner["instance_id"] == assigned(script, "replaces")
        )
        if is_other and not is_left and assigned(script, "take_over") != "yes":
            reason = "owner-foreign" if self.owner and self.owner["control_plane"] != me[0] else "owner-other-instance"
            owner = json.dumps(self.owner)
            return Finished(said("tidepool-install", reason=reason, owner=owner, outcome="refused"), "", 3)
        if is_other:
            self.agent, self.jobs = "", {}
        self.owner = json.loads(assigned(script, "owner_json"))
        self.token = assigned(script, "token")
        if fault == "lost-answer":
            raise UnreachableError("the connection broke", host=self.name, cause="network")
        return Finished(said("tidepool-install", did="started", agent="active", outcome="installed"))

    def _uninstall(self, script: str) -> Finished:
        self.ran.append("uninstall")
        if self.owner is None:
            return Finished(said("tidepool-uninstall", outcome="absent"))
        if self.owner["instance_id"] != assigned(script, "instance_id"):
            return Finished(said("tidepool-uninstall", reason="owner-other-instance", outcome="refused"), "", 3)
        self.owner, self.token, self.agent, self.jobs = None, "", "", {}
        return Finished(said("tidepool-uninstall", outcome="removed"))

    def _probe(self, clock: datetime) -> str:
        lines = [
            ("hostname", self.name), ("kernel", "Linux"), ("kernel_version", "6.8.0"), ("arch", "x86_64"),
            ("os", "ID=ubuntu"), ("os", 'PRETTY_NAME="Ubuntu 24.04"'), ("boot_id", "b"), ("uptime", "100.0 1"),
            ("machine_id", self.machine_id), ("user", "ubuntu"), ("uid", "1000"), ("init", "systemd"),
            ("cpus", str(self.cpus)), ("memory_kib", str(self.memory_mib * 1024)), ("disk_path", "/var/lib"),
            ("disk", f"/dev/sda1 {2 * self.disk_mib * 1024} 1 {self.disk_mib * 1024} 1% /"), ("disk.exit", "0"),
            ("sudo", self.sudo), ("python", "/usr/bin/python3 3.12.3 yes"),
            *(("ip", f"2: eth0    inet {address} brd 10.0.0.255 scope global eth0") for address in self.addresses),
            ("default", "eth0"), ("dns", "0"), ("api_tool", "curl"), ("api", "200"), ("api.exit", "0"),
            *self._docker_lines(),
            *(self._gpu_lines() if self.gpus else ()),
        ]  # fmt: skip
        if self.owner is not None:
            lines += [("owner_file", "yes"), ("owner", json.dumps(self.owner))]
        lines.append(("clock_ms", str(int(clock.timestamp() * 1000))))
        return printed("tidepool-probe", lines)

    def _docker_lines(self) -> Iterator[tuple[str, str]]:
        if not self.docker:
            return
        runtimes = {"runc": {}} | ({"nvidia": {}} if self.toolkit else {})
        yield "docker", "/usr/bin/docker"
        yield "docker_client", "Docker version 27.1.1, build 6312585"
        yield "docker_client.exit", "0"
        yield "docker_root", json.dumps({"ServerVersion": "27.1.1", "Runtimes": runtimes})
        yield "docker_root.exit", "0"

    def _gpu_lines(self) -> Iterator[tuple[str, str]]:
        yield "driver", "535.104.05"
        for index in range(self.gpus):
            yield "gpu", f"{index}, NVIDIA A100-SXM4-40GB, 40960, 535.104.05, GPU-{index}, Disabled"
        yield "gpu.exit", "0"
        yield "banner", "| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2 |"
        yield "banner.exit", "0"


def assigned(script: str, name: str) -> str:
    """The value that a script's head gives a variable."""
    match = re.search(rf"^{name}=(?:'([^\n]*)'|(\S*))$", script, re.MULTILINE)
    assert match is not None, name
    return match[1] if match[1] is not None else match[2]


def said(name: str, **lines: str) -> str:
    """The output of a script."""
    return printed(name, list(lines.items()))


def printed(name: str, lines: list[tuple[str, str]]) -> str:
    return "".join(f"{key}\t{value}\n" for key, value in [(name, "1"), *lines, ("end", name)])


class SimHosts:
    """All servers by the name under which SSH reaches them, and the way there: what `Deps.ssh` is."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.known: dict[str, SimHost] = {}

    def add(self, name: str = "box-1", **facts: Any) -> SimHost:
        return self.known.setdefault(name, SimHost(name, **facts))

    @contextmanager
    def __call__(self, record: HostRecord, key: Mapping[str, str]) -> Iterator["SimShell"]:
        assert key["private_key"]
        host = self.known.get(record.destination.host)
        if host is None:
            raise UnreachableError(f"{record.destination.host} does not resolve", host="", cause="dns")
        host.connections += 1
        if host.down:
            raise FAULTS["timeout"]
        if host.faults:
            raise FAULTS[host.faults.pop(0)]
        if host.refuses_key:
            words = f"{host.name} does not let in {record.destination.user}"
            raise AuthFailedError(words, host=host.name, host_key=host.fingerprint)
        if record.pinned and record.fingerprint != host.fingerprint:
            raise HostKeyChangedError("another key", expected=record.fingerprint, found=host.fingerprint)
        yield SimShell(self.world, host)

    def boot(self) -> None:
        """The agents that were installed register."""
        for host in self.known.values():
            if not host.token or host.agent or host.cut:
                continue
            secret = (host.name * 50)[:50].replace("-", "x").replace(".", "x") + host.token[-8:].replace(".", "x")
            try:
                token = tokens.verify(self.world.deps, host.token)
                host.agent = f"tpa.{agents.register(self.world.deps, token, secret).token_id}.{secret}"
                host.facts_told = False
            except UnauthenticatedError:
                host.token = ""

    def sync_all(self) -> None:
        for host in self.known.values():
            if host.agent and not host.cut:
                self.sync(host)

    def sync(self, host: SimHost, **report: Any) -> agents.SyncAnswer | None:
        """One sync of one host's agent, and what it does about the answer. None: it was refused."""
        deps = self.world.deps
        facts = None if host.facts_told else self.facts(host)
        try:
            token = tokens.verify(deps, host.agent)
            said_now = agents.SyncReport(boot_id=host.name, jobs=tuple(host.jobs.values()), facts=facts, **report)
            answer = agents.sync(deps, token, said_now)
        except UnauthenticatedError:
            host.agent = ""
            return None
        host.facts_told = not answer.refresh
        if answer.uninstall:
            host.jobs = {}
            agent = host.agent
            host.execute(answer.uninstall, self.world.clock)
            host.agent = agent
            if not host.cut:
                self._confirm(host)
            return answer
        for run_id in answer.acknowledged:
            host.jobs.pop(run_id, None)
        host.jobs = {run: job for run, job in host.jobs.items() if answer.job is not None and answer.job.run_id == run}
        if answer.job is not None and answer.job.run_id not in host.jobs:
            host.jobs[answer.job.run_id] = JobReport(answer.job.run_id, "running")
        return answer

    def _confirm(self, host: SimHost) -> None:
        token = tokens.verify(self.world.deps, host.agent)
        agents.sync(self.world.deps, token, agents.SyncReport(boot_id=host.name, uninstalled=True))
        host.agent = ""

    @staticmethod
    def facts(host: SimHost) -> dict[str, Any]:
        gpus = [{"name": "NVIDIA A100-SXM4-40GB", "memory_mib": 40960, "count": host.gpus, "vendor": "nvidia"}]
        return {
            "hostname": host.name,
            "cpus": host.cpus,
            "memory_mib": host.memory_mib,
            "disk_mib": host.disk_mib,
            "gpus": gpus if host.gpus else [],
            "addresses": [each.partition("/")[0] for each in host.addresses],
            "docker": host.docker,
        }


class SimShell:
    def __init__(self, world: Any, host: SimHost) -> None:
        self.world, self.host = world, host
        self.host_key = ShownKey(host.fingerprint, f"ssh-ed25519 {host.name}")
        self.jump_key = ShownKey("", host.jump_key) if host.jump_key else None

    def run(self, script: str, *, sudo: bool = False, limit_s: float) -> Finished:
        assert limit_s > 0
        assert sudo == ("name=tidepool-" in script and "name=tidepool-probe" not in script)
        return self.host.execute(script, self.world.clock.astimezone(UTC))


FAULTS: dict[str, SshError] = {
    "timeout": UnreachableError("h cannot be reached: no answer", host="h", cause="timeout", reason="no answer"),
    "refused": UnreachableError("h cannot be reached: refused", host="h", cause="refused", reason="refused"),
    "dns": UnreachableError("no such name", host="h", cause="dns"),
}
