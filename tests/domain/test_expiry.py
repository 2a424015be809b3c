"""What a firing timer means: each boundary is a row of its own."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.expiry import Action, Limits, instance_verdict, lost_run_timers, lost_timers, run_verdict
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RunState, Tries
from chalicelib.domain.nodes import NodeJob
from chalicelib.domain.timers import Timer, TimerKind
from tests.builders import NOW, ago, later, make_instance, make_lease, make_offer, make_run

LIMITS = Limits(unreachable_after=timedelta(minutes=2), lost_after=timedelta(minutes=20))
KINDS = {State.IDLE: TimerKind.IDLE, State.BUSY: TimerKind.LEASE, State.TERMINATING: TimerKind.TEARDOWN}


def timer(kind, fence=7, due_at=NOW):
    return Timer(kind, "instance/main/pool/i-1", fence, due_at)


def verdict(kind, row, *, fence=None, now=NOW, due_at=NOW):
    return instance_verdict(timer(kind, row.fence if fence is None else fence, due_at), row, LIMITS, now=now)


def idle(**fields):
    return make_instance(state=State.IDLE, **{"fence": 7, "deadline": NOW, **fields})


def busy(holder, *, expires):
    lease = make_lease(holder=holder, fence=7, expires_at=expires)
    return make_instance(state=State.BUSY, fence=7, deadline=expires, lease=lease)


def test_an_idle_instance_expires_at_its_limit_and_not_before():
    assert verdict(TimerKind.IDLE, idle()).event is Event.EXPIRED
    early = verdict(TimerKind.IDLE, idle(deadline=later(seconds=1)))
    assert (early.action, early.at) == (Action.FILE_AGAIN, later(seconds=1))


def test_an_instance_that_may_idle_for_ever_does_not_expire():
    assert verdict(TimerKind.IDLE, idle(deadline=None)).action is Action.NOTHING


@pytest.mark.parametrize("kind", [TimerKind.IDLE, TimerKind.LEASE, TimerKind.PROVISIONING, TimerKind.TEARDOWN])
@pytest.mark.parametrize("fence", [5, 8])
def test_a_timer_of_another_fence_does_nothing(kind, fence):
    assert verdict(kind, idle(), fence=fence).action is Action.NOTHING


def test_a_timer_whose_transition_was_made_makes_sure_that_the_teardown_runs():
    row = make_instance(state=State.TERMINATING, fence=8)
    assert verdict(TimerKind.IDLE, row, fence=7).action is Action.DRIVE_TEARDOWN


def test_a_teardown_is_driven_for_ever():
    row = make_instance(state=State.TERMINATING, fence=7, deadline=NOW)
    found = verdict(TimerKind.TEARDOWN, row)
    assert found.action is Action.DRIVE_TEARDOWN
    assert found.at > NOW


def test_a_lease_of_a_client_ends_and_the_machine_stays():
    assert verdict(TimerKind.LEASE, busy("ci", expires=NOW)).action is Action.RELEASE


def test_a_lease_of_a_run_ends_with_its_machine_because_only_a_silent_agent_lets_it_lapse():
    row = replace(busy("run:run-1", expires=NOW - LIMITS.grace), unreachable_since=NOW - LIMITS.grace)
    assert verdict(TimerKind.LEASE, row).event is Event.LOST


def test_a_run_is_not_given_up_at_the_moment_that_its_lease_ends_although_it_was_flagged_long_before():
    """We may be up for this moment alone, and have been for another one when it was flagged."""
    row = replace(busy("run:run-1", expires=NOW), unreachable_since=ago(hours=1))
    found = verdict(TimerKind.LEASE, row)
    assert (found.action, found.at) == (Action.FILE_AGAIN, NOW + LIMITS.grace)


LATE = timedelta(seconds=121)
LONG_AGO = ago(minutes=30)
SILENT = replace(busy("run:run-1", expires=LONG_AGO), unreachable_since=LONG_AGO)


@pytest.mark.parametrize(
    ("kind", "row", "acts"),
    [
        (TimerKind.LEASE, busy("ci", expires=LONG_AGO), Action.RELEASE),
        (TimerKind.LEASE, SILENT, Action.TERMINATE),
        (TimerKind.LEASE, replace(SILENT, offer=make_offer(backend="ssh")), Action.LOSE_RUN),
        (TimerKind.PRESENCE, idle(deadline=None, seen_at=ago(hours=1), unreachable_since=LONG_AGO), Action.TERMINATE),
        (TimerKind.INTERRUPTION, idle(ends_at=LONG_AGO), Action.TERMINATE),
    ],
)
def test_who_looks_late_looks_again_before_anything_of_another_is_ended(kind, row, acts):
    fence = None if kind is TimerKind.LEASE else 0
    found = verdict(kind, row, fence=fence, now=NOW + LATE)
    assert (found.action, found.at) == (Action.FILE_AGAIN, NOW + LATE + timedelta(minutes=2))
    assert verdict(kind, row, fence=fence, now=NOW + LATE - timedelta(seconds=1)).action is acts
    always_late = LONG_AGO + timedelta(hours=12 if acts is Action.LOSE_RUN else 1, minutes=1)
    assert verdict(kind, row, fence=fence, now=always_late + LATE, due_at=always_late).action is acts


@pytest.mark.parametrize("kind", [TimerKind.LEASE, TimerKind.PRESENCE])
@pytest.mark.parametrize("backend", ["local", "ssh"])
def test_whoever_was_flagged_a_moment_ago_by_another_timer_has_the_whole_grace(kind, backend):
    """After an outage of our own a presence timer and a lease's come due in the same second, or one of them twice."""
    held = kind is TimerKind.LEASE
    row = busy("run:run-1", expires=ago(hours=1)) if held else idle(deadline=None)
    row = replace(row, seen_at=ago(hours=2), unreachable_since=ago(seconds=1), offer=make_offer(backend=backend))
    if held or backend == "local":
        found = verdict(kind, row, fence=None if held else 0)
        assert (found.action, found.at) == (Action.FILE_AGAIN, later(seconds=-1) + LIMITS.grace)
    over = verdict(kind, row, fence=None if held else 0, now=ago(seconds=1) + LIMITS.grace)
    gives_up = {"local": Action.TERMINATE, "ssh": Action.LOSE_RUN if held else Action.FILE_AGAIN}
    assert over.action is gives_up[backend]


def test_a_run_is_not_given_up_before_its_agent_had_a_grace_to_come_back_in():
    found = verdict(TimerKind.LEASE, busy("run:run-1", expires=NOW))
    assert (found.action, found.at) == (Action.FLAG_UNREACHABLE, NOW + LIMITS.grace)


def test_a_lease_that_was_extended_is_looked_at_again_when_it_ends():
    found = verdict(TimerKind.LEASE, busy("run:run-1", expires=later(seconds=9)))
    assert (found.action, found.at) == (Action.FILE_AGAIN, later(seconds=9))


@pytest.mark.parametrize(
    ("silent_s", "unreachable", "action"),
    [
        (119, False, Action.FILE_AGAIN),
        (120, False, Action.FLAG_UNREACHABLE),
        (121, True, Action.FILE_AGAIN),
        (1199, True, Action.FILE_AGAIN),
        (1200, True, Action.TERMINATE),
    ],
)
def test_silence_flags_first_and_gives_up_later(silent_s, unreachable, action):
    row = idle(seen_at=ago(seconds=silent_s), unreachable_since=ago(seconds=silent_s - 120) if unreachable else None)
    found = verdict(TimerKind.PRESENCE, row, fence=0)
    assert found.action is action
    assert action is Action.TERMINATE or found.at > NOW


def test_a_silent_instance_that_is_held_is_left_to_its_lease():
    row = replace(busy("ci", expires=later(hours=1)), seen_at=ago(hours=2), unreachable_since=ago(hours=1))
    assert verdict(TimerKind.PRESENCE, row, fence=0).action is Action.FILE_AGAIN


@pytest.mark.parametrize("state", [State.PENDING, State.PROVISIONING])
def test_a_request_past_its_deadline_is_driven_again(state):
    row = make_instance(state=state, fence=7, deadline=NOW)
    assert verdict(TimerKind.PROVISIONING, row).action is Action.DRIVE_PROVISIONING


@pytest.mark.parametrize(
    ("state", "since_s", "action"),
    [
        (RunState.SUBMITTED, 0, Action.PLACE),
        (RunState.STARTING, 59, Action.WAKE),
        (RunState.STARTING, 60, Action.PLACE_ELSEWHERE),
        (RunState.RUNNING, 999, Action.NOTHING),
        (RunState.DONE, 999, Action.NOTHING),
    ],
)
def test_a_run_is_placed_woken_or_moved(state, since_s, action):
    run = make_run(state=state, fence=7, changed_at=ago(seconds=since_s))
    found = run_verdict(timer(TimerKind.PLACEMENT), run, give_up_after=timedelta(seconds=60), now=NOW)
    assert found.action is action


def test_a_run_whose_timer_fires_late_is_woken_before_its_machine_is_given_up():
    """We were away ourselves, and so was everything that its agent wanted to tell us."""
    run = make_run(state=RunState.STARTING, fence=7, changed_at=ago(seconds=30))
    found = run_verdict(timer(TimerKind.PLACEMENT), run, give_up_after=timedelta(seconds=60), now=later(hours=1))
    assert found.action is Action.WAKE


@pytest.mark.parametrize(("late_s", "action"), [(121, Action.WAKE), (120, Action.PLACE_ELSEWHERE)])
def test_a_run_whose_time_for_being_taken_is_over_is_woken_by_every_timer_that_fires_late(late_s, action):
    """We may have been up for moments only since it was placed."""
    run = make_run(state=RunState.STARTING, fence=7, changed_at=ago(minutes=30))
    now = later(seconds=late_s)
    found = run_verdict(timer(TimerKind.PLACEMENT), run, give_up_after=timedelta(seconds=60), now=now)
    assert (found.action, found.at) == (action, now + timedelta(minutes=2) if action is Action.WAKE else None)


@pytest.mark.parametrize(("state", "soon"), [(RunState.SUBMITTED, 0), (RunState.STARTING, 120)])
def test_a_lost_timer_that_gives_up_a_machine_leaves_its_agent_time_to_ask(state, soon):
    run = make_run(state=state, changed_at=ago(hours=1))
    (found,) = lost_run_timers(run, give_up_after=timedelta(minutes=1), now=NOW)
    assert found.due_at == later(seconds=soon)


def test_a_placement_timer_of_another_fence_does_nothing():
    run = make_run(state=RunState.SUBMITTED, fence=8)
    limit = timedelta(seconds=60)
    assert run_verdict(timer(TimerKind.PLACEMENT), run, give_up_after=limit, now=NOW).action is Action.NOTHING


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (idle(deadline=ago(minutes=6), seen_at=NOW), [TimerKind.IDLE]),
        (idle(deadline=ago(minutes=5), seen_at=NOW), []),
        (idle(deadline=None, seen_at=ago(minutes=8)), [TimerKind.PRESENCE]),
        (idle(deadline=None, seen_at=ago(minutes=8), unreachable_since=ago(minutes=6)), []),
        (idle(deadline=None, seen_at=ago(minutes=26), unreachable_since=ago(minutes=24)), [TimerKind.PRESENCE]),
        (make_instance(state=State.TERMINATING, deadline=ago(minutes=6)), [TimerKind.TEARDOWN]),
    ],
)
def test_a_timer_that_never_fired_is_filed_again_long_after_its_moment(row, kinds):
    assert [timer.kind for timer in lost_timers(row, LIMITS, now=NOW)] == kinds


@pytest.mark.parametrize(
    ("row", "soon"),
    [
        (idle(deadline=ago(minutes=6), seen_at=NOW), 0),
        (idle(deadline=None, seen_at=ago(minutes=8)), 0),
        (idle(deadline=None, seen_at=ago(minutes=26), unreachable_since=ago(minutes=24)), 120),
        (busy("run:run-1", expires=ago(minutes=6)), 120),
        (idle(deadline=None, ends_at=ago(minutes=7)), 120),
    ],
)
def test_a_lost_timer_that_may_give_something_up_leaves_time_to_ask(row, soon):
    (found,) = lost_timers(row, LIMITS, now=NOW)
    assert found.due_at == later(seconds=soon)


@pytest.mark.parametrize(("minutes", "found"), [(6, 0), (7, 1)])
def test_a_placement_that_never_happened_is_filed_again(minutes, found):
    run = make_run(state=RunState.SUBMITTED, changed_at=ago(minutes=minutes))
    assert len(lost_run_timers(run, give_up_after=timedelta(minutes=1), now=NOW)) == found


TAKEN = timedelta(seconds=60)


@pytest.mark.parametrize("row", [idle(ends_at=NOW), replace(busy("run:r-1", expires=later(hours=1)), ends_at=NOW)])
def test_a_machine_that_is_taken_back_is_ended_a_minute_after_its_end_at_the_latest(row):
    early = verdict(TimerKind.INTERRUPTION, row, fence=0, now=NOW + TAKEN - timedelta(seconds=1))
    assert (early.action, early.at) == (Action.FILE_AGAIN, NOW + TAKEN)
    due = verdict(TimerKind.INTERRUPTION, row, fence=0, now=NOW + TAKEN)
    assert (due.action, due.event, due.reason, due.holding) == (
        Action.TERMINATE,
        Event.LOST,
        Reason.INTERRUPTED,
        "ends_at",
    )


@pytest.mark.parametrize("row", [idle(), make_instance(state=State.TERMINATING, ends_at=NOW)])
def test_an_interruption_timer_without_its_flag_or_after_the_end_does_nothing(row):
    assert verdict(TimerKind.INTERRUPTION, row, fence=0, now=later(hours=1)).action is Action.NOTHING


def limited(state, **fields):
    request = {"policies": {"max_duration_s": 600.0}}
    return make_run(state=state, request=request, **{"started_at": ago(minutes=10), **fields})


@pytest.mark.parametrize(
    ("run", "action"),
    [
        (limited(RunState.RUNNING), Action.STOP),
        (limited(RunState.SUBMITTED), Action.STOP),
        (limited(RunState.RUNNING, started_at=ago(minutes=9)), Action.FILE_AGAIN),
        (limited(RunState.STOPPING), Action.NOTHING),
        (limited(RunState.DONE), Action.NOTHING),
        (limited(RunState.STARTING, started_at=None), Action.NOTHING),
        (make_run(state=RunState.RUNNING, started_at=ago(hours=9)), Action.NOTHING),
    ],
)
def test_a_run_is_stopped_when_it_has_used_up_its_time(run, action):
    fired = Timer(TimerKind.MAX_DURATION, "run/acme/run-1", 0, NOW)
    assert run_verdict(fired, run, give_up_after=timedelta(minutes=1), now=NOW).action is action


@pytest.mark.parametrize(
    ("state", "action"), [(RunState.RUNNING, Action.FILE_AGAIN), (RunState.SUBMITTED, Action.STOP)]
)
def test_a_run_on_a_machine_is_asked_before_a_late_timer_stops_it(state, action):
    fired = Timer(TimerKind.MAX_DURATION, "run/acme/run-1", 0, NOW)
    found = run_verdict(fired, limited(state), give_up_after=timedelta(minutes=1), now=later(minutes=40))
    assert found.action is action


@pytest.mark.parametrize(("in_s", "action"), [(1, Action.FILE_AGAIN), (0, Action.PLACE)])
def test_a_run_that_waits_for_its_next_try_is_placed_at_that_moment(in_s, action):
    run = make_run(tries=Tries(number=2, retry_at=later(seconds=in_s)))
    fired = Timer(TimerKind.PLACEMENT, "run/acme/run-1", run.fence, NOW)
    assert run_verdict(fired, run, give_up_after=timedelta(minutes=1), now=NOW).action is action


def test_timers_of_an_interruption_and_of_a_used_up_time_that_were_lost_are_filed_again():
    row = idle(deadline=None, ends_at=ago(minutes=7))
    assert [each.kind for each in lost_timers(row, LIMITS, now=NOW)] == [TimerKind.INTERRUPTION]
    run = limited(RunState.RUNNING, started_at=ago(minutes=16))
    found = lost_run_timers(run, give_up_after=timedelta(minutes=1), now=NOW)
    assert [each.kind for each in found] == [TimerKind.MAX_DURATION]


@pytest.mark.parametrize(
    ("since_min", "late_s", "action"),
    [
        (31, 120, Action.ASSEMBLE),
        (31, 121, Action.ASSEMBLE_ANEW),
        (27, 121, Action.ASSEMBLE),
        (61, 121, Action.ASSEMBLE),
    ],
)
def test_a_run_whose_nodes_had_no_time_because_we_were_away_asks_for_them_again(since_min, late_s, action):
    run = make_run(state=RunState.PROVISIONING, fence=7, changed_at=ago(minutes=since_min), jobs=(NodeJob(0),))
    now = later(seconds=late_s)
    assert run_verdict(timer(TimerKind.PLACEMENT), run, give_up_after=timedelta(seconds=60), now=now).action is action


@pytest.mark.parametrize(("minutes", "found"), [(35, 0), (36, 1)])
def test_a_gathering_whose_timer_was_lost_gets_another(minutes, found):
    run = make_run(state=RunState.PROVISIONING, changed_at=ago(minutes=minutes), jobs=(NodeJob(0),))
    lost = lost_run_timers(run, give_up_after=timedelta(minutes=1), now=NOW)
    assert [(each.kind, each.due_at) for each in lost] == [(TimerKind.PLACEMENT, later(seconds=120))] * found


@pytest.mark.parametrize(("late_s", "action"), [(120, Action.DRIVE_PROVISIONING), (121, Action.RESUME_PROVISIONING)])
def test_a_request_that_nobody_could_drive_because_we_were_away_is_driven_before_it_is_given_up(late_s, action):
    row = make_instance(state=State.PENDING, fence=7, deadline=NOW)
    found = verdict(TimerKind.PROVISIONING, row, now=later(seconds=late_s))
    assert (found.action, found.at) == (action, later(seconds=late_s) + timedelta(minutes=10))
