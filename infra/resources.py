"""What a deployment consists of besides its functions: merged into the template that `chalice package` writes.

Generated, not written: the tables come from the store's models and the workflows from `asl/`, so they cannot drift.
The functions themselves (handlers, memory, policies) are in `.chalice/`, the API in `app.py`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chalicelib.store.tables import schema
from infra.alarms import alarms

ASL: Final = Path(__file__).parent / "asl"

FUNCTIONS: Final = {
    "APIHandler": "api",
    "Authorizer": "authorizer",
    "Provision": "provision",
    "Teardown": "teardown",
    "Adopt": "adopt",
    "OnTimer": "on-timer",
    "Projector": "projector",
    "Sweep": "sweep",
    "Reconcile": "reconcile",
    "Catalog": "catalog",
    "MachineEvents": "machine-events",
}
"""The logical id that Chalice gives each function, and what its name ends with."""

WORKERS: Final = ("OnTimer", "Projector", "Sweep", "Reconcile", "Catalog", "MachineEvents")
"""The functions that nobody waits for, so that only an alarm tells of their errors."""

WORKFLOWS: Final = {"provision": "Provision", "teardown": "Teardown", "adopt": "Adopt"}
"""Workflow (and file in `asl/`) -> the function that runs its tasks, there called `${<function>Arn}`."""

CONSUMERS: Final[dict[str, tuple[str, str, list[dict[str, Any]]]]] = {
    "OnTimer": ("OnTimerDynamodbEventSource", "timers", [{"eventName": ["REMOVE"]}]),
    "Projector": (
        "ProjectorDynamodbEventSource",
        "instances",
        # A heartbeat writes `touch` and must not cost an invocation.
        [{"eventName": ["REMOVE"]}, {"dynamodb": {"NewImage": {"wrote": {"S": ["create", "step", "flag"]}}}}],
    ),
}
"""Function -> its event in the packaged template, the table whose stream it reads, and the records it is to see."""

BATCH: Final = 100
RETRIES: Final = 10
"""Then a record is given to the failure queue. With bisection a record alone fails 10 times within about a minute."""

LOGS_KEPT_DAYS: Final = 30
ARCHIVES_KEPT_DAYS: Final = 31
"""Counted from the upload. One of more than 7 days is uploaded again for a new run (`chalicelib.aws.objects.FRESH`), so
that it is there for at least 24 days more, until the run's machine has fetched it."""

OUTPUT_KEPT_DAYS: Final = 90
"""Counted for each chunk from when it was written: a run of up to 60 days keeps its whole output until its row goes, 30
days after its end. Of a longer one the beginning is gone, and with it the place to read from."""

ENI_POLICY: Final = {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"}
"""What a function in a VPC needs for its network interfaces. Source: AWS Lambda Developer Guide, VPC permissions."""

FAILURES_KEPT_S: Final = 14 * 24 * 3600
"""The longest that SQS keeps a message."""


@dataclass(frozen=True, slots=True)
class Vpc:
    """Where the function that adopts hosts stands, so that it reaches those in private networks."""

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]


def template(stage: str, settings: dict[str, str], vpc: Vpc | None = None) -> dict[str, Any]:
    """Return the template to merge, for a stack named `tidepool-<stage>`.

    `settings` are `TIDEPOOL_*` variables for every function, on top of those that follow from the resources. Without a
    `vpc` hosts are adopted from Lambda's own network, which reaches public addresses alone.
    """
    prefix = f"tidepool-{stage}"
    resources = (
        {f"{noun.title()}Table": table for noun, table in _tables(stage).items()}
        | {f"{name.title()}Workflow": _workflow(prefix, name) for name in WORKFLOWS}
        | {f"{name.title()}WorkflowRole": _workflow_role(function) for name, function in WORKFLOWS.items()}
        | {logical_id: {"Properties": {"FunctionName": f"{prefix}-{name}"}} for logical_id, name in FUNCTIONS.items()}
        | {f"{logical_id}Log": _log(prefix, name) for logical_id, name in FUNCTIONS.items()}
        | {"Bucket": _bucket(), "FailureQueue": _failure_queue(prefix), "AlarmTopic": {"Type": "AWS::SNS::Topic"}}
        | alarms(
            prefix,
            workers=WORKERS,
            readers=CONSUMERS,
            workflows=(f"{name.title()}Workflow" for name in WORKFLOWS),
        )
    )
    for logical_id, (event, noun, patterns) in CONSUMERS.items():
        resources[logical_id]["Properties"]["Events"] = {event: {"Properties": _stream_event(noun, patterns)}}
    if vpc is not None:
        resources["Adopt"]["Properties"] |= _inside(vpc)
        resources["AdoptRole"] = {"Properties": {"ManagedPolicyArns": [ENI_POLICY]}}
    return {
        "Globals": {"Function": {"Environment": {"Variables": _environment(stage, prefix) | settings}}},
        "Resources": resources,
        "Outputs": {
            "BucketName": {"Value": {"Ref": "Bucket"}},
            "FailureQueueUrl": {"Value": {"Ref": "FailureQueue"}},
            "AlarmTopicArn": {"Value": {"Ref": "AlarmTopic"}},
        },
    }


def _inside(vpc: Vpc) -> dict[str, Any]:
    """A function's place in a VPC. Each subnet needs a way to DynamoDB, Secrets Manager, SQS and Step Functions."""
    return {"VpcConfig": {"SubnetIds": list(vpc.subnets), "SecurityGroupIds": list(vpc.security_groups)}}


def _environment(stage: str, prefix: str) -> dict[str, Any]:
    """The variables that every function gets. Workflows are named, not referred to: they refer to the functions."""
    workflows = {f"TIDEPOOL_{name.upper()}_ARN": _workflow_arn(prefix, name) for name in WORKFLOWS}
    # Two deployments may share a provider's account: the tag on machines must tell whose they are.
    owner = {"Fn::Sub": f"{prefix}-${{AWS::AccountId}}-${{AWS::Region}}"}
    return {"TIDEPOOL_STAGE": stage, "TIDEPOOL_OWNER": owner, "TIDEPOOL_BUCKET": {"Ref": "Bucket"}} | workflows


def _workflow_arn(prefix: str, name: str) -> dict[str, str]:
    account = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    return {"Fn::Sub": f"{account}:stateMachine:{prefix}-{name}"}


def _tables(stage: str) -> dict[str, dict[str, Any]]:
    """Each table by its noun. A deleted stack leaves the tables behind: they hold the only pointers to machines."""
    tables = {}
    for described in schema(stage):
        ttl = described["TimeToLiveAttribute"]
        properties = {key: value for key, value in described.items() if key != "TimeToLiveAttribute"}
        properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}
        if ttl:
            properties["TimeToLiveSpecification"] = {"AttributeName": ttl, "Enabled": True}
        if stream := properties.get("StreamSpecification"):
            properties["StreamSpecification"] = {"StreamViewType": stream["StreamViewType"]}
        noun = described["TableName"].removeprefix(f"tidepool-{stage}-")
        tables[noun] = {
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": properties,
        }
    return tables


def _workflow(prefix: str, name: str) -> dict[str, Any]:
    function, role = WORKFLOWS[name], f"{name.title()}WorkflowRole"
    return {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {
            "StateMachineName": f"{prefix}-{name}",
            "StateMachineType": "STANDARD",
            "RoleArn": {"Fn::GetAtt": [role, "Arn"]},
            "Definition": json.loads((ASL / f"{name}.json").read_text()),
            "DefinitionSubstitutions": {f"{function}Arn": {"Fn::GetAtt": [function, "Arn"]}},
        },
    }


def _workflow_role(function: str) -> dict[str, Any]:
    """A workflow may invoke the one function that runs its tasks."""
    invoke = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": {"Fn::GetAtt": [function, "Arn"]}}
    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [
                {"PolicyName": "tasks", "PolicyDocument": {"Version": "2012-10-17", "Statement": [invoke]}},
            ],
        },
    }


def _stream_event(noun: str, patterns: list[dict[str, Any]]) -> dict[str, Any]:
    """How a function reads a stream: a record that always fails is isolated, capped and kept, and delays nobody."""
    return {
        "Stream": {"Fn::GetAtt": [f"{noun.title()}Table", "StreamArn"]},
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": BATCH,
        "ParallelizationFactor": 10,
        "FilterCriteria": {"Filters": [{"Pattern": json.dumps(pattern)} for pattern in patterns]},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": RETRIES,
        "DestinationConfig": {
            "OnFailure": {"Type": "SQS", "Destination": {"Fn::GetAtt": ["FailureQueue", "Arn"]}},
        },
    }


def _log(prefix: str, name: str) -> dict[str, Any]:
    """A function's log. Chalice's own setting would name the API's by a logical id that its template has not."""
    return {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {"LogGroupName": f"/aws/lambda/{prefix}-{name}", "RetentionInDays": LOGS_KEPT_DAYS},
    }


def _failure_queue(prefix: str) -> dict[str, Any]:
    return {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "QueueName": f"{prefix}-failures",
            "MessageRetentionPeriod": FAILURES_KEPT_S,
            "SqsManagedSseEnabled": True,
        },
    }


def _bucket() -> dict[str, Any]:
    """Archives and the output of runs, which nothing else removes, and what is left of uploads that were cut off."""
    rules: list[dict[str, Any]] = [
        {"Id": noun, "Status": "Enabled", "Prefix": f"{noun}/", "ExpirationInDays": days}
        for noun, days in {"code": ARCHIVES_KEPT_DAYS, "logs": OUTPUT_KEPT_DAYS}.items()
    ]
    leftovers = {"Id": "leftovers", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    encryption = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    blocked = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [encryption]},
            "PublicAccessBlockConfiguration": dict.fromkeys(blocked, True),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "LifecycleConfiguration": {"Rules": [*rules, leftovers]},
        },
    }
