"""The search of a run for a cluster that gives it all of its nodes: which ones could not, and when it ends."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

LONGEST: Final = timedelta(minutes=30)
"""How long after the first cluster of a round yet another one is tried."""

MOST: Final = 10
"""Clusters that may fail in a round. Each costs what its machines bill meanwhile."""

SAID: Final = 200
"""Characters that are kept of why a cluster failed: they are part of the run's row."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a run that looks for a cluster `since` then was refused: keys of clusters, each with the reason and the kind
    of the refusal (`attempts.telling`), in order.

    A key that ends with `|` stands for every region of an account. They are those of the present round, which began at
    `round_at`; `rounds` counts the ones before, after each of which the run waited for capacity. `silent` is how many
    machines came whose agents never reported.
    """

    since: datetime
    round_at: datetime
    failed: tuple[tuple[str, str, str], ...] = ()
    rounds: int = 0
    silent: int = 0

    def excludes(self, key: str) -> bool:
        """Whether a cluster has failed, or the account that it is rented from."""
        return any(key == out or (out.endswith("|") and key.startswith(out)) for out, _, _ in self.failed)

    def may_go_on(self, now: datetime) -> bool:
        """Whether another cluster may be tried."""
        return len(self.failed) < MOST and now - self.round_at <= LONGEST

    @property
    def kinds(self) -> list[str]:
        """What kind of refusal each cluster of the round failed for."""
        return [kind for _, _, kind in self.failed]

    def without(self, key: str, why: str, *, kind: str = "", silent: int = 0) -> "Search":
        """The same search after one more cluster has failed, `silent` machines of it without a word."""
        return replace(self, failed=(*self.failed, (key, why[:SAID], kind)), silent=self.silent + silent)

    def next_round(self, at: datetime) -> "Search":
        """The same search when every cluster has its turn again, from `at` on."""
        return replace(self, failed=(), rounds=self.rounds + 1, round_at=at)

    def explained(self) -> str:
        """Say for a person why each cluster failed."""
        return "; ".join(f"{key.rstrip('|')}: {why}" for key, why, _ in self.failed)


def begun(search: Search | None, now: datetime) -> Search:
    """The search that goes on, or a new one."""
    return search or Search(now, now)


def account_of(key: str) -> str:
    """What stands for all regions of a cluster's account."""
    return key.partition("|")[0] + "|"
