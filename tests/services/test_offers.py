"""The market of a request: whom it asks, in which order its offers come, and what it says of prices and failures."""

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from threading import Barrier, Event

import pytest

from chalicelib.backends.base import Capabilities
from chalicelib.domain.errors import BackendAuthError, NoOffersError, TransientError, UnavailableError
from chalicelib.domain.matching import last_filter
from chalicelib.domain.policies import RUN
from chalicelib.services import backends, instances, offers, stock_outs
from chalicelib.services.backends import Wanted
from tests.builders import make_offer, make_policies
from tests.services.accounts import Moon

ANY = make_policies({"allow_gpu": True}, defaults=RUN)
KEY = {"key": "a-good-key"}


def add(world, name, kind="moon", **config):
    backends.add(world.deps, "main", Wanted(name, kind, config, KEY), actor="me")


def market(world, policies=ANY):
    return offers.market(world.deps, "main", policies)


def keys(found):
    return [offer.key for offer in found.offers]


def test_offers_of_all_backends_come_in_one_order(world):
    add(world, "luna")
    world.cloud.shelf = [make_offer(backend="sim", price=price) for price in (3, 1)]
    world.drivers.shelf = [make_offer(backend="luna", price=price) for price in (2, 4)]
    found = market(world)
    assert [offer.price for offer in found.offers] == [1, 2, 3, 4]
    assert len(found.offers) == 4
    assert found.filters == found.failed == found.notes == []


def test_only_the_backends_that_a_request_names_are_asked(world, monkeypatch):
    add(world, "luna")
    world.drivers.shelf = [make_offer(backend="luna")]
    monkeypatch.setattr(world.cloud, "offers", lambda: pytest.fail("sim was asked"))
    assert len(market(world, make_policies({"backends": ["luna"]})).offers) == 1


def test_a_catalog_stands_beside_what_is_asked_live_and_says_how_old_it_is(world, monkeypatch):
    add(world, "luna", regions=["bay"])
    monkeypatch.setattr(Moon, "capabilities", Capabilities(spot=False, cluster=False, live_offers=False))
    monkeypatch.setattr(Moon, "offers", lambda _moon: pytest.fail("luna was asked"))
    old = make_offer(backend="moon", region="bay", price=5, priced_at=world.clock - timedelta(days=83))
    from chalicelib.catalog.codec import pack

    elsewhere = make_offer(backend="moon", region="hill", price=4)
    world.objects.put("catalog/_shared/moon.json.gz", pack([old, elsewhere], fetched_at=world.clock, source="gpuhunt"))
    found = market(world)
    assert keys(found)[0] == "luna/bay//small/on-demand"
    assert found.notes == ["luna: prices of the imported catalog, up to 83 days old"]
    plan = instances.plan(world.deps, "main", None, ANY, max_offers=2, for_run=False)
    assert plan.notes == found.notes
    assert (len(plan.offers), plan.total_offers) == (2, 3)


def test_what_stays_ranks_first_of_all_backends_until_it_is_sold_out(world):
    add(world, "luna")
    stays = make_offer(backend="luna", price=9)
    world.drivers.shelf = [stays, make_offer(backend="luna", price=2, spot=True)]
    world.cloud.shelf = [make_offer(backend="sim", price=price, spot=spot) for price, spot in ((1, True), (8, False))]
    policies = replace(make_policies({"spot_policy": "auto"}), on_demand_first=True)
    found = market(world, policies)
    assert [offer.price for offer in found.offers] == [8, 9, 1, 2]
    assert len(found.offers) == 4
    stock_outs.note(world.deps, "main", stays, "no_capacity")
    assert [offer.price for offer in market(world, policies).offers] == [8, 1, 2, 9]


def test_what_was_sold_out_a_moment_ago_comes_last_and_says_so(world):
    cheap, dear = (make_offer(backend="sim", region=region, price=price) for region, price in (("a", 1), ("b", 2)))
    world.cloud.shelf = [cheap, dear]
    stock_outs.note(world.deps, "main", cheap, "no_capacity")
    found = list(market(world).offers)
    assert [(offer.region, offer.availability) for offer in found] == [("b", "available"), ("a", "stocked-out")]
    assert len(market(world).offers) == 2
    stock_outs.note(world.deps, "main", dear, "no_capacity")
    assert [offer.region for offer in market(world).offers] == ["a", "b"]
    assert bool(market(world).offers)
    stock_outs.forget(world.deps, "main", cheap)
    assert [offer.region for offer in market(world).offers] == ["a", "b"]


def test_the_reason_for_nothing_counts_the_offers_of_all_backends(world):
    add(world, "luna")
    world.cloud.shelf = [make_offer(backend="sim", price=3_000_000)]
    world.drivers.shelf = [make_offer(backend="luna", price=2_000_000)]
    policies = make_policies({"max_price": 1})
    found = market(world, policies)
    assert not found.offers
    assert found.filters == last_filter(policies, [*world.cloud.shelf, *world.drivers.shelf])
    with pytest.raises(NoOffersError, match="nothing fits"):
        raise found.refusal("nothing fits")
    assert market(world).refusal("nothing fits") is None


@pytest.mark.parametrize(
    ("fault", "words", "passing"),
    [
        (TransientError("moonquake"), "backend luna did not answer: moonquake", True),
        (BackendAuthError("expired"), "backend luna did not answer: expired", False),
        (ZeroDivisionError("what nobody foresaw"), "backend luna failed: ZeroDivisionError", False),
    ],
)
def test_a_backend_that_fails_is_skipped_and_said(world, monkeypatch, fault, words, passing):
    add(world, "luna")

    def offers_of(_moon):
        raise fault

    monkeypatch.setattr(Moon, "offers", offers_of)
    found = market(world)
    assert len(found.offers) == 2
    (failure,) = found.failed
    assert failure.startswith(words)
    assert found.passing is passing
    assert found.refusal("nothing fits") is None
    none = market(world, make_policies({"backends": ["luna"]})).refusal("nothing fits")
    assert type(none) is (UnavailableError if passing else NoOffersError)


def test_several_backends_are_asked_at_the_same_time(world, monkeypatch):
    for name in ("luna", "titan"):
        add(world, name)
    both, shelf = Barrier(2, timeout=60), Moon.offers
    monkeypatch.setattr(Moon, "offers", lambda moon: (both.wait(), shelf(moon))[1])
    world.drivers.shelf = [make_offer(backend="luna"), make_offer(backend="titan")]
    found = market(world, make_policies({"backends": ["luna", "titan"]}))
    assert found.failed == []
    assert len(found.offers) == 2


def test_a_backend_that_hangs_is_waited_for_no_longer_than_its_limit(world, monkeypatch):
    add(world, "luna")
    goes_on = Event()
    quick = Capabilities(spot=True, cluster=False, call_timeout=timedelta(seconds=1))
    for kind in (Moon, type(world.cloud)):
        monkeypatch.setattr(kind, "capabilities", quick)
    monkeypatch.setattr(offers, "SLACK", timedelta())
    monkeypatch.setattr(Moon, "offers", lambda _moon: goes_on.wait(30) and [])
    try:
        found = market(world)
        assert [offer.backend for offer in found.offers] == ["sim", "sim"]
        assert found.failed == ["backend luna did not answer: no answer within 1 s"]
        assert found.passing
    finally:
        goes_on.set()


def test_nobody_pays_for_offers_that_are_not_taken(world):
    world.cloud.shelf = [make_offer(backend="sim", instance_type=f"t{n}", price=n) for n in range(1, 1_001)]
    found = market(world)
    assert [offer.price for offer in islice(found.offers, 2)] == [1, 2]
    assert [offer.price for offer in islice(found.offers, 2)] == [1, 2]
    assert len(found.offers.indexes[0]._made) == 2
