"""Takes all instances of a pool with eight threads: `python -m bench.claims_part MACHINES`."""

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench import fleet
from bench.cost_part import Bench
from bench.quiet import answer, quietly
from chalicelib.domain.errors import NoMatchError
from chalicelib.domain.policies import LEASE
from chalicelib.services import leases
from tests.builders import make_policies

THREADS: Final = 8


def crowd(machines: int) -> dict[str, Any]:
    """Acquire until a refusal, in every thread."""
    bench = Bench()
    pool = bench.pool("crowd", machines)
    policies = make_policies(defaults=LEASE, gpu="80GB:1..")

    def take(number: int) -> list[str]:
        taken: list[str] = []
        while True:
            try:
                row = leases.acquire(bench.deps, fleet.PROJECT, pool, policies, holder=f"bench-{number}")
            except NoMatchError:
                return taken
            taken.append(row.instance_id)
            at.append(time.monotonic())

    at: list[float] = []
    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        takers = Counter(instance_id for taken in threads.map(take, range(THREADS)) for instance_id in taken)
    elapsed = max(at) - started
    double = sum(1 for count in takers.values() if count > 1)
    return {"per_s": takers.total() / elapsed, "double": double, "left": machines - len(takers)}


if __name__ == "__main__":
    with quietly():
        result = crowd(int(sys.argv[1]))
    answer(result)
