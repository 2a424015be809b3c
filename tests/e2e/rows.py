"""What no user can do: rows of machines that do not exist, and a deadline that has passed without its timer.

    python -m tests.e2e.rows idle COUNT IDLE_LIMIT_S     idle instances of the default pool, as JSON
    python -m tests.e2e.rows overdue INSTANCE_ID         the idle instance is past its deadline from now on, as JSON
    python -m tests.e2e.rows restocked                   what other tests found sold out is forgotten, as after minutes

In a process of its own, with the address and the root key of an emulator in the environment: the store names its
tables once a process. A timer that is due would be deleted, and so fired, by the control plane itself; these rows have
theirs an hour ahead, so that only the test fires.
"""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from random import SystemRandom

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance
from chalicelib.domain.names import new_id
from chalicelib.store import guarded, instances, market, pools, tables
from tests.builders import make_instance, make_offer

PROJECT, POOL = "main", "default-pool"
AN_HOUR = timedelta(hours=1)
OFFER = make_offer(instance_type="row-without-a-machine")


def idle(count: int, idle_limit: timedelta) -> list[Instance]:
    """Store idle instances that are past their deadline. Their agents are heard of an hour ahead: none is silent."""
    pools.note_shape(PROJECT, POOL, OFFER)
    made = []
    for _ in range(count):
        now, instance_id = datetime.now(UTC), new_id("i", datetime.now(UTC), SystemRandom())
        row = make_instance(
            project=PROJECT,
            pool=POOL,
            instance_id=instance_id,
            name=instance_id,
            state=State.IDLE,
            created_at=now,
            changed_at=now,
            offer=OFFER,
            machine_ref="",
            attempt=0,
            billed_from=None,
            idle_limit=idle_limit,
            seen_at=now + AN_HOUR,
        )
        made.append(overdue(instances.create(row, {}, now + AN_HOUR)))
    return made


def overdue(row: Instance) -> Instance:
    """Move the deadline of an idle row into the past, as if the time had gone by, and nothing else."""
    passed = {"deadline": datetime.now(UTC) - timedelta(seconds=1)}
    return guarded.write(row, passed, guarded.same_fence(row), wrote="touch")


def restocked() -> None:
    """Forget every stock-out of the project."""
    for offer_key in market.stock_outs(PROJECT, datetime.now(UTC)):
        market.forget_stock_out(PROJECT, offer_key)


def main() -> None:
    """Do one of the three."""
    tables.configure(os.environ["TIDEPOOL_STAGE"])
    what, *words = sys.argv[1:]
    found: list[Instance] = []
    if what == "restocked":
        restocked()
    elif what == "idle":
        found = idle(int(words[0]), timedelta(seconds=float(words[1])))
    else:
        found = [overdue(instances.get(PROJECT, POOL, words[0]))]
    texts = [{"instance_id": row.instance_id, "fence": row.fence} for row in found]
    sys.stdout.write(json.dumps(texts))


if __name__ == "__main__":
    main()
