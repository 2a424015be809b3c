"""Deploying to a stack, on the emulator."""

import json
from pathlib import Path

import pytest

from infra.build import TEMPLATE
from infra.deploy import DeployError, outputs, roll_out, upload
from infra.local.deploy import Emulator

BUCKET = "deploy-test"


def write_package(folder: Path, *, queue: str, valid: bool = True) -> Path:
    layer = {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": "./layer.zip"}}
    made = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": queue}}
    wrong = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Namespace": "x"}}
    template = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {"Queue": made} | ({"Layer": layer} if valid else {"Wrong": wrong}),
        "Outputs": {"Url": {"Value": {"Ref": "Queue"}}},
    }
    (folder / "layer.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / TEMPLATE).write_text(json.dumps(template))
    return folder


def deploy(emulator: Emulator, package: Path, stack: str, approve=lambda _changes: True) -> dict[str, str]:
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    url = upload(emulator.client, BUCKET, package)
    return roll_out(emulator.client, stack, url, approve=approve, wait_s=20, poll_s=0.05)


def test_a_stack_is_created_updated_and_left_alone_when_nothing_changed(emulator, tmp_path):
    seen: list[list[str]] = []

    def approve(changes: list[str]) -> bool:
        seen.append(changes)
        return True

    first = deploy(emulator, write_package(tmp_path, queue="deploy-one"), "deploys", approve)
    assert first["Url"].endswith("/deploy-one")
    assert any("Queue AWS::SQS::Queue" in line for line in seen[0])
    assert deploy(emulator, write_package(tmp_path, queue="deploy-two"), "deploys", approve)["Url"].endswith(
        "/deploy-two"
    )
    assert len(seen) == 2
    deploy(emulator, tmp_path, "deploys", approve)
    assert len(seen) == 2


def test_nothing_is_changed_without_approval(emulator, tmp_path):
    package = write_package(tmp_path, queue="deploy-never")
    assert deploy(emulator, package, "declined", lambda _changes: False) == {}
    assert outputs(emulator.client, "declined") == {}


def test_a_failure_names_the_resource_and_the_next_try_starts_anew(emulator, tmp_path):
    with pytest.raises(DeployError, match="Wrong"):
        deploy(emulator, write_package(tmp_path, queue="deploy-failed", valid=False), "fails")
    assert deploy(emulator, write_package(tmp_path, queue="deploy-failed"), "fails")["Url"].endswith("/deploy-failed")
