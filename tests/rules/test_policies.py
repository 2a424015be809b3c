"""What a function may do is what its code does."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def actions_on(function: str, table: str) -> set[str]:
    """What a function's role may do to one table."""
    policy = json.loads((ROOT / f".chalice/policy-{function}.json").read_text())
    arn = {"Fn::GetAtt": [table, "Arn"]}
    return {action for each in policy["Statement"] if arn in each["Resource"] for action in each["Action"]}


@pytest.mark.parametrize("function", ["api", "teardown", "reconcile"])
def test_whoever_may_delete_a_pool_may_delete_the_shapes_that_were_seen_in_it(function):
    """A pool whose only attempts were refused has shapes without a count, which nothing else removes."""
    assert {"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"} <= actions_on(function, "PoolsTable")
