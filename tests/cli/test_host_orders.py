"""Under which name a host is ordered, and what is waited for before."""

from types import SimpleNamespace
from typing import Any

from tidepool.errors import ConflictError
from tidepool.host_orders import order


def test_a_name_that_was_only_implied_and_is_not_let_go_of_is_replaced_by_a_made_up_one():
    """A rented `gpu-1` whose provider does not let it go is no part of the adoption of the server gpu-1."""
    clock, told = [0.0], []

    def adopt(request: Any) -> Any:
        if request.get("name") == "gpu-1":
            raise ConflictError("exists", context={"name": "gpu-1", "state": "terminating"})
        return {"name": "made-up"}

    session: Any = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda s: clock.__setitem__(0, clock[0] + s))
    done = order(session, adopt, {}, name="", own="gpu-1", tell=told.append, is_over=lambda: False)  # type: ignore[typeddict-item]
    assert done["name"] == "made-up"
    assert set(told) == {"waiting for the removal of gpu-1"}
    assert clock[0] < 200
