"""Put a catalog of a whole provider where every project's accounts of that kind find it, or show what is stored.

    python -m infra.catalog import --stage prod --kind aws aws.csv      (credentials and region as for any AWS tool)
    python -m infra.catalog list --stage prod

The file is a CSV of gpuhunt's catalogs. An account's own catalog, which the control plane makes by itself, counts more.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.backends.registry import DRIVERS
from chalicelib.catalog.codec import CatalogError, pack, unpack
from chalicelib.catalog.gpuhunt import Reading, read
from chalicelib.services.catalog import PROGRESS, shared_key
from infra.build import STAGE
from infra.deploy import Client, outputs

PREFIX: Final = "catalog/"
SHOWN: Final = 20
"""How many bad lines are shown; the rest is counted."""


class ImportRefusedError(Exception):
    """The file, or where it should go, is not right. The message says what to do."""


def store(client: Client, bucket: str, kind: str, reading: Reading, *, fetched_at: datetime) -> int:
    """Store what was read as the catalog of a kind; returns its size in bytes. Raises `ImportRefusedError`."""
    if not reading.offers:
        raise ImportRefusedError("the file has no offer; what is stored stays as it is")
    data = pack(reading.offers, fetched_at=fetched_at, source="gpuhunt")
    client("s3").put_object(Bucket=bucket, Key=shared_key(kind), Body=data)
    return len(data)


def stored(client: Client, bucket: str, *, now: datetime) -> Iterator[str]:
    """Describe each stored catalog in a line: key, number of offers, age, source."""
    s3 = client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX):
        for entry in page.get("Contents", ()):
            if entry["Key"].startswith(PROGRESS):
                continue
            data = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            try:
                found = unpack(data)
            except CatalogError as error:
                yield f"{entry['Key']}  no catalog: {error}"
                continue
            hours = (now - found.fetched_at).total_seconds() / 3600
            yield f"{entry['Key']}  {len(found.index)} offers  {hours:.1f} h old  from {found.source}"


def main() -> int:
    """Import or list; 1 when that cannot be done, with the reason on standard error."""
    given = _arguments()
    import boto3

    session: Any = boto3.session.Session()
    if not session.region_name:
        sys.stderr.write("a region is needed: set AWS_DEFAULT_REGION\n")
        return 1
    try:
        bucket = outputs(session.client, f"tidepool-{given.stage}").get("BucketName")
        if bucket is None:
            raise ImportRefusedError(f"this account and region have no stage {given.stage!r}")
        for line in _done(given, session.client, bucket):
            sys.stdout.write(f"{line}\n")
    except (ImportRefusedError, CatalogError, OSError, UnicodeError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _done(given: argparse.Namespace, client: Client, bucket: str) -> Iterator[str]:
    if given.act == "list":
        yield from stored(client, bucket, now=datetime.now(UTC))
        return
    made_at = datetime.fromtimestamp(given.file.stat().st_mtime, UTC)
    reading = read(given.file.read_text(encoding="utf-8"), given.kind, priced_at=made_at)
    for bad in reading.bad[:SHOWN]:
        sys.stderr.write(f"{given.file}:{bad.line}: {bad.reason}\n")
    size = store(client, bucket, given.kind, reading, fetched_at=made_at)
    yield f"{len(reading.offers)} offers of {given.kind} stored ({size} bytes), {len(reading.bad)} lines left out"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.catalog", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    put = acts.add_parser("import", help="store a CSV of gpuhunt's as the catalog of a kind")
    put.add_argument("--kind", required=True, choices=sorted(DRIVERS), help="whose offers the file has")
    put.add_argument("file", type=Path, metavar="FILE.csv", help="its time of change is taken for the prices' age")
    for each in (put, acts.add_parser("list", help="show what is stored, with its age")):
        each.add_argument("--stage", required=True, help="the stage that was deployed")
    given = parser.parse_args()
    if not STAGE.fullmatch(given.stage):
        parser.error(f"--stage: {given.stage!r} is no stage")
    return given


if __name__ == "__main__":
    sys.exit(main())
