"""The values: what makes two offers the same, and what is stored under a name made from them."""

from dataclasses import FrozenInstanceError

import pytest

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RUN_ENDS, RunState
from tests.builders import ago, make_gpu, make_instance, make_offer


def test_the_same_thing_at_another_price_is_the_same_offer_but_another_shape():
    cheap, dear = make_offer(price=1), make_offer(price=2)
    assert cheap.key == dear.key
    assert cheap.shape != dear.shape


@pytest.mark.parametrize(
    "other",
    [{"backend": "aws"}, {"region": "eu"}, {"zone": "a"}, {"instance_type": "large"}, {"spot": True}],
)
def test_another_place_type_or_kind_is_another_offer_and_another_shape(other):
    assert make_offer(**other).key != make_offer().key
    assert make_offer(**other).shape != make_offer().shape


@pytest.mark.parametrize("other", [{"cpus": 5}, {"memory_gib": 17}, {"disk_gib": 101}, {"gpus": make_gpu()}])
def test_other_resources_are_another_shape(other):
    assert make_offer(**other).shape != make_offer().shape


def test_when_and_where_a_price_was_read_does_not_make_another_shape():
    other = make_offer(price_source="live", priced_at=ago(days=1), availability="unknown")
    assert other.shape == make_offer().shape


def test_shapes_are_stored_and_therefore_stay_what_they_are():
    assert make_offer().key == "local/bay//small/on-demand"
    assert make_offer(gpus=make_gpu()).shape == "43aaef02fed0"


def test_values_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        make_instance().state = State.BUSY


def test_a_run_ends_done_failed_or_stopped():
    assert {RunState.DONE, RunState.FAILED, RunState.STOPPED} == RUN_ENDS
