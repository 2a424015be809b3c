"""The control plane is away, slow, refuses, or wants the machine off."""

import json
import signal
import time
from pathlib import Path

from tests.agent.conftest import COUNTS, Machine, counted, is_alive, wait_until
from tests.agent.stub_api import StubApi


def cut(api: StubApi, *, down: bool) -> None:
    with api.seen:
        api.down = down
        api.seen.notify_all()


def limit(machine: Machine, api: StubApi, **limits: float) -> None:
    """Tell the agent how long silence may last, once its job runs, which these limits need not await."""
    with api.seen:
        api.dead_man_s = limits
    api.wake()
    wait_until(lambda: json.loads((machine.home / "contact.json").read_text())["limits"] == limits)


def test_what_happened_during_an_outage_is_told_afterwards(machine: Machine, api: StubApi, tmp_path: Path) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", COUNTS, str(tmp_path / "go"))
    api.until(lambda: len(api.log("run-1")) > 5)
    cut(api, down=True)
    told = counted(api.log("run-1"))
    wait_until(lambda: len([each for each in machine.events() if each["event"] == "sync-failed"]) > 2)
    (tmp_path / "go").touch()
    wait_until((machine.home / "jobs" / "run-1" / "end.json").exists)
    cut(api, down=False)
    assert api.ended("run-1")["exit_code"] == 5
    assert counted(api.log("run-1")) > told


def test_lost_answers_change_nothing(machine: Machine, api: StubApi) -> None:
    machine.start()
    with api.seen:
        api.lost_answers = 4
    api.want("run-1", "sh", "-c", "for i in $(seq 20); do echo $i; sleep 0.01; done")
    assert api.ended("run-1")["exit_code"] == 0
    assert api.log("run-1") == b"".join(b"%d\n" % i for i in range(1, 21))


def test_a_job_outlives_a_silence_that_is_shorter_than_the_limit(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    limit(machine, api, idle=0.2, leaderless=300)
    cut(api, down=True)
    time.sleep(1)
    assert is_alive(leader)
    assert not machine.off.exists()


def test_a_leaderless_machine_stops_its_job_and_switches_itself_off(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    limit(machine, api, idle=0, leaderless=0.5)
    cut(api, down=True)
    assert machine.wait() == 0
    assert machine.off.exists()
    assert not is_alive(leader)


def test_an_idle_machine_switches_itself_off_in_silence_only(machine: Machine, api: StubApi) -> None:
    api.dead_man_s = {"idle": 0.5, "leaderless": 60}
    api.interval_s = 0.2
    machine.start()
    time.sleep(1)
    assert not machine.off.exists()
    cut(api, down=True)
    assert machine.wait() == 0
    assert machine.off.exists()


def test_a_machine_whose_job_has_ended_is_not_idle_before_it_could_say_so(machine: Machine, api: StubApi) -> None:
    """Else the exit code and the output of a night's work go with it, for the sake of a short idle limit."""
    machine.start()
    api.want("run-1", "sh", "-c", "echo begun; sleep 0.5; echo done; exit 3")
    api.until(lambda: api.log("run-1"))
    limit(machine, api, idle=0.2, leaderless=300)
    cut(api, down=True)
    wait_until((machine.home / "jobs" / "run-1" / "end.json").exists)
    time.sleep(1)
    assert not machine.off.exists()
    cut(api, down=False)
    assert api.ended("run-1")["exit_code"] == 3
    assert api.log("run-1") == b"begun\ndone\n"


def test_the_silence_of_an_earlier_agent_counts(machine: Machine, api: StubApi) -> None:
    """Else a crash loop would keep a lost machine, and its bill, for ever."""
    api.dead_man_s = {"idle": 0, "leaderless": 3600}
    contact = machine.home / "contact.json"
    machine.start()
    wait_until(contact.exists)
    machine.signal(signal.SIGKILL)
    cut(api, down=True)
    noted = json.loads(contact.read_text())
    contact.write_text(json.dumps({**noted, "at": noted["at"] - 3599}))
    machine.launch()
    assert machine.wait() == 0
    assert machine.off.exists()


def test_a_machine_that_nobody_pays_for_has_no_dead_man_switch(machine: Machine, api: StubApi) -> None:
    api.dead_man_s = {"idle": 0.2, "leaderless": 0.4}
    api.interval_s = 0.2
    machine.start(TIDEPOOL_POWEROFF="")
    cut(api, down=True)
    time.sleep(1)
    cut(api, down=False)
    before = len(api.syncs)
    api.until(lambda: len(api.syncs) > before)


def test_a_401_ends_the_job_and_the_machine(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    with api.seen:
        api.refuse = True
    api.wake()
    assert machine.wait() == 0
    assert machine.off.exists()
    assert not is_alive(leader)


def test_shutdown_lets_the_job_save_its_work(machine: Machine, api: StubApi) -> None:
    saved = machine.home / "saved"
    script = f"trap 'sleep 0.3; touch {saved}; exit' TERM; echo; while :; do sleep 0.05; done"
    machine.start()
    api.want("run-1", "sh", "-c", script)
    api.until(lambda: api.log("run-1"))
    with api.seen:
        api.shutdown = True
    api.wake()
    assert machine.wait() == 0
    assert saved.exists()
    assert machine.off.exists()


def test_a_power_off_that_fails_asks_for_another_try(machine: Machine, api: StubApi) -> None:
    api.shutdown = True
    machine.launch(TIDEPOOL_POWEROFF="exit 1")
    assert machine.wait() == 1


def test_an_outage_is_answered_with_pauses_that_grow_to_the_regular_one(machine: Machine, api: StubApi) -> None:
    api.interval_s = 0.8
    machine.start()
    cut(api, down=True)
    began = time.monotonic()

    def pauses() -> list[float]:
        return [event["again_in_s"] for event in machine.events() if event["event"] == "sync-failed"]

    wait_until(lambda: len(pauses()) >= 5)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4 + 0.4
    most = [0.2, 0.4, *[0.8] * len(pauses())]
    assert all(longest / 2 - 0.05 <= pause <= longest + 0.05 for pause, longest in zip(pauses(), most, strict=False))
