"""Configured backends on their table: each write stands on the one that was read before it."""

from dataclasses import replace

import pytest

from chalicelib.domain.accounts import BackendEntry, BackendRecord, Checkup
from chalicelib.domain.errors import LostRaceError
from chalicelib.store import backends
from tests.builders import NOW, later
from tests.store import faults

pytestmark = pytest.mark.usefixtures("dynamodb")

CHECKUP = Checkup(NOW, ({"name": "credentials", "ok": True, "detail": "account 42", "fix": ""},), "42")


def make_record(**changes):
    record = BackendRecord(
        project="acme",
        name="mine",
        kind="aws",
        config={"regions": ["eu-central-1"], "disk_gb": 100},
        secret="backends/acme/mine/1",
        version=1,
        created_at=NOW,
        changed_at=later(seconds=1),
        actor="user:ada",
    )
    return replace(record, **changes)


def test_what_is_read_is_what_was_written():
    assert backends.entry("acme", "mine") == BackendEntry("acme", "mine")
    for record in (make_record(), make_record(closed=True, checkup=CHECKUP)):
        stored = backends.put(backends.entry("acme", "mine"), record, ("spare-1", "spare-2"))
        assert backends.entry("acme", "mine") == stored
        assert (stored.record, stored.spare) == (record, ("spare-1", "spare-2"))


def test_a_project_lists_its_own_records_by_name_without_rests():
    backends.put(BackendEntry("acme", "rest"), None, ("spare",))
    for project, name in (("acme", "b"), ("acme", "a"), ("other", "c")):
        backends.put(BackendEntry(project, name), make_record(project=project, name=name), ())
    assert [record.name for record in backends.list_records("acme")] == ["a", "b"]
    assert backends.list_records("nobody") == []


def test_a_write_on_what_was_seen_before_another_write_loses():
    seen = backends.put(backends.entry("acme", "mine"), make_record(), ())
    backends.put(seen, make_record(version=2), ())
    with pytest.raises(LostRaceError):
        backends.put(seen, make_record(version=3), ())
    with pytest.raises(LostRaceError):
        backends.forget(seen)
    with pytest.raises(LostRaceError):
        backends.put(BackendEntry("acme", "mine"), make_record(), ())
    assert backends.entry("acme", "mine").record == make_record(version=2)


def test_a_write_on_what_is_gone_by_now_loses():
    seen = backends.put(backends.entry("acme", "mine"), make_record(), ())
    backends.forget(seen)
    with pytest.raises(LostRaceError):
        backends.put(seen, make_record(), ())


def test_forgetting_twice_is_fine():
    seen = backends.put(backends.entry("acme", "mine"), make_record(), ())
    for _ in range(2):
        backends.forget(seen)
    assert backends.entry("acme", "mine") == BackendEntry("acme", "mine")


def test_a_checkup_is_kept_without_being_a_change_and_only_for_the_same_credentials():
    seen = backends.put(backends.entry("acme", "mine"), make_record(), ())
    backends.note_checkup(make_record(), CHECKUP)
    assert backends.entry("acme", "mine") == replace(seen, record=make_record(checkup=CHECKUP))
    backends.note_checkup(make_record(secret="another"), Checkup(later(days=1), ()))
    assert backends.entry("acme", "mine").record.checkup == CHECKUP
    backends.forget(seen)
    backends.note_checkup(make_record(), CHECKUP)
    assert backends.entry("acme", "mine") == BackendEntry("acme", "mine")


def test_a_write_whose_answer_was_lost_is_recognised():
    tries = faults.losing_the_first_answer("PutItem")
    stored = backends.put(backends.entry("acme", "mine"), make_record(), ())
    assert len(tries) == 2
    assert backends.entry("acme", "mine") == stored


def test_a_write_that_was_overtaken_after_its_answer_was_lost_has_lost():
    def somebody_else():
        seen = backends.entry("acme", "mine")
        backends.put(seen, make_record(version=2), ())

    faults.losing_the_first_answer("PutItem", somebody_else)
    with pytest.raises(LostRaceError):
        backends.put(backends.entry("acme", "mine"), make_record(), ())
