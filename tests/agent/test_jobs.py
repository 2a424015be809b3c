"""Jobs as process groups: started, followed, stopped, reported."""

import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Machine, is_alive, quickest, wait_until
from tests.agent.stub_api import StubApi


def test_output_and_exit_code_arrive(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo out; echo err >&2; exit 3")
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"], end["log_size"]) == ("exited", 3, 8)
    assert api.log("run-1") == b"out\nerr\n"
    wait_until(lambda: not (machine.home / "jobs" / "run-1").exists())


def test_a_wake_starts_a_job_and_its_output_is_there_at_once(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.until(lambda: api.polls)

    def hello_s(number: int) -> float:
        began = time.monotonic()
        api.want(f"run-{number}", "sh", "-c", "echo hello; sleep 300")
        api.until(lambda: api.log(f"run-{number}") == b"hello\n")
        took_s = time.monotonic() - began
        api.stop()
        api.ended(f"run-{number}")
        return took_s

    assert quickest(hello_s) < 0.5


def test_output_after_a_quiet_time_is_sent_at_once(machine: Machine, api: StubApi, tmp_path: Path) -> None:
    machine.start()

    def telling_s(number: int) -> float:
        run, go = f"run-{number}", tmp_path / f"go-{number}"
        api.want(run, "sh", "-c", 'while ! [ -e "$0" ]; do sleep 0.01; done; date +%s.%N; sleep 300', str(go))
        api.until(lambda: "running" in api.states.get(run, []))
        time.sleep(0.2)
        go.touch()
        written = float(api.until(lambda: api.log(run)))
        took_s = time.time() - written
        api.stop()
        api.ended(run)
        return took_s

    assert quickest(telling_s) < 0.2


def test_binary_output_is_kept_byte_for_byte(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 64)")
    api.ended("run-1")
    assert api.log("run-1") == bytes(range(256)) * 64


def test_much_output_arrives_complete_and_the_end_comes_with_its_last_byte(machine: Machine, api: StubApi) -> None:
    script = "import hashlib, random, sys; d = random.Random(1).randbytes(5_000_000); sys.stdout.buffer.write(d)"
    machine.start()
    api.want("run-1", sys.executable, "-c", script)
    end = api.ended("run-1")
    log = api.log("run-1")
    assert end["log_size"] == len(log) == 5_000_000
    assert hashlib.sha256(log).digest() == hashlib.sha256(random.Random(1).randbytes(5_000_000)).digest()
    assert max(len(chunk["data"]) for sync in api.syncs for chunk in sync["logs"]) <= (512 << 10) * 4 // 3 + 4


def test_a_talkative_job_is_followed_at_a_pace(machine: Machine, api: StubApi) -> None:
    """200 lines in 2 s are a few uploads, not 200; in the long run there is one a second."""
    machine.start()
    began = time.monotonic()
    api.want("run-1", "sh", "-c", "for i in $(seq 200); do echo $i; sleep 0.008; done")
    api.ended("run-1")
    assert len(api.log("run-1").splitlines()) == 200
    assert len(api.syncs) < 18 + (time.monotonic() - began)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["no-such-command-anywhere"], 127, b"tidepool: no-such-command-anywhere: not found\n"),
        (["/etc/passwd"], 126, b"tidepool: /etc/passwd: Permission denied\n"),
        (["sh", "-c", "kill -TERM $$"], 143, b""),
        (["sh", "-c", "kill -KILL $$"], 137, b""),
    ],
)
def test_exit_codes_are_those_of_a_shell(
    machine: Machine, api: StubApi, argv: list[str], code: int, message: bytes
) -> None:
    machine.start()
    api.want("run-1", *argv)
    assert api.ended("run-1")["exit_code"] == code
    assert api.log("run-1") == message


def test_a_job_sees_its_own_variables_and_none_of_the_agent(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_MACHINE="m-1")
    api.want("run-1", "env", env={"GREETING": "hello"})
    api.ended("run-1")
    seen = dict(line.split("=", 1) for line in api.log("run-1").decode().splitlines())
    ours = {name: value for name, value in seen.items() if name.startswith("TIDEPOOL_")}
    assert seen["GREETING"] == "hello"
    told = str(machine.home / "jobs/run-1/notice/interruption.json")
    expected = {"RUN_ID": "run-1", "RUN_NAME": "a-run", "INSTANCE": "i-1", "MACHINE": "m-1", "INTERRUPTION_FILE": told}
    assert ours == {f"TIDEPOOL_{name}": value for name, value in expected.items()}


def test_stop_is_sigterm_first_and_the_job_may_finish_in_its_own_way(machine: Machine, api: StubApi) -> None:
    machine.start()
    script = "trap 'sleep 0.2; echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    api.want("run-1", "sh", "-c", script)
    api.until(lambda: api.log("run-1"))
    api.stop()
    assert api.ended("run-1")["exit_code"] == 7
    assert api.log("run-1").splitlines()[-1] == b"saved"


def test_after_kill_after_comes_sigkill(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", kill_after_s=0.5)
    api.until(lambda: api.log("run-1"))
    began = time.monotonic()
    api.stop()
    assert api.ended("run-1")["exit_code"] == 137
    assert 0.5 <= time.monotonic() - began < 8  # not the 10 s that are usual


def test_a_forced_stop_shortens_the_time_to_sigkill(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", kill_after_s=600)
    api.until(lambda: api.log("run-1"))
    api.stop()
    wait_until(lambda: [event for event in machine.events() if event["event"] == "job-stopping"])
    api.stop(kill_after_s=0)
    assert api.ended("run-1")["exit_code"] == 137


def test_the_children_of_a_stopped_leader_keep_their_time(machine: Machine, api: StubApi) -> None:
    """The leader dies of SIGTERM at once; its child is still saving and must not be cut short."""
    child = "trap 'sleep 0.5; echo saved; exit' TERM; echo ready; while :; do sleep 0.05; done"
    machine.start()
    api.want("run-1", "sh", "-c", 'sh -c "$0"; true', child)
    api.until(lambda: api.log("run-1"))
    api.stop()
    api.ended("run-1")
    assert api.log("run-1").splitlines()[-1] == b"saved"


@pytest.mark.parametrize("detach", ["", "setsid "], ids=["in-the-group", "detached"])
def test_nothing_of_a_job_outlives_it(machine: Machine, api: StubApi, detach: str) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", f"{detach}sleep 300 & echo $!; exit 0")
    assert api.ended("run-1")["exit_code"] == 0
    assert not is_alive(int(api.log("run-1")))


def test_a_job_that_is_not_wanted_any_more_is_stopped_before_the_next_starts(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "trap 'sleep 0.3; date +%s%N; exit 0' TERM; echo; while :; do sleep 0.05; done")
    api.until(lambda: api.log("run-1"))
    api.want("run-2", "date", "+%s%N")
    api.ended("run-2")
    assert int(api.log("run-1").split()[-1]) < int(api.log("run-2"))
    assert api.ends["run-1"]["exit_code"] == 0


def test_a_stop_for_a_job_that_never_came_is_answered(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "true", stop=True)
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"], end["detail"]) == ("failed", None, "stopped before it was started")


def test_an_end_is_told_until_it_is_acknowledged(machine: Machine, api: StubApi) -> None:
    api.acknowledge = False
    machine.start()
    api.want("run-1", "true")
    api.until(lambda: api.states.get("run-1", []).count("exited") >= 3)
    assert (machine.home / "jobs" / "run-1" / "end.json").exists()
    with api.seen:
        api.acknowledge = True
    wait_until(lambda: not (machine.home / "jobs" / "run-1").exists())
    with api.seen:
        told = len(api.states["run-1"])
    time.sleep(0.2)
    assert len(api.states["run-1"]) == told


def test_a_log_that_cannot_be_stored_delays_the_end_but_does_not_lose_it(machine: Machine, api: StubApi) -> None:
    api.store_logs = False
    machine.start()
    api.want("run-1", "echo", "hello")
    assert api.ended("run-1")["exit_code"] == 0


def test_a_killed_supervisor_is_told_as_it_is_and_takes_the_job_along(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "sh", "-c", "echo $$; sleep 300")
    leader = int(api.until(lambda: api.log("run-1")))
    os.kill(machine.processes("run-1")["supervisor"], signal.SIGKILL)
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"]) == ("failed", None)
    assert "exit code is not known" in end["detail"]
    wait_until(lambda: not is_alive(leader))
