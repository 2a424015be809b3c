"""An instance with a machine at a provider, written into the tables as a launch leaves it (run by `inside.run`)."""

import os

from chalicelib.store import instances, journal
from chalicelib.wiring import deps
from tests.builders import later, make_attempt, make_instance, make_offer


def main() -> None:
    deps()  # names the tables
    offer = make_offer(backend="work-aws", region="eu-west-1", instance_type="p4d.24xlarge", price=32_770_000)
    row = make_instance(project="main", pool=os.environ["POOL"], name="box-1", offer=offer)
    instances.create(row, {}, later(days=1))
    journal.put_attempt(row.instance_id, make_attempt(offer=offer))


if __name__ == "__main__":
    main()
