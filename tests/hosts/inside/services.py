"""A service manager for a host: the part of systemd that a program sees which installs one service.

It keeps units of `/etc/systemd/system` as systemd does: a clean environment, `EnvironmentFile`, `Restart`, `KillMode`,
`WantedBy`; `systemctl` (a stub on the host's PATH) talks to it. Sources: systemd.service(5), systemd.exec(5),
systemd.kill(5), systemctl(1). What it does not know (timers, sockets, dependencies) it refuses rather than ignores.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid

import unit_file
from unit_file import FOLDER, Unit

SOCKET = "/run/lab/systemd.sock"
LOGS = "/run/lab/journal"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BURST, BURST_S = 5, 10.0
"""After more starts in that time a unit stays failed. Source: DefaultStartLimitBurst, systemd-system.conf(5)."""


class Service:
    """What runs of one unit."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.state = "inactive"
        self.pid = 0
        self.exit_code = 0
        self.invocation = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at: float | None = None
        self.stopping = False
        self.starts: list[float] = []

    def start(self) -> None:
        """Start the main process, after what has to run before it."""
        self.invocation = uuid.uuid4().hex
        self.restart_at, self.stopping = None, False
        now = time.monotonic()
        interval_s = self.unit.seconds("StartLimitIntervalSec", BURST_S)
        self.starts = [at for at in self.starts if at > now - interval_s] + [now]
        if interval_s and len(self.starts) > BURST:
            self.state = "failed"
            return
        try:
            environment = self._environment()
            for command in self.unit.all("ExecStartPre"):
                must_succeed = not command.startswith("-")
                subprocess.run(unit_file.words(command), env=environment, check=must_succeed, timeout=30)
            self.process = self._spawn(environment)
            self.pid = self.process.pid
            self.state = "active"
        except (OSError, subprocess.SubprocessError) as error:
            self.log(f"{self.unit.name}: {error}\n")
            self.state, self.exit_code = "failed", 203  # EXIT_EXEC, systemd.exec(5)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after the time limit, to whom `KillMode` says."""
        self.restart_at, self.stopping = None, True
        if self.state == "active":
            mode = self.unit.one("KillMode", "control-group")
            pids = self.members() if mode == "control-group" else [self.pid]
            _signal(pids, getattr(signal, self.unit.one("KillSignal", "SIGTERM")))
            if not _gone(pids, self.unit.seconds("TimeoutStopSec", 90.0)):
                _signal(pids, signal.SIGKILL)
                _gone(pids, 5.0)
            if mode in {"control-group", "mixed"}:
                _signal(self.members(), signal.SIGKILL)
        self.state, self.pid = "inactive", 0

    def ended(self, code: int) -> None:
        """The main process is gone."""
        self.pid, self.exit_code = 0, code
        if self.process:
            self.process.returncode = code  # it was reaped, so that nothing else shall wait for it
        if self.unit.one("KillMode", "control-group") != "process":
            _signal(self.members(), signal.SIGKILL)
        clean = code in {0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGPIPE}
        self.state = "inactive" if clean else "failed"
        again = self.unit.one("Restart", "no")
        if not self.stopping and (again == "always" or (again == "on-failure" and not clean)):
            self.state = "activating"
            self.restart_at = time.monotonic() + self.unit.seconds("RestartSec", 0.1)

    def members(self) -> list[int]:
        """Every process that this start of the unit led to: all of them inherit its invocation id."""
        mark = f"INVOCATION_ID={self.invocation}".encode()
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and name != "1":
                    with open(f"/proc/{name}/environ", "rb") as file:
                        if mark in file.read().split(b"\0"):
                            found.append(int(name))
        return found

    def log(self, text: str) -> None:
        with open(f"{LOGS}/{self.unit.name}", "a") as file:
            file.write(text)

    def _environment(self) -> dict[str, str]:
        values = {"PATH": PATH, "LANG": "C.UTF-8", "INVOCATION_ID": self.invocation}
        return values | unit_file.environment(self.unit)

    def _spawn(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with open(f"{LOGS}/{self.unit.name}", "ab") as log:
            return subprocess.Popen(
                unit_file.words(unit_file.expand(self.unit.one("ExecStart", ""), environment)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.unit.one("WorkingDirectory", "/").lstrip("-"),
                user=self.unit.one("User", "") or None,
                start_new_session=True,
            )


class Manager:
    """All services of the host, and the socket on which `systemctl` asks."""

    def __init__(self) -> None:
        for folder in (LOGS, "/run/systemd/system", f"{FOLDER}/multi-user.target.wants"):
            os.makedirs(folder, exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        self._socket.listen(16)
        self._units: dict[str, Unit] = unit_file.load_all()
        self._services: dict[str, Service] = {}

    def fileno(self) -> int:
        return self._socket.fileno()

    def start_enabled(self) -> None:
        for name in unit_file.enabled():
            if name in self._units:
                self._service(name).start()

    def patience(self) -> float | None:
        """Seconds until a service is due to be started again."""
        due = [s.restart_at for s in self._services.values() if s.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def look(self) -> None:
        """Start again what is due."""
        for service in self._services.values():
            if service.restart_at is not None and service.restart_at <= time.monotonic():
                service.start()

    def ended(self, pid: int, code: int) -> None:
        for service in self._services.values():
            if service.pid == pid:
                service.ended(code)

    def answer(self) -> None:
        """Serve one `systemctl`: `{"verb", "names", "now"}` in, `{"out", "err", "code"}` back."""
        connection, _ = self._socket.accept()
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(60.0)
            asked = json.loads(connection.makefile().readline())
            _pid, uid = _peer(connection)
            out, err, code = self._obey(asked, is_root=uid == 0)
            connection.sendall(json.dumps({"out": out, "err": err, "code": code}).encode() + b"\n")

    def _obey(self, asked: dict, *, is_root: bool) -> tuple[str, str, int]:
        verb, names = asked["verb"], [n if "." in n else f"{n}.service" for n in asked["names"]]
        reading = {
            "is-active": self._is_active,
            "is-failed": self._is_failed,
            "is-enabled": self._is_enabled,
            "status": self._status,
            "show": self._show,
            "cat": self._cat,
        }
        if verb in reading:
            return reading[verb](names)
        if verb == "list":
            return self._list()
        if not is_root:
            return "", "Interactive authentication required.\n", 1
        if verb == "daemon-reload":
            self._units = unit_file.load_all()
            for name, service in self._services.items():
                service.unit = self._units.get(name, service.unit)
            return "", "", 0
        return self._change(verb, names, now=asked["now"])

    def _change(self, verb: str, names: list[str], *, now: bool) -> tuple[str, str, int]:
        said = ""
        for name in names:
            known = name in self._units or name in self._services
            if verb in {"enable", "disable"}:
                if not os.path.exists(f"{FOLDER}/{name}") and (verb == "enable" or not unit_file.is_enabled(name)):
                    return "", f"Failed to {verb} unit: Unit file {name} does not exist.\n", 1
                said += unit_file.enable(name) if verb == "enable" else unit_file.disable(name)
                if now and known:
                    self._carry_out("start" if verb == "enable" else "stop", name)
            elif not known and verb == "reset-failed":
                return "", f"Failed to reset failed state of unit {name}: Unit {name} not loaded.\n", 1
            elif not known and verb in {"stop", "kill"}:
                return "", f"Failed to {verb} {name}: Unit {name} not loaded.\n", 5
            elif not known:
                return "", f"Failed to {verb} {name}: Unit {name} not found.\n", 5
            else:
                self._carry_out(verb, name)
        failed = [n for n in names if verb in {"start", "restart"} and self._service(n).state == "failed"]
        trouble = [f"Job for {n} failed because the control process exited with error code.\n" for n in failed]
        return "", said + "".join(trouble), 1 if failed else 0

    def _carry_out(self, verb: str, name: str) -> None:
        service = self._service(name)
        if verb in {"stop", "restart", "try-restart"}:
            was_active = service.state in {"active", "activating"}
            service.stop()
            if verb == "restart" or (verb == "try-restart" and was_active):
                service.starts = []
                service.start()
        elif verb == "start" and service.state != "active":
            service.starts = []
            service.start()
        elif verb == "kill":
            _signal(service.members(), signal.SIGTERM)
        elif verb == "reset-failed" and service.state == "failed":
            service.state, service.starts = "inactive", []

    def _service(self, name: str) -> Service:
        if name not in self._services:
            self._services[name] = Service(self._units[name])
        return self._services[name]

    def _state(self, name: str) -> str:
        return self._services[name].state if name in self._services else "inactive"

    def _is_active(self, names: list[str]) -> tuple[str, str, int]:
        states = [self._state(name) for name in names]
        return "".join(f"{state}\n" for state in states), "", 0 if "active" in states else 3

    def _is_failed(self, names: list[str]) -> tuple[str, str, int]:
        states = [self._state(name) for name in names]
        return "".join(f"{state}\n" for state in states), "", 0 if "failed" in states else 1

    def _is_enabled(self, names: list[str]) -> tuple[str, str, int]:
        name = names[0]
        if unit_file.is_enabled(name):
            return "enabled\n", "", 0
        if os.path.exists(f"{FOLDER}/{name}"):
            return "disabled\n", "", 1
        return "", f"Failed to get unit file state for {name}: No such file or directory\n", 1

    def _show(self, names: list[str]) -> tuple[str, str, int]:
        text = ""
        for name in names:
            service = self._services.get(name)
            values = {
                "Id": name,
                "LoadState": "loaded" if name in self._units else "not-found",
                "ActiveState": self._state(name),
                "MainPID": service.pid if service else 0,
                "ExecMainStatus": abs(service.exit_code) if service else 0,
                "NRestarts": max(0, len(service.starts) - 1) if service else 0,
                "UnitFileState": "enabled" if unit_file.is_enabled(name) else "disabled" if name in self._units else "",
            }
            text += "".join(f"{key}={value}\n" for key, value in values.items())
        return text, "", 0

    def _status(self, names: list[str]) -> tuple[str, str, int]:
        name = names[0] if names else ""
        if name and name not in self._units and name not in self._services:
            return "", f"Unit {name} could not be found.\n", 4
        return f"● {name}\n     Active: {self._state(name)}\n", "", 0 if self._state(name) == "active" else 3

    def _cat(self, names: list[str]) -> tuple[str, str, int]:
        try:
            with open(f"{FOLDER}/{names[0]}") as file:
                return f"# {FOLDER}/{names[0]}\n{file.read()}", "", 0
        except OSError:
            return "", f"No files found for {names[0]}.\n", 1

    def _list(self) -> tuple[str, str, int]:
        states = {name: self._state(name) for name in sorted({*self._units, *self._services})}
        rows = [
            f"{name} {'enabled' if unit_file.is_enabled(name) else 'disabled'} {state}\n"
            for name, state in states.items()
            if name in self._units or state not in {"inactive"}
        ]
        return "".join(rows), "", 0


def run_boot_scripts() -> None:
    """Start what a machine without systemd starts: rc2.d, OpenRC's local.d, rc.local, the `@reboot` lines of cron."""
    folder = "/etc/rc2.d"
    scripts = [f"{folder}/{name} start" for name in sorted(os.listdir(folder)) if name.startswith("S")]
    if os.path.isdir("/etc/local.d"):
        scripts += [f"/etc/local.d/{name}" for name in sorted(os.listdir("/etc/local.d")) if name.endswith(".start")]
    if os.access("/etc/rc.local", os.X_OK):
        scripts.append("/etc/rc.local")
    for name in sorted(os.listdir("/etc/cron.d")):
        with open(f"/etc/cron.d/{name}") as file:
            scripts += [line.split(None, 2)[2] for line in file if line.startswith("@reboot")]
    with contextlib.suppress(OSError), open("/var/spool/cron/crontabs/root") as file:
        scripts += [line.split(None, 1)[1] for line in file if line.startswith("@reboot")]
    for script in scripts:
        subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": PATH, "HOME": "/root", "SHELL": "/bin/sh", "LOGNAME": "root"},
            start_new_session=True,
        )


def _peer(connection: socket.socket) -> tuple[int, int]:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        if pid > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _gone(pids: list[int], limit_s: float) -> bool:
    """Reap and wait until none of them lives."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.005)
    return False
