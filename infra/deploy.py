"""Deploy a package with a CloudFormation change set, to AWS or to the emulator.

    python -m infra.deploy --stage prod --package build/prod      (credentials and region as for any AWS tool)

The stack is `tidepool-<stage>`. Tables and bucket are kept when it is deleted.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.build import TEMPLATE

CAPABILITIES: Final = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")
DONE: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
UPDATABLE: Final = DONE | {"UPDATE_ROLLBACK_COMPLETE"}
ABSENT: Final = frozenset({"", "DELETE_COMPLETE", "REVIEW_IN_PROGRESS"})
"""No stack, or one that has only a change set so far."""

AWS_WAIT_S: Final = 1800.0
AWS_POLL_S: Final = 3.0

Client = Callable[[str], Any]


class DeployError(Exception):
    """CloudFormation refused or failed. The message names the resource and the reason."""


def roll_out(
    client: Client,
    stack: str,
    template_url: str,
    *,
    approve: Callable[[list[str]], bool] = lambda _changes: True,
    wait_s: float = AWS_WAIT_S,
    poll_s: float = AWS_POLL_S,
) -> dict[str, str]:
    """Create or update a stack and return its outputs. A stack whose creation failed is made anew.

    `approve` sees the changes, a line each; when it says no, nothing is changed. Raises `DeployError`, after at most
    `wait_s` for each step.
    """
    formation = client("cloudformation")
    status = _status(formation, stack)
    if status not in UPDATABLE | ABSENT:
        formation.delete_stack(StackName=stack)
        _await_stack(formation, stack, ABSENT, wait_s, poll_s)
        status = ""
    change = f"change-{time.time_ns()}"
    formation.create_change_set(
        StackName=stack,
        ChangeSetName=change,
        ChangeSetType="CREATE" if status in ABSENT else "UPDATE",
        TemplateURL=template_url,
        Capabilities=CAPABILITIES,
    )
    changes = _changes(formation, stack, change, wait_s, poll_s)
    if changes and approve(changes):
        formation.execute_change_set(StackName=stack, ChangeSetName=change)
        _await_stack(formation, stack, DONE, wait_s, poll_s)
    else:
        formation.delete_change_set(StackName=stack, ChangeSetName=change)
    return outputs(client, stack)


def outputs(client: Client, stack: str) -> dict[str, str]:
    """The outputs of a stack; empty when it is not there."""
    try:
        described = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError:
        return {}
    return {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}


def upload(client: Client, bucket: str, package: Path) -> str:
    """Put a package's code and template into a bucket, under their hashes, and return the template's address."""
    s3 = client("s3")
    template = json.loads((package / TEMPLATE).read_text())
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            local = resource["Properties"].get(name)
            if isinstance(local, str):
                key = _put(s3, bucket, (package / local).read_bytes(), ".zip")
                resource["Properties"][name] = {"Bucket": bucket, "Key": key}
    key = _put(s3, bucket, json.dumps(template).encode(), ".json")
    # Path style: CloudFormation takes it, and an emulator's address has no place for the bucket.
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"


def _put(s3: Any, bucket: str, body: bytes, suffix: str) -> str:
    key = hashlib.sha256(body).hexdigest() + suffix
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    return key


def _status(formation: Any, stack: str) -> str:
    try:
        return str(formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return ""


def _changes(formation: Any, stack: str, change: str, wait_s: float, poll_s: float) -> list[str]:
    """Wait for a change set and return what it would do; empty when nothing."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        described = formation.describe_change_set(StackName=stack, ChangeSetName=change)
        if described["Status"] == "CREATE_COMPLETE":
            return [_change(each["ResourceChange"]) for each in described["Changes"]]
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            if "didn't contain changes" in reason or "No updates" in reason:
                return []
            raise DeployError(f"the change set of {stack} failed: {reason}")
        time.sleep(poll_s)
    raise DeployError(f"the change set of {stack} was not ready within {wait_s:.0f} s")


def _change(change: dict[str, Any]) -> str:
    replaced = " (replaced)" if change.get("Replacement") == "True" else ""
    return f"{change['Action']:8}{change['LogicalResourceId']} {change['ResourceType']}{replaced}"


def _await_stack(formation: Any, stack: str, wanted: frozenset[str], wait_s: float, poll_s: float) -> None:
    deadline = time.monotonic() + wait_s
    status = ""
    while time.monotonic() < deadline:
        status = _status(formation, stack)
        if status in wanted:
            return
        if status.endswith(("_FAILED", "ROLLBACK_COMPLETE")):
            raise DeployError(f"{stack} is {status}:\n{_reasons(formation, stack)}")
        time.sleep(poll_s)
    raise DeployError(f"{stack} is still {status or 'absent'} after {wait_s:.0f} s:\n{_reasons(formation, stack)}")


def _reasons(formation: Any, stack: str) -> str:
    events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [each for each in events if each["ResourceStatus"].endswith("FAILED")]
    return "\n".join(f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', '')}" for each in failed)


def _bucket(client: Client, region: str) -> str:
    """The account's bucket for code, made on first use, closed to the public."""
    name = f"tidepool-artifacts-{client('sts').get_caller_identity()['Account']}-{region}"
    s3 = client("s3")
    # us-east-1 is the region that may not be named. Source: S3 API reference, CreateBucket.
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=name, **place)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        return name
    blocked = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True))
    return name


def _ask(changes: list[str]) -> bool:
    sys.stdout.write("\n".join(changes) + "\nDeploy? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def main() -> int:
    """Upload, show the changes, ask, deploy."""
    import boto3

    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument("--stage", required=True, help="the stage that was packaged")
    parser.add_argument("--package", type=Path, required=True, help="folder that infra.build wrote")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given = parser.parse_args()
    session: Any = boto3.session.Session()
    if not session.region_name:
        parser.error("a region is needed: set AWS_DEFAULT_REGION")
    try:
        url = upload(session.client, _bucket(session.client, session.region_name), given.package)
        approve = (lambda _changes: True) if given.yes else _ask
        found = roll_out(session.client, f"tidepool-{given.stage}", url, approve=approve)
    except (DeployError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in sorted(found.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
