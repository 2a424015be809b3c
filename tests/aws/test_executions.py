"""Workflows: started once, however often; completed once, however late."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.executions import StepFunctions

DEFINITION = {"StartAt": "Stay", "States": {"Stay": {"Type": "Wait", "Seconds": 600, "End": True}}}
ROLE = "arn:aws:iam::123456789012:role/workflow"


@pytest.fixture
def arn(aws):
    client = boto3.client("stepfunctions")
    return client.create_state_machine(name="provision", definition=json.dumps(DEFINITION), roleArn=ROLE)[
        "stateMachineArn"
    ]


def test_a_started_workflow_runs_under_its_name(arn):
    workflows = StepFunctions()
    assert workflows.running(arn, "i-1") is False
    workflows.start(arn, "i-1", {"instance_id": "i-1"})
    assert workflows.running(arn, "i-1") is True
    assert workflows.running(arn, "i-2") is False


def test_starting_again_is_fine_and_the_first_start_counts(arn):
    workflows = StepFunctions()
    workflows.start(arn, "i-1", {"round": 1})
    workflows.start(arn, "i-1", {"round": 2})
    execution = arn.replace(":stateMachine:", ":execution:") + ":i-1"
    assert json.loads(boto3.client("stepfunctions").describe_execution(executionArn=execution)["input"]) == {"round": 1}


def test_a_workflow_that_ended_does_not_run(arn):
    workflows = StepFunctions()
    workflows.start(arn, "i-1", {})
    boto3.client("stepfunctions").stop_execution(executionArn=arn.replace(":stateMachine:", ":execution:") + ":i-1")
    assert workflows.running(arn, "i-1") is False


def test_an_unknown_state_machine_is_an_error(arn):
    with pytest.raises(ClientError):
        StepFunctions().start(arn + "-other", "i-1", {})


@pytest.mark.parametrize(
    ("code", "is_fine"),
    [("TaskTimedOut", True), ("TaskDoesNotExist", True), ("InvalidToken", True), ("AccessDeniedException", False)],
)
def test_a_callback_that_is_over_is_fine(aws, monkeypatch, code, is_fine):
    class Client:
        def send_task_success(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": code, "Message": ""}}, "SendTaskSuccess")

    monkeypatch.setattr("chalicelib.aws.executions.client", lambda _: Client())
    if is_fine:
        StepFunctions().succeed("callback", {})
    else:
        with pytest.raises(ClientError):
            StepFunctions().succeed("callback", {})
