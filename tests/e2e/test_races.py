"""Who comes first: many clients on few instances, users against the clock, and a clock that repeats itself.

All of it through the deployed API and Lambdas. The crowd is let loose on real machines, because their agents write to
the same rows all the while; what needs hundreds of instances is done on rows without a machine (`tests.e2e.rows`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.timers import Timer, TimerKind, instance_target
from tests.e2e.plane import DEFAULT_POOL

LEASES = f"{DEFAULT_POOL}/leases"
SMALL = {"requirements": {"cpu": "2.."}}
ENDING = ("terminating", "terminated")


def released_together(*calls: Callable[[], Any]) -> list[Any]:
    """Run each call in a thread of its own, all from the same moment; their results in order."""
    gate = threading.Barrier(len(calls))

    def wait_and_call(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as crowd:
        return list(crowd.map(wait_and_call, calls))


def idle_timer(instance: dict[str, Any], *, late: timedelta = timedelta()) -> dict[str, Any]:
    """The stream record that the deletion of an instance's idle timer leaves, for the fence it has here."""
    target = instance_target("main", "default-pool", instance["instance_id"])
    timer = Timer(TimerKind.IDLE, target, instance["fence"], datetime.now(UTC) - late)
    image = {"due": {"S": timer.partition}, "timer": {"S": timer.sort}}
    image["ttl"] = {"N": str(int(timer.due_at.timestamp()))}
    return {"eventName": "REMOVE", "dynamodb": {"OldImage": image, "SequenceNumber": "1"}}


def fire(plane, *records: dict[str, Any]) -> None:
    assert plane.invoke("on-timer", {"Records": list(records)}) == {"batchItemFailures": []}


class Aim:
    """Which of two callers starts how much later, so that neither always wins: aimed anew after each round."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._step_s = 0.032
        self._last = 0

    def learn(self, *, first_won: bool) -> None:
        """Let the winner start later next time, by less and less as the tie comes near."""
        way = 1 if first_won else -1
        is_past = way != self._last  # else the tie is farther than thought, or the load of the computer has changed
        self._step_s = max(0.001, self._step_s / 2) if is_past else min(0.064, self._step_s * 1.5)
        self._last = way
        self.delay_s += way * self._step_s

    def first(self, call: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: (time.sleep(max(0.0, self.delay_s)), call())[1]

    def second(self, call: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: (time.sleep(max(0.0, -self.delay_s)), call())[1]


def test_sixty_four_clients_on_eight_idle_instances_get_eight_leases_and_56_refusals(plane):
    for number in range(8):
        assert plane.request("POST", f"{DEFAULT_POOL}/instances", {"name": f"box-{number}", **SMALL})[0] == 202
    plane.until(lambda: [row["state"] for row in plane.instances()] == ["idle"] * 8)
    names = {f"box-{number}" for number in range(8)}

    answers = released_together(
        *(lambda holder=f"client-{n}": plane.request("POST", LEASES, {"holder": holder}) for n in range(64))
    )

    assert Counter(status for status, _ in answers) == {201: 8, 409: 56}
    leases = [body for status, body in answers if status == 201]
    assert {lease["instance"]["name"] for lease in leases} == names
    for _, refused in (answer for answer in answers if answer[0] == 409):
        assert refused["code"] == "no-match"
        assert set(refused["reasons"]) == names
        assert all(refused["reasons"].values())
    held = {row["lease"]["lease_id"]: row["lease"]["holder"] for row in plane.instances()}
    assert held == {lease["lease_id"]: lease["holder"] for lease in leases}


def test_of_an_acquire_and_an_expiry_exactly_one_wins_in_each_of_200_rounds(plane):
    rows, wins, aim = plane.write_rows("idle", "200", "0"), {}, Aim()
    for row in rows:
        body = {"holder": "client", "instance": row["instance_id"]}
        (status, lease), _ = released_together(
            aim.second(lambda body=body: plane.request("POST", LEASES, body)),
            aim.first(lambda row=row: fire(plane, idle_timer(row))),
        )
        found = plane.instance(row["instance_id"])
        if status == 201:
            assert (found["state"], found["lease"]["lease_id"]) == ("busy", lease["lease_id"])
            assert plane.request("DELETE", f"/projects/main/leases/{lease['lease_id']}")[0] == 200
        else:
            assert (status, lease["code"], list(lease["reasons"])) == (409, "no-match", [row["instance_id"]])
            assert (found["state"] in ENDING, found["lease"]) == (True, None)
        wins[row["instance_id"]] = status
        aim.learn(first_won=status == 409)
    won = Counter(wins.values())
    assert min(won[201], won[409]) >= 20, f"the two hardly met: {won}"

    plane.until(lambda: not plane.instances())
    expired = ["terminating", "terminated"]
    for name, status in wins.items():
        # One that was taken has no idle time left when it is given back. Both ways it ends once, and nothing else is.
        steps = plane.until(lambda name=name: history_to("terminated", plane.instance(name)))
        assert [step["target"] for step in steps][1:] == (["busy", *expired] if status == 201 else expired)


def test_no_job_starts_on_a_machine_that_is_being_torn_down(plane, tmp_path):
    """Six rounds with a real machine and a run: either the job runs to its end, or it never begins."""
    for round_ in range(6):
        if not plane.instances():
            plane.tidepool("pool", "add", "--cpu", "2..", "-y")
        (seen,) = plane.instances()
        (row,) = plane.write_rows("overdue", seen["instance_id"])
        marker = tmp_path / f"round-{round_}"
        job = {"argv": ["sh", "-c", f"echo began >> {marker}; sleep 0.3; echo ended >> {marker}"], "reuse": True}
        delay_s = 0.05 * round_
        (status, run), _ = released_together(
            lambda job=job: plane.request("POST", "/projects/main/runs", job),
            lambda row=row, delay_s=delay_s: (time.sleep(delay_s), fire(plane, idle_timer(row))),
        )
        if status == 201:
            name = run["name"]
            ended = plane.until(lambda name=name: over(plane, name))
            assert (ended["state"], ended["exit_code"]) == ("done", 0)
            assert marker.read_text() == "began\nended\n"
            plane.until(lambda: [each["state"] for each in plane.instances()] == ["idle"])  # after the run's end
        else:
            assert (status, run["code"]) == (409, "no-match")
            plane.until(lambda: not plane.instances() and not plane.machines())
            assert not marker.exists()
        assert "busy" not in [
            step["source"] for step in plane.instance(row["instance_id"])["history"] if step["target"] == "terminating"
        ]


def over(plane, name: str) -> dict[str, Any] | None:
    run = plane.request("GET", f"/projects/main/runs/{name}")[1]
    return run if run["ended_at"] else None


def test_an_old_timer_does_nothing_to_an_instance_that_was_busy_since(plane):
    (row,) = plane.write_rows("idle", "1", "3600")
    name, old = row["instance_id"], idle_timer(row)
    _, lease = plane.request("POST", LEASES, {"holder": "client", "instance": name})
    fire(plane, old)
    assert plane.instance(name)["state"] == "busy"
    plane.request("DELETE", f"/projects/main/leases/{lease['lease_id']}")
    (now,) = plane.write_rows("overdue", name)
    assert now["fence"] == row["fence"] + 2

    fire(plane, old)
    fire(plane, old, old)
    fire(plane, idle_timer(row, late=timedelta(hours=1)))
    assert (plane.instance(name)["state"], plane.instance(name)["fence"]) == ("idle", now["fence"])

    fire(plane, idle_timer(now))
    assert plane.instance(name)["state"] in ENDING


def test_a_timer_delivered_twice_or_an_hour_late_ends_an_instance_once(plane):
    (row,) = plane.write_rows("idle", "1", "3600")
    record = idle_timer(row, late=timedelta(hours=1))
    fire(plane, record, record)
    fire(plane, record)
    plane.until(lambda: not plane.instances())
    fire(plane, record)
    ended = plane.until(lambda: history_to("terminated", plane.instance(row["instance_id"])))
    assert [step["target"] for step in ended].count("terminating") == 1
    assert ended[-1]["fence"] == row["fence"] + 2


def history_to(state: str, instance: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The history, once it has reached a state: it is written behind the row."""
    return instance["history"] if instance["history"][-1]["target"] == state else None
