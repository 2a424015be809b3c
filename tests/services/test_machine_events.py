"""The function that EventBridge calls, with events as EC2 sends them."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.store import instances as store
from chalicelib.store import machines as machine_store
from chalicelib.workflows import machines
from tests.builders import make_instance, make_offer
from tests.store.seeds import seed

REF = "eu-central-1/i-0123456789abcdef0"


def sent(kind, *, instance="i-0123456789abcdef0", region="eu-central-1", **detail):
    return {
        "version": "0",
        "id": "12345678-1234-1234-1234-123456789012",
        "detail-type": kind,
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2030-01-02T03:04:05Z",
        "region": region,
        "resources": [f"arn:aws:ec2:{region}:123456789012:instance/{instance}"],
        "detail": {"instance-id": instance, **detail},
    }


WARNING = sent("EC2 Spot Instance Interruption Warning", **{"instance-action": "terminate"})
ENDED = sent("EC2 Instance State-change Notification", state="shutting-down")


@pytest.fixture
def hear(world, monkeypatch):
    monkeypatch.setattr(machines, "deps", lambda: world.deps)
    return lambda event: machines.machine_events(event, SimpleNamespace(aws_request_id="r-1"))["instances"]


def rented(**fields):
    """A spot instance of EC2's, remembered as its launch remembers it."""
    offer = make_offer(backend="aws", spot=True)
    row = seed(make_instance(project="main", offer=offer, machine_ref=REF, **fields))
    machine_store.note(row, offer, REF, now=row.changed_at)
    return row


def now(row):
    return store.get(row.project, row.pool, row.instance_id)


def test_a_warning_flags_the_instance_for_two_minutes_after_the_event(world, hear):
    row = rented(state=State.BUSY)
    assert hear(WARNING) == ["i-1"]
    assert now(row).ends_at == world.clock + timedelta(minutes=2)
    assert world.wake.sent == ["i-1"]


def test_a_machine_that_shuts_down_ends_its_instance_once(world, hear):
    row = rented()
    assert hear(ENDED) == ["i-1"]
    assert hear(ENDED) == ["i-1"]
    ended = now(row)
    assert (ended.state, ended.reason, ended.fence) == (State.TERMINATING, Reason.INTERRUPTED, row.fence + 1)


@pytest.mark.parametrize(
    "event",
    [
        sent("EC2 Instance State-change Notification", state="running"),
        sent("EC2 Instance State-change Notification", state="terminated", instance="i-0fedcba9876543210"),
        sent("EC2 Instance State-change Notification", state="terminated", region="eu-west-1"),
        sent("Something Else"),
    ],
)
def test_what_is_no_end_of_a_machine_of_ours_changes_nothing(world, hear, event):
    row = rented()
    assert hear(event) == []
    assert now(row) == row


def test_a_recommendation_to_rebalance_is_noted_and_changes_nothing(world, hear):
    row = rented()
    assert hear(sent("EC2 Instance Rebalance Recommendation")) == ["i-1"]
    assert now(row) == row


def test_an_instance_that_has_another_machine_by_now_is_left_alone(world, hear):
    row = rented()
    machine_store.note(row, row.offer, "eu-central-1/i-00000000", now=world.clock)
    assert hear(sent("EC2 Instance State-change Notification", instance="i-00000000", state="terminated")) == []
    assert now(row) == row


def test_an_event_that_lacks_what_it_must_have_is_an_error(hear):
    with pytest.raises(ValueError, match="not understood"):
        hear({**ENDED, "detail": {}})
