"""S3: code archives, logs as streams of chunks, and catalogs of offers.

Keys: `code/<project>/<sha256>` is an archive, `logs/<project>/<run id>/<offset, 16 digits>` one chunk of a log, so
that listing a log's prefix gives its chunks in order; `catalog/...` is named by `services.catalog`.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final, cast

from botocore.exceptions import ClientError

from chalicelib.aws.clients import client

MAX_CHUNK: Final = 1024 * 1024
"""The longest chunk. A reader finds the chunk that holds a byte by looking back this far."""

READ_CHUNKS: Final = 128
"""How many chunks one `read` fetches at most; it then answers less than was asked for."""

FRESH: Final = timedelta(days=7)
"""How old an archive may be for a new run to rely on it: the bucket removes it 31 days after its upload, and the run's
machine fetches it when it has one."""

_PARALLEL: Final = 8
_READ_S: Final = 10


class Bucket:
    """`services.deps.Objects` over one S3 bucket."""

    def __init__(self, name: str, now: Callable[[], datetime]) -> None:
        self._name = name
        self._now = now

    def present(self, key: str) -> bool:
        """Tell whether an object is there and was uploaded within `FRESH`; an older one is to be uploaded again."""
        head = self._head(key)
        return head is not None and self._now() - head["LastModified"] < FRESH

    def put_url(self, key: str, *, sha256: str, size: int, expires: timedelta) -> tuple[str, dict[str, str]]:
        """Return a presigned PUT and the headers that must go with it.

        Size and checksum are signed headers: S3 refuses a body of another length (the signature differs) or of another
        content (`BadDigest`). `sha256` is hexadecimal.
        """
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        url = self._s3.generate_presigned_url(
            "put_object",
            Params={"Bucket": self._name, "Key": key, "ContentLength": size, "ChecksumSHA256": checksum},
            ExpiresIn=int(expires.total_seconds()),
        )
        return str(url), {"Content-Length": str(size), "x-amz-checksum-sha256": checksum}

    def get_url(self, key: str, *, expires: timedelta) -> str:
        """Return a presigned GET. It ends with the credentials that signed it, which can be before `expires`."""
        params = {"Bucket": self._name, "Key": key}
        return str(self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=int(expires.total_seconds())))

    def append(self, prefix: str, offset: int, data: bytes, *, grows: bool = True) -> None:
        """Store one chunk of a byte stream under its offset. The same chunk again changes nothing.

        An agent whose answer was lost sends the chunk again, by then perhaps longer; a shorter one that comes late must
        not cut off what is stored. Hence: only where nothing is, and over a chunk only by a longer one, or by none when
        it is not one that `grows`.
        """
        if len(data) > MAX_CHUNK:
            raise ValueError(f"a chunk has at most {MAX_CHUNK} bytes, not {len(data)}")
        key = _chunk_key(prefix, offset)
        try:
            self._s3.put_object(Bucket=self._name, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) not in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                raise
            head = self._head(key) if grows else None
            if grows and (head is None or head["ContentLength"] < len(data)):
                self._s3.put_object(Bucket=self._name, Key=key, Body=data)

    def read(self, prefix: str, after: int, limit: int) -> bytes:
        """Read up to `limit` bytes of the stream from `after`, as far as it is stored without a gap."""
        spans: list[tuple[str, int, int]] = []
        position = after
        for start, end in self._chunks(prefix, max(0, after - MAX_CHUNK)):
            if start > position or position - after >= limit or len(spans) == READ_CHUNKS:
                break
            if end > position:
                stop = min(end, after + limit)
                spans.append((_chunk_key(prefix, start), position - start, stop - start))
                position = stop
        if not spans:
            return b""
        with ThreadPoolExecutor(min(_PARALLEL, len(spans))) as pool:
            return b"".join(pool.map(self._part, spans))

    def end(self, prefix: str, after: int) -> int:
        """Return how far the stream is stored without a gap, from `after` on."""
        position = after
        for start, end in self._chunks(prefix, max(0, after - MAX_CHUNK)):
            if start > position:
                break
            position = max(position, end)
        return position

    def begins(self, prefix: str, after: int) -> int | None:
        """Return where the first chunk begins that is stored at `after` or behind it; None: there is none."""
        return next((start for start, _ in self._chunks(prefix, after, at_once=1)), None)

    def get(self, key: str, *, unless: str = "") -> tuple[str, bytes | None] | None:
        """Return an object's etag and content; no content when the etag is still `unless`; None: nothing is there."""
        condition = {"IfNoneMatch": unless} if unless else {}
        try:
            found = self._s3.get_object(Bucket=self._name, Key=key, **condition)
        except ClientError as error:
            if _code(error) in {"304", "NotModified"}:
                return unless, None
            if _code(error) not in {"404", "NoSuchKey"}:
                raise
            return None
        return found["ETag"], found["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        """Store an object, in place of what is there."""
        self._s3.put_object(Bucket=self._name, Key=key, Body=data)

    def modified(self, key: str) -> datetime | None:
        """When the object was stored, by S3's clock; None: nothing is there."""
        head = self._head(key)
        return head["LastModified"] if head else None

    @property
    def _s3(self) -> Any:
        return client("s3", _READ_S)

    def _chunks(self, prefix: str, from_offset: int, at_once: int = 1000) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each stored chunk that begins at `from_offset` or later, in order."""
        query: dict[str, Any] = {"Bucket": self._name, "Prefix": f"{prefix}/", "MaxKeys": at_once}
        if from_offset:
            query["StartAfter"] = _chunk_key(prefix, from_offset - 1)
        while True:
            page = self._s3.list_objects_v2(**query)
            for entry in page.get("Contents", ()):
                start = int(entry["Key"].rpartition("/")[2])
                yield start, start + entry["Size"]
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    def _part(self, span: tuple[str, int, int]) -> bytes:
        key, start, stop = span
        answer = self._s3.get_object(Bucket=self._name, Key=key, Range=f"bytes={start}-{stop - 1}")
        return bytes(answer["Body"].read())

    def _head(self, key: str) -> dict[str, Any] | None:
        """S3's description of an object. Needs `s3:ListBucket`, without which S3 answers 403 for an absent one."""
        try:
            return cast(dict[str, Any], self._s3.head_object(Bucket=self._name, Key=key))
        except ClientError as error:
            if _code(error) not in {"404", "NoSuchKey", "NotFound"}:
                raise
            return None


def _chunk_key(prefix: str, offset: int) -> str:
    return f"{prefix}/{offset:016d}"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
