"""The operator's command for catalogs: a CSV becomes what every account of a kind finds, and is listed with its age."""

import os
import sys
from datetime import UTC, datetime

import boto3
import pytest
from moto import mock_aws

from chalicelib.catalog.codec import unpack
from chalicelib.services.catalog import shared_key
from infra import catalog

BUCKET = "tidepool-test-bucket"
CSV = """instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size
g5.xlarge,us-east-1,1.006,4,16.0,1,A10G,24.0,False,
g5.xlarge,us-east-1,free,4,16.0,1,A10G,24.0,True,
"""


@pytest.fixture
def s3(monkeypatch):
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        catalog, "outputs", lambda _client, stack: {"tidepool-test": {"BucketName": BUCKET}}.get(stack, {})
    )
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def command(s3, monkeypatch, capsys):
    """Run the command; returns its status, standard output and standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["catalog", *map(str, words)])
        status = catalog.main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "aws.csv"
    path.write_text(CSV)
    os.utime(path, (1_760_000_000, 1_760_000_000))
    return path


def test_an_import_is_stored_for_its_kind_and_names_the_lines_it_leaves_out(command, file, s3):
    status, out, err = command("import", "--stage", "test", "--kind", "aws", file)
    assert status == 0
    assert out.startswith("1 offers of aws stored (")
    assert out.endswith("bytes), 1 lines left out\n")
    assert err.startswith(f"{file}:3: price is 'free', not USD an hour")
    found = unpack(s3.get_object(Bucket=BUCKET, Key=shared_key("aws"))["Body"].read())
    assert (len(found.index), found.source) == (1, "gpuhunt")
    assert found.fetched_at == found.index.oldest() == datetime.fromtimestamp(1_760_000_000, UTC)


def test_a_file_without_an_offer_replaces_nothing(command, file, s3):
    command("import", "--stage", "test", "--kind", "aws", file)
    file.write_text(CSV.splitlines()[0] + "\n")
    status, _, err = command("import", "--stage", "test", "--kind", "aws", file)
    assert status == 1
    assert "no offer" in err
    assert len(unpack(s3.get_object(Bucket=BUCKET, Key=shared_key("aws"))["Body"].read()).index) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--stage", "other", "--kind", "aws", "aws.csv"), "no stage 'other'"),
        (("--stage", "test", "--kind", "aws", "no-such-file.csv"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(command, words, reason):
    status, _, err = command("import", *words)
    assert status == 1
    assert reason in err


def test_what_is_stored_is_listed_with_its_age_and_what_is_none_is_named(command, file, s3):
    command("import", "--stage", "test", "--kind", "aws", file)
    s3.put_object(Bucket=BUCKET, Key="catalog/main/luna.json.gz", Body=b"garbage")
    status, out, _ = command("list", "--stage", "test")
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith("catalog/_shared/aws.json.gz  1 offers  ")
    assert first.endswith("h old  from gpuhunt")
    assert second.startswith("catalog/main/luna.json.gz  no catalog: ")


@pytest.mark.parametrize("kind", ["nowhere", "../main/aws"])
def test_a_kind_that_no_driver_has_is_refused(command, file, kind):
    with pytest.raises(SystemExit):
        command("import", "--stage", "test", "--kind", kind, file)
