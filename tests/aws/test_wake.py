"""Wake queues: hints that may be lost, and never break what they are part of."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from chalicelib.aws import clients
from chalicelib.aws.wake import WakeQueues

QUARTER = timedelta(minutes=15)


@pytest.fixture
def queues(aws):
    return WakeQueues("test")


def url_of(instance_id):
    return boto3.client("sqs").get_queue_url(QueueName=f"tidepool-test-wake-{instance_id}")["QueueUrl"]


def received(instance_id):
    answer = boto3.client("sqs").receive_message(QueueUrl=url_of(instance_id), WaitTimeSeconds=0)
    return [message["Body"] for message in answer.get("Messages", [])]


def test_a_wake_arrives_once(queues):
    queues.create("i-1")
    queues.send("i-1")
    assert received("i-1") == ["wake"]
    assert received("i-1") == []


def test_creating_twice_is_fine_and_keeps_messages_a_minute(queues):
    queues.create("i-1")
    queues.create("i-1")
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url_of("i-1"), AttributeNames=["All"])["Attributes"]
    assert (attributes["MessageRetentionPeriod"], attributes["VisibilityTimeout"]) == ("60", "120")


def test_another_process_finds_the_queue(queues):
    queues.create("i-1")
    WakeQueues("test").send("i-1")
    assert received("i-1") == ["wake"]


def test_an_absent_queue_breaks_nothing(queues, capsys):
    queues.send("i-1")
    queues.delete("i-1")
    assert "wake-send-failed" in capsys.readouterr().out


def test_a_queue_that_went_away_is_looked_for_again(queues):
    queues.create("i-1")
    boto3.client("sqs").delete_queue(QueueUrl=url_of("i-1"))
    queues.send("i-1")
    WakeQueues("test").create("i-1")
    queues.send("i-1")
    assert received("i-1") == ["wake"]


def test_a_deleted_queue_is_gone(queues):
    queues.create("i-1")
    queues.delete("i-1")
    assert "QueueUrls" not in boto3.client("sqs").list_queues()


def test_the_listening_url_waits_and_carries_the_session(queues):
    queues.create("i-1")
    url = queues.listen_url("i-1", expires=QUARTER)
    query = parse_qs(urlsplit(url).query)
    assert query["Action"] == ["ReceiveMessage"]
    assert query["WaitTimeSeconds"] == ["20"]
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-Security-Token"] == ["session-token"]


def test_listening_makes_a_queue_that_was_lost(queues):
    assert "wake-i-1" in queues.listen_url("i-1", expires=QUARTER)
    queues.send("i-1")
    assert received("i-1") == ["wake"]


def test_without_sqs_there_is_no_url_and_no_failure(queues, monkeypatch, capsys):
    from botocore.exceptions import EndpointConnectionError

    def unreachable(*_: object) -> object:
        raise EndpointConnectionError(endpoint_url="http://sqs")

    monkeypatch.setattr("chalicelib.aws.wake.client", unreachable)
    assert queues.listen_url("i-1", expires=QUARTER) == ""
    queues.create("i-1")
    queues.send("i-1")
    queues.delete("i-1")
    assert capsys.readouterr().out.count("wake-") == 4


def test_a_call_has_a_time_limit_and_few_tries(aws):
    config = clients.client("sqs").meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["total_max_attempts"] == 3
