"""What ships with the product: every row is an offer, and its price says where it is from and of which day."""

import csv

import pytest

from chalicelib.backends.aws import offers as aws
from chalicelib.backends.azure import sizes
from chalicelib.backends.registry import DRIVERS
from chalicelib.catalog import seed
from chalicelib.domain import gpus
from chalicelib.domain.matching import rank
from chalicelib.domain.policies import POOL_ADD
from tests.builders import NOW, make_policies


def kinds():
    with seed.PATH.open(newline="") as file:
        return sorted({row["kind"] for row in csv.DictReader(file)})


def test_there_is_a_seed_for_the_large_providers():
    assert kinds() == ["aws", "azure"]


@pytest.mark.parametrize("kind", kinds())
def test_every_row_is_an_offer_with_the_origin_and_the_day_of_its_price(kind):
    offers = seed.offers(kind)
    assert len(offers) >= 20
    assert len({offer.key for offer in offers}) == len(offers)
    for offer in offers:
        assert offer.backend == kind
        assert offer.price > 0
        assert offer.price_source.startswith("seed (")
        assert offer.priced_at is not None
        assert offer.priced_at < NOW
        assert offer.availability == "unknown"
        assert offer.resources.cpus >= 1
        assert offer.resources.memory_mib >= 1024
        assert offer.resources.disk_mib == 100 * 1024


def test_the_table_of_the_readme_comes_from_it():
    offers = rank(make_policies(defaults=POOL_ADD, gpu="80GB"), seed.offers("azure"))
    assert [(offer.region, offer.price) for offer in offers[:3]] == [
        ("eastus", 3_673_000),
        ("westus2", 3_673_000),
        ("westus3", 3_673_000),
    ]


def test_azure_sizes_have_the_gpus_that_the_driver_knows_them_to_have():
    for offer in seed.offers("azure"):
        assert sizes.gpus(offer.instance_type) == offer.resources.gpus
        assert not sizes.needs_own_image(offer.instance_type)


def test_the_gpus_on_aws_are_those_that_the_drivers_image_runs():
    for offer in seed.offers("aws"):
        for gpu in offer.resources.gpus:
            assert (gpus.compute_capability(gpu.name) or (0, 0)) >= aws.LEAST_CAPABILITY


def test_its_age_is_that_of_its_oldest_price():
    found = seed.catalog("aws")
    assert found is not None
    assert found.fetched_at == found.index.oldest() == min(offer.priced_at for offer in seed.offers("aws"))


def test_there_is_none_for_what_nobody_wrote_down():
    assert seed.catalog("local") is None
    assert seed.offers("local") == []
    assert "local" in DRIVERS
