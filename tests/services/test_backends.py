"""Configured backends: what is stored when, what a crash or a race leaves, and that no credential gets out."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.backends.base import Check
from chalicelib.domain.errors import (
    AlreadyExistsError,
    BackendAuthError,
    BackendCheckFailedError,
    BackendInUseError,
    ConflictError,
    InvalidInputError,
    LostRaceError,
    NotFoundError,
    TransientError,
    UnavailableError,
)
from chalicelib.domain.model import AttemptState
from chalicelib.services import backends, checkups, pools, reconcile
from chalicelib.services.backends import Wanted
from chalicelib.store import backends as store
from chalicelib.store import journal
from tests.builders import make_attempt, make_instance, make_offer
from tests.services import steps
from tests.store.seeds import seed

KEY = "hunter2hunter2"
BAD = [Check("credentials", ok=True, detail="account 42"), Check("rights", ok=False, detail="no launch", fix="grant")]


def moon(name="mine", *, key=KEY, kind="moon", **config):
    return Wanted(name, kind, config, {"key": key})


def add(world, wanted=None, **options):
    return backends.add(world.deps, "main", wanted or moon(), actor="user:ada", **options)


class CrashError(BaseException):
    """The process dies here."""


def crash():
    raise CrashError


def test_an_added_backend_is_open_checked_and_makes_a_driver_with_its_credentials(world):
    record = add(world)
    assert (record.version, record.closed, record.checkup.ok) == (1, False, True)
    assert world.deps.backend_names("main") == ("sim", "mine")
    assert world.deps.backend("main", "mine").account.credentials == {"key": KEY}
    assert backends.get(world.deps, "main", "mine") == record
    assert "mine" in world.deps.backend_names("main")


def test_a_backend_is_its_projects_alone(world):
    pools.create_project(world.deps, "other")
    add(world)
    assert world.deps.backend_names("other") == ("sim",)
    with pytest.raises(NotFoundError):
        world.deps.backend("other", "mine")
    assert "mine" not in world.deps.backend_names("other")


def test_the_built_in_backend_is_open_everywhere_and_no_name_with_a_meaning_can_be_added(world):
    assert "sim" in world.deps.backend_names("main")
    assert world.deps.backend("main", "sim") is world.cloud
    for name in ("sim", "local", "ssh"):
        with pytest.raises(InvalidInputError, match="name"):
            add(world, moon(name))
    with pytest.raises(ConflictError, match="built in"):
        backends.remove(world.deps, "main", "sim", actor="user:ada")


def test_a_failing_check_refuses_before_anything_is_stored(world):
    world.drivers.check = lambda _account: BAD
    with pytest.raises(BackendCheckFailedError) as refused:
        add(world)
    assert refused.value.context["checks"][1] == {"name": "rights", "ok": False, "detail": "no launch", "fix": "grant"}
    assert world.secrets.kept == {}
    assert not store.entry("main", "mine").write
    assert add(world, checking=False).checkup is None


def test_a_taken_name_is_refused_and_replaced_when_asked_to(world):
    add(world)
    with pytest.raises(AlreadyExistsError, match="replace"):
        add(world)
    before = world.deps.backend("main", "mine")
    assert add(world, moon(key="another-key"), replacing=True).version == 2
    after = world.deps.backend("main", "mine")
    assert after is not before
    assert after.account.credentials == {"key": "another-key"}
    assert list(world.secrets.kept.values()) == [{"key": "another-key"}]


def test_a_driver_is_made_once_for_as_long_as_its_credentials_stay(world):
    add(world)
    assert world.deps.backend("main", "mine") is world.deps.backend("main", "mine")


def test_a_backend_never_changes_its_kind(world):
    add(world)
    with pytest.raises(ConflictError, match="of kind moon"):
        add(world, moon(kind="mars"), replacing=True)


def test_a_project_that_does_not_exist_gets_no_backend(world):
    with pytest.raises(NotFoundError):
        backends.add(world.deps, "nowhere", moon(), actor="user:ada")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (moon("Not A Name"), "name"),
        (moon(kind="venus"), "kind"),
        (moon(creater="x"), "config.creater"),
        (Wanted("mine", "moon", {}, {}), "credentials.key"),
    ],
)
def test_bad_input_is_named(world, wanted, field):
    with pytest.raises(InvalidInputError) as refused:
        add(world, wanted)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "wanted",
    [moon(key="abc1234"), moon(secret_key="abc1234"), Wanted("mine", "moon", {}, {"key": 12, "pass": "abc1234"})],
)
def test_a_refused_credential_is_not_repeated(world, wanted):
    with pytest.raises(InvalidInputError) as refused:
        add(world, wanted)
    error = refused.value
    assert "abc1234" not in f"{error} {error.context} {error.__context__} {error.__cause__}"
    assert "abc1234" not in repr(wanted)


def test_what_a_check_says_is_cut_before_it_is_kept_or_logged(world, capsys):
    world.drivers.check = lambda account: [Check("a", ok=True, detail=f"key {account.credentials['key']} is fine")]
    assert KEY not in str(add(world).checkup)

    def fault(account):
        raise ValueError(account.credentials["key"])

    world.drivers.check = fault
    found = backends.test(world.deps, "main", "mine")
    assert [check["name"] for check in found.checks if not check["ok"]] == ["driver"]
    assert KEY not in str(found) + capsys.readouterr().out

    def passing(account):
        raise TransientError(f"no answer for {account.credentials['key']}")

    world.drivers.check = passing
    with pytest.raises(TransientError) as raised:
        backends.test(world.deps, "main", "mine")
    assert KEY not in str(raised.value)


def test_wrong_credentials_are_a_check_that_failed(world):
    def refuse(_account):
        raise BackendAuthError("wrong key")

    world.drivers.check = refuse
    with pytest.raises(BackendCheckFailedError) as refused:
        add(world)
    assert refused.value.context["checks"][0]["detail"] == "wrong key"


def test_checks_that_take_too_long_have_failed(world, monkeypatch):
    monkeypatch.setattr(checkups, "LIMIT", timedelta(seconds=0.05))
    release = threading.Event()
    world.drivers.check = lambda _account: [Check("late", ok=release.wait(10), detail="")]
    with pytest.raises(BackendCheckFailedError) as refused:
        add(world)
    release.set()
    assert [check["name"] for check in refused.value.context["checks"]] == ["time"]


def test_a_test_keeps_what_it_found(world):
    add(world)
    world.drivers.check = lambda _account: BAD
    world.pass_time(60)
    assert not backends.test(world.deps, "main", "mine").ok
    kept = backends.get(world.deps, "main", "mine").checkup
    assert (kept.at, kept.ok) == (world.clock, False)


def test_what_was_found_of_replaced_credentials_is_not_kept(world):
    record = add(world)
    newer = add(world, moon(key="another-key"), replacing=True)
    store.note_checkup(record, replace(record.checkup, checks=({"name": "old", "ok": False},)))
    assert backends.get(world.deps, "main", "mine") == newer


def test_a_removed_backend_leaves_nothing_and_its_name_is_free_at_once(world):
    add(world)
    backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert world.secrets.kept == {}
    assert world.deps.backend_names("main", closed=True) == ("sim",)
    with pytest.raises(NotFoundError):
        backends.remove(world.deps, "main", "mine", actor="user:ada")
    add(world, moon(key="another-key"))
    assert world.deps.backend("main", "mine").account.credentials == {"key": "another-key"}


def on_mine(**changes):
    return make_instance(project="main", pool="gpu", offer=make_offer(backend="mine"), **changes)


def test_a_backend_with_an_idle_machine_stays_open_and_says_which(world):
    add(world)
    pools.create(world.deps, "main", "gpu")
    seed(on_mine())
    with pytest.raises(BackendInUseError) as refused:
        backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert refused.value.context["instances"] == [on_mine().name]
    assert "mine" in world.deps.backend_names("main")
    assert world.deps.backend("main", "mine").account.credentials == {"key": KEY}


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (AttemptState.INTENT, True),
        (AttemptState.UNKNOWN, True),
        (AttemptState.LAUNCHED, True),
        (AttemptState.REFUSED, False),
        (AttemptState.CLEANED, False),
    ],
)
def test_a_request_holds_the_backend_of_its_open_attempts(world, state, held):
    add(world)
    row = steps.add(world)
    journal.put_attempt(row.instance_id, make_attempt(offer=make_offer(backend="mine"), state=AttemptState.INTENT))
    if state is not AttemptState.INTENT:
        journal.end_attempt(row.instance_id, 1, state)
    if held:
        with pytest.raises(BackendInUseError, match=row.name):
            backends.remove(world.deps, "main", "mine", actor="user:ada")
    else:
        backends.remove(world.deps, "main", "mine", actor="user:ada")


def test_an_intent_that_is_written_while_a_backend_is_removed_is_seen_by_one_of_the_two(world, monkeypatch):
    """remove closes - a worker writes its intent - the worker asks: closed - remove looks: held, and opens again."""
    add(world)
    row = steps.add(world)
    look = backends.backend_use.instances_on
    seen = []

    def launch_first(project, name, kept):
        journal.put_attempt(row.instance_id, make_attempt(offer=make_offer(backend="mine"), state=AttemptState.INTENT))
        seen.append("mine" in world.deps.backend_names("main"))
        return look(project, name, kept)

    monkeypatch.setattr(backends.backend_use, "instances_on", launch_first)
    with pytest.raises(BackendInUseError):
        backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert seen == [False]


def test_a_removal_that_died_is_closed_and_goes_on(world, monkeypatch):
    add(world)
    with monkeypatch.context() as patch:
        patch.setattr(backends.backend_use, "instances_on", lambda *_: crash())
        with pytest.raises(CrashError):
            backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert "mine" not in world.deps.backend_names("main")
    assert world.deps.backend_names("main") == ("sim",)
    assert world.deps.backend_names("main", closed=True) == ("sim", "mine")
    assert world.deps.backend("main", "mine").account.credentials == {"key": KEY}
    with pytest.raises(AlreadyExistsError, match="being removed"):
        add(world)
    backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert world.secrets.kept == {}


def test_a_removal_that_died_at_the_secret_is_over_and_the_rest_goes_with_the_next_one(world):
    add(world)
    world.secrets.on_delete = crash
    with pytest.raises(CrashError):
        backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert world.deps.backend_names("main", closed=True) == ("sim",)
    with pytest.raises(NotFoundError):
        backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert world.secrets.kept == {}
    assert not store.entry("main", "mine").write


@pytest.mark.parametrize("again", ["add", "remove"])
def test_an_addition_that_died_after_its_secret_leaves_nothing_for_long(world, monkeypatch, again):
    with monkeypatch.context() as patch:
        patch.setattr(backends, "BackendRecord", lambda **_: crash())
        with pytest.raises(CrashError):
            add(world)
    assert len(world.secrets.kept) == 1
    assert world.deps.backend_names("main", closed=True) == ("sim",)
    if again == "add":
        add(world)
        assert len(world.secrets.kept) == 1
    else:
        with pytest.raises(NotFoundError):
            backends.remove(world.deps, "main", "mine", actor="user:ada")
        assert world.secrets.kept == {}


def test_the_slower_of_two_additions_loses_and_takes_its_secret_along(world):
    """A enters its secret - B adds all of it - A stores its secret and finds that the row is B's."""
    world.secrets.on_put = lambda: add(world, moon(key="the-faster"))
    with pytest.raises(LostRaceError):
        add(world)
    assert list(world.secrets.kept.values()) == [{"key": "the-faster"}]
    assert world.deps.backend("main", "mine").account.credentials == {"key": "the-faster"}


def test_an_addition_that_meets_a_whole_life_of_its_name_loses(world):
    """A enters its secret - B adds and removes - C enters its own - A must not become the record."""

    def live_and_die():
        add(world)
        backends.remove(world.deps, "main", "mine", actor="user:bea")
        world.secrets.on_put = crash
        with pytest.raises(CrashError):
            add(world)

    world.secrets.on_put = live_and_die
    with pytest.raises(LostRaceError):
        add(world)
    assert world.deps.backend_names("main", closed=True) == ("sim",)


def test_credentials_that_an_operator_deleted_are_said_to_be_gone(world):
    add(world)
    world.secrets.kept.clear()
    with pytest.raises(BackendAuthError, match="gone"):
        world.deps.backend("main", "mine")


def test_credentials_that_cannot_be_read_are_a_backend_that_fails_in_passing(world, monkeypatch):
    add(world)

    def refuse(_name):
        raise UnavailableError("no answer")

    monkeypatch.setattr(world.secrets, "get", refuse)
    with pytest.raises(TransientError, match="cannot be read"):
        world.deps.backend("main", "mine")


def test_credentials_that_are_replaced_between_two_reads_are_read_again(world, monkeypatch):
    add(world)
    get = world.secrets.get

    def replace_first(name):
        monkeypatch.setattr(world.secrets, "get", get)
        add(world, moon(key="another-key"), replacing=True)
        return get(name)

    monkeypatch.setattr(world.secrets, "get", replace_first)
    assert backends.account(world.deps, "main", "mine").credentials == {"key": "another-key"}


def test_a_closed_backend_is_still_compared_with_its_provider(world):
    add(world)
    seen = store.entry("main", "mine")
    store.put(seen, replace(seen.record, closed=True), seen.spare)
    assert [(report.backend, report.failed) for report in reconcile.compare(world.deps)] == [("sim", ""), ("mine", "")]


def test_secrets_that_could_not_be_deleted_do_not_fail_an_addition(world, capsys):
    add(world)

    def refuse():
        raise OSError("no answer")

    world.secrets.on_delete = refuse
    add(world, moon(key="another-key"), replacing=True)
    assert "backend-secrets-left" in capsys.readouterr().out
    backends.remove(world.deps, "main", "mine", actor="user:ada")
    assert world.secrets.kept == {}
