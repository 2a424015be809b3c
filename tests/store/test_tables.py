"""The tables: their names, their one client, and a schema that CreateTable and CloudFormation can both use."""

import boto3
import pytest

from chalicelib.store import connection, tables
from chalicelib.store.models import InstanceRow, TimerRow


def test_every_table_is_named_after_the_stage():
    tables.configure("blue")
    assert InstanceRow.Meta.table_name == "tidepool-blue-instances"
    assert {each["TableName"] for each in tables.schema("green")} == {
        f"tidepool-green-{noun}"
        for noun in (
            "pools",
            "names",
            "instances",
            "journal",
            "runs",
            "timers",
            "tokens",
            "idempotency",
            "market",
            "backends",
            "machines",
            "hosts",
        )
    }


def test_naming_the_tables_again_keeps_the_client_and_another_stage_gets_its_own():
    tables.configure("blue")
    first = tables.connection(InstanceRow).connection
    tables.configure("blue")
    assert tables.connection(InstanceRow).connection is first
    assert tables.connection(TimerRow).connection is first
    tables.configure("green")
    assert tables.connection(InstanceRow).connection is not first


def test_the_client_has_time_limits_and_bounded_retries(aws):
    tables.configure("limits")
    config = tables.connection(InstanceRow).connection.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (connection.CONNECT_TIMEOUT_S, connection.READ_TIMEOUT_S)
    assert config.retries["total_max_attempts"] == 1 + connection.RETRIES
    assert config.retries["mode"] == "standard"


def test_only_tables_that_others_listen_to_have_a_stream():
    streams = {
        each["TableName"].rpartition("-")[2]: each["StreamSpecification"]["StreamViewType"]
        for each in tables.schema("blue")
        if "StreamSpecification" in each
    }
    assert streams == {"instances": "NEW_AND_OLD_IMAGES", "timers": "OLD_IMAGE"}


def test_what_people_made_never_expires_and_everything_else_may():
    assert [each["TableName"] for each in tables.schema("blue") if each["TimeToLiveAttribute"] is None] == [
        "tidepool-blue-pools",
        "tidepool-blue-backends",
    ]


def test_the_index_of_claimable_instances_shows_what_a_claim_needs_and_no_more():
    (instances,) = [each for each in tables.schema("blue") if each["TableName"].endswith("instances")]
    (index,) = instances["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "claimable"
    assert sorted(index["Projection"]["NonKeyAttributes"]) == ["fence", "name", "seen_at"]


@pytest.mark.usefixtures("dynamodb")
def test_what_stands_in_the_schema_is_what_createtable_makes():
    client = boto3.client("dynamodb")
    for described in tables.schema("test"):
        made = client.describe_table(TableName=described["TableName"])["Table"]
        assert made["KeySchema"] == described["KeySchema"]
        assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
