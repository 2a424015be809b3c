"""Catalogs made anew: what is due, that nobody is kept out for ever, and that what was collected is not lost."""

from datetime import timedelta
from threading import Event

import pytest

from chalicelib.backends.base import Capabilities
from chalicelib.catalog.codec import pack, unpack
from chalicelib.domain.errors import TransientError
from chalicelib.domain.policies import RUN
from chalicelib.services import backends, catalog, catalog_refresh
from chalicelib.services.backends import Wanted
from tests.builders import make_offer, make_policies
from tests.services.accounts import Moon

ANY = make_policies({"allow_gpu": True}, defaults=RUN, cpu=1, memory="1GB")
KEY = {"key": "a-good-key"}


@pytest.fixture
def collected(monkeypatch):
    """Accounts of the kind `moon` have catalogs instead of being asked."""
    monkeypatch.setattr(Moon, "capabilities", Capabilities(spot=False, cluster=False, live_offers=False))


def add(world, name="luna", project="main", kind="moon", **config):
    return backends.add(world.deps, project, Wanted(name, kind, config, KEY), actor="me")


def stock(world, name="luna"):
    """The types of an account's own catalog."""
    world.pass_time(60)
    found = catalog.catalog_of(world.deps, "main", name, "moon", ())
    return [offer.instance_type for offer in found.index.matches(ANY)]


def due(world, for_s=60):
    reports = catalog_refresh.refresh_due(world.deps, until=world.clock + timedelta(seconds=for_s))
    return [(each.project, each.backend, each.offers, each.failure) for each in reports]


def test_a_refresh_stores_what_the_account_offers(world, collected):
    add(world)
    world.drivers.shelf = [make_offer(backend="luna", instance_type="fresh"), make_offer(backend="other")]
    assert due(world) == [("main", "luna", 1, "")]
    assert stock(world) == ["fresh"]


def test_a_catalog_is_made_anew_when_it_is_missing_old_or_older_than_its_configuration(world, collected):
    add(world)
    world.drivers.shelf = [make_offer(backend="luna")]
    world.pass_time(1)
    made = [("main", "luna", 1, "")]
    assert due(world) == made
    assert due(world) == []
    world.pass_time(catalog.REFRESH.total_seconds())
    assert due(world) == []
    world.pass_time(1)
    assert due(world) == made
    world.pass_time(1)
    changed = Wanted("luna", "moon", {"regions": ["bay"]}, KEY)
    backends.add(world.deps, "main", changed, replacing=True, actor="me")
    world.pass_time(1)
    assert due(world) == made


def test_what_is_asked_live_has_no_catalog(world):
    add(world)
    world.drivers.shelf = [make_offer(backend="luna")]
    assert due(world) == []
    assert world.objects.stored == {}


def test_an_account_that_fails_stops_no_other_and_keeps_its_catalog(world, collected, monkeypatch, capsys):
    for name in ("a-down", "b-empty", "c-odd", "d-well"):
        add(world, name)
        old = pack([make_offer(backend=name, instance_type="old")], fetched_at=world.clock, source=name)
        world.objects.put(catalog.own_key("main", name), old)
    faults = {"a-down": TransientError("moonquake"), "c-odd": ZeroDivisionError("what nobody foresaw")}
    world.drivers.shelf = [make_offer(backend="d-well", instance_type="new")]
    shelf = Moon.offers

    def offers(moon):
        if moon.name in faults:
            raise faults[moon.name]
        return shelf(moon)

    monkeypatch.setattr(Moon, "offers", offers)
    world.pass_time(7 * 3600)
    assert due(world) == [
        ("main", "a-down", 0, "moonquake"),
        ("main", "b-empty", 0, "the account offers nothing"),
        ("main", "c-odd", 0, "what nobody foresaw"),
        ("main", "d-well", 1, ""),
    ]
    assert capsys.readouterr().out.count('"catalog-failed"') == 3
    found = {name: stock(world, name) for name in ("a-down", "b-empty", "c-odd", "d-well")}
    assert found == {"a-down": ["old"], "b-empty": ["old"], "c-odd": ["old"], "d-well": ["new"]}


def test_an_account_that_hangs_delays_no_other_and_is_done_next_time(world, collected, monkeypatch):
    for name in ("hangs", "well"):
        add(world, name)
    world.drivers.shelf = [make_offer(backend="hangs"), make_offer(backend="well")]
    goes_on, shelf = Event(), Moon.offers
    monkeypatch.setattr(Moon, "offers", lambda moon: (moon.name == "hangs" and goes_on.wait(30), shelf(moon))[1])
    try:
        assert due(world, for_s=1.5) == [
            ("main", "hangs", 0, "not done in the time there is"),
            ("main", "well", 1, ""),
        ]
    finally:
        goes_on.set()


def test_a_project_whose_backends_cannot_be_read_stops_no_other(world, collected, monkeypatch):
    add(world)
    world.drivers.shelf = [make_offer(backend="luna")]
    listed = backends.list_backends

    def list_backends(deps, project):
        if project == "broken":
            raise OSError("table away")
        return listed(deps, project)

    monkeypatch.setattr(catalog_refresh.pool_store, "projects", lambda: ["broken", "main"])
    monkeypatch.setattr(catalog_refresh.backends, "list_backends", list_backends)
    assert due(world) == [("main", "luna", 1, "")]


def test_an_account_that_offers_nothing_has_no_catalog(world, collected):
    add(world)
    assert due(world) == [("main", "luna", 0, "the account offers nothing")]
    assert stock(world) == []


BAY, HILL = make_offer(backend="luna", region="bay"), make_offer(backend="luna", region="hill")


def regions(world, name="luna"):
    """Which regions the stored catalog of an account has, and how old it says that it is."""
    _, data = world.objects.get(catalog.own_key("main", name))
    found = unpack(data)
    index = found.index
    return sorted({index.offer(at).region for at in range(len(index))}), world.clock - found.fetched_at


@pytest.fixture
def hanging(world, collected, monkeypatch):
    """Regions, or accounts, that do not answer before the test is over. Says of each whether it was told to stop."""
    names, over, told = set(), Event(), {}
    shelf = Moon.offers

    def offers(moon, part=None):
        if {moon.name, part and part.region} & names:
            told[part.region if part else moon.name] = part and part.is_over
            over.wait(30)
        return shelf(moon, part) if part else shelf(moon)

    monkeypatch.setattr(Moon, "offers", offers)
    yield names, told
    over.set()


def test_accounts_that_take_too_long_do_not_keep_the_others_from_being_refreshed_for_ever(world, hanging):
    slow = [f"slow-{number}" for number in range(catalog_refresh.AT_ONCE)]
    hanging[0].update(slow)
    for name in (*slow, "zz-quick"):
        add(world, name)
    world.drivers.shelf = [make_offer(backend="zz-quick")]
    assert not any(offers for _, _, offers, _ in due(world, for_s=0.2))
    world.pass_time(300)
    assert ("main", "zz-quick", 1, "") in due(world, for_s=1.5)


def test_the_regions_that_answered_are_stored_and_only_the_others_are_asked_again(world, hanging):
    names, _ = hanging
    world.drivers.shelf = [BAY, HILL]
    add(world, regions=["bay", "hill"])
    world.pass_time(1)
    names.add("hill")
    assert due(world, for_s=1.5) == [("main", "luna", 1, "hill: not done in the time there is")]
    assert regions(world)[0] == ["bay"]
    names.clear()
    world.pass_time(600)
    world.drivers.shelf = [HILL]
    assert due(world) == [("main", "luna", 2, "")]
    assert regions(world) == (["bay", "hill"], timedelta(seconds=600))
    assert due(world) == []


def test_who_still_collects_when_the_time_is_over_is_told_to_stop(world, hanging):
    names, told = hanging
    add(world, regions=["bay"])
    names.add("bay")
    due(world, for_s=1)
    assert told["bay"]()


def test_a_region_that_fails_leaves_what_the_former_catalog_has_of_it(world, collected, monkeypatch):
    world.drivers.shelf = [BAY, HILL]
    add(world, regions=["bay", "hill"])
    due(world)
    shelf = Moon.offers

    def offers(moon, part):
        if part.region == "hill":
            raise TransientError("moonquake")
        return shelf(moon, part)

    monkeypatch.setattr(Moon, "offers", offers)
    world.pass_time(7 * 3600)
    assert due(world) == [("main", "luna", 2, "hill: moonquake")]
    assert regions(world) == (["bay", "hill"], timedelta(hours=7))


def test_nothing_is_kept_of_regions_that_were_taken_out_or_of_an_account_that_had_the_name(world, collected):
    world.drivers.shelf = [BAY, HILL]
    add(world, regions=["bay", "hill"])
    due(world)
    backends.remove(world.deps, "main", "luna", actor="me")
    world.pass_time(60)
    world.drivers.shelf = [make_offer(backend="luna", region="cape")]
    add(world, regions=["cape"])
    world.pass_time(1)
    assert due(world) == [("main", "luna", 1, "")]
    assert regions(world)[0] == ["cape"]


@pytest.mark.parametrize(
    "garbage", [b"", b"[]", b"{}", b'{"tried_at": "x", "done": {}}', b'{"tried_at": 1, "done": 2}']
)
def test_a_memory_of_earlier_looks_that_cannot_be_read_costs_one_more_look(world, collected, garbage):
    world.drivers.shelf = [BAY]
    add(world, regions=["bay"])
    due(world)
    world.objects.put(catalog.progress_key("main", "luna"), garbage)
    assert due(world) == [("main", "luna", 1, "")]
    assert due(world) == []
