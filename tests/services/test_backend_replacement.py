"""The replacement of a backend: what is rented is found afterwards too, nothing is launched with what was replaced."""

from datetime import timedelta

import pytest

from chalicelib.backends.base import Check
from chalicelib.domain.errors import BackendInUseError, LostRaceError, ThrottledError, UnavailableError
from chalicelib.domain.lifecycle import State
from chalicelib.services import backend_use, backends, bootstrap, pools, reconcile
from chalicelib.services.backends import Wanted
from chalicelib.store import backends as store
from tests.builders import make_instance, make_offer
from tests.services import steps
from tests.services.accounts import Moon
from tests.store.seeds import seed

KEY = "hunter2hunter2"
OTHER_KEY = "another-key"


class CrashError(BaseException):
    """The process dies here."""


def crash(*_):
    raise CrashError


@pytest.fixture
def owners(world):
    """Whose each key of the kind `mars` is, as its provider says when it is checked."""
    owners = {KEY: "account-1", OTHER_KEY: "account-1"}
    world.drivers.check = lambda account: [
        Check("credentials", ok=True, detail="", account=owners[account.credentials["key"]])
    ]
    return owners


def moon(*, key=KEY, kind="moon", **config):
    return Wanted("mine", kind, config, {"key": key})


def add(world, wanted=None, **options):
    return backends.add(world.deps, "main", wanted or moon(), actor="user:ada", **options)


def replace(world, wanted, **options):
    return add(world, wanted, replacing=True, **options)


def remove(world):
    backends.remove(world.deps, "main", "mine", actor="user:ada")


def move_to_another_crater(world):
    replace(world, moon(crater="copernicus", key=OTHER_KEY))


def rent(world, *, region="north"):
    """Have an idle machine on the backend; return its instance's name."""
    pools.create(world.deps, "main", "gpu")
    offer = make_offer(backend="mine", region=region)
    return seed(make_instance(project="main", pool="gpu", offer=offer)).name


def key_in_use(world):
    assert "mine" in world.deps.backend_names("main")
    return world.deps.backend("main", "mine").account.credentials["key"]


def test_an_account_that_has_machines_gets_other_credentials_but_no_other_account_takes_its_place(world):
    add(world)
    rent(world)
    with pytest.raises(BackendInUseError):
        replace(world, moon(crater="copernicus"))
    assert "mine" in world.deps.backend_names("main")
    assert len(world.secrets.kept) == 1
    replace(world, moon(key=OTHER_KEY))
    assert key_in_use(world) == OTHER_KEY


def test_another_account_takes_the_place_of_one_without_machines(world):
    add(world)
    record = replace(world, moon(crater="copernicus"))
    assert record == backends.get(world.deps, "main", "mine")
    assert (record.closed, record.config["crater"]) == (False, "copernicus")
    assert len(world.secrets.kept) == 1


def test_a_replacement_that_died_before_its_record_leaves_the_old_credentials_in_use(world):
    add(world)
    world.secrets.on_put = crash
    with pytest.raises(CrashError):
        replace(world, moon(key=OTHER_KEY))
    assert key_in_use(world) == KEY


def test_a_replacement_while_a_removal_looks_keeps_the_backend(world, monkeypatch):
    add(world)

    def replace_it(*_):
        replace(world, moon(key=OTHER_KEY))
        return []

    monkeypatch.setattr(backend_use, "instances_on", replace_it)
    with pytest.raises(LostRaceError):
        remove(world)
    assert key_in_use(world) == OTHER_KEY


def test_a_key_takes_the_place_of_another_of_the_same_account_while_machines_are_rented(world, owners):
    add(world, moon(kind="mars"))
    rent(world)
    replace(world, moon(kind="mars", key=OTHER_KEY))
    assert key_in_use(world) == OTHER_KEY


def test_a_key_of_another_account_is_refused_while_machines_are_rented(world, owners):
    """Otherwise they would be taken for gone, and be billed for ever."""
    owners[OTHER_KEY] = "account-2"
    add(world, moon(kind="mars"))
    name = rent(world)
    with pytest.raises(BackendInUseError, match="not the account") as refused:
        replace(world, moon(kind="mars", key=OTHER_KEY))
    assert refused.value.context["instances"] == [name]
    assert key_in_use(world) == KEY


def test_a_key_that_is_not_checked_may_be_anybodys_and_is_refused_while_machines_are_rented(world, owners):
    add(world, moon(kind="mars"))
    rent(world)
    with pytest.raises(BackendInUseError, match="without a check"):
        replace(world, moon(kind="mars", key=OTHER_KEY), checking=False)
    assert key_in_use(world) == KEY


def test_a_key_that_was_never_checked_is_tested_before_another_takes_its_place(world, owners):
    add(world, moon(kind="mars"), checking=False)
    rent(world)
    with pytest.raises(BackendInUseError, match="is tested"):
        replace(world, moon(kind="mars", key=OTHER_KEY))
    backends.test(world.deps, "main", "mine")
    replace(world, moon(kind="mars", key=OTHER_KEY))
    assert key_in_use(world) == OTHER_KEY


def test_whose_a_key_is_stays_known_when_it_is_revoked(world, owners):
    add(world, moon(kind="mars"))
    rent(world)
    with_key = world.drivers.check
    world.drivers.check = lambda _account: [Check("credentials", ok=False, detail="revoked", fix="another key")]
    assert not backends.test(world.deps, "main", "mine").ok
    world.drivers.check = with_key
    replace(world, moon(kind="mars", key=OTHER_KEY))
    assert key_in_use(world) == OTHER_KEY


@pytest.mark.parametrize("before", [["north", "south"], []])
def test_a_region_stays_configured_while_machines_are_rented_there(world, before):
    """A driver looks for machines in the regions of its configuration alone; none are all that there are."""
    add(world, moon(regions=before))
    name = rent(world, region="north")
    with pytest.raises(BackendInUseError, match=f"regions that it would lose.*{name}"):
        replace(world, moon(regions=["south"]), checking=False)
    assert backends.get(world.deps, "main", "mine").config["regions"] == before
    replace(world, moon(regions=["north"]))
    replace(world, moon(regions=["west", "north"]))
    replace(world, moon())
    assert backends.get(world.deps, "main", "mine").config["regions"] == []


def test_a_launch_that_has_the_driver_of_replaced_credentials_is_withdrawn(world, monkeypatch):
    """A worker makes its driver - the account is replaced, nothing is rented - the worker writes its intent."""
    add(world)
    world.cloud.shelf = []
    world.drivers.shelf = [make_offer(backend="mine", price=1)]
    launched_with = []
    monkeypatch.setattr(Moon, "launch", lambda moon, _spec: launched_with.append(moon.account.credentials["key"]))
    row = steps.add(world)
    script = bootstrap.script

    def replace_first(*args):
        monkeypatch.setattr(bootstrap, "script", script)
        move_to_another_crater(world)
        return script(*args)

    monkeypatch.setattr(bootstrap, "script", replace_first)
    (name,) = world.workflows.due()
    world.workflows.step(name)
    assert launched_with == []
    assert steps.state_of(world, row).state is State.PENDING


def test_a_launch_that_has_the_driver_of_a_removed_backend_of_the_same_name_is_withdrawn(world):
    secret = add(world).secret
    assert backends.is_open(world.deps, "main", "mine", secret)
    remove(world)
    assert add(world).version == 1
    assert not backends.is_open(world.deps, "main", "mine", secret)


@pytest.mark.parametrize("change", [move_to_another_crater, remove])
def test_a_look_at_the_instances_that_fails_leaves_the_backend_open(world, monkeypatch, change):
    add(world)

    def fail(*_):
        raise ThrottledError("the tables are busy")

    monkeypatch.setattr(backend_use, "instances_on", fail)
    with pytest.raises(ThrottledError):
        change(world)
    assert key_in_use(world) == KEY


def test_a_secret_that_cannot_be_stored_leaves_the_backend_open_as_it_was(world):
    add(world)

    def fail():
        raise UnavailableError("no answer")

    world.secrets.on_put = fail
    with pytest.raises(UnavailableError):
        move_to_another_crater(world)
    assert key_in_use(world) == KEY


def test_a_backend_that_cannot_even_be_opened_again_keeps_the_first_error_and_is_opened_by_the_comparison(
    world, monkeypatch, capsys
):
    add(world)

    def fail(*_):
        raise ThrottledError("the tables are busy")

    with monkeypatch.context() as patch:
        patch.setattr(backend_use, "instances_on", lambda *_: patch.setattr(store, "entry", fail) or fail())
        with pytest.raises(ThrottledError):
            remove(world)
    assert "backend-left-closed" in capsys.readouterr().out
    world.pass_time(301)
    reconcile.compare(world.deps)
    assert key_in_use(world) == KEY


def test_what_a_dead_request_left_closed_is_opened_by_the_comparison_when_the_request_must_be_over(world, monkeypatch):
    add(world)
    with monkeypatch.context() as patch:
        patch.setattr(backend_use, "instances_on", crash)
        with pytest.raises(CrashError):
            move_to_another_crater(world)
    world.pass_time(timedelta(minutes=5).total_seconds())
    reconcile.compare(world.deps)
    assert "mine" not in world.deps.backend_names("main"), "whoever closed it may be at work"
    world.pass_time(1)
    reconcile.compare(world.deps)
    assert key_in_use(world) == KEY


def test_a_request_that_fails_does_not_open_what_another_one_closed_since(world, monkeypatch):
    """A closes and hangs - the comparison opens - B closes - A's look fails while B is at work."""
    add(world)

    def hang_and_fail(*_):
        world.pass_time(301)
        reconcile.compare(world.deps)
        monkeypatch.setattr(backend_use, "instances_on", crash)
        with pytest.raises(CrashError):
            remove(world)
        raise ThrottledError("the tables are busy")

    monkeypatch.setattr(backend_use, "instances_on", hang_and_fail)
    with pytest.raises(ThrottledError):
        remove(world)
    assert "mine" not in world.deps.backend_names("main")


def test_a_removal_that_was_taken_for_dead_loses_against_the_opening(world, monkeypatch):
    add(world)

    def sleep(*_):
        world.pass_time(301)
        reconcile.compare(world.deps)
        return []

    monkeypatch.setattr(backend_use, "instances_on", sleep)
    with pytest.raises(LostRaceError):
        remove(world)
    assert key_in_use(world) == KEY
