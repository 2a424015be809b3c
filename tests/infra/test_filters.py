"""Which records a filter pattern lets through."""

import pytest

from infra.local.filters import matches

INSERT = {"eventName": "INSERT", "dynamodb": {"NewImage": {"wrote": {"S": "step"}}}}
TOUCH = {"eventName": "MODIFY", "dynamodb": {"NewImage": {"wrote": {"S": "touch"}}}}
REMOVE = {"eventName": "REMOVE", "dynamodb": {"OldImage": {"wrote": {"S": "step"}}}}
WROTE = {"dynamodb": {"NewImage": {"wrote": {"S": ["create", "step"]}}}}


@pytest.mark.parametrize(
    ("pattern", "record", "passes"),
    [
        ({}, INSERT, True),
        ({"eventName": ["REMOVE"]}, REMOVE, True),
        ({"eventName": ["REMOVE"]}, INSERT, False),
        (WROTE, INSERT, True),
        (WROTE, TOUCH, False),
        (WROTE, REMOVE, False),
        ({**WROTE, "eventName": ["REMOVE"]}, INSERT, False),
        ({"dynamodb": {"NewImage": {"wrote": {"S": [{"prefix": "st"}]}}}}, INSERT, True),
        ({"dynamodb": {"OldImage": [{"exists": True}]}}, REMOVE, True),
        ({"dynamodb": {"OldImage": [{"exists": False}]}}, INSERT, True),
        ({"dynamodb": {"Nothing": {"deeper": ["x"]}}}, INSERT, False),
    ],
)
def test_a_record_passes_when_every_leaf_allows_it(pattern, record, passes):
    assert matches(pattern, record) is passes


def test_an_unknown_rule_is_an_error_and_not_a_mismatch():
    with pytest.raises(ValueError, match="anything-but"):
        matches({"eventName": [{"anything-but": ["REMOVE"]}]}, INSERT)
