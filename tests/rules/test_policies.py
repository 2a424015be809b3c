"""What a function may do is what its code does."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rules.reach import CALLED, ROOT, WRAPPED, boto3_calls, functions_of, needs

HANDLERS = {
    "api": [name for name in functions_of("chalicelib.api") if not name.startswith("chalicelib.api.auth:")],
    "authorizer": ["chalicelib.api.auth:authorizer"],
    "provision": ["chalicelib.workflows.provision:provision"],
    "teardown": ["chalicelib.workflows.teardown:teardown"],
    "adopt": ["chalicelib.workflows.adopt:adopt"],
    "on-timer": ["chalicelib.workflows.timers:on_timer"],
    "projector": ["chalicelib.workflows.projector:projector"],
    "sweep": ["chalicelib.workflows.timers:sweep"],
    "reconcile": ["chalicelib.workflows.reconcile:reconcile"],
    "catalog": ["chalicelib.workflows.catalog:catalog"],
    "machine-events": ["chalicelib.workflows.machines:machine_events"],
}

LAMBDAS_OWN = {"OwnLog", "ReadStream", "ListStream", "KeepFailures"}
"""Statements for what Lambda does in a function's name; `tests/infra` holds them."""

ROWS = "Rows"
"""The ordinary actions on items, given together to the tables that a function has to do with."""


def statements(function: str) -> list[dict[str, Any]]:
    """The statements of a function's policy about what its own code does."""
    policy = json.loads((ROOT / f".chalice/policy-{function}.json").read_text())
    return [each for each in policy["Statement"] if each["Sid"] not in LAMBDAS_OWN]


def granted(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a statement allows, as `reach.needs` has it."""
    for resource in statement["Resource"]:
        for action in statement["Action"]:
            yield action, _subject(resource)


def _subject(resource: Any) -> str:
    if not isinstance(resource, dict):
        return ""
    if "Fn::GetAtt" in resource:
        return resource["Fn::GetAtt"][0].replace("Bucket", "")
    text = resource["Fn::Sub"]
    if workflow := re.search(r":(?:stateMachine|execution):\$\{AWS::StackName\}-(\w+)", text):
        return workflow[1]
    return text.removeprefix("${").replace(".Arn}", "") if "/index/" in text else ""


def test_every_function_with_a_policy_is_looked_at():
    assert {path.stem.removeprefix("policy-") for path in (ROOT / ".chalice").glob("policy-*.json")} == HANDLERS.keys()


def test_every_call_to_aws_is_one_whose_right_is_known():
    assert boto3_calls() == CALLED.keys() | WRAPPED


@pytest.mark.parametrize("function", HANDLERS)
def test_a_function_may_do_what_its_code_can_come_to(function):
    allowed = {grant for each in statements(function) for grant in granted(each)}
    assert needs(*HANDLERS[function]) - allowed == set()


@pytest.mark.parametrize("function", HANDLERS)
def test_a_function_may_do_nothing_else(function):
    """But for the ordinary actions on items of its tables, every grant has a use."""
    allowed = {grant for each in statements(function) if each["Sid"] != ROWS for grant in granted(each)}
    assert allowed - needs(*HANDLERS[function]) == set()


def test_the_clock_may_see_whether_a_requests_workflow_still_runs():
    """Without the right a request whose workflow is gone is driven by nobody."""
    assert ("states:DescribeExecution", "provision") in needs(*HANDLERS["on-timer"])


@pytest.mark.parametrize("function", ["api", "teardown", "reconcile"])
def test_whoever_may_delete_a_pool_may_delete_the_shapes_that_were_seen_in_it(function):
    """A pool whose only attempts were refused has shapes without a count, which nothing else removes."""
    needed = {("dynamodb:DeleteItem", "PoolsTable"), ("dynamodb:BatchWriteItem", "PoolsTable")}
    assert needed <= needs(*HANDLERS[function])
