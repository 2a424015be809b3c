"""The emulator as a deployment target: its address, its clients, and how the localised package gets there."""

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.deploy import DONE, roll_out
from infra.local.emulator import REGION
from infra.local.localise import ARTIFACTS, Localised

API_STAGE: Final = "api"
"""`api_gateway_stage` of `.chalice/config.json`."""

WAIT_S: Final = 60.0
POLL_S: Final = 0.1
CONFIG: Final = Config(connect_timeout=2, read_timeout=65, retries={"mode": "standard", "total_max_attempts": 3})
"""A Lambda that is invoked may take a minute."""


@dataclass(frozen=True)
class Emulator:
    """Where the emulator is and the key that is root there."""

    port: int
    key: str

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def _session(self) -> Any:
        return boto3.session.Session(self.key, "test", region_name=REGION)

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def client(self, service: str) -> Any:
        """The one client of a service. Clients may be shared by threads once they are made."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, endpoint_url=self.url, config=CONFIG)
        return self._clients[service]


def deploy(emulator: Emulator, stack: str, package: Localised) -> dict[str, str]:
    """Create or update `stack` and return its outputs. Raises `DeployError`."""
    s3 = emulator.client("s3")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=ARTIFACTS)
    s3.put_object(Bucket=ARTIFACTS, Key=package.key, Body=package.code.read_bytes())
    s3.put_object(Bucket=ARTIFACTS, Key="template.json", Body=package.template.read_bytes())
    address = f"{emulator.url}/{ARTIFACTS}/template.json"
    return roll_out(emulator.client, stack, address, wait_s=WAIT_S, poll_s=POLL_S)


def is_deployed(emulator: Emulator, stack: str, package: Localised) -> bool:
    """Whether just this is what the emulator has. It is asked, not a note of ours: a kill takes it back in time."""
    formation = emulator.client("cloudformation")
    try:
        status = formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        template = formation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    except ClientError:
        return False
    return status in DONE and template == json.loads(package.template.read_text())


def api_url(emulator: Emulator, rest_api_id: str) -> str:
    """Where the API answers. Path style: the endpoint in Chalice's output names a host of AWS."""
    return f"{emulator.url}/restapis/{rest_api_id}/{API_STAGE}/_user_request_"
