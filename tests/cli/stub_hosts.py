"""The stub API's hosts: an adoption of two scripts that is kept step by step, as the real one is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.cli.builders import NO_OFFER, make_check, make_host_facts, make_instance
from tests.cli.stub_problem import Problem

if TYPE_CHECKING:
    from tests.cli.stub import Request

SHOWN = f"SHA256:{'A' * 43}"
"""The fingerprint of what the control plane saw when it connected by itself."""
JUMP_KEY = f"SHA256:{'J' * 43}"
PREFLIGHT, INSTALL = "echo facts of $(id -un)", "echo installed"
FIT, UNFIT = (make_check(),), (make_check(), make_check(check="docker", status="fail", code="docker-missing",
                                                       found="no docker", fix="install it"))  # fmt: skip


@dataclass
class StubHost:
    """One adoption, or one look."""

    key: str
    request: dict[str, Any]
    step: str = "preflight"
    checks: tuple[dict[str, Any], ...] = ()
    failure: str = ""
    tries: int = 0
    said: list[dict[str, Any]] = field(default_factory=list)
    is_check: bool = False
    is_known: bool = False

    @property
    def is_over(self) -> bool:
        return self.step in ("done", "failed")

    def facts(self) -> dict[str, Any]:
        where, jump = self.request, self.request.get("jump")
        is_seen = not self.is_check or self.is_over or self.is_known
        seen = SHOWN if is_seen and not where.get("from_here") else ""
        pinned = next((one["host_key"] for one in self.said if one.get("host_key")), seen)
        return make_host_facts(
            destination=_shown(where),
            jump=_shown(jump) if jump else "",
            from_here=bool(where.get("from_here")),
            step=self.step,
            failure=self.failure,
            host_key=pinned,
            jump_host_key=JUMP_KEY if jump and not where.get("from_here") else "",
            checks=list(self.checks),
        )


@dataclass
class HostRoutes:
    """`scripts` are what the client has to carry; `is_fit` judges a host's request; `script_limit_s` each script's."""

    hosts: dict[str, StubHost] = field(default_factory=dict)
    carried: dict[str, str] = field(default_factory=lambda: {"preflight": PREFLIGHT, "install": INSTALL})
    sudo: bool = False
    script_limit_s: float = 20.0
    is_fit: Callable[[dict[str, Any]], bool] = lambda _: True
    uploaded: list[dict[str, Any]] = field(default_factory=list)

    def facts_of(self, key: str) -> dict[str, Any] | None:
        return self.hosts[key].facts() if key in self.hosts else None

    def add_host(self, request: "Request", pool: str) -> tuple[int, Any]:
        """The same address again is the same instance, until that has ended; a name that is another's is refused."""
        wanted = request.body
        for host in self.hosts.values():
            if not host.is_check and host.step != "failed" and _place(host.request) == _place(wanted):
                row = self._row(host)
                if wanted.get("name") not in (None, row["name"]):
                    raise Problem(409, "conflict", f"it is {row['name']}", differences={"name": {}})
                return 202, row
        for row in self._rows:
            if row["name"] == wanted.get("name") and row["state"] != "terminated":
                ending = row["state"] == "terminating"
                raise Problem(409, "already-exists", "the name is taken", name=wanted["name"], ending=ending)
        name = wanted.get("name") or f"made-up-{len(self.hosts)}"
        row = make_instance(name=name, pool=pool, state="pending", reason="add-ssh", detail="preflight", **NO_OFFER)
        row["instance_id"] = f"i-{len(self.hosts)}-{name}"
        self._rows.append(row)
        self.hosts[row["instance_id"]] = StubHost(row["instance_id"], wanted)
        if not wanted.get("from_here"):
            self.uploaded.append(wanted)
            self.scripts.setdefault(name, self._by_itself(wanted))
        return 202, row

    def _by_itself(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        if self.is_fit(wanted):
            return [{"detail": "preflight"}, {"detail": "install"}, {"state": "idle", "detail": "", "backend": "ssh"}]
        return [{"detail": "preflight"}, {"state": "terminating", "reason": "provisioning-failed"}]

    def _hosts(self, request: "Request", rest: list[str]) -> tuple[int, Any]:
        if not rest:
            listed = [
                {"instance": self._row(host), "host": host.facts()} for host in self.hosts.values() if not host.is_check
            ]
            return 200, {"items": listed, "next": None}
        return 200, self._stepped(self.hosts[rest[0]], request.body)

    def _host_checks(self, request: "Request", rest: list[str]) -> tuple[int, Any]:
        if not rest:
            known = any(not one.is_check and _place(one.request) == _place(request.body) for one in self.hosts.values())
            host = StubHost(f"c-{len(self.hosts)}", request.body, is_check=True, is_known=known)
            self.hosts[host.key] = host
            return 202, {"check_id": host.key, "over": False, "host": host.facts()}
        host = self.hosts[rest[0]]
        if rest[1:] == ["steps"]:
            return 200, self._stepped(host, request.body)
        self._judge(host)
        return 200, {"check_id": host.key, "over": host.is_over, "host": host.facts()}

    def _stepped(self, host: StubHost, said: dict[str, Any]) -> dict[str, Any]:
        if said.get("step"):
            host.said.append(said)
        if said.get("step") == host.step:
            if said["exit_code"] == 255:
                host.tries += 1
                if host.tries > 2:
                    host.step, host.failure = "failed", f"unreachable: {said['stderr']}"
                    self._row(host).update(state="terminating", reason="provisioning-failed")
            elif host.step == "preflight":
                self._judge(host)
            else:
                host.step = "agent"
                self._row(host).update(state="provisioning", reason="launched", detail="agent")
        elif host.step == "agent":
            host.step = "done"
            self._row(host).update(state="idle", reason="agent-ready", detail="", backend="ssh", region="remote")
        script = None if host.is_over else self.carried.get(host.step)
        pause_s = 0.5 if host.tries or host.step == "agent" else 0.0
        return {
            "key": host.key, "step": host.step, "over": host.is_over, "script": script, "sudo": self.sudo,
            "timeout_s": self.script_limit_s, "pause_s": pause_s, "host": host.facts(),
        }  # fmt: skip

    def _judge(self, host: StubHost) -> None:
        fit = self.is_fit(host.request)
        host.checks = FIT if fit else UNFIT
        host.step = "failed" if not fit else "done" if host.is_check else "install"
        if not fit and not host.is_check:
            host.failure = "docker-missing (no docker)"
            self._row(host).update(state="terminating", reason="provisioning-failed", detail=host.failure)

    def _row(self, host: StubHost) -> dict[str, Any]:
        return next((row for row in self._rows if row["instance_id"] == host.key), {})

    @property
    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.instances  # type: ignore[attr-defined]
        return rows


def _shown(where: dict[str, Any]) -> str:
    name = f"{where['user']}@{where['host']}"
    return name if where["port"] == 22 else f"{name}:{where['port']}"


def _place(request: dict[str, Any]) -> tuple[Any, ...]:
    jump = request.get("jump") or {}
    return request["host"], request["port"], request["user"], jump.get("host"), jump.get("port")
