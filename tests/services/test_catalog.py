"""Catalogs of accounts: which one counts, what is said of its age, and that nothing bad replaces what is good."""

import gzip
import json
from datetime import timedelta

import pytest

from chalicelib.catalog import seed
from chalicelib.catalog.codec import pack
from chalicelib.domain.policies import RUN
from chalicelib.services import catalog
from tests.builders import NOW, make_offer, make_policies

ANY = make_policies({"allow_gpu": True}, defaults=RUN, cpu=1, memory="1GB")
KEY = {"key": "a-good-key"}


def store(world, key, *offers, age_days=0.0, source="luna"):
    """Put a catalog that was fetched so long ago."""
    world.objects.put(key, pack(offers, fetched_at=world.clock - timedelta(days=age_days), source=source))


def stock(world, name="luna", kind="moon", regions=()):
    found = catalog.catalog_of(world.deps, "main", name, kind, regions)
    return [offer.instance_type for offer in found.index.matches(ANY)], found.note


OWN = catalog.own_key("main", "luna")


def test_without_a_catalog_the_seed_is_taken_under_the_accounts_name_and_says_how_old_it_is(world):
    found = catalog.catalog_of(world.deps, "main", "mine", "azure", ("WestUS3",))
    offers = list(found.index.matches(ANY))
    assert {(offer.backend, offer.region) for offer in offers} == {("mine", "westus3")}
    oldest = min(offer.priced_at for offer in offers)
    assert found.note == f"mine: prices of the seed catalog, up to {(world.clock - oldest).days} days old"


def test_what_has_no_seed_offers_nothing_before_the_first_refresh(world):
    assert stock(world) == ([], "")


def test_an_imported_catalog_counts_more_than_the_seed_and_an_accounts_own_most(world):
    dated = make_offer(backend="moon", instance_type="imported", priced_at=world.clock - timedelta(days=3))
    store(world, catalog.shared_key("moon"), dated, source="gpuhunt")
    assert stock(world) == (["imported"], "luna: prices of the imported catalog, up to 3 days old")
    world.pass_time(61)
    store(world, OWN, make_offer(backend="luna", instance_type="own"))
    assert stock(world) == (["own"], "")


def test_no_project_can_give_its_catalog_to_everybody():
    assert catalog.own_key("shared", "aws") != catalog.shared_key("aws")
    assert not {catalog.own_key(project, "aws") for project in ("shared", "-shared")} & {catalog.shared_key("aws")}


def test_an_own_catalog_that_a_refresh_should_have_replaced_says_how_old_it_is(world):
    store(world, OWN, make_offer(), age_days=0.5)
    assert stock(world)[1] == ""
    world.pass_time(3600)
    assert stock(world)[1] == "luna: prices are 13 hours old"
    world.pass_time(2 * 86_400)
    assert stock(world)[1] == "luna: prices are 2 days old"


def test_the_bucket_is_asked_once_a_minute_and_sends_nothing_twice(world):
    store(world, OWN, make_offer(instance_type="first"))
    assert stock(world)[0] == stock(world)[0] == ["first"]
    assert world.objects.asked == [OWN]
    store(world, OWN, make_offer(instance_type="second"))
    world.pass_time(59)
    assert stock(world)[0] == ["first"]
    world.pass_time(1)
    assert stock(world)[0] == ["second"]
    world.pass_time(60)
    index = catalog.catalog_of(world.deps, "main", "luna", "moon", ()).index
    assert catalog.catalog_of(world.deps, "main", "luna", "moon", ()).index is index
    assert world.objects.asked == [OWN] * 3


def test_a_bucket_that_fails_leaves_what_is_in_memory_and_is_said(world, capsys):
    store(world, OWN, make_offer(instance_type="first"))
    stock(world)
    world.pass_time(3600)
    world.objects.fault = OSError("no route")
    assert stock(world) == (["first"], "luna: prices are 1 hour old (its catalog could not be read)")
    assert stock(world, "mine", "aws")[1].endswith("days old (its catalog could not be read)")
    assert "catalog-unreadable" in capsys.readouterr().out
    world.objects.fault = None
    world.pass_time(60)
    assert stock(world) == (["first"], "")


def test_a_bucket_that_fails_is_not_asked_again_at_once(world):
    world.objects.fault = OSError("no route")
    for _ in range(5):
        assert stock(world) == ([], "luna: its catalog could not be read")
    assert len(world.objects.asked) == 2


def test_garbage_in_the_bucket_leaves_what_is_in_memory(world):
    store(world, OWN, make_offer(instance_type="first"))
    stock(world)
    world.objects.put(OWN, b"garbage")
    world.pass_time(60)
    assert stock(world) == (["first"], "luna: prices are 0 hours old (its catalog could not be read)")


@pytest.mark.parametrize(
    "columns",
    [{"cpus": [["8"], None]}, {"gpus": [[[["A100", "80", 1, "nvidia"]]], None]}, {"backend": [["azure", "x"], None]}],
)
def test_an_import_with_values_that_no_plan_can_work_with_leaves_the_seed(world, columns):
    document = json.loads(gzip.decompress(pack([make_offer(backend="azure")], fetched_at=NOW, source="x")))
    document["columns"] |= columns
    world.objects.put(catalog.shared_key("azure"), gzip.compress(json.dumps(document).encode()))
    found = catalog.catalog_of(world.deps, "main", "mine", "azure", ())
    assert list(found.index.matches(ANY))
    assert found.note.endswith("days old (its catalog could not be read)")
    assert "seed" in found.note


def test_a_process_remembers_a_bounded_number_of_catalogs(world):
    for number in range(catalog.KEPT + 5):
        store(world, catalog.own_key("main", f"b{number}"), make_offer())
        stock(world, f"b{number}")
    world.objects.asked.clear()
    stock(world, f"b{catalog.KEPT + 4}")
    assert world.objects.asked == []
    stock(world, "b0")
    assert world.objects.asked == [catalog.own_key("main", "b0")]


def test_a_catalog_from_before_the_name_was_given_is_another_accounts(world):
    store(world, OWN, make_offer(instance_type="anothers"), age_days=0.1)
    seen = catalog.catalog_of(world.deps, "main", "luna", "moon", (), since=world.clock - timedelta(days=0.2))
    assert [offer.instance_type for offer in seen.index.matches(ANY)] == ["anothers"]
    assert len(catalog.catalog_of(world.deps, "main", "luna", "moon", (), since=world.clock).index) == 0


def test_other_regions_of_the_same_catalog_are_other_offers(world):
    store(world, OWN, make_offer(instance_type="a", region="bay"), make_offer(instance_type="b", region="hill"))
    assert stock(world, regions=["bay"])[0] == ["a"]
    assert stock(world, regions=["HILL"])[0] == ["b"]
    assert stock(world)[0] == ["a", "b"]


def test_a_catalog_that_is_not_the_accounts_own_takes_the_disk_from_the_account(world):
    store(
        world,
        catalog.shared_key("moon"),
        make_offer(backend="moon", disk_gib=30_000),
        make_offer(backend="moon", region="b"),
    )
    large = make_policies(disk="500GB")
    for disk_gb, count in ((None, 1), (100, 0), (500, 2)):
        found = catalog.catalog_of(world.deps, "main", "luna", "moon", (), disk_gb=disk_gb)
        assert found.index.count(large) == count
    store(world, OWN, make_offer(disk_gib=200))
    world.pass_time(60)
    assert catalog.catalog_of(world.deps, "main", "luna", "moon", (), disk_gb=500).index.count(large) == 0


def test_the_seed_is_there_for_every_kind_that_has_catalogs():
    assert all(seed.catalog(kind) for kind in ("aws", "azure"))
