"""Presigned requests as their users make them, over HTTP against the emulator, signed with a Lambda's kind of key."""

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Timer
from time import monotonic

import boto3
import pytest

from chalicelib.aws.objects import Bucket
from chalicelib.aws.wake import WakeQueues
from tests.aws.conftest import BUCKET, forget_clients
from tests.emulation import set_keys

MINUTE = timedelta(minutes=1)
DATA = b"an archive"


@pytest.fixture
def live(emulator, monkeypatch):
    set_keys(monkeypatch, emulator.url)
    forget_clients()
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield
    forget_clients()


def send(url, data=None, headers=None):
    request = urllib.request.Request(url, data=data, headers=headers or {}, method="PUT" if data else "GET")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_an_upload_takes_the_announced_bytes_and_no_others(live):
    bucket = Bucket(BUCKET, lambda: datetime.now(UTC))
    url, headers = bucket.put_url("code/a/x", sha256=sha256(DATA).hexdigest(), size=len(DATA), expires=MINUTE)
    status, words = send(url, DATA[::-1], headers)
    assert (status, b"BadDigest" in words) == (400, True)
    assert bucket.present("code/a/x") is False
    assert send(url, DATA, headers)[0] == 200
    assert bucket.present("code/a/x") is True
    assert send(bucket.get_url("code/a/x", expires=MINUTE)) == (200, DATA)


def test_a_listener_hears_a_wake_at_once(live):
    queues = WakeQueues("test")
    queues.create("i-1")
    url = queues.listen_url("i-1", expires=MINUTE)
    Timer(0.3, queues.send, ["i-1"]).start()
    began = monotonic()
    status, words = send(url)
    assert status == 200
    assert b"<Message>" in words
    assert monotonic() - began < 15  # an answer without a message takes 20


def test_a_log_survives_chunks_that_come_late_on_the_emulator_too(live):
    bucket = Bucket(BUCKET, lambda: datetime.now(UTC))
    bucket.append("logs/a/r", 0, b"abcdef")
    bucket.append("logs/a/r", 0, b"abc")
    bucket.append("logs/a/r", 6, b"g")
    assert bucket.read("logs/a/r", 2, 100) == b"cdefg"
