"""The tables: their names, and the one schema that tests and the CloudFormation template share.

All tables share one connection, and so one client: building a client costs about 100 ms of a cold start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pynamodb.connection import TableConnection
from pynamodb.models import Model

from chalicelib.store.connection import SharedConnection
from chalicelib.store.models import (
    BackendRow,
    HostRow,
    IdempotencyRow,
    InstanceRow,
    JournalRow,
    MachineRow,
    MarketRow,
    NameRow,
    PoolRow,
    RunRow,
    TimerRow,
    TokenRow,
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what it is called, its rows, the view type of its stream (empty: none), whether rows expire."""

    noun: str
    model: type[Model]
    stream: str = ""
    expires: bool = True


TABLES: Final = (
    Table("pools", PoolRow, expires=False),
    Table("names", NameRow),
    Table("instances", InstanceRow, stream="NEW_AND_OLD_IMAGES"),
    Table("journal", JournalRow),
    Table("runs", RunRow),
    Table("timers", TimerRow, stream="OLD_IMAGE"),
    Table("tokens", TokenRow),
    Table("idempotency", IdempotencyRow),
    Table("market", MarketRow),
    Table("machines", MachineRow),
    Table("backends", BackendRow, expires=False),
    Table("hosts", HostRow),
)
TTL_ATTRIBUTE: Final = "ttl"

_stage = ""


def configure(stage: str) -> None:
    """Name the tables `tidepool-<stage>-<noun>`. Repeating it is free; another stage gets a connection of its own.

    Nothing is contacted here: the client is built at the first call, with region, endpoint and credentials from the
    ordinary AWS environment of that moment.
    """
    global _stage  # noqa: PLW0603 - the tables of a process are named once, as its environment is
    if stage == _stage:
        return
    shared = SharedConnection()
    for each in TABLES:
        each.model.Meta.table_name = table_name(stage, each.noun)
        table = connection(each.model)
        shared.add_meta_table(table.get_meta_table())
        table.connection = shared
    _stage = stage


def table_name(stage: str, noun: str) -> str:
    """The full name of one table."""
    return f"tidepool-{stage}-{noun}"


def connection(model: type[Model]) -> TableConnection:
    """The table behind a model, for calls that want raw items or raw answers."""
    return model._get_connection()


def schema(stage: str) -> list[dict[str, Any]]:
    """Describe every table as the parameters of CreateTable, plus `TimeToLiveAttribute` (a name, or None).

    This is the one source of the tables: the CloudFormation template is generated from it and tests create from it.
    """
    return [_described(stage, each) for each in TABLES]


def _described(stage: str, table: Table) -> dict[str, Any]:
    model = cast(Mapping[str, Any], table.model._get_schema())
    attributes = {each["AttributeName"]: each["AttributeType"] for each in model["attribute_definitions"]}
    described: dict[str, Any] = {
        "TableName": table_name(stage, table.noun),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in sorted(attributes.items())
        ],
        "KeySchema": _keys(model["key_schema"]),
        "TimeToLiveAttribute": TTL_ATTRIBUTE if table.expires else None,
    }
    indexes = [
        {
            "IndexName": index["index_name"],
            "KeySchema": _keys(index["key_schema"]),
            "Projection": dict(index["projection"]),
        }
        for index in model["global_secondary_indexes"]
    ]
    if indexes:
        described["GlobalSecondaryIndexes"] = indexes
    if table.stream:
        described["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": table.stream}
    return described


def _keys(described: list[dict[str, str]]) -> list[dict[str, str]]:
    """The hash key first, as CreateTable insists."""
    keys = [{"AttributeName": each["AttributeName"], "KeyType": each["KeyType"]} for each in described]
    return sorted(keys, key=lambda key: key["KeyType"])
