"""The journal of one instance: each entry is written once or under a condition, and all of it is one query."""

import pytest

from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import AttemptState, Transition
from chalicelib.store import calls, journal
from chalicelib.store.columns import epoch
from chalicelib.store.models import JournalRow
from tests.builders import NOW, later, make_attempt

pytestmark = pytest.mark.usefixtures("dynamodb")

INTENT = make_attempt(state=AttemptState.INTENT)
STEP = Transition(NOW, 3, State.IDLE, State.BUSY, Reason.ACQUIRED, "user:test", "why")


def test_everything_is_read_back_in_order():
    calls.put(JournalRow("i-1", journal.SPEC, body={"cpus": 4}))
    journal.put_facts("i-1", {"os": "linux"})
    journal.put_callback("i-1", "token")
    journal.put_attempt("i-1", make_attempt(number=10, attempt_id="i-1-10"))
    journal.put_attempt("i-1", make_attempt(number=2, attempt_id="i-1-2"))
    calls.put(journal.history_row("i-1", STEP))
    calls.put(journal.history_row("i-1", Transition(NOW, 10, None, State.PENDING, Reason.RUN, "x")))
    everything = journal.everything("i-1")
    assert (everything.spec, everything.facts, everything.callback) == ({"cpus": 4}, {"os": "linux"}, "token")
    assert everything.attempts == journal.attempts("i-1")
    assert [attempt.number for attempt in everything.attempts] == [2, 10]
    assert [step.fence for step in everything.history] == [3, 10]
    assert everything.history[0] == STEP


def test_an_instance_without_entries_has_an_empty_journal():
    assert journal.everything("i-1") == journal.Journal()
    assert (journal.spec("i-1"), journal.callback("i-1")) == (None, None)


def test_the_last_attempt_is_the_last_one_whatever_the_length_of_its_number():
    for number in (1000, 9, 999, 10_000, 100):
        journal.put_attempt("i-1", make_attempt(number=number, state=AttemptState.INTENT))
    ended = journal.end_attempt("i-1", 1000, AttemptState.REFUSED)
    assert [attempt.number for attempt in journal.attempts("i-1")] == [9, 100, 999, 1000, 10_000]
    assert journal.everything("i-1").attempts[3] == ended


def test_the_workflow_that_was_started_last_is_the_one_that_is_remembered():
    assert journal.execution("i-1") == ""
    journal.put_execution("i-1", "up-i-1")
    journal.put_execution("i-1", "up-i-1-60")
    assert (journal.execution("i-1"), journal.execution("i-2")) == ("up-i-1-60", "")
    assert journal.everything("i-1") == journal.Journal()


def test_an_attempt_is_written_once_although_its_answer_may_be_lost():
    for _ in range(2):
        journal.put_attempt("i-1", INTENT)
    assert journal.attempts("i-1") == [INTENT]


@pytest.mark.parametrize("other", [make_attempt(attempt_id="another"), make_attempt(started_at=later(minutes=1))])
def test_who_meets_an_attempt_of_the_same_number_has_lost(other):
    """By another worker, or by this one before it died: either way the provider may have been called already."""
    journal.put_attempt("i-1", INTENT)
    with pytest.raises(LostRaceError):
        journal.put_attempt("i-1", other)
    assert journal.attempts("i-1") == [INTENT]


def test_a_repeated_task_learns_that_its_attempt_went_on():
    journal.put_attempt("i-1", INTENT)
    journal.end_attempt("i-1", 1, AttemptState.LAUNCHED, machine_ref="m-1")
    with pytest.raises(LostRaceError):
        journal.put_attempt("i-1", INTENT)
    assert journal.attempts("i-1")[0].machine_ref == "m-1"


def test_how_an_attempt_ended_is_added_to_it():
    journal.put_attempt("i-1", INTENT)
    refused = journal.end_attempt(
        "i-1", 1, AttemptState.REFUSED, kind="quota", detail="no more", ended_at=later(minutes=1)
    )
    assert refused == make_attempt(
        state=AttemptState.REFUSED, kind="quota", detail="no more", ended_at=later(minutes=1)
    )
    assert journal.attempts("i-1") == [refused]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (AttemptState.LAUNCHED, AttemptState.REFUSED),
        (AttemptState.REFUSED, AttemptState.LAUNCHED),
        (AttemptState.LAUNCHED, AttemptState.UNKNOWN),
        (AttemptState.CLEANED, AttemptState.LAUNCHED),
        (AttemptState.CLEANED, AttemptState.UNKNOWN),
    ],
)
def test_a_late_answer_does_not_turn_an_attempt_around(first, second):
    journal.put_attempt("i-1", INTENT)
    journal.end_attempt("i-1", 1, first)
    with pytest.raises(LostRaceError):
        journal.end_attempt("i-1", 1, second)
    assert journal.attempts("i-1")[0].state is first


@pytest.mark.parametrize("state", [state for state in AttemptState if state is not AttemptState.INTENT])
def test_the_same_end_may_be_noted_again(state):
    journal.put_attempt("i-1", INTENT)
    assert journal.end_attempt("i-1", 1, state) == journal.end_attempt("i-1", 1, state)


def test_an_attempt_that_was_never_written_does_not_end():
    with pytest.raises(LostRaceError):
        journal.end_attempt("i-1", 1, AttemptState.LAUNCHED)
    assert journal.attempts("i-1") == []


def test_an_ended_instance_lets_go_of_its_entries_and_of_none_later():
    journal.put_facts("i-1", {})
    calls.put(journal.history_row("i-1", STEP))
    journal.expire("i-1", later(days=7))
    journal.expire("i-1", later(days=8))
    ttls = [int(item["ttl"]["N"]) for item in calls.query_all(JournalRow, "i-1")]
    assert ttls == [epoch(later(days=7))] * 2
