"""A function and a table of the emulator to try stream delivery on.

The function writes down its environment when it starts, and each record that it gets. A record whose key begins with
`poison` it never takes, one whose key begins with `once` it refuses the first time.
"""

import io
import json
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.local.deploy import Emulator
from infra.local.localise import RUNTIME
from infra.local.streams import Mapping, mappings

HANDLER = """
import json, os
from pathlib import Path

SEEN = Path(os.environ["SEEN"])
SEEN.with_suffix(".environ").write_text(json.dumps(dict(os.environ)))


def handler(event, context):
    for record in event["Records"]:
        key = record["dynamodb"]["Keys"]["key"]["S"]
        with SEEN.open("a") as seen:
            seen.write(json.dumps({"key": key, "name": record["eventName"], "by": record.get("userIdentity")}) + "\\n")
        once = key.startswith("once") and SEEN.read_text().count(key) == 1
        if key.startswith("poison") or once:
            if os.environ["REPORTS"] == "no":
                raise ValueError(key)
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}
"""
BOOTSTRAP = f'#!/bin/sh\nexec "{sys.executable}" -m awslambdaric "$_HANDLER"\n'
TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}


@dataclass(frozen=True)
class Probe:
    emulator: Emulator
    name: str
    mapping: Mapping
    seen_file: Path

    def put(self, *keys: str, ttl: int | None = None) -> None:
        for key in keys:
            item = {"key": {"S": key}} | ({"ttl": {"N": str(ttl)}} if ttl else {})
            self.emulator.client("dynamodb").put_item(TableName=self.name, Item=item)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.emulator.client("dynamodb").delete_item(TableName=self.name, Key={"key": {"S": key}})

    def keys(self) -> set[str]:
        return {item["key"]["S"] for item in self.emulator.client("dynamodb").scan(TableName=self.name)["Items"]}

    @property
    def seen(self) -> list[dict[str, Any]]:
        lines = self.seen_file.read_text().splitlines() if self.seen_file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def environ(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.seen_file.with_suffix(".environ").read_text())
        return found

    def failures(self) -> list[dict[str, Any]]:
        sqs = self.emulator.client("sqs")
        queue = sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(each["Body"]) for each in messages]


def make_probe(
    emulator: Emulator, folder: Path, *, reports: bool = True, retries: int = 2, pattern: Any = None
) -> Probe:
    """Make table, queue, function and a disabled mapping, as the template does."""
    name = f"probe-{uuid4().hex[:8]}"
    seen = folder / f"{name}.seen"
    table = emulator.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"},
    )["TableDescription"]
    sqs = emulator.client("sqs")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    role = emulator.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName=name,
        Runtime=RUNTIME,
        Role=role,
        Handler="probe.handler",
        Timeout=60,
        Code={"ZipFile": _code()},
        Environment={"Variables": {"SEEN": str(seen), "REPORTS": "yes" if reports else "no"}},
    )
    functions.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=table["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
        Enabled=False,
        BatchSize=100,
        FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern or {"eventName": ["REMOVE"]})}]},
        FunctionResponseTypes=["ReportBatchItemFailures"] if reports else [],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=retries,
        DestinationConfig={"OnFailure": {"Destination": queue_arn}},
    )
    _await_active(emulator, name)
    mapping = next(each for each in mappings(emulator) if each.stream == table["LatestStreamArn"])
    return Probe(emulator, name, mapping, seen)


def _code() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as code:
        code.writestr("probe.py", HANDLER)
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o100755 << 16
        code.writestr(bootstrap, BOOTSTRAP)
    return buffer.getvalue()


def _await_active(emulator: Emulator, name: str) -> None:
    deadline = time.monotonic() + 60
    while emulator.client("lambda").get_function_configuration(FunctionName=name)["State"] != "Active":
        assert time.monotonic() < deadline
        time.sleep(0.05)
