"""What is written by hand says the same as PynamoDB's own requests: for every column, and for every kind of guard."""

import re
from datetime import UTC, datetime
from functools import reduce
from operator import and_
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.store import expressions, tables
from chalicelib.store.columns import DocumentAttribute, MomentAttribute
from chalicelib.store.expressions import PRESENT

TEXTS = st.text(min_size=1, max_size=20)
VALUES: dict[type[Any], st.SearchStrategy[Any]] = {
    UnicodeAttribute: TEXTS,
    NumberAttribute: st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False),
    BooleanAttribute: st.booleans(),
    MomentAttribute: st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.timezones()),  # noqa: DTZ001
    DocumentAttribute: st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(TEXTS), max_size=3),
}
MODELS = [each.model for each in tables.TABLES]
CLAUSES = re.compile(r"(SET|REMOVE|ADD) (.*?)(?= SET | REMOVE | ADD |$)")


@pytest.fixture(scope="module", autouse=True)
def named() -> None:
    tables.configure("expressions")


def rows(model: type[Model], *, whole: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Values for columns of a model: some of them, or the key and all that must be there."""
    columns = model.get_attributes()
    needed = {name: VALUES[type(column)] for name, column in columns.items() if whole and not column.null}
    free = {name: VALUES[type(column)] for name, column in columns.items() if name not in needed}
    return st.fixed_dictionaries(needed, optional={name: st.none() | values for name, values in free.items()})


def guards(model: type[Model]) -> st.SearchStrategy[dict[str, Any]]:
    """What may be asked of a row: of one column at least that it has a value."""
    columns = {name: VALUES[type(column)] for name, column in model.get_attributes().items()}
    first = next(iter(columns))
    rest = {name: st.none() | st.just(PRESENT) | values for name, values in columns.items() if name != first}
    return st.fixed_dictionaries({first: columns[first]}, optional=rest)


def pynamodb(model: type[Model], changes: dict[str, Any], guard: dict[str, Any]) -> dict[str, Any]:
    """The request that PynamoDB makes of the same."""
    columns = model.get_attributes()
    terms = [
        columns[name].does_not_exist()
        if value is None
        else columns[name].exists()
        if value is PRESENT
        else columns[name] == value
        for name, value in guard.items()
    ]
    actions = [columns[name].remove() if value is None else columns[name].set(value) for name, value in changes.items()]
    range_key = "r" if model._range_keyname else None
    return tables.connection(model).get_operation_kwargs(
        "h",
        range_key,
        actions=actions,
        condition=reduce(and_, terms),
        return_values_on_condition_failure="ALL_OLD",
    )


def meaning(request: dict[str, Any]) -> dict[str, Any]:
    """A request with every placeholder replaced, and what has no order without order."""
    names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
    used = set()

    def plain(text: str) -> str:
        def put(match: re.Match[str]) -> str:
            used.add(match[0])
            return names.get(match[0]) or repr(values[match[0]])

        return re.sub(r"[#:]\w+", put, text)

    rest = {name: value for name, value in request.items() if not name.startswith("ExpressionAttribute")}
    asked = rest["ConditionExpression"].replace("(", " ").replace(")", " ").split("AND")
    rest["ConditionExpression"] = sorted(" ".join(plain(term).split()) for term in asked)
    clauses = CLAUSES.findall(rest.pop("UpdateExpression", ""))
    rest["clauses"] = {verb: sorted(plain(part) for part in parts.split(", ")) for verb, parts in clauses}
    assert used == names.keys() | values.keys(), "DynamoDB refuses what is named and not used"
    return rest


@pytest.mark.parametrize("model", MODELS)
def test_every_column_is_written_as_pynamodb_writes_it(model):
    @settings(max_examples=30, deadline=None)
    @given(rows(model, whole=True))
    def check(values):
        present = {name: value for name, value in values.items() if value is not None}
        assert expressions.item(model, values) == model(**present).serialize()

    check()


@pytest.mark.parametrize("model", MODELS)
def test_a_guarded_change_asks_for_what_pynamodb_would_ask_for(model):
    @settings(max_examples=30, deadline=None)
    @given(rows(model), guards(model))
    def check(changes, guard):
        range_key = "r" if model._range_keyname else None
        ours = expressions.update(model, "h", range_key, changes, guard)
        if changes:
            assert meaning(ours) == meaning(pynamodb(model, changes, guard))
        assert meaning(expressions.guarded(model, "h", range_key, guard)) == {
            **meaning(ours),
            "clauses": {},
        }

    check()


def test_a_count_is_raised_beside_the_rest():
    request = expressions.update(MODELS[2], "h", "r", {"name": "n", "detail": None}, {"fence": 1}, count="flips")
    assert meaning(request)["clauses"] == {
        "SET": ["name = {'S': 'n'}"],
        "REMOVE": ["detail"],
        "ADD": ["flips {'N': '1'}"],
    }


def test_what_is_remembered_of_an_expression_is_not_changed_by_its_use():
    for value in ("a", "b"):
        request = expressions.update(MODELS[2], "h", "r", {"state": value}, {"state": "seen", "fence": 3})
        assert request["ExpressionAttributeValues"] == {
            ":new_state": {"S": value},
            ":seen_state": {"S": "seen"},
            ":seen_fence": {"N": "3"},
        }
        request["ExpressionAttributeNames"].clear()
        request["ExpressionAttributeValues"].clear()


def test_a_moment_loses_what_is_finer_than_a_millisecond():
    at = datetime(2030, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC)
    assert expressions.item(MODELS[2], {"changed_at": at}) == {"changed_at": {"S": "2030-01-02T03:04:05.678Z"}}
