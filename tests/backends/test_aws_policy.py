"""The role that docs/backends.md tells a customer to create allows what the driver asks for, and nothing else."""

import ast
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore import xform_name

ROOT = Path(__file__).parents[2]
PREFIXES = {"ec2": "ec2", "ssm": "ssm", "pricing": "pricing", "service-quotas": "servicequotas"}

WITHOUT_A_CALL = {
    "ec2:CreateTags": "tags given with a launch or a new group",
    "iam:CreateServiceLinkedRole": "EC2 does it for an account's first spot machine",
}


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms, as what they stand for."""


Loader.add_multi_constructor("!", lambda loader, _form, node: loader.construct_scalar(node))


def statements() -> list[dict[str, Any]]:
    page = (ROOT / "docs/backends.md").read_text()
    template = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert template
    role = yaml.load(template[1], Loader)["Resources"]["Role"]["Properties"]
    return role["Policies"][0]["PolicyDocument"]["Statement"]


def allowed() -> set[str]:
    actions = (each["Action"] for each in statements())
    return {action for each in actions for action in ([each] if isinstance(each, str) else each)}


def asked() -> set[str]:
    """Every operation that the driver's code names, as a method or as the text that a paginator is made of."""
    session = boto3.session.Session()._session
    rights = {
        xform_name(operation): f"{prefix}:{operation}"
        for service, prefix in PREFIXES.items()
        for operation in session.get_service_model(service).operation_names
    }
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.value
        for path in (ROOT / "chalicelib/backends/aws").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Constant)
    }
    return {rights[name] for name in names if isinstance(name, str) and name in rights}


def test_the_role_allows_what_the_driver_asks_for_and_nothing_else():
    assert asked() >= {"ec2:RunInstances", "ec2:TerminateInstances", "pricing:GetProducts"}
    assert allowed() == asked() | WITHOUT_A_CALL.keys()


@pytest.mark.parametrize(
    ("action", "condition"),
    [
        ("ec2:TerminateInstances", "aws:ResourceTag/tidepool-owner"),
        ("ec2:AuthorizeSecurityGroupIngress", "aws:ResourceTag/tidepool-owner"),
        ("ec2:CreateTags", "ec2:CreateAction"),
        ("iam:CreateServiceLinkedRole", "iam:AWSServiceName"),
    ],
)
def test_what_changes_something_is_confined(action, condition):
    mine = [each for each in statements() if each["Action"] == action]
    assert mine
    assert all(condition in str(each["Condition"]) for each in mine)
