"""Deploy the localised template to the emulator with CloudFormation, as one would to AWS."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.local.emulator import REGION
from infra.local.localise import ARTIFACTS, Localised

API_STAGE: Final = "api"
"""`api_gateway_stage` of `.chalice/config.json`."""

DONE: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
UPDATABLE: Final = DONE | {"UPDATE_ROLLBACK_COMPLETE"}
WAIT_S: Final = 60
POLL_S: Final = 0.1
CONFIG: Final = Config(connect_timeout=2, read_timeout=65, retries={"mode": "standard", "total_max_attempts": 3})
"""A Lambda that is invoked may take a minute."""


class DeployError(Exception):
    """CloudFormation refused or failed. The message names the resource and the reason."""


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
        """The one client of a service; clients may be shared by threads once they are made."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, endpoint_url=self.url, config=CONFIG)
        return self._clients[service]


def deploy(emulator: Emulator, stack: str, package: Localised) -> dict[str, str]:
    """Create or update `stack` and return its outputs. A stack whose creation failed is made anew.

    Raises `DeployError`, after at most `WAIT_S` for each of its steps.
    """
    s3, formation = emulator.client("s3"), emulator.client("cloudformation")
    s3.create_bucket(Bucket=ARTIFACTS)
    s3.put_object(Bucket=ARTIFACTS, Key=package.key, Body=package.code.read_bytes())
    s3.put_object(Bucket=ARTIFACTS, Key="template.json", Body=package.template.read_bytes())
    status = _status(emulator, stack)
    if status and status not in UPDATABLE:
        formation.delete_stack(StackName=stack)
        _await_stack(emulator, stack, frozenset({"", "DELETE_COMPLETE"}))
        status = ""
    change = f"change-{time.time_ns()}"
    formation.create_change_set(
        StackName=stack,
        ChangeSetName=change,
        ChangeSetType="UPDATE" if status else "CREATE",
        TemplateURL=f"{emulator.url}/{ARTIFACTS}/template.json",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    if _change_set_is_ready(emulator, stack, change):
        formation.execute_change_set(StackName=stack, ChangeSetName=change)
        _await_stack(emulator, stack, DONE)
    return outputs(emulator, stack)


def outputs(emulator: Emulator, stack: str) -> dict[str, str]:
    """The outputs of a stack that is there, else an empty mapping."""
    try:
        described = emulator.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError:
        return {}
    return {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}


def api_url(emulator: Emulator, rest_api_id: str) -> str:
    """Where the API answers. Path style: the endpoint in Chalice's output names a host of AWS."""
    return f"{emulator.url}/restapis/{rest_api_id}/{API_STAGE}/_user_request_"


def _status(emulator: Emulator, stack: str) -> str:
    try:
        described = emulator.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError:
        return ""
    return str(described["Stacks"][0]["StackStatus"])


def _change_set_is_ready(emulator: Emulator, stack: str, change: str) -> bool:
    """Wait for a change set; False when it has no changes."""
    formation = emulator.client("cloudformation")
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        described = formation.describe_change_set(StackName=stack, ChangeSetName=change)
        if described["Status"] == "CREATE_COMPLETE":
            return True
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            if "didn't contain changes" in reason or "No updates" in reason:
                formation.delete_change_set(StackName=stack, ChangeSetName=change)
                return False
            raise DeployError(f"the change set of {stack} failed: {reason}")
        time.sleep(POLL_S)
    raise DeployError(f"the change set of {stack} was not ready within {WAIT_S} s")


def _await_stack(emulator: Emulator, stack: str, wanted: frozenset[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    status = ""
    while time.monotonic() < deadline:
        status = _status(emulator, stack)
        if status in wanted:
            return
        if status.endswith(("_FAILED", "ROLLBACK_COMPLETE")):
            raise DeployError(f"{stack} is {status}:\n{_reasons(emulator, stack)}")
        time.sleep(POLL_S)
    raise DeployError(f"{stack} is still {status or 'absent'} after {WAIT_S} s:\n{_reasons(emulator, stack)}")


def _reasons(emulator: Emulator, stack: str) -> str:
    events = emulator.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    failed = [each for each in events if each["ResourceStatus"].endswith("FAILED")]
    return "\n".join(f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', '')}" for each in failed)
