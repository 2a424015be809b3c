"""The search of a run for a cluster that gives it all of its nodes: which ones could not, and when it ends."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

LONGEST: Final = timedelta(minutes=30)
"""How long after its first cluster a search tries yet another one."""

MOST: Final = 10
"""Clusters that may fail one after the other before a search ends. Each costs what its machines bill meanwhile."""

SAID: Final = 200
"""Characters that are kept of why a cluster failed: they are part of the run's row."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a run was refused since `since`: keys of clusters, each with the reason, in the order of the tries.

    A key that ends with `|` stands for every region of an account. `rounds` counts how often every cluster had failed
    and the run waited for capacity, `silent` how many machines came whose agents never reported.
    """

    since: datetime
    failed: tuple[tuple[str, str], ...] = ()
    rounds: int = 0
    silent: int = 0

    def excludes(self, key: str) -> bool:
        """Whether a cluster has failed, or the account that it is rented from."""
        return any(key == out or (out.endswith("|") and key.startswith(out)) for out, _ in self.failed)

    def may_go_on(self, now: datetime) -> bool:
        """Whether another cluster may be tried."""
        return len(self.failed) < MOST and now - self.since <= LONGEST

    def without(self, key: str, why: str, *, silent: int = 0) -> "Search":
        """The same search after one more cluster has failed, `silent` machines of it without a word."""
        return replace(self, failed=(*self.failed, (key, why[:SAID])), silent=self.silent + silent)

    def explained(self) -> str:
        """Say for a person why each cluster failed."""
        return "; ".join(f"{key.rstrip('|')}: {why}" for key, why in self.failed)


def begun(search: Search | None, now: datetime) -> Search:
    """The search that goes on, or a new one."""
    return search or Search(now)


def account_of(key: str) -> str:
    """What stands for all regions of a cluster's account."""
    return key.partition("|")[0] + "|"
