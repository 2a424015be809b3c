"""Where a process may die: before or after any write to the store and any call to the provider."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from chalicelib.store import calls
from tests.services.world import Cloud


class Crash(BaseException):
    """The process is gone. Nothing in the product may catch this."""


class Chaos:
    """Counts down to one crash while it is armed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rng: Random) -> None:
        self.rng = rng
        self.left: int | None = None
        for owner, name in (
            (calls, "put"),
            (calls, "update"),
            (calls, "delete"),
            (calls, "delete_many"),
            (calls.Transaction, "commit"),
            (Cloud, "launch"),
            (Cloud, "terminate"),
        ):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(*args: Any, **kwargs: Any) -> Any:
            if self.left is None:
                return call(*args, **kwargs)
            self.left -= 1
            if self.left >= 0:
                return call(*args, **kwargs)
            self.left = None
            if self.rng.random() < 0.5:
                call(*args, **kwargs)
            raise Crash

        return crashing

    @contextmanager
    def maybe(self, probability: float) -> Iterator[None]:
        """Run a block that may die at one of its first writes."""
        self.left = self.rng.randrange(6) if self.rng.random() < probability else None
        try:
            yield
        except Crash:
            pass
        finally:
            self.left = None
