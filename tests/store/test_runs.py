"""Runs on their table: conditions, names, and a list of active ones that does not remember the others."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import AlreadyExistsError, InvalidInputError, LostRaceError, NotFoundError
from chalicelib.domain.model import RUN_ENDS, JobSpec, Run, RunReason, RunState, Tries
from chalicelib.domain.timers import TimerKind
from chalicelib.store import calls, runs
from chalicelib.store.columns import epoch
from chalicelib.store.models import NameRow, RunRow
from tests.builders import NOW, later, make_run
from tests.store.seeds import DEADLINE, filed

pytestmark = pytest.mark.usefixtures("dynamodb")

SPEC = JobSpec(("python", "train.py"), "image", {"A": "ß"}, "0" * 64, timedelta(seconds=2.5))


def submit(number: int = 1, **rest) -> Run:
    """Submit a run; its name goes with its number."""
    return runs.create(make_run(**{"run_id": f"run-{number}", "name": f"n-{number}"} | rest), None)


def end(seen: Run, state: RunState = RunState.DONE, **rest) -> Run:
    """End a run."""
    return runs.step(seen, state, now=later(minutes=1), reason=RunReason.EXITED, actor="agent", **rest)


def test_what_is_read_is_what_was_written():
    run = make_run(spec=SPEC, request={"argv": ["x"], "nested": {"a": [1, None, 2.5]}}, placements=2, lease_id="l")
    assert runs.create(run, None) == run
    assert runs.get("acme", "run-1") == run


def test_a_run_with_a_deadline_has_a_placement_timer():
    runs.create(make_run(), DEADLINE)
    assert [(timer.kind, timer.fence, timer.target) for timer in filed(DEADLINE)] == [
        (TimerKind.PLACEMENT, 1, "run/acme/run-1")
    ]


def test_a_run_that_has_a_longest_duration_gets_its_timer_once_when_its_job_first_begins():
    seen = submit(request={"policies": {"max_duration_s": 60.0}})
    started = {"now": NOW, "reason": RunReason.PICKED_UP, "actor": "agent"}
    begun = runs.step(seen, RunState.RUNNING, started_at=NOW, **started)
    assert begun.ends_by == later(minutes=1)
    assert [(timer.kind, timer.fence) for timer in filed(later(minutes=1))] == [(TimerKind.MAX_DURATION, 0)]
    again = runs.step(begun, RunState.SUBMITTED, tries=Tries(number=2, retry_at=DEADLINE), **started)
    assert runs.get("acme", "run-1") == again
    assert (again.ends_by, again.tries.number, again.tries.retry_at) == (later(minutes=1), 2, DEADLINE)


def test_the_timer_is_there_although_the_start_then_loses():
    seen = submit(request={"policies": {"max_duration_s": 60.0}})
    runs.step(seen, RunState.STARTING, now=NOW, reason=RunReason.REUSED, actor="x")
    with pytest.raises(LostRaceError):
        runs.step(seen, RunState.RUNNING, now=NOW, reason=RunReason.PICKED_UP, actor="agent", started_at=NOW)
    assert [timer.kind for timer in filed(later(minutes=1))] == [TimerKind.MAX_DURATION]


def test_a_name_is_taken_once_among_the_live_and_leads_to_the_newest():
    first = submit(1, name="train")
    with pytest.raises(AlreadyExistsError):
        submit(2, name="train")
    over = end(first)
    assert runs.find("acme", "train") == over
    second = submit(3, name="train")
    assert runs.find("acme", "train") == second
    assert runs.find("acme", "run-1") == over
    end(second)
    assert runs.find("acme", "train").run_id == "run-3"


def test_an_unknown_run_is_not_found():
    submit()
    for project, name in (("acme", "nobody"), ("other", "n-1"), ("other", "run-1")):
        with pytest.raises(NotFoundError):
            runs.find(project, name)


def test_the_second_of_two_writers_loses():
    seen = submit()
    runs.step(seen, RunState.STARTING, now=NOW, reason=RunReason.REUSED, actor="x")
    for state in (RunState.STARTING, RunState.DONE):
        with pytest.raises(LostRaceError):
            end(seen, state)
    with pytest.raises(LostRaceError):
        end(make_run(run_id="run-9", name="n-9"))


def test_a_writer_who_read_before_the_run_came_back_to_its_state_loses():
    """A reads submitted; the run is placed and taken back, so it is submitted again; A writes: the fence tells."""
    seen = submit()
    placed = runs.step(seen, RunState.STARTING, now=NOW, reason=RunReason.REUSED, actor="x")
    again = runs.step(placed, RunState.SUBMITTED, now=NOW, reason=RunReason.NOT_PICKED_UP, actor="timer")
    assert again.state is seen.state
    for state in (RunState.STARTING, RunState.STOPPED):
        with pytest.raises(LostRaceError):
            end(seen, state)


def test_a_run_never_frees_a_name_that_is_not_its_own():
    seen = submit()
    calls.put(NameRow("acme", "run:n-1", holder="run-2"))
    with pytest.raises(LostRaceError):
        end(seen)
    with pytest.raises(AlreadyExistsError):
        submit(3, name="n-1")


def test_a_step_changes_what_it_names_and_raises_the_fence():
    seen = submit(lease_id="l-1", detail="old")
    moved = runs.step(
        seen,
        RunState.STARTING,
        now=later(minutes=1),
        reason=RunReason.REUSED,
        actor="agent",
        deadline=DEADLINE,
        instance_id="i-1",
        instance_name="otter",
        lease_id="",
        placements=1,
        started_at=later(minutes=1),
    )
    assert (moved.fence, moved.instance_id, moved.instance_name, moved.lease_id, moved.placements, moved.detail) == (
        2, "i-1", "otter", "", 1, "",
    )  # fmt: skip
    assert moved == runs.get("acme", "run-1")
    assert [(timer.kind, timer.fence) for timer in filed(DEADLINE)] == [(TimerKind.PLACEMENT, 2)]


def test_a_step_cannot_change_what_is_not_its_own():
    with pytest.raises(TypeError, match="name"):
        end(submit(), name="other")


@pytest.mark.parametrize("state", sorted(RUN_ENDS))
def test_an_ended_run_is_answered_as_stored_and_expires_after_thirty_days(state):
    over = end(submit(), state, exit_code=0, ended_at=later(minutes=1), instance_id="i-1")
    assert over == runs.get("acme", "run-1")
    assert (over.exit_code, over.ended_at) == (0, later(minutes=1))
    item = calls.get(RunRow, "acme", "run-1", consistent=True)
    assert int(item["ttl"]["N"]) == epoch(later(minutes=1) + timedelta(days=30))


def test_runs_are_listed_newest_first_in_pages():
    for number in range(5):
        submit(number)
    assert walk(2) == [f"run-{number}" for number in (4, 3, 2, 1, 0)]


def test_only_active_runs_are_in_the_list_of_active_ones():
    for number in range(6):
        run = submit(number)
        if number % 2:
            end(run)
    assert walk(2, active=True) == ["run-4", "run-2", "run-0"]
    assert walk(100, active=True) == ["run-4", "run-2", "run-0"]


def test_the_cursor_of_one_list_is_none_for_the_other():
    for number in range(3):
        submit(number)
    _, cursor = runs.page("acme", 1, None)
    with pytest.raises(InvalidInputError):
        runs.page("acme", 1, cursor, active=True)


def walk(limit: int, *, active: bool = False) -> list[str]:
    """The ids on all pages, in order."""
    ids: list[str] = []
    cursor = None
    for _ in range(20):
        page, cursor = runs.page("acme", limit, cursor, active)
        ids += [run.run_id for run in page]
        if cursor is None:
            return ids
    raise AssertionError("the pages do not end")
