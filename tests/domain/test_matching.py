"""Matching: each filter with its boundary and its words, the order of preference, and the explanation of nothing."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import units
from chalicelib.domain.lifecycle import State
from chalicelib.domain.matching import FILTERS, instance_verdict, last_filter, rank, verdict
from chalicelib.domain.policies import LEASE, RUN, SpotPolicy
from tests.builders import NOW, ago, make_gpu, make_instance, make_offer, make_policies

FRESH = timedelta(minutes=5)
A100_40 = make_gpu(name="A100", memory_gib=40)
A100_80 = make_gpu(name="NVIDIA A100-SXM4-80GB", memory_gib=80)
H100 = make_gpu(name="H100", memory_gib=81_559 / 1024)
T4 = make_gpu(name="T4", memory_gib=15_109 / 1024)
MI300X = make_gpu(name="MI300X", memory_gib=192, vendor="amd", count=8)


def why_not(body=None, /, *, offer=None, requirements=None):
    """The verdict on `make_offer(**offer)` for a run's request."""
    return verdict(make_policies(body, defaults=RUN, **(requirements or {})), make_offer(**(offer or {})))


@pytest.mark.parametrize(
    ("body", "offer", "reason"),
    [
        ({}, {}, None),
        ({"backends": ["local"]}, {}, None),
        ({"backends": ["AWS"]}, {"backend": "aws"}, None),
        ({"backends": ["aws", "azure"]}, {}, "backend local is not aws or azure"),
        ({"regions": ["Bay"]}, {}, None),
        ({"regions": ["eu-west-1"]}, {}, "region bay is not eu-west-1"),
        ({"instance_types": ["standard_nc6"]}, {"instance_type": "Standard_NC6"}, None),
        ({"instance_types": ["large"]}, {}, "instance type small is not large"),
        ({"spot_policy": "auto"}, {"spot": True}, None),
        ({"spot_policy": "auto"}, {"spot": False}, None),
        ({"spot_policy": "spot"}, {"spot": True}, None),
        ({"spot_policy": "spot"}, {"spot": False}, "on-demand is not spot"),
        ({"spot_policy": "on-demand"}, {"spot": False}, None),
        ({"spot_policy": "on-demand"}, {"spot": True}, "spot is not on-demand"),
        ({"max_price": 2}, {"price": 2_000_000}, None),
        ({"max_price": 2}, {"price": 3_670_000}, "price $3.67 is above $2.00"),
        ({"max_price": 2}, {"price": 2_000_001}, "price $2.000001 is above $2.00"),
    ],
)
def test_where_what_and_at_what_price(body, offer, reason):
    assert why_not(body, offer=offer) == reason


@pytest.mark.parametrize(
    ("requirements", "offer", "reason"),
    [
        ({"cpu": 4}, {"cpus": 4}, None),
        ({"cpu": 4}, {"cpus": 64}, None),
        ({"cpu": "8"}, {"cpus": 4}, "4xCPU is not 8..xCPU"),
        ({"cpu": "..2"}, {"cpus": 4}, "4xCPU is not ..2xCPU"),
        ({"memory": "16GB"}, {"memory_gib": 16}, None),
        ({"memory": "32GB"}, {"memory_gib": 16}, "memory 16GB is not 32GB.."),
        ({"memory": "..8GB"}, {"memory_gib": 16}, "memory 16GB is not ..8GB"),
        ({"memory": "16GB", "shared_memory": "16GB"}, {"memory_gib": 16}, None),
        ({"shared_memory": "17GB"}, {"memory_gib": 16}, "shared memory 17GB is more than the memory, 16GB"),
        ({"disk": "100GB"}, {"disk_gib": 100}, None),
        ({"disk": "200GB.."}, {"disk_gib": 100}, "disk 100GB is not 200GB.."),
        ({"disk": "..500GB"}, {"disk_gib": 100}, None),
        ({}, {"disk_gib": 0}, None),
    ],
)
def test_resources_of_the_machine(requirements, offer, reason):
    assert why_not(offer=offer, requirements=requirements) == reason


@pytest.mark.parametrize(
    ("wanted", "shown_gib", "fits"),
    [
        ("32GB", 31.3, True),
        ("32GB", 30.5, False),
        ("8GB", 7.6, True),
        ("8GB", 7.5, False),
        ("16GB", 15.5, True),
        ("16GB", 15.0, False),
        ("64GB", 62.8, True),
        ("64GB", 61.0, False),
        ("1GB", 0.93, True),
        ("512MB", 0.25, False),
        ("32GB..32GB", 31.3, True),
    ],
)
def test_a_host_may_show_a_little_less_memory_than_it_was_sold_with(wanted, shown_gib, fits):
    reason = why_not(offer={"memory_gib": shown_gib}, requirements={"memory": wanted})
    assert (reason is None) is fits


def test_measured_memory_is_told_with_one_decimal():
    reason = why_not(offer={"memory_gib": 30.46}, requirements={"memory": "32GB"})
    assert reason == "memory 30.5GB is not 32GB.."


@pytest.mark.parametrize(
    ("wanted", "has", "reason"),
    [
        ("A100", A100_40, None),
        ("a100:40GB", A100_40, None),
        ("A100:80GB", A100_40, "GPU A100 40GB is not 80GB"),
        ("A100:80GB", A100_80, None),
        ("80GB", H100, None),
        ("80GB", A100_80, None),
        ("16GB", T4, None),
        ("..15GB", T4, "GPU T4 16GB is not ..15GB"),
        ("24GB..", T4, "GPU T4 16GB is not 24GB.."),
        ("H100,A100", A100_40, None),
        ("H100,L4", A100_40, "GPU A100 is not H100 or L4"),
        ("A100:2", A100_40, "has 1xA100, not 2"),
        ("A100:1", make_gpu(count=8), "has 8xA100, not 1"),
        ("2..", make_gpu(count=8), None),
        ("..8", make_gpu(count=8), None),
        ("..8", (), None),
        ("A100:..8", (), "has no GPU, not 1..8xA100"),
        ("1", (), "has no GPU, not 1xGPU"),
        ("0", (), None),
        ("0", A100_40, "has 1xA100, not 0 GPUs"),
        ("nvidia", MI300X, "GPU MI300X is from amd, not nvidia"),
        ("amd:8", MI300X, None),
        ({"count": "1..", "total_memory": "1536GB"}, MI300X, None),
        ({"count": "1..", "total_memory": "2TB"}, MI300X, "total GPU memory 1.5TB is not 2TB.."),
        ({"compute_capability": "8.0"}, A100_80, None),
        ({"compute_capability": "8.6"}, A100_80, "GPU NVIDIA A100-SXM4-80GB has compute capability 8.0, not 8.6.."),
        ({"compute_capability": "7.0"}, make_gpu(name="Voodoo2"), "GPU Voodoo2 has no known compute capability"),
    ],
)
def test_gpus(wanted, has, reason):
    assert why_not(offer={"gpus": has}, requirements={"gpu": wanted}) == reason


def test_of_mixed_gpus_those_count_that_fit():
    mixed = (make_gpu(name="A100", memory_gib=80, count=2), make_gpu(name="T4", memory_gib=16))
    assert why_not(offer={"gpus": mixed}, requirements={"gpu": "A100:2"}) is None
    assert why_not(offer={"gpus": mixed}, requirements={"gpu": "16GB"}) is None
    assert why_not(offer={"gpus": mixed}, requirements={"gpu": "3"}) is None
    assert why_not(offer={"gpus": mixed}, requirements={"gpu": "A100:3"}) == "has 2xA100, not 3"
    assert why_not(offer={"gpus": mixed}, requirements={"gpu": "H100"}) == "GPU A100 is not H100; GPU T4 is not H100"


def test_a_request_without_gpu_leaves_gpu_machines_alone_unless_it_allows_them():
    assert why_not(offer={"gpus": A100_40}) == "has 1xA100, and no GPU was asked for"
    assert why_not({"allow_gpu": True}, offer={"gpus": A100_40}) is None


def test_a_request_for_no_gpu_takes_none_even_when_gpus_are_allowed():
    assert why_not({"allow_gpu": True}, offer={"gpus": A100_40}, requirements={"gpu": 0}) is not None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"price": 1, "cpus": 64}, {"price": 2, "cpus": 4}),
        ({"gpus": ()}, {"gpus": A100_40}),
        ({"gpus": A100_80}, {"gpus": make_gpu(memory_gib=16, count=2)}),
        ({"gpus": A100_40, "cpus": 64}, {"gpus": A100_80, "cpus": 4}),
        ({"cpus": 4, "memory_gib": 64}, {"cpus": 8, "memory_gib": 16}),
        ({"memory_gib": 16, "disk_gib": 900}, {"memory_gib": 32, "disk_gib": 100}),
        ({"disk_gib": 100, "region": "z"}, {"disk_gib": 200, "region": "a"}),
        ({"region": "a"}, {"region": "b"}),
    ],
)
def test_the_cheapest_comes_first_then_the_tightest_then_the_first_by_key(better, worse):
    first, second = make_offer(**better), make_offer(**worse)
    assert rank(make_policies({"allow_gpu": True}), [second, first]) == [first, second]


def test_what_stays_comes_before_what_may_be_taken_back_where_that_is_preferred():
    spot, dear = make_offer(spot=True, price=1), make_offer(price=9)
    preferring = replace(make_policies({"spot_policy": "auto"}), on_demand_first=True)
    assert rank(make_policies({"spot_policy": "auto"}), [dear, spot]) == [spot, dear]
    assert rank(preferring, [spot, dear]) == [dear, spot]
    assert rank(replace(preferring, spot=SpotPolicy.SPOT), [spot, dear]) == [spot]


def test_ranking_leaves_out_what_does_not_fit():
    small, large = make_offer(cpus=2), make_offer(cpus=8)
    assert rank(make_policies(cpu=4), [small, large]) == [large]


offers = st.builds(
    make_offer,
    region=st.sampled_from("abc"),
    price=st.integers(1, 3),
    cpus=st.sampled_from([1, 2, 4]),
    memory_gib=st.sampled_from([4, 16, 31.3]),
    spot=st.booleans(),
    gpus=st.sampled_from([(), A100_40, T4]),
)
requests = st.builds(
    make_policies,
    st.fixed_dictionaries(
        {
            "regions": st.lists(st.sampled_from("abc"), max_size=2),
            "spot_policy": st.sampled_from(["spot", "on-demand", "auto"]),
            "max_price": st.sampled_from([None, 0.000001, 1]),
            "allow_gpu": st.booleans(),
        }
    ),
    gpu=st.sampled_from([None, 0, "A100", "16GB"]),
    memory=st.sampled_from([None, "32GB"]),
)


@given(requests, st.lists(offers, max_size=8), st.randoms(use_true_random=False))
def test_the_ranking_does_not_depend_on_the_order_of_the_offers(policies, found, rng: Random):
    shuffled = rng.sample(found, len(found))
    assert rank(policies, shuffled) == rank(policies, found)


@given(requests, st.lists(offers, max_size=8))
def test_there_is_an_explanation_exactly_when_nothing_fits(policies, found):
    assert bool(last_filter(policies, found)) is not bool(rank(policies, found))


@given(requests, offers)
def test_an_instance_passes_the_same_filters_as_its_offer(policies, offer):
    assert instance_verdict(policies, make_instance(offer=offer), now=NOW, fresh_for=FRESH) == verdict(policies, offer)


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        ({}, None),
        *(({"state": state}, f"is {state.value}") for state in State if state is not State.IDLE),
        ({"unreachable_since": NOW}, "is unreachable"),
        ({"cordoned": True}, "is cordoned"),
        ({"seen_at": None}, "has not been heard of yet"),
        ({"seen_at": ago(minutes=5)}, None),
        ({"seen_at": ago(minutes=5, seconds=1.5)}, "was last heard of 301s ago"),
        ({"seen_at": ago(hours=2)}, "was last heard of 2h ago"),
        ({"offer": make_offer(cpus=1)}, "1xCPU is not 2..xCPU"),
        ({"state": State.BUSY, "unreachable_since": NOW, "offer": make_offer(cpus=1)}, "is busy"),
        ({"unreachable_since": NOW, "cordoned": True, "seen_at": None}, "is unreachable"),
        ({"cordoned": True, "offer": make_offer(cpus=1)}, "is cordoned"),
    ],
)
def test_an_instance_is_refused_for_its_state_before_its_condition_before_its_resources(instance, reason):
    row = make_instance(**instance)
    assert instance_verdict(make_policies(defaults=LEASE), row, now=NOW, fresh_for=FRESH) == reason


def test_every_filter_holds_for_an_instance_as_for_an_offer():
    """One request for each filter, which the plain instance fails by this filter alone."""
    requests_ = {
        "backends": make_policies({"backends": ["aws"]}),
        "regions": make_policies({"regions": ["eu"]}),
        "instance_types": make_policies({"instance_types": ["large"]}),
        "image": replace(make_policies(), containers=True),
        "spot_policy": make_policies({"spot_policy": "spot"}),
        "cpu": make_policies(cpu=99),
        "memory": make_policies(memory="1TB"),
        "shared_memory": make_policies(shared_memory="64GB"),
        "disk": make_policies(disk="1TB"),
        "gpu": make_policies(gpu=1),
        "max_price": make_policies({"max_price": 0.01}),
    }
    assert list(requests_) == [each.name for each in FILTERS]
    for name, policies in requests_.items():
        row = make_instance(offer=make_offer(instance_type="host-without-docker"))
        assert [each.name for each in FILTERS if each.check(policies, row.offer)] == [name]
        assert instance_verdict(policies, row, now=NOW, fresh_for=FRESH) is not None


def test_nothing_removed_the_last_offer_when_there_was_none():
    assert last_filter(make_policies(), []) == ["no backend offers anything"]
    assert last_filter(make_policies({"backends": ["aws", "azure"]}), []) == ["aws or azure offers nothing"]


def test_an_empty_result_names_the_filter_that_removed_the_last_and_the_nearest_offer():
    found = [
        make_offer(gpus=A100_40, price=2_100_000),
        make_offer(gpus=A100_40, price=3_000_000),
        make_offer(gpus=T4),
        make_offer(region="eu"),
    ]
    assert last_filter(make_policies({"regions": ["bay"], "max_price": 2}, gpu="A100"), found) == [
        "max_price removed the last 2 of 4 offers; the cheapest, local small: price $2.10 is above $2.00",
        "with allow_gpu (--allow-gpu) in place of gpu, 1 of 4 would match",
        "without max_price, 2 of 4 would match",
    ]


def test_a_filter_is_not_said_to_bring_offers_that_fail_another_too():
    found = [make_offer(region="eu", price=9_000_000)]
    assert last_filter(make_policies({"regions": ["bay"], "max_price": 2}), found) == [
        "regions removed the last 1 of 1 offers; the cheapest, local small: region eu is not bay"
    ]


PLAIN = make_offer(instance_type="plain", price=1)
ONE_T4 = make_offer(instance_type="one", gpus=T4, price=2)
FOUR_A100 = make_offer(instance_type="four", gpus=make_gpu(name="A100", memory_gib=40, count=4), price=8)
EIGHT_A100 = make_offer(instance_type="eight", gpus=make_gpu(name="A100", memory_gib=40, count=8), price=7)
BIG = make_offer(instance_type="big", cpus=64, memory_gib=512, disk_gib=1000, price=9)


@pytest.mark.parametrize(
    ("requirements", "nearest"),
    [
        ({"gpu": "A100:40GB:2"}, "four: has 4xA100, not 2"),
        ({"gpu": "A100:80GB"}, "eight: GPU A100 40GB is not 80GB"),
        ({"gpu": "24GB..80GB:6"}, "eight: has 8xA100, not 6"),
        (
            {"gpu": {"name": "A100", "count": "4..", "total_memory": "400GB"}},
            "eight: total GPU memory 320GB is not 400GB..",
        ),
        ({"gpu": "amd"}, "one: GPU T4 is from nvidia, not amd"),
        ({"cpu": "96.."}, "big: 64xCPU is not 96..xCPU"),
        ({"memory": "1TB"}, "big: memory 512GB is not 1TB.."),
        ({"disk": "2TB"}, "big: disk 1000GB is not 2TB.."),
        ({"shared_memory": "1TB"}, "big: shared memory 1TB is more than the memory, 512GB"),
    ],
)
def test_the_offer_that_is_named_is_the_nearest_and_not_just_the_cheapest(requirements, nearest):
    found = [PLAIN, ONE_T4, FOUR_A100, EIGHT_A100, BIG]
    policies = make_policies({"allow_gpu": True}, **requirements)
    assert last_filter(policies, found)[0].partition("; ")[2] == f"the nearest, local {nearest}"


def _would_match(policies, found):
    return last_filter(policies, found)[1:]


def test_what_leaving_something_out_would_bring_is_what_it_brings():
    """Without `gpu`, GPU machines are left alone; without `cpu`, `memory` or `spot_policy` their defaults hold."""
    found = [PLAIN, ONE_T4, FOUR_A100, EIGHT_A100]
    assert _would_match(make_policies(gpu="H100"), found) == [
        "without gpu, 1 of 4 would match",
        "with allow_gpu (--allow-gpu) in place of gpu, 4 of 4 would match",
    ]
    assert len(rank(make_policies(), found)) == 1
    assert len(rank(make_policies({"allow_gpu": True}), found)) == 4
    assert _would_match(make_policies({"allow_gpu": True}, gpu="H100"), found) == ["without gpu, 4 of 4 would match"]
    tiny = [make_offer(cpus=1), make_offer(cpus=4, price=1)]
    assert _would_match(make_policies(cpu=64), tiny) == [
        "without cpu, 1 of 2 would match",
        "with cpu 1.., 2 of 2 would match",
    ]
    assert _would_match(make_policies(), [make_offer(memory_gib=1)]) == ["with memory 0.., 1 of 1 would match"]
    assert rank(make_policies(memory="0.."), [make_offer(memory_gib=1)])
    assert _would_match(make_policies({"spot_policy": "on-demand"}), [make_offer(spot=True)]) == [
        "with spot_policy auto, 1 of 1 would match"
    ]


def test_where_no_gpu_was_asked_for_the_way_to_a_gpu_machine_is_named():
    assert last_filter(make_policies({"instance_types": ["eight"]}), [PLAIN, EIGHT_A100]) == [
        "gpu removed the last 1 of 2 offers; the nearest, local eight: has 8xA100, and no GPU was asked for",
        "without instance_types, 1 of 2 would match",
        "with allow_gpu (--allow-gpu), 1 of 2 would match",
    ]


def test_a_free_host_fits_any_price_and_any_idle_limit():
    host = make_instance(offer=make_offer(backend="ssh", price=0), idle_limit=None)
    policies = make_policies({"max_price": 0.01, "idle_duration": "off"})
    assert policies.idle_limit == units.NEVER
    assert instance_verdict(policies, host, now=NOW, fresh_for=FRESH) is None
