"""Archives and logs in S3."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws import objects
from chalicelib.aws.objects import Bucket
from tests.aws.conftest import BUCKET

LOG = "logs/acme/run-1"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def bucket(aws):
    return bucket_at(datetime.now(UTC))


def bucket_at(moment):
    """The bucket as it is used at another time; the emulation stamps objects with the true one."""
    return Bucket(BUCKET, lambda: moment)


def test_an_absent_object_is_absent_and_a_stored_one_present(bucket):
    assert bucket.present("code/acme/x") is False
    bucket.append("code/acme", 0, b"x")
    assert bucket.present("code/acme/0000000000000000") is True


@pytest.mark.parametrize(("days", "is_present"), [(6.9, True), (7.1, False)])
def test_an_old_archive_counts_as_absent_so_that_it_is_uploaded_again_before_it_expires(bucket, days, is_present):
    bucket.append("code/acme", 0, b"x")
    then = bucket_at(datetime.now(UTC) + timedelta(days=days))
    assert then.present("code/acme/0000000000000000") is is_present


def test_an_old_chunk_is_still_known_to_be_there(bucket):
    bucket.append(LOG, 0, b"abcdef")
    then = bucket_at(datetime.now(UTC) + timedelta(days=30))
    then.append(LOG, 0, b"abc")
    assert then.read(LOG, 0, 100) == b"abcdef"


def test_a_stream_is_read_from_any_byte_across_chunks(bucket):
    for offset, data in ((0, b"hello "), (6, b"big "), (10, b"world")):
        bucket.append(LOG, offset, data)
    whole = b"hello big world"
    for after in range(len(whole) + 2):
        for limit in (1, 4, 100):
            assert bucket.read(LOG, after, limit) == whole[after : after + limit]


def test_a_gap_ends_what_can_be_read(bucket):
    bucket.append(LOG, 0, b"abc")
    bucket.append(LOG, 5, b"fg")
    assert bucket.read(LOG, 0, 100) == b"abc"
    assert bucket.read(LOG, 4, 100) == b""
    assert bucket.read(LOG, 5, 100) == b"fg"


@pytest.mark.parametrize(("after", "end"), [(0, 6), (3, 6), (6, 6), (9, 12), (50, 50)])
def test_a_stream_ends_at_its_first_gap(bucket, after, end):
    for offset, data in ((0, b"abc"), (2, b"cdef"), (9, b"xyz")):
        bucket.append(LOG, offset, data)
    assert bucket.end(LOG, after) == end


def test_chunks_that_overlap_are_read_once(bucket):
    bucket.append(LOG, 0, b"abcd")
    bucket.append(LOG, 2, b"cdef")
    assert bucket.read(LOG, 0, 100) == b"abcdef"
    assert bucket.read(LOG, 3, 2) == b"de"


def test_a_chunk_that_does_not_grow_stays_as_it_was_first(bucket):
    bucket.append(LOG, 0, b"abc", grows=False)
    bucket.append(LOG, 0, b"longer", grows=False)
    assert bucket.read(LOG, 0, 100) == b"abc"


@pytest.mark.parametrize(("after", "begins"), [(0, 0), (1, 10**12), (10**12, 10**12), (10**12 + 1, None)])
def test_the_first_chunk_behind_a_gap_is_found(bucket, after, begins):
    bucket.append(LOG, 0, b"abc")
    bucket.append(LOG, 10**12, b"xyz")
    bucket.append(f"{LOG}0", 10**13, b"of another run")
    assert bucket.begins(LOG, after) == begins


def test_the_same_chunk_again_changes_nothing(bucket):
    bucket.append(LOG, 0, b"abc")
    bucket.append(LOG, 0, b"abc")
    assert bucket.read(LOG, 0, 100) == b"abc"


def test_a_shorter_chunk_that_comes_late_cuts_nothing_off(bucket):
    """The agent's answer was lost; it sends more from the same offset, and the first try arrives after that."""
    bucket.append(LOG, 0, b"abcdef")
    bucket.append(LOG, 0, b"abc")
    assert bucket.read(LOG, 0, 100) == b"abcdef"


def test_a_longer_chunk_at_the_same_offset_replaces_the_shorter(bucket):
    bucket.append(LOG, 0, b"abc")
    bucket.append(LOG, 0, b"abcdef")
    assert bucket.read(LOG, 0, 100) == b"abcdef"


def test_an_unknown_stream_is_empty(bucket):
    assert bucket.read(LOG, 0, 100) == b""


def test_streams_do_not_mix(bucket):
    bucket.append(LOG, 0, b"mine")
    bucket.append(LOG + "0", 0, b"another's")
    assert bucket.read(LOG, 0, 100) == b"mine"


def test_a_read_fetches_a_bounded_number_of_chunks(bucket, monkeypatch):
    monkeypatch.setattr(objects, "READ_CHUNKS", 3)
    for offset in range(5):
        bucket.append(LOG, offset, b"x")
    assert bucket.read(LOG, 0, 100) == b"xxx"
    assert bucket.read(LOG, 3, 100) == b"xx"


def test_a_chunk_has_a_limit_because_readers_look_back_only_so_far(bucket):
    with pytest.raises(ValueError, match="at most"):
        bucket.append(LOG, 0, b"x" * (objects.MAX_CHUNK + 1))
    bucket.append(LOG, 0, b"x" * objects.MAX_CHUNK)
    assert bucket.read(LOG, objects.MAX_CHUNK - 1, 10) == b"x"


def test_an_upload_url_signs_size_checksum_and_session(bucket):
    digest = sha256(b"data").hexdigest()
    url, headers = bucket.put_url("code/acme/x", sha256=digest, size=4, expires=MINUTE)
    query = parse_qs(urlsplit(url).query)
    signed = query["X-Amz-SignedHeaders"][0].split(";")
    assert {"content-length", "x-amz-checksum-sha256", "host"} <= set(signed)
    assert headers == {
        "Content-Length": "4",
        "x-amz-checksum-sha256": b64encode(sha256(b"data").digest()).decode(),
    }
    assert query["X-Amz-Security-Token"] == ["session-token"]
    assert query["X-Amz-Expires"] == ["60"]
    assert urlsplit(url).path == f"/{BUCKET}/code/acme/x"


def test_a_download_url_carries_the_session(bucket):
    query = parse_qs(urlsplit(bucket.get_url("code/acme/x", expires=MINUTE)).query)
    assert query["X-Amz-Security-Token"] == ["session-token"]


def test_an_object_is_read_back_with_the_name_of_its_version(bucket):
    bucket.put("catalog/acme/aws.json.gz", b"first")
    etag, data = bucket.get("catalog/acme/aws.json.gz")
    assert data == b"first"
    assert bucket.get("catalog/acme/aws.json.gz", unless=etag) == (etag, None)
    bucket.put("catalog/acme/aws.json.gz", b"second")
    newer, data = bucket.get("catalog/acme/aws.json.gz", unless=etag)
    assert (newer != etag, data) == (True, b"second")


def test_an_object_that_is_not_there_has_neither_content_nor_age(bucket):
    assert bucket.get("catalog/acme/aws.json.gz") is None
    assert bucket.get("catalog/acme/aws.json.gz", unless='"etag"') is None
    assert bucket.modified("catalog/acme/aws.json.gz") is None


def test_an_object_knows_when_it_was_stored(bucket):
    bucket.put("catalog/acme/aws.json.gz", b"x")
    stored_at = bucket.modified("catalog/acme/aws.json.gz")
    assert abs(datetime.now(UTC) - stored_at) < MINUTE


def test_a_bucket_that_refuses_is_no_bucket_without_the_object(aws):
    elsewhere = Bucket("no-such-bucket", lambda: datetime.now(UTC))
    with pytest.raises(ClientError):
        elsewhere.get("catalog/acme/aws.json.gz")
