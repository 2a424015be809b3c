"""The life of an instance: a walk over every state and event."""

from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import IllegalTransitionError
from chalicelib.domain.lifecycle import LIVE, REMOVABLE, RESTING, TRANSITIONS, Event, State, next_state
from chalicelib.domain.timers import DEADLINE_KIND


def reachable(starts: Iterable[State]) -> set[State]:
    """Every state that some events lead to, the starts included."""
    found, todo = set(), list(starts)
    while todo:
        state = todo.pop()
        if state not in found:
            found.add(state)
            todo += [target for (source, _), target in TRANSITIONS.items() if source is state]
    return found


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_event_in_every_state_is_a_row_or_is_refused(state, event):
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{event.value}.*{state.value}"):
            next_state(state, event)


def test_the_way_of_an_instance_that_is_used_twice():
    events = [Event.LAUNCHED, Event.READY, Event.ACQUIRED, Event.RELEASED, Event.ACQUIRED, Event.RETIRED]
    state, way = State.PENDING, []
    for event in [*events, Event.CONFIRMED_GONE]:
        state = next_state(state, event)
        way.append(state.value)
    assert way == ["provisioning", "idle", "busy", "idle", "busy", "terminating", "terminated"]


def test_a_failed_attempt_goes_back_to_pending_for_the_next_offer():
    assert next_state(State.PROVISIONING, Event.ATTEMPT_FAILED) is State.PENDING


@pytest.mark.parametrize("state", list(State))
def test_every_state_begins_at_pending_and_can_end(state):
    assert state in reachable([State.PENDING])
    assert State.TERMINATED in reachable([state])


def test_nothing_happens_after_the_end():
    assert reachable([State.TERMINATED]) == {State.TERMINATED}
    assert set(State) - {State.TERMINATED} == LIVE


def test_what_is_being_ended_never_comes_back():
    assert reachable([State.TERMINATING]) == {State.TERMINATING, State.TERMINATED}
    assert {event for state, event in TRANSITIONS if state is State.TERMINATING} == {Event.CONFIRMED_GONE}


def test_only_the_confirmation_of_the_provider_ends_an_instance():
    ends = {(state, event) for (state, event), target in TRANSITIONS.items() if target is State.TERMINATED}
    assert ends == {(State.TERMINATING, Event.CONFIRMED_GONE)}


def test_only_an_idle_instance_can_be_acquired():
    assert {state for state, event in TRANSITIONS if event is Event.ACQUIRED} == {State.IDLE}


def test_a_live_instance_can_be_removed_unless_it_is_on_its_way_already():
    assert LIVE - {State.TERMINATING} == REMOVABLE
    assert {state for state, event in TRANSITIONS if event is Event.REMOVED} == REMOVABLE


def test_every_event_moves_something_and_moves_it_elsewhere():
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert all(source is not target for (source, _), target in TRANSITIONS.items())


@pytest.mark.parametrize("state", list(State))
def test_every_state_that_may_not_rest_has_a_timer_behind_its_deadline(state):
    assert state in RESTING or state in DEADLINE_KIND


def test_only_the_end_has_no_timer():
    assert set(State) - set(DEADLINE_KIND) == {State.TERMINATED}


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_no_series_of_events_leaves_the_table_or_the_end(events):
    state = State.PENDING
    for event in events:
        before = state
        try:
            state = next_state(state, event)
        except IllegalTransitionError:
            assert (before, event) not in TRANSITIONS
        assert before is not State.TERMINATED or state is State.TERMINATED
        assert before is not State.TERMINATING or state in {State.TERMINATING, State.TERMINATED}
