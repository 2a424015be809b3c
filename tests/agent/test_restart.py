"""The agent dies; its jobs do not. The next agent finds them and tells the truth."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.agent.conftest import COUNTS, Machine, counted, is_alive, wait_until
from tests.agent.stub_api import StubApi


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_goes_on_and_its_log_has_neither_gap_nor_double(
    machine: Machine, api: StubApi, number: int, tmp_path: Path
) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", COUNTS, str(tmp_path / "go"))
    api.until(lambda: len(api.log("run-1")) > 10)
    machine.signal(number)
    before = counted(api.log("run-1"))
    written = machine.home / "jobs" / "run-1" / "output.log"
    wait_until(lambda: counted(written.read_bytes().rpartition(b"\n")[0]) > before + 5)
    machine.start()
    (tmp_path / "go").touch()
    assert api.ended("run-1")["exit_code"] == 5
    assert counted(api.log("run-1")) > before + 5


def test_a_job_that_ends_while_the_agent_is_dead_is_told_as_it_ended(
    machine: Machine, api: StubApi, tmp_path: Path
) -> None:
    machine.start()
    script = 'echo first; while [ ! -e "$0" ]; do sleep 0.02; done; echo last; exit 9'
    api.want("run-1", "sh", "-c", script, str(tmp_path / "go"))
    api.until(lambda: api.log("run-1"))
    machine.signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    wait_until((machine.home / "jobs" / "run-1" / "end.json").exists)
    machine.start()
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"]) == ("exited", 9)
    assert api.log("run-1") == b"first\nlast\n"


def test_an_adopted_job_can_be_stopped(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    api.until(lambda: api.log("run-1"))
    machine.signal(signal.SIGKILL)
    machine.start()
    api.stop()
    assert api.ended("run-1")["exit_code"] == 143
    assert not is_alive(int(api.log("run-1")))


def test_a_reused_process_id_is_not_mistaken_for_the_job(machine: Machine, api: StubApi) -> None:
    """Supervisor and leader are gone; a stranger has the leader's number, but was started at another time."""
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    machine.signal(signal.SIGKILL)
    record = machine.processes("run-1")
    os.kill(record["supervisor"], signal.SIGKILL)
    path = machine.home / "jobs" / "run-1" / "process.json"
    path.write_text(json.dumps({**record, "started": "1"}))
    machine.start()
    end = api.ended("run-1")
    assert (end["state"], end["lost"]) == ("failed", True)
    assert is_alive(leader)
    os.killpg(leader, signal.SIGKILL)


def test_a_job_from_before_a_reboot_is_told_as_such(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    machine.signal(signal.SIGKILL)
    record = machine.processes("run-1")
    os.kill(record["supervisor"], signal.SIGKILL)
    path = machine.home / "jobs" / "run-1" / "process.json"
    path.write_text(json.dumps({**record, "boot": "another"}))
    machine.start()
    end = api.ended("run-1")
    assert (end["state"], end["lost"]) == ("failed", True)
    assert end["detail"] == "the machine was restarted while the job ran"
    os.killpg(leader, signal.SIGKILL)


def test_a_job_that_was_laid_out_but_never_ran_is_started(machine: Machine, api: StubApi) -> None:
    """The agent died between making the folder and starting the job: nothing ran, so it may be run."""
    folder = machine.home / "jobs" / "run-1"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"run_id": "run-1", "image": "", "kill_after_s": 10}')
    api.want("run-1", "echo", "hello")
    machine.start()
    assert api.ended("run-1")["exit_code"] == 0
    assert api.log("run-1") == b"hello\n"


def test_sigterm_says_good_bye_and_leaves_the_job_alone(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    began = time.monotonic()
    assert machine.signal(signal.SIGTERM) == 0
    assert time.monotonic() - began < api.wake_hold_s / 2  # it waits for no poll to end
    assert api.syncs[-1]["stopping"] is True
    assert is_alive(leader)


def test_two_agents_never_work_in_one_home(machine: Machine, api: StubApi) -> None:
    machine.start()
    first = machine.process
    assert first is not None
    machine.launch()
    wait_until(lambda: [event for event in machine.events() if event["event"] == "waiting-for-another-agent"])
    first.kill()
    first.wait()
    api.until(lambda: len({sync["boot_id"] for sync in api.syncs}) == 2)


def test_a_home_full_of_rubbish_does_not_stop_the_agent(machine: Machine, api: StubApi, tmp_path: Path) -> None:
    (machine.home / "jobs" / "run-0").mkdir(parents=True)
    (machine.home / "jobs" / "run-0" / "job.json").write_text("{")
    (machine.home / "contact.json").write_text("")
    shutil.copy("/etc/passwd", machine.home / "bell")
    api.want("run-1", "true")
    machine.start()
    assert api.ended("run-1")["exit_code"] == 0
