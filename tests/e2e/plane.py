"""A whole embedded control plane in a folder of its own, as `make up` brings it up, and a user who types commands."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from infra.build import ROOT
from infra.local import daemons, inspect
from infra.local.cloud import processes
from infra.local.control import STACK, STAGE, Options
from infra.local.deploy import Emulator
from infra.local.emulator import REGION, root_key
from infra.local.folder import Folder
from tests.ports import free_port

T = TypeVar("T")

PATIENCE_S = 180
RAREST_LOOK_S = 0.5
"""Each look costs the emulator's time or a command's, and other tests run beside."""

ALL = 1_000_000
SCHEDULED = {
    "version": "0",
    "id": "12345678-1234-1234-1234-123456789012",
    "account": "000000000000",
    "region": REGION,
    "source": "aws.events",
    "detail-type": "Scheduled Event",
    "detail": {},
    "resources": [],
}
"""What EventBridge gives a scheduled function, without the time."""

DEFAULT_POOL = "/projects/main/pools/default-pool"


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Plane:
    """One control plane and its user's working folder."""

    root: Path
    options: Options = field(default_factory=lambda: Options(port=0))
    client: dict[str, str] = field(default_factory=dict)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list, init=False, repr=False)

    @property
    def folder(self) -> Folder:
        return Folder(self.root / "plane")

    @property
    def project(self) -> str:
        """The project that the user's commands are about."""
        return self.client["TIDEPOOL_PROJECT"]

    def control(self, *words: str) -> None:
        """`python -m infra.local …` in a process of its own: bringing one up changes that process's environment."""
        command = [sys.executable, "-m", "infra.local", "--state", str(self.folder.root), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def up(self) -> None:
        options = ["--port", str(self.options.port or free_port()), "--ttl-lag", self.options.ttl_lag]
        options += [] if self.options.schedules else ["--no-schedules"]
        for name, value in self.options.settings.items():
            options += ["--set", f"{name}={value}"]
        if self.options.cloud_port is not None:
            options += ["--cloud-port", str(self.options.cloud_port)]
        self.control("up", *options)
        self.client = self.folder.client()
        # Another start is a restart: whoever talks to this one finds the next at the same addresses.
        ports = [urlsplit(self.client[name]).port for name in ("TIDEPOOL_URL", "TIDEPOOL_LOCAL_CLOUD_URL")]
        self.options = replace(self.options, port=ports[0] or 0, cloud_port=ports[1])
        (self.root / "work").mkdir(exist_ok=True)

    def down(self, *words: str) -> None:
        self.control("down", *words)

    def start(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Start `tidepool …` in the user's folder and return at once."""
        command = [sys.executable, "-m", "tidepool", *words]
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.root), "PYTHONPATH": str(ROOT / "cli"), **self.client}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=self.root / "work", env=environ, text=True, **{**pipes, **options})
        self.started.append(process)
        return process

    def end_commands(self) -> None:
        """End what a test that failed has left running, which the next test would be blamed for."""
        while self.started:
            process = self.started.pop()
            process.kill()
            process.communicate()

    def tidepool(self, *words: str, code: int | None = 0, answer: str | None = None) -> Done:
        """Type one command and wait for it. `code` is what it must exit with (None: anything)."""
        process = self.start(*words, **({"stdin": subprocess.PIPE} if answer is not None else {}))
        out, err = process.communicate(input=answer, timeout=PATIENCE_S)
        done = Done(process.returncode, out, err)
        assert "Traceback" not in done.err, done.err
        assert code is None or done.code == code, f"exit {done.code}: {words}\n{done.out}\n{done.err}"
        return done

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """One call of the API below `/v1`; the answer's status and its JSON."""
        status, _, text = self.exchange(method, path, body, token=token, headers=headers)
        return status, json.loads(text or "null")

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Message, str]:
        """The same with the answer's headers and its text. A body of bytes is sent as it is."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        token = self.client["TIDEPOOL_TOKEN"] if token is None else token
        asked = urllib.request.Request(f"{self.client['TIDEPOOL_URL']}/v1{path}", data=data, method=method)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            asked.add_header(name, value)
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def instances(self, pool: str = "default-pool") -> list[dict[str, Any]]:
        """The live instances of a pool."""
        return self.request("GET", f"/projects/{self.project}/pools/{pool}/instances")[1].get("items", [])

    def instance(self, name: str) -> dict[str, Any]:
        """Everything about one instance, ended ones too."""
        return self.request("GET", f"/projects/{self.project}/instances/{name}")[1]

    def cloud(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the local cloud's own API: what the provider says."""
        asked = urllib.request.Request(
            self.client["TIDEPOOL_LOCAL_CLOUD_URL"] + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.client['TIDEPOOL_LOCAL_CLOUD_KEY']}"},
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"null")

    def machines(self) -> list[dict[str, Any]]:
        """What bills: the machines of the local cloud that are not gone."""
        listed = self.cloud("GET", "/machines")
        items = listed["machines"] if isinstance(listed, dict) else listed
        return [machine for machine in items if machine["phase"] != "gone"]

    def agent_of(self, machine_id: str) -> int | None:
        """The process of a machine's agent: the user data, which became it, is the child of its supervisor."""
        supervisor = int((self.folder.machines / machine_id / "supervisor.pid").read_text())
        return next((each.pid for each in processes.living(machine_id) if each.parent == supervisor), None)

    def made_for(self, instance_id: str) -> list[str]:
        """The attempts that the provider ever made a machine for, ended ones too, whether or not it could say so."""
        file = self.folder.machines / "machines.json"
        known = json.loads(file.read_text()) if file.exists() else []
        return [machine["name"] for machine in known if machine["name"].startswith(f"{instance_id}-")]

    def rehearse(self, *faults: dict[str, Any]) -> None:
        """Script what goes wrong at the provider."""
        self.cloud("PUT", "/rehearsal", list(faults))

    @cached_property
    def emulator(self) -> Emulator:
        """The emulator, as its root."""
        return Emulator(self.options.port, root_key(self.folder.state))

    def invoke(self, function: str, payload: Any) -> Any:
        """Run one Lambda as the platform would, and return what it answers."""
        answer = self.emulator.client("lambda").invoke(
            FunctionName=f"{STACK}-{function}", Payload=json.dumps(payload).encode()
        )
        result = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, result
        return result

    def tick(self, function: str) -> Any:
        """Run a Lambda as its schedule does."""
        return self.invoke(function, {**SCHEDULED, "time": datetime.now(UTC).isoformat()})

    def write_rows(self, *words: str) -> Any:
        """Run `tests.e2e.rows`: what no user can do, written to the tables by the store's own code."""
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
            "AWS_ENDPOINT_URL": self.emulator.url,
            "AWS_ACCESS_KEY_ID": self.emulator.key,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "TIDEPOOL_STAGE": STAGE,
        }
        command = [sys.executable, "-m", "tests.e2e.rows", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def workers(self, handler: str) -> list[int]:
        """The processes that run one Lambda's handler, below the emulator: its own, whatever else runs here."""
        emulator = daemons.running(self.folder.pid("control-plane"))
        parents, commands = {}, {}
        listing = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, check=True)
        for line in listing.stdout.decode(errors="replace").splitlines():
            pid, parent, command = [*line.split(None, 2), ""][:3]
            parents[int(pid)], commands[int(pid)] = int(parent), command
        below = {emulator}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        return sorted(pid for pid in below if f"awslambdaric {handler}" in commands.get(pid, ""))

    def said(self) -> list[str]:
        """Every line that the functions have logged, without those about answered requests of the API."""
        lines = inspect.logs(self.folder, None, lines=ALL, follow=False)
        return [line for line in lines if '"event": "answered"' not in line]

    def logs(self) -> str:
        """Everything that the functions, the parts and the machines that are on have logged."""
        said = list(inspect.logs(self.folder, None, lines=ALL, follow=False))
        files = [*(self.folder.root / "log").iterdir(), *self.folder.machines.glob("*/*.log")]
        return "\n".join(said + [path.read_text(errors="replace") for path in sorted(files)])

    def empty(self) -> None:
        """Remove every instance, wait until nothing bills, and forget the rehearsal."""
        self.end_commands()
        self.cloud("DELETE", "/rehearsal")
        for run in self.request("GET", f"/projects/{self.project}/runs?active=true")[1]["items"]:
            self.request("POST", f"/projects/{self.project}/runs/{run['run_id']}/stop", {"force": True})
        for row in self.instances():
            self.request("DELETE", f"/projects/{self.project}/instances/{row['instance_id']}?force=true")
        self.until(lambda: not self.instances() and not self.machines())

    @staticmethod
    def until(condition: Callable[[], T], *, seconds: float = PATIENCE_S) -> T:
        """Wait until something is so, and return it. Fails when it is not so within its time."""
        deadline, pause_s = time.monotonic() + seconds, 0.1
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, RAREST_LOOK_S)
        return found
