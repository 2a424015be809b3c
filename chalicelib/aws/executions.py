"""Step Functions: workflows by name, and the tasks in them that wait for an answer."""

import json
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import client


class StepFunctions:
    """`services.deps.Executions` over AWS."""

    def start(self, arn: str, name: str, payload: dict[str, Any]) -> None:
        """Start an execution. A name that was used before is fine: the first start counts.

        AWS answers a repeat with the same input and a running execution by that execution, any other repeat within
        90 days by `ExecutionAlreadyExists`; emulators use the error for both.
        """
        text = json.dumps(payload, separators=(",", ":"))
        try:
            client("stepfunctions").start_execution(stateMachineArn=arn, name=name, input=text)
        except ClientError as error:
            if _code(error) != "ExecutionAlreadyExists":
                raise

    def running(self, arn: str, name: str) -> bool:
        """Tell whether the execution is there and has not ended."""
        execution = f"{arn.replace(':stateMachine:', ':execution:')}:{name}"
        try:
            answer = client("stepfunctions").describe_execution(executionArn=execution)
        except ClientError as error:
            if _code(error) != "ExecutionDoesNotExist":
                raise
            return False
        return bool(answer["status"] == "RUNNING")

    def succeed(self, callback: str, payload: dict[str, Any]) -> None:
        """Complete a waiting task. A callback that timed out or was completed before is fine."""
        text = json.dumps(payload, separators=(",", ":"))
        try:
            client("stepfunctions").send_task_success(taskToken=callback, output=text)
        except ClientError as error:
            if _code(error) not in {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"}:
                raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
