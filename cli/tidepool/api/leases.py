"""Leases: exclusive, fenced, expiring holds on instances."""

from __future__ import annotations

import os
import time

from tidepool.errors import AuthError, LeaseLost, NotFoundError, TidepoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event, Thread
    from types import TracebackType
    from typing import Any, Self

    from tidepool.client import Client
    from tidepool.wire import Instance, Lease, Released


class Leases:
    """What can be done with leases."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def acquire(self, pool: str = "", *, holder: str = "", duration_s: float | None = None, **wanted: Any) -> Lease:
        """Hold one idle instance. `wanted`: `requirements`, `instance` and the policies, as in a plan.

        `NoMatchError` when none is free; its `context["reasons"]` says why not, for each.
        """
        body: dict[str, Any] = {"holder": holder or default_holder(), **wanted}
        if duration_s is not None:
            body["duration_s"] = duration_s
        chosen = self._client.pools.resolve(pool)
        answer: Lease = self._client.call("POST", self._client.path("pools", chosen, "leases"), body)
        return answer

    def get(self, lease_id: str) -> Lease:
        """One lease as it stands."""
        answer: Lease = self._client.call("GET", self._client.path("leases", lease_id))
        return answer

    def heartbeat(self, lease_id: str, *, duration_s: float | None = None) -> Lease:
        """Prolong a lease by its duration from now; `LeaseLost` when it is over."""
        body = {} if duration_s is None else {"duration_s": duration_s}
        answer: Lease = self._client.call("POST", self._client.path("leases", lease_id, "heartbeat"), body)
        return answer

    def release(self, lease_id: str) -> Released:
        """Give the instance back. Twice is fine; `LeaseLost` when somebody else has it by now."""
        answer: Released = self._client.call("DELETE", self._client.path("leases", lease_id))
        return answer


def default_holder() -> str:
    """Name this user to others, in characters and length that a holder may have."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "someone"
    return f"{user}@{os.uname().nodename}".encode("ascii", "replace").decode()[:100]


class HeldLease:
    """A lease for the length of a `with` block, kept alive by a thread.

    The hold counts as lost when the API says so, and also when no heartbeat got through for the whole duration: this
    side's clock runs from before the last good call was sent, so it gives up before the control plane does.
    """

    def __init__(self, leases: Leases, *, pool: str, holder: str, duration_s: float, body: Mapping[str, Any]) -> None:
        self._leases = leases
        self._pool, self._holder, self._duration_s, self._body = pool, holder, duration_s, dict(body)
        self._lease: Lease | None = None
        self._good_until = 0.0
        self._failure = ""
        self._stop: Event | None = None
        self._thread: Thread | None = None

    @property
    def lease(self) -> Lease:
        """The lease as it was last heard of."""
        if self._lease is None:
            raise RuntimeError("a lease is held inside its `with` block only")
        return self._lease

    @property
    def instance(self) -> Instance:
        """The machine that is held."""
        return self.lease["instance"]

    @property
    def fence(self) -> int:
        """The number to hand to whatever must not obey an earlier holder."""
        return self.lease["fence"]

    @property
    def is_lost(self) -> bool:
        """Whether the machine may be somebody else's by now."""
        return bool(self._failure) or time.monotonic() >= self._good_until

    def check(self) -> None:
        """Raise `LeaseLost` unless the hold is certain."""
        if self.is_lost:
            words = self._failure or "no heartbeat got through in time"
            raise LeaseLost(f"lease {self.lease['lease_id']} is lost: {words}")

    def __enter__(self) -> Self:
        from threading import Event, Thread

        sent = time.monotonic()
        self._lease = self._leases.acquire(self._pool, holder=self._holder, duration_s=self._duration_s, **self._body)
        self._good_until = sent + self._duration_s
        self._stop = Event()
        self._thread = Thread(target=self._beat, args=(self._stop,), name="tidepool-heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None and self._thread is not None:
            self._stop.set()
            self._thread.join(timeout=self._duration_s)
        try:
            self.check()
            self._leases.release(self.lease["lease_id"])
        except TidepoolError:
            if error is None:  # otherwise the block's own failure is the one to hear of; the lease ends by itself
                raise

    def _beat(self, stop: Event) -> None:
        """Prolong three times per duration, more often after a failure, until told to stop or lost."""
        wait_s = self._duration_s / 3
        while not stop.wait(wait_s):
            sent = time.monotonic()
            try:
                self._lease = self._leases.heartbeat(self.lease["lease_id"], duration_s=self._duration_s)
            except (LeaseLost, NotFoundError, AuthError) as error:
                self._failure = error.detail
                return
            except TidepoolError:
                if self.is_lost:
                    return
                wait_s = self._duration_s / 12
            else:
                self._good_until = sent + self._duration_s
                wait_s = self._duration_s / 3
