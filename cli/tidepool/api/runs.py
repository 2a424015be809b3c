"""Runs: work on an instance."""

from __future__ import annotations

from binascii import a2b_base64

from tidepool.errors import BadAnswerError, TidepoolError, from_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from tidepool.client import Client
    from tidepool.wire import LogChunk, Run, RunRequest, Upload

ENDS = frozenset({"done", "failed", "stopped"})
CHUNK = 512 * 1024
"""Bytes of log asked for at a time; base64 makes it 700 kB, below the API's bound of 1 MB."""
SLOWEST_UPLOAD = 50_000
"""Bytes a second below which an upload is given up."""
QUICKEST_POLL_S = 0.08
SLOWEST_POLL_S = 2.0


class Runs:
    """What can be done with runs. `run` is a name or an id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, request: RunRequest) -> Run:
        """Create a run. It takes an idle instance, or has one provisioned unless `reuse` is set."""
        answer: Run = self._client.call("POST", self._client.path("runs"), request)
        return answer

    def pages(self, *, active: bool = False) -> Iterator[list[Run]]:
        """Runs, newest first, a page at a time."""
        return self._client.pages(self._client.path("runs"), {"active": True} if active else None)

    def get(self, run: str) -> Run:
        """One run; with its instance's attempts while that is being provisioned."""
        answer: Run = self._client.call("GET", self._client.path("runs", run))
        return answer

    def stop(self, run: str, *, force: bool = False) -> Run:
        """End a run: its job gets SIGTERM and later SIGKILL, with `force` SIGKILL at once."""
        answer: Run = self._client.call("POST", self._client.path("runs", run, "stop"), {"force": force})
        return answer

    def log_chunk(self, run: str, after: int = 0, limit: int = CHUNK, *, node: int = 0) -> tuple[bytes, LogChunk]:
        """The bytes of the log from `after` on, and the chunk they came in. `node`: of a run on several, by rank."""
        query = {"after": after, "limit": limit} | ({"node": node} if node else {})
        chunk: LogChunk = self._client.call("GET", self._client.path("runs", run, "logs"), query=query)
        try:
            return a2b_base64(chunk["data"]), chunk
        except ValueError as error:
            raise BadAnswerError("the log's data is not base64") from error

    def logs(self, run: str, *, after: int = 0, follow: bool = False, node: int = 0) -> Iterator[bytes]:
        """The log (of one node), piece by piece; with `follow` until the run is over."""
        wait_s = QUICKEST_POLL_S
        while True:
            data, chunk = self.log_chunk(run, after, node=node)
            after = chunk["next"]
            if data:
                yield data
                wait_s = QUICKEST_POLL_S
            elif chunk["complete"] or not follow:
                return
            else:
                self._client.sleep(wait_s)
                wait_s = min(wait_s * 1.5, SLOWEST_POLL_S)

    def upload(self, archive: BinaryIO, sha256: str, size: int) -> bool:
        """Store an archive of code under its hash. Answers whether it had to travel."""
        upload = self._prepare(sha256, size)
        if upload["present"] or not upload["url"]:
            return False
        self._put(upload["url"], upload["headers"], archive, size)
        return True

    def is_stored(self, sha256: str, size: int) -> bool:
        """Whether an archive is there already."""
        return self._prepare(sha256, size)["present"]

    def _prepare(self, sha256: str, size: int) -> Upload:
        answer: Upload = self._client.call("POST", self._client.path("uploads"), {"sha256": sha256, "size": size})
        return answer

    def _put(self, url: str, headers: dict[str, str], archive: BinaryIO, size: int) -> None:
        """PUT to object storage. Its answers are XML and of no use to a reader, so only the status is told."""
        from tidepool.address import proxy_for
        from tidepool.client import wait_before
        from tidepool.transport import Transport

        transport = Transport(url, proxy_for(url, self._client.environ))
        within_s = self._client.within_s + size / SLOWEST_UPLOAD
        try:
            for done in range(1, self._client.tries + 1):
                archive.seek(0)
                try:
                    response = transport.exchange(
                        "PUT", transport.url.target, headers, archive, size=size, within_s=within_s
                    )
                    if response.status < 300:
                        return
                    raise from_problem(
                        response.status, {"detail": f"storing the code failed: storage answered {response.status}"}
                    )
                except TidepoolError as error:
                    if done == self._client.tries or not error.retryable:
                        raise
                self._client.sleep(wait_before(done))
        finally:
            transport.close()
