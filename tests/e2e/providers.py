"""The providers that the story is told with: the local cloud, and the fakes of AWS and Azure with real agents."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from chalicelib.backends.aws.driver import AwsBackend
from chalicelib.backends.azure.driver import AzureBackend
from chalicelib.backends.base import Account, Backend
from infra.build import ROOT
from tests.e2e.plane import Plane
from tests.fakes.aws.world import KEY_ID
from tests.fakes.aws.world import SECRET as AWS_SECRET
from tests.fakes.azure.server import CONFIG as AZURE_CONFIG
from tests.fakes.azure.server import SECRET as AZURE_SECRET

AWS_CONFIG = {"regions": ["us-east-1"], "disk_gb": 100}
STOP_LIMIT_S = 60


@dataclass
class RentedPlane(Plane):
    """The control plane as a project sees it that rents from one provider: its profile names no other."""

    gpu: str = "80GB"
    model: str = "A100"
    backend: Backend | None = None
    url: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def machines(self) -> list[Any]:
        """What bills, as the provider's own listing has it."""
        if self.backend is None:
            return super().machines()
        return list(self.backend.owned(self.folder.owner()))

    def play(self, method: str, path: str = "", body: Any = None) -> Any:
        """Touch the switchboard of a fake provider (`tests/fakes/*/server.py` says what it takes)."""
        content = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/_rehearsal{path}", content, method=method), timeout=60) as answer:
            return json.loads(answer.read())

    def empty(self) -> None:
        if self.url:
            self.play("DELETE")
        super().empty()


@contextmanager
def fake(kind: str, state: Path) -> Iterator[str]:
    """Run one fake provider as a process of its own; its URL."""
    state.mkdir()
    command = [sys.executable, "-m", f"tests.fakes.{kind}", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, f"the fake {kind} did not start"
        yield url
    finally:
        process.terminate()
        process.wait(STOP_LIMIT_S)
        process.stdout.close()


def local(running: Plane) -> RentedPlane:
    """The local cloud, which every project has."""
    return RentedPlane(running.root, running.options, running.client)


def aws(running: Plane, url: str) -> RentedPlane:
    """A project of its own with an account at the fake AWS."""
    credentials = {"access_key_id": KEY_ID, "secret_access_key": AWS_SECRET}
    backend = AwsBackend(Account("aws", "aws", "aws", AWS_CONFIG, credentials), endpoint_url=url)
    client = _project(running, "aws", AWS_CONFIG, credentials)
    return RentedPlane(running.root, running.options, client, "L4", "L4", backend, url, (AWS_SECRET,))


def azure(running: Plane, url: str) -> RentedPlane:
    """The same with an account at the fake Azure."""
    credentials = {"client_secret": AZURE_SECRET}
    account = Account("azure", "azure", "azure", AZURE_CONFIG, credentials)
    backend = AzureBackend(account, owner=running.folder.owner(), endpoint_url=url)
    client = _project(running, "azure", AZURE_CONFIG, credentials)
    return RentedPlane(running.root, running.options, client, "80GB", "A100", backend, url, (AZURE_SECRET,))


def _project(running: Plane, kind: str, config: dict[str, Any], credentials: dict[str, str]) -> dict[str, str]:
    """Make a project that rents from one account alone, with its prices read; what its user has in the environment."""
    client = {**running.client, "TIDEPOOL_PROJECT": kind, "TIDEPOOL_PROFILE": kind}
    own = Plane(running.root, running.options, client)
    if own.request("POST", "/projects", {"name": kind})[0] == 409:
        return client
    profiles = running.root / "work" / ".tidepool" / "profiles.yml"
    profiles.parent.mkdir(exist_ok=True)
    profiles.write_text("".join(["profiles:\n", *(f"- {{name: {name}, backends: [{name}]}}\n" for name in KINDS)]))
    added = own.request(
        "POST", f"/projects/{kind}/backends", {"kind": kind, "config": config, "credentials": credentials}
    )
    assert added[0] == 201, json.dumps(added)
    assert own.request("POST", f"/projects/{kind}/pools", {"name": "default-pool"})[0] == 201
    reports = own.tick("catalog")["reports"]
    assert not any(report.get("failed") for report in reports), reports
    return client


KINDS = ("aws", "azure")
