"""The index says what the matcher says: same offers, same order, same words, whatever is asked of whatever is there."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.matching import FILTERS, explanation, last_filter, order, rank
from chalicelib.domain.offer_index import FIRST_BLOCK, GROWTH, OfferIndex
from chalicelib.domain.policies import RUN
from tests.builders import NOW, ago, make_gpu, make_offer, make_policies

GPUS = st.builds(
    make_gpu,
    name=st.sampled_from(["A100", "NVIDIA A100-SXM4-80GB", "H100", "T4", "MI300X", "Nobody1"]),
    memory_gib=st.sampled_from([15_109 / 1024, 40, 80, 81_559 / 1024]),
    count=st.integers(1, 8),
    vendor=st.sampled_from(["nvidia", "amd"]),
)
OFFERS = st.builds(
    make_offer,
    backend=st.sampled_from(["aws", "azure"]),
    region=st.sampled_from(["bay", "Hill", "lake"]),
    zone=st.sampled_from(["", "a", "b"]),
    instance_type=st.sampled_from(["small", "Large", "huge"]),
    cpus=st.sampled_from([1, 2, 4, 64]),
    memory_gib=st.sampled_from([0.5, 7.6, 8, 32, 512]),
    disk_gib=st.sampled_from([0, 100, 1000]),
    gpus=st.lists(GPUS, max_size=2).map(tuple),
    spot=st.booleans(),
    price=st.sampled_from([0, 100_000, 100_001, 1_500_000, 98_000_000]),
    price_source=st.sampled_from(["catalog", "seed"]),
    priced_at=st.sampled_from([None, NOW, ago(days=3)]),
    availability=st.sampled_from(["available", "unknown"]),
)
MARKETS = st.lists(OFFERS, max_size=40, unique_by=lambda offer: offer.key)


def maybe(values):
    """Nothing said, or one of the values."""
    return st.none() | st.sampled_from(values)


POLICIES = st.builds(
    lambda body, requirements: make_policies(body, defaults=RUN, **requirements),
    st.fixed_dictionaries(
        {
            "backends": maybe([["aws"], ["AZURE", "aws"], ["other"]]),
            "regions": maybe([["BAY"], ["hill", "lake"], ["nowhere"]]),
            "instance_types": maybe([["large"], ["small", "huge"], ["none"]]),
            "spot_policy": maybe(["spot", "on-demand", "auto"]),
            "max_price": maybe([0.1, 0.100001, 2, 98]),
            "allow_gpu": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "cpu": maybe([1, 4, "..2", "4..64"]),
            "memory": maybe(["1GB", 8, "..8GB", "32GB..64GB"]),
            "shared_memory": maybe(["1GB", "8GB"]),
            "disk": maybe(["100GB", "..100GB"]),
            "gpu": maybe(["A100", "80GB", "A100,H100:80GB:2..", "0", "..8", "amd", "2..", "16GB..40GB"]),
        }
    ),
)


@given(POLICIES, MARKETS)
def test_it_finds_what_the_matcher_ranks_in_the_same_order(policies, offers):
    index = OfferIndex.of(offers)
    assert list(index.matches(policies)) == rank(policies, offers)
    assert index.count(policies) == len(rank(policies, offers))


@given(POLICIES, MARKETS)
def test_it_explains_an_empty_result_in_the_same_words(policies, offers):
    assert explanation(policies, OfferIndex.of(offers).tally(policies)) == last_filter(policies, offers)


@given(POLICIES, MARKETS, st.sampled_from([(), ("HILL",), ("bay", "lake"), ("nowhere",)]))
def test_an_accounts_offers_are_the_providers_under_another_name(policies, offers, regions):
    ours = [offer for offer in offers if offer.backend == "aws"]
    index = OfferIndex.of(ours).renamed("main-account", regions)
    expected = [
        make_offer(**{name: getattr(offer, name) for name in ARGUMENTS}, backend="main-account")
        for offer in ours
        if not regions or offer.region.casefold() in {region.casefold() for region in regions}
    ]
    assert list(index.matches(policies)) == rank(policies, expected)


ARGUMENTS = (
    "region", "zone", "instance_type", "resources", "spot", "price", "price_source", "priced_at", "availability",
)  # fmt: skip


@pytest.mark.parametrize("size", [FIRST_BLOCK - 1, FIRST_BLOCK, FIRST_BLOCK * (1 + GROWTH), FIRST_BLOCK * 8 + 1])
@pytest.mark.parametrize("gpu", [None, "A100"])
def test_nothing_is_lost_or_doubled_between_blocks(size, gpu):
    gpus = (make_gpu(),) if gpu else ()
    offers = [make_offer(instance_type=f"t{n}", price=n // 3, gpus=gpus, spot=n % 2 == 0) for n in range(size)]
    index = OfferIndex.of(offers)
    assert list(index.matches(make_policies(defaults=RUN, gpu=gpu))) == sorted(offers, key=order)
    assert index.count(make_policies({"spot_policy": "spot"}, gpu=gpu)) == (size + 1) // 2


def test_only_what_is_taken_is_made():
    index = OfferIndex.of([make_offer(instance_type=f"t{n}", price=n) for n in range(1_000)])
    first = list(islice(index.matches(make_policies()), 3))
    assert [offer.price for offer in first] == [0, 1, 2]
    assert len(index._made) == 3
    assert next(index.matches(make_policies())) is first[0]


def test_each_filter_reads_one_property_that_has_a_column_or_is_the_price():
    assert {each.reads for each in FILTERS} <= {*OfferIndex.of([]).columns, "price"}


def test_it_knows_how_old_its_oldest_price_is():
    assert OfferIndex.of([]).oldest() is None
    assert OfferIndex.of([make_offer(priced_at=None)]).oldest() is None
    dated = [make_offer(priced_at=NOW), make_offer(priced_at=ago(days=9), region="b"), make_offer(priced_at=None)]
    assert OfferIndex.of(dated).oldest() == ago(days=9)
    assert OfferIndex.of(dated).renamed("mine", ["bay"]).oldest() == NOW


def test_offers_of_several_backends_do_not_become_those_of_one_account():
    index = OfferIndex.of([make_offer(backend="aws"), make_offer(backend="azure")])
    with pytest.raises(ValueError, match="several backends"):
        index.renamed("mine")
